package http

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
)

// How much one request may bring. A body is read before its handler runs, so memory is
// bounded by connections × body; the admin listener reads none from who shows no token.
const (
	headerBytes     = 8 << 10
	webhookBytes    = 1 << 20 // Stripe's events have a few kB; an invoice of many lines some hundred
	adminBytes      = 1 << 20
	batchBytes      = 4 << 20 // 1,000 orders of 4 kB
	messageBytes    = 64 << 10
	requestsPerConn = 1000
)

// Limits bounds time and connections. Zero fields take the defaults, but for the two
// per-address limits, where zero is no limit.
type Limits struct {
	Read  time.Duration // a request must have come, from its first byte to its last
	Write time.Duration // an answer must have gone
	Idle  time.Duration // a connection may wait for its next request
	Call  time.Duration // a handler may wait for the engine or the store; less than Stripe waits

	// Connections of which a request has shown a signature or a token; others are counted apart.
	PublicConns      int
	PublicConnsPerIP int // 0 behind a proxy, where all share one address: limit there
	AdminConns       int
	AdminConnsPerIP  int
}

// DefaultLimits returns the limits for production.
func DefaultLimits() Limits {
	return Limits{
		Read: 10 * time.Second, Write: 10 * time.Second, Idle: 10 * time.Second, Call: 8 * time.Second,
		PublicConns: 512, PublicConnsPerIP: 400, AdminConns: 256, AdminConnsPerIP: 128,
	}
}

func (l Limits) orDefaults() Limits {
	d := DefaultLimits()
	if l == (Limits{}) {
		return d
	}
	for _, f := range []struct {
		value *time.Duration
		d     time.Duration
	}{{&l.Read, d.Read}, {&l.Write, d.Write}, {&l.Idle, d.Idle}, {&l.Call, d.Call}} {
		if *f.value <= 0 {
			*f.value = f.d
		}
	}
	if l.PublicConns <= 0 {
		l.PublicConns = d.PublicConns
	}
	if l.AdminConns <= 0 {
		l.AdminConns = d.AdminConns
	}
	return l
}

// Config describes a server. A field that is not marked optional is required.
type Config struct {
	Engine Engine
	Store  Store
	Tokens Tokens
	Keys   Keys

	WebhookSecrets []string          `json:"-"` // any of them may sign; none may be short
	Hosts          []string          // names that the admin listener answers to, beside loopback's
	Livemode       *bool             // events of the other mode are acknowledged and ignored; optional
	Bootstrap      map[string]string `json:"-"` // admin tokens of any form, by name; optional

	Limits     Limits                // optional
	Registerer prometheus.Registerer // optional: a registry of its own
	Gatherer   prometheus.Gatherer   // of GET /metrics; optional: Registerer's
	Logger     *slog.Logger          // optional: slog's default
	Now        func() time.Time      // optional: time.Now
}

// Format prints the config without its secrets, by every verb.
func (c Config) Format(f fmt.State, verb rune) {
	type bare Config // without this method
	c.WebhookSecrets, c.Bootstrap = nil, nil
	fmt.Fprintf(f, fmt.FormatString(f, verb), bare(c))
}

// LogValue is the config without its secrets.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.Int("webhook_secrets", len(c.WebhookSecrets)),
		slog.Int("bootstrap_tokens", len(c.Bootstrap)), slog.Any("limits", c.Limits))
}

// Server is both listeners' handlers. Make one with [New].
type Server struct {
	engine   Engine
	store    Store
	keys     Keys
	verifier *verifier
	keyring  *keyring
	lockout  *lockout
	hosts    hosts // of the admin listener
	denials  quota
	stored   storage
	livemode *bool
	limits   Limits
	metrics  *metrics
	gatherer prometheus.Gatherer
	log      *slog.Logger
	now      func() time.Time

	process       string // the first part of request IDs
	requestNumber atomic.Uint64
	large         largeBodies  // of webhooks
	complained    atomic.Int64 // when a refused webhook was last logged, in Unix nanoseconds

	public, admin *fasthttp.Server
	base          context.Context // ends with the server
	end           context.CancelFunc
	draining      atomic.Bool

	mu             sync.Mutex
	publicListener *listener
	adminListener  *listener
	closed         bool
}

// Format keeps the inside, secrets among it, out when a server is printed: fmt follows
// pointers for verbs that do not fit.
func (s *Server) Format(f fmt.State, _ rune) { io.WriteString(f, "http server") }

