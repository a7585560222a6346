package http

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// from is a client of an address of its own: all of 127.0.0.0/8 is this machine.
func from(address string) *nethttp.Client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &nethttp.Client{Transport: &nethttp.Transport{DialContext: d.DialContext}, Timeout: patience}
}

// serves checks that a well-behaved client is served on both listeners, each on a connection
// of its own, as often as it asks.
func (s *site) serves(t *testing.T, times int) {
	t.Helper()
	for range times {
		client := from("127.0.0.3")
		for _, url := range []string{"http://" + s.public + "/livez", "http://" + s.admin + "/readyz"} {
			until(t, "a well-behaved client is served", func() bool {
				got, err := client.Get(url)
				if err != nil {
					t.Fatalf("a well-behaved client: %v", err)
				}
				io.Copy(io.Discard, got.Body)
				got.Body.Close()
				if got.StatusCode == 408 {
					return false // this machine was too busy to let it write in time: it asks again
				}
				if got.StatusCode != 200 {
					t.Fatalf("a well-behaved client is answered %d", got.StatusCode)
				}
				return true
			})
		}
		client.CloseIdleConnections()
	}
}

// flood has so many clients do something again and again until it is told to end, and returns
// how often they did.
func flood(clients int, do func(i int, d net.Dialer)) (end func() int64) {
	var wg sync.WaitGroup
	var done atomic.Int64
	stop := make(chan struct{})
	for i := range clients {
		wg.Go(func() {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: patience}
			for {
				select {
				case <-stop:
					return
				default:
					do(i, d)
					done.Add(1)
				}
			}
		})
	}
	return func() int64 {
		close(stop)
		wg.Wait()
		return done.Load()
	}
}

// one writes a request on a connection of its own and reads until the server ends it.
func one(d net.Dialer, addr, request string) {
	c, err := d.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	go io.WriteString(c, request)
	io.Copy(io.Discard, c)
}

// However much others send, of any kind, who behaves is served meanwhile.
func TestAFloodLeavesRoomForOthers(t *testing.T) {
	if testing.Short() {
		t.Skip("floods")
	}
	hooks := "POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\n"
	for name, request := range map[string]string{
		"of connections that say nothing":    "",
		"of headers":                         hooks + strings.Repeat("A: b\r\n", 5000) + "\r\n",
		"of one long header":                 hooks + "A: " + strings.Repeat("b", 60<<10) + "\r\n\r\n",
		"of bodies that are too large":       hooks + "Content-Length: 300000\r\n\r\n" + strings.Repeat("x", 300000),
		"of bodies that never come":          hooks + "Content-Length: 1000\r\n\r\n",
		"of 100-continues":                   hooks + "Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n",
		"of pipelined requests":              strings.Repeat("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", 300),
		"of malformed requests":              "GET /livez HTTP/1.1\r\nHost : x\r\n\r\n",
		"of wrong signatures":                strings.Repeat(hooks+"Stripe-Signature: t=1,v1="+strings.Repeat("0", 64)+"\r\nContent-Length: 2\r\n\r\n{}", 20) + "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"of chunks of one byte":              hooks + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\nx\r\n", 5000) + "0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"of unknown methods":                 strings.Repeat("BREW /webhooks/stripe HTTP/1.1\r\nHost: x\r\n\r\n", 50) + "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"of nested JSON under no signature":  hooks + "Connection: close\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("[", 200000),
		"of webhooks at the admin's address": "", // below
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, func(c *Config) {
				c.Limits.Read, c.Limits.Idle, c.Limits.Write = 500*time.Millisecond, 500*time.Millisecond, time.Second
				c.Limits.PublicConns, c.Limits.PublicConnsPerIP, c.Limits.AdminConns, c.Limits.AdminConnsPerIP = 24, 8, 24, 8
			})
			addr := s.public
			if strings.HasSuffix(name, "admin's address") {
				addr, request = s.admin, hooks+"Content-Length: 2\r\nConnection: close\r\n\r\n{}"
			}
			end := flood(16, func(_ int, d net.Dialer) { one(d, addr, request) })
			s.serves(t, 8)
			n := end()
			if n == 0 {
				t.Error("there was no flood")
			}
			// The flood is over: nothing stays counted.
			until(t, "all connections are counted out", func() bool { return s.open(s.public)+s.open(s.admin) == 0 })
			if len(s.events) != 0 || s.commits != 0 {
				t.Errorf("%d events, %d commits", len(s.events), s.commits)
			}
			t.Logf("%d connections", n)
		})
	}
}

