package http

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"
)

// anyone is the role of a route that needs no token. It has to be written out: a route
// without a role is refused when the server is made.
const anyone Role = "anyone"

// route is one entry of the table of contents.
type route struct {
	method, path string
	role         Role // the least that may use it
	handle       func(*Server, *call) (reply, error)
	quiet        bool // not logged: probes
}

// publicRoutes is all that Stripe, and the rest of the world, can reach.
var publicRoutes = []route{
	{"POST", "/webhooks/stripe", anyone, (*Server).webhook, false},
	{"GET", "/livez", anyone, (*Server).livez, true},
	{"HEAD", "/livez", anyone, (*Server).livez, true},
}

// adminRoutes is all that the marketplace's backend and its people can reach.
var adminRoutes = []route{
	{"POST", "/v1/transfers", RoleOperator, (*Server).createTransfer, false},
	{"POST", batchPath, RoleOperator, (*Server).createBatch, false},
	{"GET", "/v1/transfers", RoleViewer, (*Server).listTransfers, false},
	{"GET", "/v1/transfers/{id}", RoleViewer, (*Server).getTransfer, false},
	{"GET", "/v1/transfers/{id}/history", RoleViewer, (*Server).getHistory, false},
	{"POST", "/v1/transfers/{id}" + messagesSuffix, RoleOperator, (*Server).injectMessage, false},
	{"GET", "/v1/drift", RoleViewer, (*Server).listDrift, false},
	{"GET", "/v1/drift/{id}", RoleViewer, (*Server).getDrift, false},
	{"POST", "/v1/drift/{id}" + messagesSuffix, RoleOperator, (*Server).mendDrift, false},
	{"GET", "/v1/actors/reconciler", RoleViewer, (*Server).getReconciler, false},
	{"POST", "/v1/actors/reconciler" + messagesSuffix, RoleOperator, (*Server).tellReconciler, false},
	{"GET", "/v1/actors/clocks", RoleViewer, (*Server).getClocks, false},
	{"POST", "/v1/actors/clocks" + messagesSuffix, RoleOperator, (*Server).tellClocks, false},
	{"GET", "/livez", anyone, (*Server).livez, true},
	{"HEAD", "/livez", anyone, (*Server).livez, true},
	{"GET", "/readyz", anyone, (*Server).readyz, true},
	{"HEAD", "/readyz", anyone, (*Server).readyz, true},
	// Prometheus and probes come from the same machine or a private network, without secrets.
	{"GET", "/metrics", anyone, (*Server).exposition, true},
}

const (
	batchPath      = "/v1/transfers/batch"
	messagesSuffix = "/messages"
	noRoute        = "none"
	jsonType       = "application/json"
	problemType    = "application/problem+json"
)

// lost and unmethodical stand for requests that match no route.
var (
	lost = route{path: noRoute, role: anyone, handle: func(_ *Server, c *call) (reply, error) {
		return reply{}, faultf(notFound, "Nothing is at this path.")
	}}
	unmethodical = route{path: noRoute, role: anyone, handle: func(_ *Server, c *call) (reply, error) {
		return reply{}, faultf(methodNotAllowed, "This path takes %s.", c.ctx.Response.Header.Peek("Allow"))
	}}
)

// call is one request on its way.
type call struct {
	ctx       *fasthttp.RequestCtx
	id        string // of the request: the caller's, or own
	own       string // our name for it, which no caller can have two requests share
	hosts     hosts  // names that its listener answers to; nil: any
	route     *route
	principal Principal
	denied    miss   // why it was not let in, for the log
	key       string // the scoped idempotency key; empty when there is none
	cause     error  // why it was refused, for the log
	bug       bool   // the cause is none that is expected

	// within bounds all that the request asks of others. It is not fasthttp's own context,
	// which is used again for the next request.
	within context.Context
}

// reply is one answer.
type reply struct {
	status      int
	body        []byte
	contentType string // empty: JSON
	problem     bool
	location    string
	replayed    bool   // it is the stored answer of an earlier request
	passing     bool   // it is a refusal whose answer may change by itself
	rows        int    // that were read for it
	retryAfter  int    // seconds
	challenge   string // WWW-Authenticate
}

// newRouter takes exact paths only: nothing is redirected, cleaned or guessed.
func (s *Server) newRouter(routes []route, h hosts) (*router.Router, error) {
	r := router.New()
	r.RedirectTrailingSlash, r.RedirectFixedPath, r.HandleOPTIONS = false, false, false
	for i := range routes {
		route := &routes[i]
		if ranks[route.role] == 0 && route.role != anyone {
			return nil, fmt.Errorf("route %s %s has no role", route.method, route.path)
		}
		r.Handle(route.method, route.path, func(ctx *fasthttp.RequestCtx) { s.serve(ctx, route, h) })
	}
	r.NotFound = func(ctx *fasthttp.RequestCtx) { s.serve(ctx, &lost, h) }
	r.MethodNotAllowed = func(ctx *fasthttp.RequestCtx) {
		// The router claims OPTIONS everywhere.
		allowed := strings.Split(string(ctx.Response.Header.Peek("Allow")), ", ")
		allowed = slices.DeleteFunc(allowed, func(m string) bool { return m == "OPTIONS" })
		ctx.Response.Header.Set("Allow", strings.Join(allowed, ", "))
		s.serve(ctx, &unmethodical, h)
	}
	return r, nil
}

