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

	status int // 0: no answer
	header http.Header
	body   []byte
	cut    error // why the body could not be read to its end
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
