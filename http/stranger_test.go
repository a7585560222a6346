package http

import (
	"bufio"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"slices"
	"strings"
	"testing"
)

// ask writes one request on a connection and reads its answer.
func ask(t *testing.T, c net.Conn, request string) answer {
	t.Helper()
	io.WriteString(c, request)
	return heard(t, c)
}

func heard(t *testing.T, c net.Conn) answer {
	t.Helper()
	got, err := nethttp.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	body, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got.Close {
		got.Header.Set("Connection", "close")
	}
	return answer{got.StatusCode, got.Header, body}
}

const probe = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"

// list asks for a list, which needs a token.
func list(token string) string {
	return "GET /v1/transfers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\n\r\n"
}

// crowd opens connections of which the server has seen each, for it has answered it.
func (s *site) crowd(t *testing.T, addr string, n int, request string) (all []net.Conn) {
	t.Helper()
	for i := range n {
		c := dial(t, addr)
		if a := ask(t, c, request); a.status != 200 {
			t.Fatalf("connection %d is answered %d %s", i, a.status, a.body)
		}
		all = append(all, c)
	}
	return all
}

// gone reports that the server has closed a connection.
func gone(c net.Conn) bool {
	_, err := io.ReadAll(c)
	_, timeout := err.(net.Error)
	return err == nil || !timeout || strings.Contains(err.Error(), "reset")
}

// The answer comes although nothing of the body does: who waits for it would wait until the
// time-out, and hold all that came until then.
func TestNoBodyIsTakenFromWhoShowsNoToken(t *testing.T) {
	s := open(t, func(c *Config) { c.Limits.Read = patience })
	viewer := s.token("viewer", RoleViewer, nil)
	for name, c := range map[string]struct {
		token string
		kind  *kind
	}{
		"no token":       {"", unauthorized},
		"a wrong token":  {"settled_abcdefgh_" + strings.Repeat("A", 43), unauthorized},
		"no role for it": {viewer, forbidden},
	} {
		t.Run(name, func(t *testing.T) {
			head := "POST " + batchPath + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
			if c.token != "" {
				head += "Authorization: Bearer " + c.token + "\r\n"
			}
			for _, way := range []string{"Content-Length: 4000000\r\n", "Content-Length: 2\r\n", "Content-Length: 4000000\r\nExpect: 100-continue\r\n"} {
				a := ask(t, dial(t, s.admin), head+way+"\r\n")
				a.wants(t, c.kind)
				if a.header.Get("Connection") != "close" {
					t.Errorf("%q: the connection goes on, and nobody knows where the next request begins", way)
				}
			}
			ask(t, dial(t, s.admin), head+"Transfer-Encoding: chunked\r\n\r\n2\r\n").wants(t, bodyTooLarge)
		})
	}
	ask(t, dial(t, s.admin), "GET /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n").wants(t, unauthorized)
	if a := s.post(batchPath, `{"transfers":[`+orderText+`]}`); a.status != 200 {
		t.Errorf("with a token: %d %s", a.status, a.body)
	}
	for _, r := range adminRoutes {
		if r.method == "POST" && !r.role.allows(bodyRole) {
			t.Errorf("%s takes a body, and %s may call it", r.name(), r.role)
		}
	}
}

// Whoever says nothing goes first, so that a probe is answered however many silent sockets there are.
func TestWhoSaysNothingMakesRoomForWhoDoes(t *testing.T) {
	s := open(t, func(c *Config) { c.Limits.Read, c.Limits.Idle = patience, patience })
	known := s.crowd(t, s.admin, 1, list(s.operator))[0]
	var silent []net.Conn
	for range strangersMostPerIP + 50 {
		silent = append(silent, dial(t, s.admin))
	}
	for range 20 {
		if a := ask(t, dial(t, s.admin), probe); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if a := ask(t, dial(t, s.admin), list(s.operator)); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if !gone(silent[0]) {
		t.Error("the first one that said nothing is still there")
	}
	if a := ask(t, known, list(s.operator)); a.status != 200 {
		t.Errorf("who has shown a token is answered %d", a.status)
	}
	if n := s.open(s.admin); n > strangersMostPerIP+21 {
		t.Errorf("%d connections are open", n)
	}
}

// However many have shown a token, they are counted apart, and probes are answered beside them.
func TestProbesHaveAReserveOfTheirOwn(t *testing.T) {
	for name, c := range map[string]struct {
		limit func(*Limits)
		kind  *kind
	}{
		"when all places are taken":            {func(l *Limits) { l.AdminConns = 8 }, unavailable},
		"when those of one address are all so": {func(l *Limits) { l.AdminConnsPerIP = 8 }, tooManyRequests},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, func(conf *Config) { conf.Limits.Read, conf.Limits.Idle = patience, patience; c.limit(&conf.Limits) })
			known := s.crowd(t, s.admin, 8, list(s.operator))
			for range 20 {
				if a := ask(t, dial(t, s.admin), probe); a.status != 200 {
					t.Fatalf("a probe: %d %v %s", a.status, a.header, a.body)
				}
				a := ask(t, dial(t, s.admin), list(s.operator))
				a.wants(t, c.kind)
				if a.header.Get("Retry-After") != "5" || a.header.Get("Connection") != "close" {
					t.Fatalf("%v", a.header)
				}
			}
			for i, k := range known {
				if a := ask(t, k, list(s.operator)); a.status != 200 {
					t.Errorf("connection %d, which was inside: %d %s", i, a.status, a.body)
				}
			}
			known[0].Close()
			until(t, "who goes makes room", func() bool { return ask(t, dial(t, s.admin), list(s.operator)).status == 200 })
		})
	}
}

