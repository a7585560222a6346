package http

import (
	"bytes"
	"errors"
	"fmt"
	nethttp "net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// metrics are this package's own. No label is anything that a caller can choose.
type metrics struct {
	webhooks *prometheus.CounterVec
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	denied   *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "settled_webhooks_total", Help: "Webhooks of Stripe, by type (other: one that is not used) and by what became of them.",
		}, []string{"type", "result"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "settled_http_requests_total", Help: "HTTP requests by route (none: no route) and status code.",
		}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "settled_http_request_duration_seconds", Help: "From the end of a request's body to its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route"}),
		denied: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "settled_http_denied_total", Help: "Requests that were not let in, by cause.",
		}, []string{"cause"}),
	}
	for _, cause := range denials {
		m.denied.WithLabelValues(string(cause))
	}
	for _, c := range []prometheus.Collector{m.webhooks, m.requests, m.seconds, m.denied} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

// statusText avoids making a string for the common codes.
func statusText(code int) string {
	switch code {
	case 200:
		return "200"
	case 201:
		return "201"
	}
	return strconv.Itoa(code)
}

// exposition answers Prometheus. A collector that fails costs its own metrics only.
func (s *Server) exposition(c *call) (reply, error) {
	families, err := s.gatherer.Gather()
	if err != nil {
		s.log.Error("some metrics could not be gathered", "request_id", c.id, "error", err)
		if len(families) == 0 {
			return reply{}, fmt.Errorf("gather metrics: %w", err)
		}
	}
	format := expfmt.NegotiateAccept(nethttp.Header{"Accept": {string(c.ctx.Request.Header.Peek("Accept"))}},
		expfmt.DefaultAcceptedFormats()...)
	var b bytes.Buffer
	encoder := expfmt.NewEncoder(&b, format)
	for _, f := range families {
		if err := encoder.Encode(f); err != nil {
			return reply{}, fmt.Errorf("write metric %s: %w", f.GetName(), err)
		}
	}
	if closer, ok := encoder.(expfmt.Closer); ok {
		if err := closer.Close(); err != nil {
			return reply{}, errors.Join(errors.New("write metrics"), err)
		}
	}
	return reply{status: 200, body: b.Bytes(), contentType: string(format)}, nil
}
