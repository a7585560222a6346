package stripe

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/settled/settled/ledger"
)

// emptyList is a page without transfers.
const emptyList = `{"object":"list","url":"/v1/transfers","has_more":false,"data":[]}`

func TestAReadIsEvidenceOnlyWhenItIsStripesWord(t *testing.T) {
	missing := refusal(404, invalidRequest, "resource_missing", "id", "No such transfer: 'tr_9Demo01'")
	q := PageQuery{Destination: "acct_9Seller1"}
	find := func(c *Client) error { _, err := search(t.Context(), c, operation, q); return err }
	read := func(c *Client) error { _, err := c.Transfer(t.Context(), "tr_9Demo01"); return err }
	for name, x := range map[string]struct {
		answer reply
		ask    func(*Client) error
		code   string // empty: it is evidence
		absent bool
	}{
		"an empty list":                         {reply{status: 200, body: emptyList}, find, "", false},
		"a gateway's empty list":                {reply{status: 200, body: emptyList}.but("Request-Id", ""), find, "not_stripe", false},
		"a transfer":                            {reply{status: 200, body: transferObject().String()}, read, "", false},
		"a transfer out of somebody's cache":    {reply{status: 200, body: transferObject().String()}.but("Request-Id", ""), read, "not_stripe", false},
		"a transfer that does not exist":        {missing, read, "resource_missing", true},
		"a gateway's 404":                       {missing.but("Request-Id", ""), read, "http_404", false},
		"a gateway's 404 of its own type":       {refusal(404, "not_found_error", "resource_missing", "id", "x"), read, "http_404", false},
		"a 404 to somebody else's POST":         {missing.but("Idempotency-Key", "settled:another"), read, "stray_answer", false},
		"an empty list for somebody else's one": {reply{status: 200, body: emptyList}.but("Idempotency-Key", "settled:another"), find, "stray_answer", false},
	} {
		t.Run(name, func(t *testing.T) {
			err := x.ask(client(t, serve(t, x.answer)))
			var failed *ReadError
			errors.As(err, &failed)
			if (err == nil) != (x.code == "") || err != nil && failed.Code != x.code || errors.Is(err, ErrNotThere) != x.absent {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestAStrayAnswerClosesItsConnection: a peer answers one request twice. The second answer is
// the one that the next request on the same connection finds.
func TestAStrayAnswerClosesItsConnection(t *testing.T) {
	other := transferRequest()
	other.Key = ledger.Key(operation, 0, 7)
	echoing := func(body, key string, status int) string {
		return fmt.Sprintf("HTTP/1.1 %d X\r\nRequest-Id: req_9B\r\nIdempotency-Key: %s\r\nContent-Length: %d\r\n\r\n%s", status, key, len(body), body)
	}
	var connections atomic.Int32
	c := client(t, listener(t, func(conn net.Conn) {
		n, in := connections.Add(1), bufio.NewReader(conn)
		for i := 0; readRequest(conn, in); i++ {
			switch {
			case n == 1 && i == 0:
				_, _ = io.WriteString(conn, echoing(transferObject().String(), other.Key, 200))
			case n == 1: // what was to be the first one's second answer, and then the right one
				_, _ = io.WriteString(conn, echoing(invalid("balance_insufficient", "", "x").body, other.Key, 400)+
					echoing(transferObject().String(), transferRequest().Key, 200))
			default:
				_, _ = io.WriteString(conn, echoing(transferObject().String(), transferRequest().Key, 200))
			}
		}
	}), func(c *Config) { c.Connections = 1 })
	if a := c.Send(t.Context(), other, always); a.Verdict != ledger.Done {
		t.Fatalf("the first: %+v", a)
	}
	if a := c.Send(t.Context(), transferRequest(), always); a.Verdict != ledger.Unknown || a.Code != "stray_answer" || !a.Alert {
		t.Errorf("an answer to the first, taken for one to the second: %+v", a)
	}
	if a := c.Send(t.Context(), transferRequest(), always); a.Verdict != ledger.Done || connections.Load() != 2 {
		t.Errorf("after it, over %d connections: %+v", connections.Load(), a)
	}
}

func TestAStrayAnswerClosesAnHTTP2Connection(t *testing.T) {
	var connections atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if connections.Load() == 1 {
			w.Header().Set("Idempotency-Key", "settled:another")
		}
		reply{status: 200, body: transferObject().String()}.ServeHTTP(w, r)
	}))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = quiet
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	c := client(t, s.URL)
	pool(c).TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	if a := c.Send(t.Context(), transferRequest(), always); a.Verdict != ledger.Unknown || a.Code != "stray_answer" {
		t.Errorf("the first: %+v", a)
	}
	if a := c.Send(t.Context(), transferRequest(), always); a.Verdict != ledger.Done || connections.Load() != 2 {
		t.Errorf("the second, over %d connections: %+v", connections.Load(), a)
	}
}

// TestHeadersWithoutABodyCountAsSent: an HTTP/2 peer that takes headers and grants no window
// for a body holds a POST that says all but its amount. A proxy may pass it on as it is, and of
// a reversal without an amount Stripe reverses everything.
func TestHeadersWithoutABodyCountAsSent(t *testing.T) {
	headers := make(chan struct{})
	base := listener(t, func(conn net.Conn) {
		server := tls.Server(conn, tlsOfATest(t))
		if _, err := io.CopyN(io.Discard, server, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err != nil {
			return
		}
		// A frame is its length in three bytes, type, flags, stream, and payload (RFC 9113, 4.1).
		_, _ = io.WriteString(server, "\x00\x00\x00\x04\x00\x00\x00\x00\x00") // SETTINGS
		for {
			var head [9]byte
			if _, err := io.ReadFull(server, head[:]); err != nil {
				return
			}
			if _, err := io.CopyN(io.Discard, server, int64(head[0])<<16|int64(head[1])<<8|int64(head[2])); err != nil {
				return
			}
			// The first call is answered: after it the client has heard of the window of 0. The answer is
			// a HEADERS frame that ends the stream, with ":status: 200" alone (RFC 7541, appendix A).
			switch kind, flags, first := head[3], head[4], head[8] == 1; {
			case kind == 0 && first && flags&1 != 0:
				_, _ = io.WriteString(server, "\x00\x00\x06\x04\x00\x00\x00\x00\x00"+"\x00\x04\x00\x00\x00\x00"+"\x00\x00\x01\x01\x05\x00\x00\x00\x01\x88")
			case kind == 0 && !first && (head[0]|head[1]|head[2]) != 0:
				t.Error("a body was sent although there is no window for it")
			case kind == 1 && !first:
				close(headers)
			case kind == 3: // the client gave up
				return
			case kind == 4 && flags&1 == 0:
				_, _ = io.WriteString(server, "\x00\x00\x00\x04\x01\x00\x00\x00\x00") // seen
			}
		}
	})
	c := client(t, "https"+strings.TrimPrefix(base, "http"), func(c *Config) { c.Timeout = tiny })
	pool(c).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	if a := c.Send(t.Context(), reversalRequest(), always); a.Row != "T24" {
		t.Fatalf("the first: %+v", a)
	}
	a := c.Send(t.Context(), reversalRequest(), always)
	select {
	case <-headers:
	default:
		t.Fatalf("no headers arrived: %+v", a)
	}
	if a.Row != "T25" || a.Verdict != ledger.Unknown {
		t.Errorf("headers arrived, and the answer is %+v", a)
	}
}

// TestAConnectionWithoutABodyCountsAsSent: a transport that got a connection may have written
// the headers to it, whether it came to the body or not.
func TestAConnectionWithoutABodyCountsAsSent(t *testing.T) {
	for name, connected := range map[string]bool{"with a connection": true, "without one": false} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer ours.Close()
			defer theirs.Close()
			c := client(t, "", func(c *Config) {
				c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
					if connected {
						httptrace.ContextClientTrace(r.Context()).GotConn(httptrace.GotConnInfo{Conn: ours})
					}
					return nil, errors.New("broken")
				})
			})
			want := ledger.NotExecuted
			if connected {
				want = ledger.Unknown
			}
			if a := c.Send(t.Context(), reversalRequest(), always); a.Verdict != want {
				t.Errorf("%+v", a)
			}
		})
	}
}

