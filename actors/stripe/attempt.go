package stripe

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"
)

// attempt is what one HTTP request leaves behind: whether it can have been sent, and what
// came back.
//
// The gate in the request's body is the proof. A request whose body was never handed out
// cannot have been received whole; one that got no connection cannot have been received at
// all. Headers alone are bad enough, though: a reversal's amount is optional, so
// a POST that lost its body on the way through some proxy would reverse everything. Hence
// "not sent" needs both: no byte of the body, and no connection (or one that was disabled
// before anything was written to it).
type attempt struct {
	fresh  func() error // nil for reads
	cancel context.CancelFunc
	max    int64 // bytes of an answer's body

	began         atomic.Bool
	gate          atomic.Int32 // open, then given or shut for good
	connected     atomic.Bool
	refusedAtConn atomic.Bool
	refusal       atomic.Pointer[error] // what fresh said when it refused
	conn          atomic.Pointer[net.Conn]

	status  int // 0: no answer
	header  http.Header
	body    []byte
	cut     error // why the body could not be read to its end
	strayed bool  // the answer is to another request
}

// The gate's positions.
const (
	gateOpen int32 = iota
	gateGiven
	gateShut
)

type attemptKey struct{}

var (
	errShut      = errors.New("the request's body is withheld")
	errTwice     = errors.New("a second request within one call is refused")
	errNoAttempt = errors.New("a request outside of an attempt is refused")
	errSwitched  = errors.New("the answer would switch protocols")
	errTooLarge  = errors.New("the answer's body is too large")
	errStray     = errors.New("the answer is to a request with another idempotency key; its connection was closed")
)

// ask asks fresh once more. It may run in the goroutine that dials, even after the call has
// ended, so it only ever stores.
func (a *attempt) ask() error {
	if a.fresh == nil {
		return nil
	}
	err := a.fresh()
	if err != nil {
		a.refusal.CompareAndSwap(nil, &err)
	}
	return err
}

// gotConn runs when a connection was got, in the goroutine that is about to write to it.
func (a *attempt) gotConn(got httptrace.GotConnInfo) {
	a.conn.Store(&got.Conn)
	if a.ask() == nil {
		a.connected.Store(true)
		return
	}
	if a.seal() && !a.connected.Load() {
		a.refusedAtConn.Store(true)
	}
	// HTTP/2 looks at the context before it writes, and shares the connection with other calls.
	// HTTP/1 writes the headers without looking, so its connection is made unable to; net/http
	// throws it away when the write fails.
	if !speaksHTTP2(got.Conn) {
		_ = got.Conn.SetWriteDeadline(time.Unix(1, 0)) // it fails on a closed one, which cannot write either
	}
	a.cancel()
}

func speaksHTTP2(conn net.Conn) bool {
	t, ok := conn.(*tls.Conn)
	return ok && t.ConnectionState().NegotiatedProtocol == "h2"
}

// seal shuts the gate and reports that nothing had passed it, nor ever will.
func (a *attempt) seal() bool {
	return a.gate.CompareAndSwap(gateOpen, gateShut) || a.gate.Load() == gateShut
}

// unsent reports, after the call has failed, that the request provably never left.
func (a *attempt) unsent() bool {
	return a.seal() && (a.refusedAtConn.Load() || !a.connected.Load())
}

// belongs reports that the answer is to the request that was sent. Stripe echoes the key of
// nearly every POST (W): an echo that is another key was meant for another request, and the
// connection that brought it is out of step. No echo at all says nothing.
func belongs(sent, answered http.Header) bool {
	key := sent.Get("Idempotency-Key")
	for _, echo := range answered.Values("Idempotency-Key") {
		if echo = strings.TrimSpace(echo); echo != "" && echo != key {
			return false
		}
	}
	return true
}

// hangUp closes the connection, so that no later request gets what is still to come on it.
// HTTP/2 carries other calls on the same one. They end without an answer, and so unknown, which
// is right: a peer that mixes up two answers may have mixed up theirs.
func (a *attempt) hangUp() {
	if conn := a.conn.Load(); conn != nil {
		_ = (*conn).Close() // it fails on a closed one, which is what is wanted
	}
}

// dress returns the request as it is really sent: watched, with a known length, and without
// GetBody. net/http takes a POST with an Idempotency-Key for replayable and sends it again by
// itself when a kept-alive connection breaks, unless it cannot get the body twice.
func (a *attempt) dress(req *http.Request) (*http.Request, error) {
	var form []byte
	if req.Body != nil {
		var err error
		form, err = io.ReadAll(req.Body) // the SDK's buffer
		req.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	out := req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{GotConn: a.gotConn}))
	out.GetBody = nil
	out.ContentLength = int64(len(form))
	out.Body = http.NoBody
	if len(form) > 0 {
		out.Body = &gatedBody{a, bytes.NewReader(form)}
	}
	return out, nil
}

// gatedBody is a request's body behind the gate.
type gatedBody struct {
	a    *attempt
	form *bytes.Reader
}

func (b *gatedBody) Read(p []byte) (int, error) {
	if !b.a.gate.CompareAndSwap(gateOpen, gateGiven) && b.a.gate.Load() == gateShut {
		return 0, errShut
	}
	return b.form.Read(p)
}

func (*gatedBody) Close() error { return nil }
