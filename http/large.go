package http

import (
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// Anybody can send a webhook's body, for its signature is over all of it. Most events have a few kB; the large ones
// that Stripe sends are few, and sent again when they are refused. So few bodies may be large at a time: each is
// read within Limits.Read, or not at all.
const (
	webhookUsual = 256 << 10
	largeMost    = 64 // in one Limits.Read: 64 MiB
)

// largeBodies counts them.
type largeBodies struct {
	mu    sync.Mutex
	began time.Time
	n     int
}

// take reports whether one more may be read.
func (l *largeBodies) take(now time.Time, within time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if age := now.Sub(l.began); age >= within || age < 0 {
		l.began, l.n = now, 0
	}
	if l.n == largeMost {
		return false
	}
	l.n++
	return true
}

// webhookBody says how much of a webhook's body is read. One that does not say how long it is counts as usual.
func (s *Server) webhookBody(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if h.ContentLength() > webhookUsual && h.ContentLength() <= webhookBytes && s.large.take(s.now(), s.limits.Read) {
		return fasthttp.RequestConfig{MaxRequestBodySize: webhookBytes}
	}
	return fasthttp.RequestConfig{MaxRequestBodySize: webhookUsual}
}
