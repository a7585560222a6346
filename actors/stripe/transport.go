package stripe

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Limits of the connection pool.
const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second
	idleTimeout      = 90 * time.Second
	keepAlive        = 30 * time.Second
	pingAfter        = 30 * time.Second // of silence on an HTTP/2 connection with calls on it
	pingTimeout      = 10 * time.Second
)

// newTransport is our own pool. net/http's default keeps two idle connections a host, and
// makes new ones for all other calls.
func newTransport(cfg Config) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive, Control: setUserTimeout}
	t := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			// A process that was paused or suspended here wakes with connections that are long
			// gone: what it still wants to send goes through a dial, and is looked at again.
			if a, ok := ctx.Value(attemptKey{}).(*attempt); ok {
				if err := a.ask(); err != nil {
					return nil, err
				}
			}
			return dialer.DialContext(ctx, network, address)
		},
		ForceAttemptHTTP2:      true, // a DialContext of one's own would turn it off
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		MaxIdleConns:           cfg.Connections,
		MaxIdleConnsPerHost:    cfg.Connections,
		IdleConnTimeout:        idleTimeout,
		TLSHandshakeTimeout:    handshakeTimeout,
		MaxResponseHeaderBytes: 1 << 20,
	}
	if isStripe(cfg.Base) { // an environment's proxy is no business of a simulator
		t.Proxy = http.ProxyFromEnvironment
	}
	return t
}

func isStripe(base string) bool {
	if base == "" {
		return true
	}
	u, err := url.Parse(base)
	return err == nil && strings.EqualFold(u.Hostname(), "api.stripe.com")
}

// exchange makes the one request of an attempt and records what came back before the SDK sees
// it: the SDK forgets the status of an answer that it cannot read.
type exchange struct {
	next http.RoundTripper
	last atomic.Pointer[string] // Request-Id of the last answer that was dated
}

// RoundTrip implements [http.RoundTripper].
func (x *exchange) RoundTrip(req *http.Request) (*http.Response, error) {
	a, ok := req.Context().Value(attemptKey{}).(*attempt)
	refuse := func(err error) (*http.Response, error) {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	switch {
	case !ok:
		return refuse(errNoAttempt)
	case !a.began.CompareAndSwap(false, true):
		return refuse(errTwice)
	}
	if err := a.ask(); err != nil {
		return refuse(err)
	}
	out, err := a.dress(req)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	resp, err := x.next.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	a.status, a.header = resp.StatusCode, resp.Header
	if !belongs(out.Header, resp.Header) {
		a.strayed, a.cut = true, errStray
		a.hangUp()
		resp.Body.Close()
		return nil, errStray
	}
	x.date(req.Context(), resp.Header, began)
	if resp.StatusCode == http.StatusSwitchingProtocols { // its body is the bare connection, which no context ends
		resp.Body.Close()
		a.cut = errSwitched
		return nil, errSwitched
	}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, a.max+1))
	resp.Body.Close()
	if err == nil && int64(len(a.body)) > a.max {
		err = errTooLarge
	}
	if err != nil {
		a.cut = err
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(a.body))
	return resp, nil
}

// CloseIdleConnections lets [http.Client] reach the pool.
func (x *exchange) CloseIdleConnections() {
	if p, ok := x.next.(interface{ CloseIdleConnections() }); ok {
		p.CloseIdleConnections()
	}
}
