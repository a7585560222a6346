package reconcile

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are the reconciler's. They are made once, by its owner, because they outlive an incarnation.
type Metrics struct {
	walks    *prometheus.CounterVec
	reads    prometheus.Counter
	compared *prometheus.CounterVec
	walked   prometheus.Gauge
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: "settled_reconcile_" + name, Help: help}
	}
	return &Metrics{
		walks: f.NewCounterVec(counter("walks_total", "Walks over Stripe and the ledger, by how they ended."),
			[]string{"result"}),
		reads: f.NewCounter(counter("reads_total", "Reads of Stripe by the reconciler.")),
		compared: f.NewCounterVec(counter("compared_total",
			"Transfers that the reconciler compared, by where it found them."), []string{"side"}),
		walked: f.NewGauge(prometheus.GaugeOpts{Name: "settled_reconcile_last_success_timestamp_seconds",
			Help: "When the last walk came to its end; 0: never."}),
	}
}
