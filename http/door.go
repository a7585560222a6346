package http

import (
	"bytes"
	"context"
	"errors"
	"net"

	"github.com/valyala/fasthttp"
)

// noBody is the least limit that fasthttp knows: 0 would mean its own default. A body of a length
// that is given is refused unread; of one in chunks at most this is kept.
const noBody = 1

// adminBody gives a request its own limit, after its header and before its body are read: nothing
// of a body is taken from who shows no token that may send one.
func (s *Server) adminBody(h *fasthttp.RequestHeader) (c fasthttp.RequestConfig) {
	c.MaxRequestBodySize = noBody
	if n := h.ContentLength(); n == 0 || n == -2 || !s.invited(h) { // -2: none is announced
		return c
	}
	path, _, _ := bytes.Cut(h.RequestURI(), []byte("?"))
	switch {
	case string(path) == batchPath:
		c.MaxRequestBodySize = batchBytes
	case bytes.HasSuffix(path, []byte(messagesSuffix)):
		c.MaxRequestBodySize = messageBytes
	default:
		c.MaxRequestBodySize = adminBytes
	}
	return c
}

// bodyRole is the least role of every admin route that takes a body.
const bodyRole = RoleOperator

// invited reports that a request's header shows a token that may send a body. The answer to one that
// does not is found again where the address is known: the header alone does not say it.
func (s *Server) invited(h *fasthttp.RequestHeader) bool {
	token, ok := bearer(string(h.Peek("Authorization")))
	if !ok {
		return false
	}
	within, cancel := context.WithTimeout(s.base, s.limits.Call)
	defer cancel()
	who, _, err := s.keyring.find(within, token)
	return err == nil && who.Role.allows(bodyRole)
}

// door checks every request to the admin listener, whether its body was read or not.
func (s *Server) door(c *call) error {
	connOf(c.ctx).begin()
	if f := guard(&c.ctx.Request.Header); f != nil {
		c.ctx.Response.SetConnectionClose() // nobody knows where the next request begins
		return f
	}
	if c.hosts != nil {
		if f := c.hosts.ours(c.ctx); f != nil {
			c.denied.why = deniedHost
			return f
		}
	}
	if c.route.role == anyone {
		return nil
	}
	return s.authorize(c)
}

// uninvited stands for the route of a request whose body is not taken: which one it is nobody asked yet.
var uninvited = route{path: noRoute, role: bodyRole}

// adminMisread answers a request to the admin listener that could not be read. When its body was not
// taken, the reason may be that it showed no token.
func (s *Server) adminMisread(ctx *fasthttp.RequestCtx, err error) {
	switch {
	case !errors.Is(err, fasthttp.ErrBodyTooLarge):
	case len(ctx.Request.Header.RawHeaders()) == 0: // fasthttp forgot them with the chunks
		s.answerUnread(ctx, faultf(bodyTooLarge,
			"The body is larger than this route takes; without a valid token, none takes any."), err)
		return
	case s.unwelcome(ctx) != nil:
		return
	}
	s.misread(ctx, err)
}

// adminExpect answers who asks before it sends a body.
func (s *Server) adminExpect(ctx *fasthttp.RequestCtx) int {
	if f := s.unwelcome(ctx); f != nil {
		return f.kind.status
	}
	return fasthttp.StatusContinue
}

// unwelcome answers a request whose body was not read when it does not pass the door, and returns why.
func (s *Server) unwelcome(ctx *fasthttp.RequestCtx) *fault {
	within, cancel := context.WithTimeout(s.base, s.limits.Call)
	defer cancel()
	c := s.newCall(ctx, &uninvited, s.hosts)
	c.within = within
	refusal := s.door(c)
	if refusal == nil {
		return nil
	}
	f, _ := faultOf(refusal)
	s.recordDenial(c, f.kind.status)
	s.answerUnread(ctx, f, refusal)
	return f
}

// misread answers a request that fasthttp could not read. The connection is closed after it.
func (s *Server) misread(ctx *fasthttp.RequestCtx, err error) {
	f := faultf(badRequest, "The request could not be read.")
	var small *fasthttp.ErrSmallBuffer
	var network net.Error
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		s.answerUnread(ctx, faultf(bodyTooLarge, "The body is larger than this route takes."), err)
		return
	case errors.As(err, &small):
		s.answerUnread(ctx, faultf(headersTooLarge, "The headers are larger than %d bytes.", headerBytes), err)
		return
	case errors.As(err, &network) && network.Timeout():
		f = faultf(requestTimeout, "The request was not complete in time.")
	}
	s.answerBroken(ctx, f, err)
}

// answerUnread answers a request of which more comes than was read.
func (s *Server) answerUnread(ctx *fasthttp.RequestCtx, f *fault, err error) {
	connOf(ctx).unread()
	s.answerBroken(ctx, f, err)
}

// answerBroken answers a request that has no handler.
func (s *Server) answerBroken(ctx *fasthttp.RequestCtx, f *fault, err error) {
	if c := connOf(ctx); c != nil && c.out.Load() {
		return // it was counted when it was put out, and nobody reads the answer
	}
	call := s.newCall(ctx, &lost, nil)
	s.write(call, s.replyTo(f, "", call.id))
	s.metrics.requests.WithLabelValues(noRoute, statusText(f.kind.status)).Inc()
	s.log.Debug("request not read", "request_id", call.id, "status", f.kind.status, "remote", ctx.RemoteAddr().String(),
		"error", err)
}
