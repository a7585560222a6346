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
	"github.com/settled/settled/ledger/audit"
)

// registerMetrics adds what only the database and the process know.
func registerMetrics(r prometheus.Registerer, d *db.DB, log *slog.Logger) {
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "settled_build_info", Help: "1, with the version as labels."}, []string{"version", "go"})
	build.WithLabelValues(version(), runtime.Version()).Set(1)
	r.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &counts{db: d, log: log})
}

// counts shows the transfers by state and currency, and the open drift by class. The queries are made at most once in
// countsKept, however often it is scraped.
type counts struct {
	db  *db.DB
	log *slog.Logger

	mu    sync.Mutex
	at    time.Time
	last  []db.Count
	drift []audit.Count
}

const countsKept = 5 * time.Second

var (
	countDesc  = prometheus.NewDesc("settled_transfers", "Transfers, by state and currency.", []string{"state", "currency"}, nil)
	amountDesc = prometheus.NewDesc("settled_transfer_amount_minor_units", "Amount of transfers in minor units, by state and currency.", []string{"state", "currency"}, nil)
	oldestDesc = prometheus.NewDesc("settled_transfer_oldest_seconds", "Age of the oldest transfer in its state, by state and currency.", []string{"state", "currency"}, nil)
	driftDesc  = prometheus.NewDesc("settled_drift", "Differences between Stripe and the ledger that are open, by class.", []string{"class"}, nil)
	driftMoney = prometheus.NewDesc("settled_drift_amount_minor_units", "Amount in question of open differences in minor units, by class and currency.", []string{"class", "currency"}, nil)
	openDesc   = prometheus.NewDesc("settled_db_connections", "Open connections to the database.", nil, nil)
	waitDesc   = prometheus.NewDesc("settled_db_wait_seconds_total", "Time waited for a connection to the database.", nil, nil)
)

func (c *counts) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{countDesc, amountDesc, oldestDesc, driftDesc, driftMoney, openDesc, waitDesc} {
		ch <- d
	}
}

func (c *counts) Collect(ch chan<- prometheus.Metric) {
	stats := c.db.Stats()
	ch <- prometheus.MustNewConstMetric(openDesc, prometheus.GaugeValue, float64(stats.OpenConnections))
	ch <- prometheus.MustNewConstMetric(waitDesc, prometheus.CounterValue, stats.WaitDuration.Seconds())
	counted, drift := c.current()
	open := map[audit.Class]int64{}
	for _, n := range drift {
		open[n.Class] += n.Number
		if n.Currency != "" {
			ch <- prometheus.MustNewConstMetric(driftMoney, prometheus.GaugeValue, float64(n.Amount), string(n.Class), string(n.Currency))
		}
	}
	if drift != nil { // else nobody knows: no sample is better than a 0 that calms
		for _, class := range audit.Drifts {
			ch <- prometheus.MustNewConstMetric(driftDesc, prometheus.GaugeValue, float64(open[class]), string(class))
		}
	}
	for _, n := range counted {
		labels := []string{string(n.Status), string(n.Currency)}
		ch <- prometheus.MustNewConstMetric(countDesc, prometheus.GaugeValue, float64(n.Number), labels...)
		ch <- prometheus.MustNewConstMetric(amountDesc, prometheus.GaugeValue, float64(n.Amount), labels...)
		ch <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, time.Since(n.Oldest).Seconds(), labels...)
	}
}

func (c *counts) current() ([]db.Count, []audit.Count) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) < countsKept {
		return c.last, c.drift
	}
	ctx, cancel := context.WithTimeout(context.Background(), countsKept)
	defer cancel()
	fresh, err := c.db.Counts(ctx)
	if err == nil {
		var drift []audit.Count
		if drift, err = c.db.DriftCounts(ctx); err == nil {
			c.last, c.drift, c.at = fresh, append([]audit.Count{}, drift...), time.Now()
			return c.last, c.drift
		}
	}
	c.log.Warn("transfers cannot be counted for the metrics", "err", err)
	return nil, nil
}
