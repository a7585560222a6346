package actors

import "github.com/prometheus/client_golang/prometheus"

// metrics are the tree's own. Labels are bounded; none is ever an ID.
type metrics struct {
	attempts      *prometheus.CounterVec
	alive         prometheus.Gauge
	spawns        prometheus.Counter
	restarts      *prometheus.CounterVec
	sweepFinds    prometheus.Counter
	alarms        *prometheus.CounterVec
	transitions   *prometheus.CounterVec
	batch         prometheus.Histogram
	commitSeconds prometheus.Histogram
	writerDepth   prometheus.Gauge
	stripeSeconds *prometheus.HistogramVec
	events        *prometheus.CounterVec

	accountVerified prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "settled_" + name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "settled_" + name, Help: help}, labels)
		r.MustRegister(g)
		return g
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "settled_" + name, Help: help, Buckets: buckets}, labels)
		r.MustRegister(h)
		return h
	}
	seconds := prometheus.ExponentialBuckets(0.001, 2, 15)
	m := &metrics{
		attempts:        counter("attempts_total", "Calls to Stripe that an operation made, by operation and verdict.", "operation", "verdict"),
		alive:           gauge("actors_alive", "Transfer actors alive.").WithLabelValues(),
		accountVerified: gauge("account_verified", "1 once Stripe said that the key is of the ledger's account; while 0, nothing is sent, or a key of another account would not be noticed.").WithLabelValues(),

		spawns:        counter("actor_spawns_total", "Transfer actors spawned.").WithLabelValues(),
		restarts:      counter("actor_restarts_total", "Restarts of transfer actors, by kind of failure.", "kind"),
		sweepFinds:    counter("sweep_finds_total", "Unfinished transfers that the sweep found without an actor; should stay 0.").WithLabelValues(),
		alarms:        counter("alarms_total", "Findings that somebody should look at.", "kind"),
		transitions:   counter("transitions_total", "Changes of state, by operation and the state entered.", "operation", "state"),
		batch:         histogram("writer_batch_size", "Changes in one commit.", prometheus.ExponentialBuckets(1, 2, 11)).WithLabelValues().(prometheus.Histogram),
		commitSeconds: histogram("writer_commit_seconds", "Time that a commit took.", seconds).WithLabelValues().(prometheus.Histogram),
		writerDepth:   gauge("writer_queue", "Commits that wait for the writer.").WithLabelValues(),
		stripeSeconds: histogram("stripe_seconds", "Time that calls to Stripe took.", seconds, "endpoint"),
		events:        counter("events_applied_total", "Stored Stripe events, by what applying them meant.", "result"),
	}
	for _, kind := range alarmKinds {
		m.alarms.WithLabelValues(kind)
	}
	return m
}
