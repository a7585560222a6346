package http

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	nethttp "net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// seen is one request as somebody read it.
type seen struct {
	method, path, body string
	done               bool // it was answered 2xx
}

// wire is a server on a socket file that tells the requests it read.
type wire struct {
	*world
	addr string
	mu   sync.Mutex
	read []seen
}

// newWire serves the admin side until the test ends. A socket file has no ports to run out of.
func newWire(t testing.TB) *wire {
	t.Helper()
	w := &wire{world: newWorld()}
	c := valid(w.world)
	c.Logger = slog.New(slog.DiscardHandler)
	c.Bootstrap = map[string]string{"root": adminToken}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	handler := s.admin.Handler
	s.admin.Handler = func(ctx *fasthttp.RequestCtx) {
		r := seen{method: string(ctx.Method()), path: string(ctx.Path()), body: string(ctx.PostBody())}
		handler(ctx)
		r.done = ctx.Response.StatusCode() < 300
		w.mu.Lock()
		defer w.mu.Unlock()
		w.read = append(w.read, r)
	}
	dir, err := os.MkdirTemp("", "wire") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	w.addr = filepath.Join(dir, "s")
	admin, err := net.Listen("unix", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	public, err := net.Listen("unix", filepath.Join(dir, "p"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, public, admin) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
	})
	return w
}

// send writes bytes, says that no more come, and returns all that is answered.
func (w *wire) send(t testing.TB, text []byte) (answers []byte, read []seen) {
	t.Helper()
	w.mu.Lock()
	w.read = nil
	w.mu.Unlock()
	w.pass(lockoutFor + lockoutWindow)
	c, err := net.Dial("unix", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		c.Write(text) // the server may be gone before it has read all
		c.(*net.UnixConn).CloseWrite()
	}()
	answers, err = io.ReadAll(c)
	if os.IsTimeout(err) {
		t.Fatalf("%q is never answered", text)
	}
	<-wrote
	w.mu.Lock()
	defer w.mu.Unlock()
	return answers, slices.Clone(w.read)
}

// standard reads the same bytes as the standard library's server would.
func standard(text []byte) (read []seen) {
	r := bufio.NewReaderSize(bytes.NewReader(text), len(text)+16)
	for {
		for { // empty lines before a request are passed over (RFC 9112, 2.2)
			next, err := r.Peek(1)
			if err != nil || next[0] != '\r' && next[0] != '\n' {
				break
			}
			r.Discard(1)
		}
		request, err := nethttp.ReadRequest(r)
		if err != nil {
			return read
		}
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return read
		}
		read = append(read, seen{method: request.Method, path: request.URL.Path, body: string(body)})
	}
}

// FuzzWire sends any bytes. Whatever is carried out (answered 2xx) is a request that the
// standard library's HTTP reads at the same place in the same way: two readers that differ
// are what request smuggling is made of.
func FuzzWire(f *testing.F) {
	auth := "Host: x\r\nAuthorization: Bearer " + adminToken + "\r\nContent-Type: application/json\r\n"
	post := "POST /v1/transfers HTTP/1.1\r\n" + auth
	live := "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
	length := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(orderText), orderText)
	chunks := fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(orderText), orderText)
	for _, text := range []string{live, live + live, "\r\n" + live, post + length + live, post + chunks + live, post + "Content-Length: 4\r\n" + chunks + live,
		"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 37\r\n\r\n" + live + live, "HEAD /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n" + live,
		post + strings.Replace(chunks, "0\r\n\r\n", "0\r\nX-Request-Id: a\r\n\r\n", 1) + live, post + "Expect: 100-continue\r\n" + length, "GET /livez HTTP/1.0\r\n\r\n" + live,
		"GET http://a@b:1/livez HTTP/1.1\r\nHost: x\r\n\r\n", "GET /livez#x HTTP/1.1\r\nHost: x\r\n\r\n", "GET /v1/./../livez HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n" + live,
		strings.Replace(live, "\r\n\r\n", "\r\n\n", 1) + live, strings.Replace(live, "x\r\n", "x\n", 1), "GET /livez HTTP/1.1\nHost: x\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "GET //livez HTTP/1.1\r\nHost: x\r\n\r\n",
		post + "Content-Length: 0\r\nContent-Length: 0\r\n\r\n" + live, post + "Transfer-Encoding: identity\r\n\r\n" + live, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		strings.Replace(live, "\r\n\r\n", "\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 1) + live, strings.Replace(live, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1) + live} {
		f.Add([]byte(text))
	}
	w := newWire(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 64<<10 {
			t.Skip()
		}
		answers, here := w.send(t, text)
		there := standard(text)
		for i, r := range here {
			if !r.done {
				continue
			}
			r.done = false
			if i >= len(there) || there[i] != r {
				t.Fatalf("%q\nis read here as %+v\nand elsewhere as %+v", text, here, there)
			}
		}
		if bytes.Contains(answers, []byte("HTTP/1.1 5")) {
			t.Fatalf("%q is answered %q", text, answers)
		}
	})
}
