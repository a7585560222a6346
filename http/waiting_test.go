package http

import (
	"net"
	"strings"
	"testing"
)

// While the database is waited for, too, a page in a browser is not answered under a name of its own.
func TestWhoWaitsForTheDatabaseAnswersToItsOwnNamesOnly(t *testing.T) {
	listen := func() *net.TCPListener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l.(*net.TCPListener)
	}
	public, admin := listen(), listen()
	w, err := Wait(public, admin, []string{"Settled.internal"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.End()
	ask := func(at *net.TCPListener, first, host string) answer {
		all := raw(t, at.Addr().String(), first+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
		if len(all) != 1 {
			t.Fatalf("%s at %s: %+v", first, host, all)
		}
		return all[0]
	}
	for path, status := range map[string]int{"/livez": 200, "/readyz": 503, "/v1/transfers": 503} {
		for _, host := range []string{"localhost", "127.0.0.1:8081", "[::1]", "settled.internal", "SETTLED.INTERNAL:8081", admin.Addr().String()} {
			if a := ask(admin, "GET "+path, host); a.status != status {
				t.Errorf("%s at %s: %d", path, host, a.status)
			}
		}
		for _, host := range []string{"evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8081", "0.0.0.0", ""} {
			if a := ask(admin, "GET "+path, host); a.status != 421 && !(host == "" && a.status == 400) {
				t.Errorf("%s at %q: %d", path, host, a.status)
			}
		}
		if a := ask(admin, "GET http://localhost"+path, "evil.example"); a.status != 421 {
			t.Errorf("%s by an absolute URI: %d", path, a.status)
		}
	}
	if all := raw(t, admin.Addr().String(), "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"); len(all) != 1 || all[0].status != 400 {
		t.Errorf("a second host: %+v", all)
	}
	if a := ask(public, "POST /webhooks/stripe", "evil.example"); a.status != 503 || !strings.Contains(string(a.body), "waits for its database") {
		t.Errorf("the public listener has whatever name it has: %d %s", a.status, a.body)
	}
	if _, err := Wait(public, admin, []string{"http://x"}); err == nil {
		t.Error("it waits under a name that is none")
	}
}
