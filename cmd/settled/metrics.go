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
)

// registerMetrics adds what only the database and the process know.
func registerMetrics(r prometheus.Registerer, d *db.DB, log *slog.Logger) {
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "settled_build_info", Help: "1, with the version as labels."}, []string{"version", "go"})
	build.WithLabelValues(version(), runtime.Version()).Set(1)
	r.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &counts{db: d, log: log})
}

// counts shows the transfers by state and currency. The query is made at most once in
// countsKept, however often it is scraped.
type counts struct {
	db  *db.DB
	log *slog.Logger

	mu   sync.Mutex
	at   time.Time
	last []db.Count
}

const countsKept = 5 * time.Second

var (
	countDesc  = prometheus.NewDesc("settled_transfers", "Transfers, by state and currency.", []string{"state", "currency"}, nil)
	amountDesc = prometheus.NewDesc("settled_transfer_amount_minor_units", "Amount of transfers in minor units, by state and currency.", []string{"state", "currency"}, nil)
	oldestDesc = prometheus.NewDesc("settled_transfer_oldest_seconds", "Age of the oldest transfer in its state, by state and currency.", []string{"state", "currency"}, nil)
	openDesc   = prometheus.NewDesc("settled_db_connections", "Open connections to the database.", nil, nil)
	waitDesc   = prometheus.NewDesc("settled_db_wait_seconds_total", "Time waited for a connection to the database.", nil, nil)
)

func (c *counts) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{countDesc, amountDesc, oldestDesc, openDesc, waitDesc} {
		ch <- d
	}
}

func (c *counts) Collect(ch chan<- prometheus.Metric) {
	stats := c.db.Stats()
	ch <- prometheus.MustNewConstMetric(openDesc, prometheus.GaugeValue, float64(stats.OpenConnections))
	ch <- prometheus.MustNewConstMetric(waitDesc, prometheus.CounterValue, stats.WaitDuration.Seconds())
	for _, n := range c.current() {
		labels := []string{string(n.Status), string(n.Currency)}
		ch <- prometheus.MustNewConstMetric(countDesc, prometheus.GaugeValue, float64(n.Number), labels...)
		ch <- prometheus.MustNewConstMetric(amountDesc, prometheus.GaugeValue, float64(n.Amount), labels...)
		ch <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, time.Since(n.Oldest).Seconds(), labels...)
	}
}

func (c *counts) current() []db.Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) < countsKept {
		return c.last
	}
	ctx, cancel := context.WithTimeout(context.Background(), countsKept)
	defer cancel()
	fresh, err := c.db.Counts(ctx)
	if err != nil {
		c.log.Warn("transfers cannot be counted for the metrics", "err", err)
		return nil
	}
	c.last, c.at = fresh, time.Now()
	return fresh
}