// New makes a server, or says everything that is wrong with the configuration.
func New(c Config) (*Server, error) {
	s := &Server{
		engine: c.Engine, store: c.Store, keys: c.Keys, livemode: c.Livemode,
		limits: c.Limits.orDefaults(), gatherer: c.Gatherer, log: c.Logger, now: c.Now,
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	var wrong []error
	if c.Engine == nil || c.Store == nil || c.Tokens == nil || c.Keys == nil {
		wrong = append(wrong, errors.New("engine, store, tokens and keys are required"))
	}
	var err error
	if s.verifier, err = newVerifier(c.WebhookSecrets, s.now); err != nil {
		wrong = append(wrong, err)
	}
	if s.keyring, err = newKeyring(c.Tokens, c.Bootstrap, s.now); err != nil {
		wrong = append(wrong, err)
	}
	if s.hosts, err = newHosts(c.Hosts); err != nil {
		wrong = append(wrong, err)
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	s.lockout = newLockout(s.now)

	registerer := c.Registerer
	if registerer == nil {
		registerer = prometheus.NewRegistry()
	}
	if s.gatherer == nil {
		s.gatherer, _ = registerer.(prometheus.Gatherer)
	}
	if s.gatherer == nil {
		return nil, errors.New("http: a Gatherer is required: the Registerer is none")
	}
	if s.metrics, err = newMetrics(registerer); err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	var chance [6]byte
	rand.Read(chance[:])
	s.process = hex.EncodeToString(chance[:])

	if s.public, err = s.newServer(publicRoutes, nil, webhookBytes, s.webhookBody); err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	s.public.ErrorHandler = func(ctx *fasthttp.RequestCtx, err error) {
		if errors.Is(err, fasthttp.ErrBodyTooLarge) {
			s.metrics.webhooks.WithLabelValues(knownType(""), webhookTooLarge).Inc()
		}
		s.misread(ctx, err)
	}
	if s.admin, err = s.newServer(adminRoutes, s.hosts, adminBytes, s.adminBody); err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	s.admin.ErrorHandler, s.admin.ExpectHandler = s.adminMisread, s.adminExpect
	s.base, s.end = context.WithCancel(context.Background())
	return s, nil
}

func (s *Server) newServer(routes []route, h hosts, body int,
	perPath func(*fasthttp.RequestHeader) fasthttp.RequestConfig) (*fasthttp.Server, error) {
	r, err := s.newRouter(routes, h)
	if err != nil {
		return nil, err
	}
	return &fasthttp.Server{
		Handler: r.Handler, ErrorHandler: s.misread, HeaderReceived: perPath,
		ReadTimeout: s.limits.Read, WriteTimeout: s.limits.Write, IdleTimeout: s.limits.Idle,
		MaxRequestBodySize: body, ReadBufferSize: headerBytes, MaxRequestsPerConn: requestsPerConn,
		// The listener counts connections. Those that it put out take a moment to be over here.
		Concurrency:                  2 * (max(s.limits.PublicConns, s.limits.AdminConns) + 2*strangersMost),
		DisablePreParseMultipartForm: true, NoDefaultServerHeader: true, NoDefaultContentType: true,
		SecureErrorLogMessage: true, CloseOnShutdown: true, Logger: quietLog{s.log},
	}, nil
}

// quietLog takes fasthttp's own remarks, which are about connections that broke.
type quietLog struct{ log *slog.Logger }

func (q quietLog) Printf(format string, args ...any) {
	q.log.Debug("fasthttp", "remark", fmt.Sprintf(format, args...))
}

// Handlers returns the handlers of the two listeners, for who brings requests without sockets: a
// simulation. Limits of size, time and connections are the listeners', and not in them.
func (s *Server) Handlers() (public, admin fasthttp.RequestHandler) {
	return s.public.Handler, s.admin.Handler
}

// ErrClosed reports that a server was shut down before it began to serve.
var ErrClosed = errors.New("http: the server is closed")

// Serve serves both listeners until the context ends or [Server.Shutdown] is called, and then
// returns nil; or until one of them fails. It closes them. When the context ends, requests
// under way get as long as one may take. Who calls Shutdown waits for it to return too.
func (s *Server) Serve(ctx context.Context, public, admin net.Listener) error {
	refused := func(status int) { s.metrics.requests.WithLabelValues(noRoute, statusText(status)).Inc() }
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errors.Join(ErrClosed, public.Close(), admin.Close())
	}
	s.publicListener = newListener(public, s.limits.PublicConns, s.limits.PublicConnsPerIP, refused)
	s.adminListener = newListener(admin, s.limits.AdminConns, s.limits.AdminConnsPerIP, refused)
	s.mu.Unlock()

	ended := make(chan error, 2)
	go func() { ended <- s.public.Serve(s.publicListener) }()
	go func() { ended <- s.admin.Serve(s.adminListener) }()
	var failure error
	done := ctx.Done()
	for range 2 {
		select {
		case err := <-ended:
			if err == nil {
				continue // drained or shut down
			}
			failure = fmt.Errorf("http: serve: %w", err)
		case <-done:
		}
		done = nil
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limits.Read+s.limits.Call+s.limits.Write)
		err := s.Shutdown(last)
		cancel()
		return errors.Join(failure, err)
	}
	return nil
}

// Drain makes the server unready, stops taking webhooks and messages, and waits for those
// under way. Probes, metrics and reading are still answered, until
// [Server.Shutdown]: a stop can be watched.
func (s *Server) Drain(ctx context.Context) error {
	s.draining.Store(true)
	s.mu.Lock()
	l := s.publicListener
	s.mu.Unlock()
	return stop(ctx, s.public, l)
}

// Shutdown drains, then closes the admin listener and waits for the calls under way. When the
// context ends first, the rest is cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	l := s.adminListener
	s.mu.Unlock()
	err := s.Drain(ctx)
	err = errors.Join(err, stop(ctx, s.admin, l))
	s.end()
	return err
}

func stop(ctx context.Context, f *fasthttp.Server, l *listener) error {
	if l != nil {
		// fasthttp closes only a listener that it has begun to serve.
		l.Close()
	}
	if err := f.ShutdownWithContext(ctx); err != nil {
		return fmt.Errorf("http: stop: %w", err)
	}
	return nil
}