// tlsOfATest is a server's side of HTTP/2.
func tlsOfATest(t *testing.T) *tls.Config {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	return &tls.Config{Certificates: s.TLS.Certificates, NextProtos: []string{"h2"}}
}

func TestRetryAfterIsReadInBothForms(t *testing.T) {
	date := "Wed, 25 Nov 2026 03:00:00 GMT"
	for text, want := range map[string]time.Duration{
		"": 0, "8": 8 * time.Second, " 8 ": 8 * time.Second, "0.5": 500 * time.Millisecond, "0": 0, "-3": 0, "NaN": 0, "soon": 0,
		"86400": retryAfterMost, "1e300": retryAfterMost, "Inf": retryAfterMost,
		"Wed, 25 Nov 2026 03:00:30 GMT": 30 * time.Second, "Wed, 25 Nov 2026 02:00:00 GMT": 0, "Wed, 25 Nov 2099 03:00:00 GMT": retryAfterMost,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}, "Date": {date}}); got != want {
			t.Errorf("%q is %s, not %s", text, got, want)
		}
	}
	a := client(t, serve(t, refusal(429, invalidRequest, "rate_limit", "", "x").but("Retry-After", "8"))).Send(t.Context(), transferRequest(), always)
	if a.RetryAfter != 8*time.Second {
		t.Errorf("an answer carries %s", a.RetryAfter)
	}
}
