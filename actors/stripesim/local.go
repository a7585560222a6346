package stripesim

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
)

// Carry brings a request to the simulator in this process, for clients that have no socket. Like
// a server it carries on when its client has gone. The channel yields the answer, cut in the
// middle when a fault says so, or nil when the connection was dropped.
func (s *Sim) Carry(r *http.Request, body []byte) <-chan *http.Response {
	in := r.Clone(context.WithoutCancel(r.Context()))
	in.Body = io.NopCloser(bytes.NewReader(body))
	done := make(chan *http.Response, 1)
	go func() {
		rec := httptest.NewRecorder()
		defer func() {
			bug := recover()
			switch {
			case bug == nil:
				done <- rec.Result()
			case bug != http.ErrAbortHandler:
				panic(bug)
			case rec.Body.Len() > 0:
				res := rec.Result()
				res.Body = io.NopCloser(io.MultiReader(res.Body, broken{}))
				done <- res
			default:
				done <- nil
			}
		}()
		s.Handler().ServeHTTP(rec, in)
	}()
	return done
}

// broken is the end of a connection that broke.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