// A webhook that Stripe signed is known by it, as a request is by its token.
func TestASignedWebhookKeepsItsConnection(t *testing.T) {
	s := open(t, func(c *Config) {
		c.Limits.PublicConns, c.Limits.PublicConnsPerIP, c.Limits.Read, c.Limits.Idle = 2, 0, patience, patience
	})
	body := `{"id":"evt_1","object":"event","type":"transfer.created","livemode":false,"data":{"object":{"id":"tr_1"}}}`
	signed := fmt.Sprintf("POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nStripe-Signature: %s\r\nContent-Length: %d\r\n\r\n%s", sign(secretOld, body, s.now()), len(body), body)
	known := s.crowd(t, s.public, 1, signed)[0]
	for range strangersMostPerIP + 50 {
		dial(t, s.public)
	}
	for _, c := range append(slices.Repeat([]net.Conn{known}, 5), dial(t, s.public)) {
		if a := ask(t, c, signed); a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
}

// Who is put out is the one of whom a request is awaited, not one who is being answered.
func TestWhoIsBeingAnsweredIsNotPutOut(t *testing.T) {
	l := newListener(nil, 2, 0, nil)
	l.strangers.most = 2
	busy, idle, next := &conn{listener: l}, &conn{listener: l}, &conn{listener: l}
	idle.waiting.Store(true)
	for _, c := range []*conn{busy, idle} {
		if out := l.enter(c); out != nil {
			t.Fatal("somebody was put out while there was room")
		}
	}
	if out := l.enter(next); out != idle {
		t.Errorf("%p was put out, not %p", out, idle)
	}
	if out := l.enter(&conn{listener: l}); out != busy {
		t.Error("when all are being answered, the oldest must go")
	}
	if f := next.know(); f != nil {
		t.Error(f)
	}
	if out := l.enter(&conn{listener: l}); out != nil {
		t.Error("who is known is counted among the strangers")
	}
	if l.strangers.open != 2 || l.known.open != 1 || len(l.queue) != 2 {
		t.Errorf("%+v %+v", l.strangers, l.known)
	}
	for _, c := range append(slices.Clone(l.queue), next, busy, next) {
		l.leave(c)
	}
	if l.strangers.open != 0 || l.known.open != 0 || len(l.queue) != 0 {
		t.Errorf("%+v %+v", l.strangers, l.known)
	}
}

// BenchmarkProbeUnderSiege is how long a probe takes on a connection of its own, while others open
// as many as they can and announce bodies of which they send nothing.
func BenchmarkProbeUnderSiege(b *testing.B) {
	s := open(b)
	end := flood(64, func(_ int, d net.Dialer) {
		c, err := d.Dial("tcp", s.admin)
		if err != nil {
			return
		}
		defer c.Close()
		io.WriteString(c, "POST "+batchPath+" HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n")
		io.Copy(io.Discard, c)
	})
	defer end()
	for b.Loop() {
		c, err := net.Dial("tcp", s.admin)
		if err != nil {
			b.Fatal(err)
		}
		io.WriteString(c, probe)
		if got, err := nethttp.ReadResponse(bufio.NewReader(c), nil); err != nil || got.StatusCode != 200 {
			b.Fatal(got, err)
		}
		c.Close()
	}
}