func (r *route) name() string {
	if r.method == "" {
		return r.path
	}
	return r.method + " " + r.path
}

// serve is the way of every request.
func (s *Server) serve(ctx *fasthttp.RequestCtx, route *route, h hosts) {
	began := s.now()
	c := s.newCall(ctx, route, h)
	r := s.answer(c)
	s.write(c, r)

	s.recordDenial(c, r.status)
	took := s.now().Sub(began)
	name := route.name()
	s.metrics.requests.WithLabelValues(name, statusText(r.status)).Inc()
	s.metrics.seconds.WithLabelValues(name).Observe(took.Seconds())
	level := slog.LevelDebug
	switch {
	case c.bug:
		level = slog.LevelError
	case c.cause != nil && r.status >= 500:
		level = slog.LevelWarn
	case route.quiet:
		return
	case route.role != anyone && c.principal.Name != "": // reading leaves a trace, as acting does
		level = slog.LevelInfo
	}
	if s.log.Enabled(s.base, level) {
		attrs := []slog.Attr{
			slog.String("request_id", c.id), slog.String("settled_request_id", c.own),
			slog.String("method", string(ctx.Method())), slog.String("route", name),
			slog.Int("status", r.status), slog.Duration("took", took), slog.String("remote", ctx.RemoteAddr().String()),
		}
		if c.principal.Name != "" {
			attrs = append(attrs, slog.String("principal", c.principal.Name))
		}
		if route.method == "GET" {
			attrs = append(attrs, slog.Int("rows", r.rows))
		}
		if c.cause != nil {
			attrs = append(attrs, slog.Any("error", c.cause))
		}
		s.log.LogAttrs(s.base, level, "request", attrs...)
	}
}

// answer always answers: a panic is a 500, and the server goes on.
func (s *Server) answer(c *call) (r reply) {
	defer func() {
		if p := recover(); p != nil {
			r = s.refuse(c, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	if !c.route.quiet {
		within, cancel := context.WithTimeout(s.base, s.limits.Call)
		defer cancel()
		c.within = within
	}
	r, err := s.admit(c)
	if err != nil {
		return s.refuse(c, err)
	}
	return r
}

// admit lets a request through to its handler, or says why not.
func (s *Server) admit(c *call) (reply, error) {
	if err := s.door(c); err != nil {
		return reply{}, err
	}
	h := &c.ctx.Request.Header
	if c.route.method != "POST" {
		return c.route.handle(s, c)
	}
	if f := uncompressed(h); f != nil {
		return reply{}, f
	}
	if c.route.role == anyone {
		return c.route.handle(s, c) // Stripe's: its signature is the authority, and nothing before it
	}
	if s.draining.Load() {
		f := faultf(unavailable, "The service is about to stop: ask another, or again.")
		f.retryAfter = retryAfterAMoment
		return reply{}, f
	}
	if f := plainJSON(h); f != nil {
		return reply{}, f
	}
	if _, err := query(c, nil); err != nil {
		return reply{}, err
	}
	return s.once(c)
}

// refuse turns an error into its answer.
func (s *Server) refuse(c *call, err error) reply {
	f, known := faultOf(err)
	c.cause, c.bug = err, !known
	return s.replyTo(f, clip(string(c.ctx.Path())), c.id)
}

// replyTo is the answer to a fault.
func (s *Server) replyTo(f *fault, instance, id string) reply {
	return reply{
		status: f.kind.status, body: f.text(instance, id), problem: true, passing: f.kind.passing(),
		challenge:  f.challenge,
		retryAfter: int((f.retryAfter + 999999999) / 1000000000), // whole seconds, rounded up
	}
}

// write puts an answer on its way. The body is not copied: it is not touched again.
func (s *Server) write(c *call, r reply) {
	ctx, h := c.ctx, &c.ctx.Response.Header
	ctx.SetStatusCode(r.status)
	switch {
	case r.contentType != "":
		ctx.SetContentType(r.contentType)
	case r.problem || r.replayed && r.status >= 400:
		ctx.SetContentType(problemType)
	default:
		ctx.SetContentType(jsonType)
	}
	h.Set("X-Request-Id", c.id)
	h.Set("Settled-Request-Id", c.own)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if r.location != "" {
		h.Set("Location", r.location)
	}
	if r.replayed {
		h.Set("Idempotent-Replayed", "true")
	}
	if r.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(r.retryAfter))
	}
	if r.challenge != "" {
		h.Set("WWW-Authenticate", r.challenge)
	}
	ctx.Response.SetBodyRaw(r.body)
}

// requestIDLongest bounds an ID that a caller gives.
const requestIDLongest = 128

// newCall names a request by the caller's name for it, when that is harmless, and by a name of ours.
func (s *Server) newCall(ctx *fasthttp.RequestCtx, route *route, h hosts) *call {
	c := &call{ctx: ctx, route: route, hosts: h, own: s.newRequestID()}
	c.id = c.own
	given := string(ctx.Request.Header.Peek("X-Request-Id"))
	harmless := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.'
	}
	if given != "" && len(given) <= requestIDLongest &&
		!strings.ContainsFunc(given, func(r rune) bool { return !harmless(r) }) {
		c.id = given
	}
	return c
}

// newRequestID is unique: chance for the process, a number for the request.
func (s *Server) newRequestID() string {
	return s.process + "-" + strconv.FormatUint(s.requestNumber.Add(1), 36)
}
