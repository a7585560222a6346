package http

import (
	"net"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// A page in a browser reaches loopback by a name of its own that resolves there: it is refused by the name,
// whatever it asks for.
func TestTheAdminListenerAnswersToItsOwnNamesOnly(t *testing.T) {
	s := open(t, func(c *Config) { c.Hosts = []string{"Settled.internal", "10.0.0.7"} })
	_, port, err := net.SplitHostPort(s.admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/transfers", "/metrics", "/readyz", "/nowhere"} {
		for host, ours := range map[string]bool{
			"localhost": true, "localhost:" + port: true, "LOCALHOST:1": true, "127.0.0.1:" + port: true, "127.8.9.1": true, "[::1]:" + port: true, "[::1]": true,
			"settled.internal": true, "SETTLED.INTERNAL:8081": true, "10.0.0.7:8081": true,
			"evil.example": false, "evil.example:" + port: false, "localhost.evil.example": false, "127.0.0.1.evil.example": false, "10.0.0.8": false,
			"0.0.0.0": false, "2130706433": false, "settled.internal.": false,
		} {
			all := raw(t, s.admin, "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\nAuthorization: Bearer "+s.operator+"\r\nConnection: close\r\n\r\n")
			if len(all) != 1 {
				t.Fatalf("%s at %s: %+v", path, host, all)
			}
			if (all[0].status != 421) != ours {
				t.Errorf("%s at %s: %d %s", path, host, all[0].status, all[0].body)
			}
			if !ours {
				all[0].wants(t, misdirected)
			}
		}
	}
	if all := raw(t, s.admin, "GET /livez HTTP/1.0\r\n\r\n"); len(all) != 1 || all[0].status != 421 {
		t.Errorf("no host: %+v", all)
	}
	for _, second := range []string{"localhost", "evil.example"} {
		if all := raw(t, s.admin, "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: "+second+"\r\n\r\n"); len(all) != 1 || all[0].status != 400 {
			t.Errorf("a second host %s: %+v", second, all)
		}
	}
	// Stripe reaches the public listener by any name that it has.
	if all := raw(t, s.public, "GET /livez HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"); len(all) != 1 || all[0].status != 200 {
		t.Errorf("the public listener: %+v", all)
	}
}

// A container is asked by the address that it has, which nobody can have a name resolve to unseen.
func TestTheAddressThatAConnectionCameToIsItsOwnName(t *testing.T) {
	var ctx fasthttp.RequestCtx
	ask := func(host string) *fault {
		var r fasthttp.Request
		r.SetRequestURI("/livez")
		r.Header.SetHost(host)
		ctx.Init2(&fakeConn{local: &net.TCPAddr{IP: net.ParseIP("10.4.0.9"), Port: 8081}}, nil, true)
		r.CopyTo(&ctx.Request)
		return hosts{}.ours(&ctx)
	}
	if f := ask("10.4.0.9:8081"); f != nil {
		t.Error(f)
	}
	if f := ask("10.4.0.8:8081"); f == nil || f.kind != misdirected {
		t.Errorf("another address: %v", f)
	}
}

type fakeConn struct {
	net.Conn
	local net.Addr
}

func (c *fakeConn) LocalAddr() net.Addr  { return c.local }
func (c *fakeConn) RemoteAddr() net.Addr { return c.local }

func TestWhatIsNoHostIsNotTakenForOne(t *testing.T) {
	for _, name := range []string{"", "*", "*.internal", "http://x", "x:8081", "x/y", ".internal", "a b", strings.Repeat("x", 254)} {
		if CheckHost(name) == nil {
			t.Errorf("%q was taken", name)
		}
		c := valid(newWorld())
		c.Hosts = []string{name}
		if _, err := New(c); err == nil {
			t.Errorf("a server was made that answers to %q", name)
		}
	}
	for _, name := range []string{"settled", "settled.internal", "10.0.0.7", "::1", "fd00::7"} {
		if err := CheckHost(name); err != nil {
			t.Error(err)
		}
	}
}
