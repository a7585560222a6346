package stripe

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/settled/settled/ledger"
)

// staleFrom is a fresh that refuses from its nth asking on.
func staleFrom(n int32) (fresh func() error, asked *atomic.Int32) {
	asked = &atomic.Int32{}
	return func() error {
		if asked.Add(1) >= n {
			return errors.New("the key is 7 hours old")
		}
		return nil
	}, asked
}

var tooOld = ledger.Answer{Row: "T26", Verdict: ledger.NotExecuted, Code: "key_too_old", Message: "the key is 7 hours old"}

// counting is a server that counts the requests that arrive.
func counting(t *testing.T, http2 bool) (s *httptest.Server, requests *atomic.Int32) {
	requests = &atomic.Int32{}
	s = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		reply{status: 200, body: transferObject().String()}.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = quiet
	if http2 {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s, requests
}

// TestAnOldKeyIsNotSent refuses at each of the three places, over HTTP/1 and HTTP/2. With a
// warm pool nothing is dialled, so the second asking is already the one about the connection.
func TestAnOldKeyIsNotSent(t *testing.T) {
	for _, place := range []struct {
		name  string
		nth   int32
		warm  bool
		conns int32 // made in all
	}{
		{"at the round trip", 1, false, 0},
		{"at the dial", 2, false, 0},
		{"at a new connection", 3, false, 1},
		{"at the round trip, with a warm pool", 1, true, 1},
		{"at a kept connection", 2, true, 1},
	} {
		for proto, http2 := range map[string]bool{"HTTP/1": false, "HTTP/2": true} {
			t.Run(place.name+" over "+proto, func(t *testing.T) {
				s, requests := counting(t, http2)
				c := client(t, s.URL)
				var conns atomic.Int32
				dial := pool(c).DialContext
				pool(c).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := dial(ctx, network, address)
					if err == nil {
						conns.Add(1)
					}
					return conn, err
				}
				if http2 {
					pool(c).TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
				}
				var before int32
				if place.warm {
					if a := c.Send(t.Context(), transferRequest(), always); a.Verdict != ledger.Done {
						t.Fatalf("warming up: %+v", a)
					}
					before = 1
				}
				fresh, asked := staleFrom(place.nth)
				if a := c.Send(t.Context(), transferRequest(), fresh); a != tooOld {
					t.Errorf("%+v", a)
				}
				if asked.Load() != place.nth {
					t.Errorf("it was asked %d times, not %d", asked.Load(), place.nth)
				}
				if conns.Load() != place.conns {
					t.Errorf("%d connections were made, not %d", conns.Load(), place.conns)
				}
				// The pool is not poisoned: the next one goes through, and nothing of the refused one
				// arrives with it.
				if a := c.Send(t.Context(), transferRequest(), always); a.Verdict != ledger.Done {
					t.Errorf("the next one: %+v", a)
				}
				if got := requests.Load(); got != before+1 {
					t.Errorf("%d requests arrived, not %d", got, before+1)
				}
			})
		}
	}
}

// TestNotOneByteOfAnOldKeyLeaves looks at the bytes themselves: net/http writes the headers
// of a POST before it looks at its context. It races, so it is tried often.
func TestNotOneByteOfAnOldKeyLeaves(t *testing.T) {
	trusted := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(trusted.Close)
	for scheme, open := range map[string]func(net.Conn) net.Conn{
		"http": func(conn net.Conn) net.Conn { return conn },
		"https": func(conn net.Conn) net.Conn {
			return tls.Server(conn, &tls.Config{Certificates: trusted.TLS.Certificates, NextProtos: []string{"http/1.1"}})
		},
	} {
		t.Run(scheme, func(t *testing.T) {
			got := make(chan string, 1)
			base := listener(t, func(conn net.Conn) {
				b, _ := io.ReadAll(open(conn))
				got <- string(b)
			})
			c := client(t, scheme+strings.TrimPrefix(base, "http"))
			pool(c).TLSClientConfig = trusted.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			for range 50 {
				fresh, _ := staleFrom(3)
				if a := c.Send(t.Context(), transferRequest(), fresh); a != tooOld {
					t.Fatalf("%+v", a)
				}
				if text := <-got; text != "" {
					t.Fatalf("written: %q", text)
				}
			}
		})
	}
}

func TestAnOldKeyDoesNotReachAnInProcessTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := client(t, "", func(c *Config) {
			c.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
				t.Error("it did")
				return nil, context.Canceled
			})
		})
		fresh, _ := staleFrom(1)
		if a := c.Send(t.Context(), transferRequest(), fresh); a != tooOld {
			t.Errorf("%+v", a)
		}
	})
}

func TestNobodyToAskIsABug(t *testing.T) {
	c := client(t, "http://127.0.0.1:1")
	if a := c.Send(t.Context(), transferRequest(), nil); a.Row != "T27" || a.Verdict != ledger.NotExecuted {
		t.Errorf("%+v", a)
	}
}
