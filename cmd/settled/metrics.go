package main

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/settled/settled/db"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// registerMetrics adds the metrics that only the database and the process know.
func registerMetrics(r prometheus.Registerer, d *db.DB, log *slog.Logger) {
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "settled_build_info",
		Help: "1, with the version as labels."}, []string{"version", "go"})
	build.WithLabelValues(version(), runtime.Version()).Set(1)
	r.MustRegister(build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &counts{db: d, log: log})
}

// counts shows the transfers by state and currency, and the open drift by class. The queries are made at most once in
// countsKept, however often it is scraped.
type counts struct {
	db  *db.DB
	log *slog.Logger

	mu   sync.Mutex
	at   time.Time
	last numbers
}

// numbers is the database's last answer; nil: nobody knows.
type numbers struct {
	transfers []db.Count
	held      []db.HeldCount
	drift     []audit.Count
}

const countsKept = 5 * time.Second

var (
	countDesc = prometheus.NewDesc("settled_transfers", "Transfers, by state and currency.",
		[]string{"state", "currency"}, nil)
	amountDesc = prometheus.NewDesc("settled_transfer_amount_minor_units",
		"Amount of transfers in minor units, by state and currency.", []string{"state", "currency"}, nil)
	oldestDesc = prometheus.NewDesc("settled_transfer_oldest_seconds",
		"Age of the oldest unfinished transfer in its state, by state and currency.", []string{"state", "currency"},
		nil)
	heldDesc = prometheus.NewDesc("settled_transfers_held",
		"Held transfers, by the source of the hold that lasts longest, and currency.", []string{"held_by", "currency"},
		nil)
	driftDesc = prometheus.NewDesc("settled_drift",
		"Differences between Stripe and the ledger that are open, by class.", []string{"class"}, nil)
	driftMoney = prometheus.NewDesc("settled_drift_amount_minor_units",
		"Amount in question of open differences in minor units, by class and currency.", []string{"class", "currency"},
		nil)
	openDesc = prometheus.NewDesc("settled_db_connections", "Open connections to the database.", nil, nil)
	waitDesc = prometheus.NewDesc("settled_db_wait_seconds_total", "Time waited for a connection to the database.",
		nil, nil)
)

func (c *counts) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{countDesc, amountDesc, oldestDesc, heldDesc, driftDesc, driftMoney, openDesc,
		waitDesc} {
		ch <- d
	}
}

func (c *counts) Collect(ch chan<- prometheus.Metric) {
	stats := c.db.Stats()
	ch <- prometheus.MustNewConstMetric(openDesc, prometheus.GaugeValue, float64(stats.OpenConnections))
	ch <- prometheus.MustNewConstMetric(waitDesc, prometheus.CounterValue, stats.WaitDuration.Seconds())
	n, known := c.current()
	if !known { // no sample is better than a 0 that calms
		return
	}
	c.drifts(ch, n.drift)
	c.transfers(ch, n.transfers)
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, source := range ledger.HoldSources {
		gauge(heldDesc, 0, string(source), "")
	}
	for _, h := range n.held {
		gauge(heldDesc, float64(h.Number), string(h.HeldBy), string(h.Currency))
	}
}

func (c *counts) drifts(ch chan<- prometheus.Metric, drift []audit.Count) {
	open := map[audit.Class]int64{}
	for _, n := range drift {
		open[n.Class] += n.Number
		if n.Currency != "" {
			ch <- prometheus.MustNewConstMetric(driftMoney, prometheus.GaugeValue, float64(n.Amount), string(n.Class),
				string(n.Currency))
		}
	}
	for _, class := range audit.Drifts {
		ch <- prometheus.MustNewConstMetric(driftDesc, prometheus.GaugeValue, float64(open[class]), string(class))
	}
}

// aging are the states whose oldest transfer has an age worth an alert. A held one waits for somebody's word or a
// date, and one at its end grows old for ever.
var aging = map[ledger.State]bool{
	ledger.Pending: true, ledger.Sending: true, ledger.FailedState: true, ledger.Unresolved: true,
	ledger.Parked: true, ledger.ReversalPending: true,
}

func (c *counts) transfers(ch chan<- prometheus.Metric, counted []db.Count) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	// Every state is there from the start, of no currency: an alert on a series that does not exist never fires, and a
	// series that begins at 1 shows no increase.
	for _, state := range ledger.States {
		gauge(countDesc, 0, string(state), "")
		if aging[state] {
			gauge(oldestDesc, 0, string(state), "")
		}
	}
	for _, n := range counted {
		labels := []string{string(n.Status), string(n.Currency)}
		gauge(countDesc, float64(n.Number), labels...)
		gauge(amountDesc, float64(n.Amount), labels...)
		if aging[n.Status] {
			gauge(oldestDesc, time.Since(n.Oldest).Seconds(), labels...)
		}
	}
}

// current asks the database, or returns its answer of a moment ago.
func (c *counts) current() (numbers, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) < countsKept {
		return c.last, true
	}
	ctx, cancel := context.WithTimeout(context.Background(), countsKept)
	defer cancel()
	var fresh numbers
	var err error
	if fresh.transfers, err = c.db.Counts(ctx); err == nil {
		if fresh.held, err = c.db.HeldCounts(ctx); err == nil {
			fresh.drift, err = c.db.DriftCounts(ctx)
		}
	}
	if err != nil {
		c.log.Warn("transfers cannot be counted for the metrics", "err", err)
		return numbers{}, false
	}
	c.last, c.at = fresh, time.Now()
	return fresh, true
}
