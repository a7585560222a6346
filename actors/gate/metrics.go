package gate

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are those of the gate and of conditions. Labels are bounded; none is ever an ID. They are made once, by
// the owner of the two actors, because they outlive an incarnation.
type Metrics struct {
	out     prometheus.Gauge
	waiting *prometheus.GaugeVec
	braked  prometheus.Gauge
	still   *prometheus.GaugeVec
	broken  *prometheus.GaugeVec
	asleep  *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return promauto.With(r).NewGaugeVec(prometheus.GaugeOpts{Name: "settled_" + name, Help: help}, labels)
	}
	m := &Metrics{
		out:     gauge("gate_permits", "Calls to Stripe under way.").WithLabelValues(),
		waiting: gauge("gate_waiting", "Actors that wait for a permit, by endpoint.", "endpoint"),
		braked:  gauge("gate_braked", "1 while calls are paused for all.").WithLabelValues(),
		still: gauge("gate_platform_refused",
			"1 while Stripe refuses the platform's key or account, by endpoint.", "endpoint"),
		broken: gauge("gate_down",
			"1 while an endpoint of Stripe seems to be down and one call at a time is made to it.", "endpoint"),
		asleep: gauge("condition_waiting",
			"Refused operations that wait for a condition, without the one that probes.", "condition"),
	}
	for e := range endpoints {
		m.still.WithLabelValues(e.String())
		m.broken.WithLabelValues(e.String())
	}
	return m
}