// open is how many connections are counted as open.
func (s *site) open(addr string) int {
	l := s.server.publicListener
	if addr == s.admin {
		l = s.server.adminListener
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// An address that nobody has any more counts too.
	return max(l.known.open, len(l.known.perIP)) + max(l.strangers.open, len(l.strangers.perIP), len(l.queue))
}

// until waits for a condition that must come.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

// A request to the public side, however it is wrapped, is never carried out by the admin
// side, though it has a right token.
func TestNothingSentToThePublicSideReachesTheAdmin(t *testing.T) {
	s := open(t)
	inner := "POST /v1/transfers HTTP/1.1\r\nHost: " + s.admin + "\r\nAuthorization: Bearer " + adminToken + "\r\nContent-Type: application/json\r\n" +
		fmt.Sprintf("Content-Length: %d\r\nConnection: close\r\n\r\n%s", len(orderText), orderText)
	hooks := "POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\n"
	for name, request := range map[string]string{
		"as it is":                  inner,
		"behind another":            "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" + inner,
		"as a body":                 hooks + fmt.Sprintf("Content-Length: %d\r\nConnection: close\r\n\r\n%s", len(inner), inner),
		"behind a body of nothing":  hooks + "Content-Length: 0\r\n\r\n" + inner,
		"behind chunks":             hooks + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
		"behind two lengths":        hooks + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
		"behind a GET with a body":  "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + inner,
		"behind a HEAD with a body": "HEAD /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + inner,
		"with the whole address":    strings.Replace(inner, "POST /v1", "POST http://"+s.admin+"/v1", 1),
		"through a tunnel":          "CONNECT " + s.admin + " HTTP/1.1\r\nHost: x\r\n\r\n" + inner,
		"after an upgrade":          "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" + inner,
		"through the dots":          strings.Replace(inner, "POST /v1", "POST /webhooks/stripe/../../v1", 1),
	} {
		t.Run(name, func(t *testing.T) {
			d := net.Dialer{Timeout: patience}
			one(d, s.public, request)
			if s.commits != 0 || len(s.events) != 0 {
				t.Errorf("%d commits, %d events", s.commits, len(s.events))
			}
		})
	}
}

// Who says nothing, who takes no answer and who sends one byte now and then is cut off.
func TestWhoStallsIsCutOff(t *testing.T) {
	s := open(t, func(c *Config) {
		c.Limits.Read, c.Limits.Idle, c.Limits.Write = 200*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond
	})
	ends := func(t *testing.T, c net.Conn) {
		t.Helper()
		_, err := io.Copy(io.Discard, c)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("it was never cut off")
		}
	}
	for _, addr := range []string{s.public, s.admin} {
		t.Run("says nothing", func(t *testing.T) { ends(t, dial(t, addr)) })
		t.Run("says nothing after its first request", func(t *testing.T) {
			c := dial(t, addr)
			io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
			ends(t, c)
		})
		t.Run("is slow with a body", func(t *testing.T) {
			c := dial(t, addr)
			done := make(chan struct{})
			go func() {
				defer close(done)
				tick := time.NewTicker(20 * time.Millisecond)
				defer tick.Stop()
				io.WriteString(c, "POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
				for { // each byte in time; all of them are not
					if _, err := c.Write([]byte("x")); err != nil {
						return
					}
					<-tick.C
				}
			}()
			ends(t, c)
			c.Close()
			<-done
		})
	}
	t.Run("takes no answers", func(t *testing.T) {
		// It asks for more than fits on the way, and reads nothing: its writing ends with an
		// error, because the server has gone before it answered them all.
		large := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "large", Help: strings.Repeat("x", 100<<10)}, []string{"l"})
		large.WithLabelValues("x").Set(1)
		s.registry.MustRegister(large)
		c := dial(t, s.admin)
		ask := []byte(strings.Repeat("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 100))
		for {
			if _, err := c.Write(ask); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("it was never cut off")
				}
				break
			}
		}
		text := string(s.get("/metrics").body)
		_, answered, _ := strings.Cut(text, `settled_http_requests_total{code="200",route="GET /metrics"} `)
		var n int
		if _, err := fmt.Sscan(answered, &n); err != nil || n >= requestsPerConn {
			t.Errorf("%d were answered: %v", n, err)
		}
	})
	until(t, "all connections are counted out", func() bool { return s.open(s.public)+s.open(s.admin) == 0 })
}

// A guesser is turned away, also when he guesses from many connections at once; others, from
// other addresses, are not, and the store is not asked for each guess.
func TestAFloodOfGuessesIsTurnedAway(t *testing.T) {
	s := open(t, func(c *Config) { c.Limits.Read = patience })
	s.get("/v1/transfers")
	guess := "GET /v1/transfers HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer settled_%08d_" + strings.Repeat("A", 43) + "\r\n\r\n"
	asked := s.asked
	var n, refused atomic.Int64
	end := flood(16, func(i int, d net.Dialer) {
		c, err := d.Dial("tcp", s.admin)
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(c, guess, 22222222+n.Add(1)) // a prefix has no 0 and 1, which costs less
		got, err := nethttp.ReadResponse(bufio.NewReader(c), nil)
		switch {
		case err != nil:
		case got.StatusCode == 429:
			refused.Add(1)
		case got.StatusCode != 401:
			t.Errorf("a guess is answered %d", got.StatusCode)
		}
	})
	until(t, "500 guesses were turned away", func() bool { return refused.Load() >= 500 })
	for _, address := range []string{"127.0.0.2", "127.0.0.3"} { // the guesser's own too: a right token is taken
		client := from(address)
		r, err := nethttp.NewRequestWithContext(t.Context(), "GET", "http://"+s.admin+"/v1/transfers", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+s.operator)
		got, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got.Body.Close()
		client.CloseIdleConnections()
		if got.StatusCode != 200 {
			t.Errorf("%s with a right token is answered %d", address, got.StatusCode)
		}
	}
	all := end()
	// Guesses that were under way when the door was shut still counted, one for each connection.
	if let := all - refused.Load(); let > lockoutAfter+16 {
		t.Errorf("%d guesses were answered as if each were the first", let)
	}
	if more := s.asked - asked; more > 2 {
		t.Errorf("the store was asked %d times", more)
	}
}
