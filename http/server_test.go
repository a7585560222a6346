package http

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/settled/settled/ledger"
)

// valid is a configuration that New takes.
func valid(w *world) Config {
	return Config{Engine: w, Store: w, Tokens: w, Keys: w, WebhookSecrets: []string{secretOld}, Hosts: []string{"x"}, Now: w.now}
}

func TestAServerIsNotMadeOfAWrongConfiguration(t *testing.T) {
	if _, err := New(valid(newWorld())); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"no engine":                      {func(c *Config) { c.Engine = nil }, "required"},
		"no secret":                      {func(c *Config) { c.WebhookSecrets = nil }, "no webhook secret"},
		"an empty secret among others":   {func(c *Config) { c.WebhookSecrets = []string{secretOld, ""} }, "webhook secret 2"},
		"a short bootstrap token":        {func(c *Config) { c.Bootstrap = map[string]string{"root": "hunter2hunter2"} }, "bootstrap token root"},
		"an empty bootstrap token":       {func(c *Config) { c.Bootstrap = map[string]string{"root": ""} }, "bootstrap token root"},
		"a bootstrap token in two words": {func(c *Config) { c.Bootstrap = map[string]string{"root": "hunter2 hunter2 hunter2"} }, "bootstrap token root"},
		"a bootstrap token of nobody":    {func(c *Config) { c.Bootstrap = map[string]string{"": adminToken} }, "no name"},
	} {
		conf := valid(newWorld())
		c.change(&conf)
		_, err := New(conf)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Everything at once is told at once.
	_, err := New(Config{Bootstrap: map[string]string{"root": "x"}})
	for _, says := range []string{"required", "webhook secret", "bootstrap token root"} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v does not say %q", err, says)
		}
	}
	r := prometheus.NewRegistry()
	conf := valid(newWorld())
	conf.Registerer = r
	if _, err := New(conf); err != nil {
		t.Fatal(err)
	}
	if _, err := New(conf); err == nil {
		t.Error("two servers share their metrics")
	}
}

func TestLimitsFillThemselvesUp(t *testing.T) {
	if l := (Limits{}).orDefaults(); l != DefaultLimits() {
		t.Errorf("%+v", l)
	}
	l := Limits{Read: time.Second}.orDefaults()
	if l.Read != time.Second || l.Write != DefaultLimits().Write || l.PublicConns != DefaultLimits().PublicConns || l.PublicConnsPerIP != 0 {
		t.Errorf("%+v", l)
	}
}

func TestReadySaysWhyNot(t *testing.T) {
	s := open(t)
	a := s.get("/readyz", "Authorization", "")
	if a.status != 200 || string(a.body) != `{"status":"ready","checks":[{"name":"serving","ok":true,"reason":null},{"name":"engine","ok":true,"reason":null}]}` {
		t.Errorf("%d %s", a.status, a.body)
	}
	if err := Probe(t.Context(), s.admin); err != nil {
		t.Error(err)
	}
	s.set(func(w *world) { w.unready = &ledger.NotReady{Reason: "recovery has not begun"} })
	if a := s.get("/readyz"); a.status != 503 || !strings.Contains(string(a.body), `{"name":"engine","ok":false,"reason":"recovery has not begun"}`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if err := Probe(t.Context(), s.admin); err == nil || !strings.Contains(err.Error(), "503: engine: recovery has not begun") {
		t.Errorf("%v", err)
	}
	if a := s.get("/livez"); a.status != 200 || string(a.body) != `{"status":"live"}` {
		t.Errorf("livez: %d %s", a.status, a.body)
	}
	if a := s.send("HEAD", s.admin+"/readyz", ""); a.status != 503 || len(a.body) != 0 {
		t.Errorf("HEAD: %d %s", a.status, a.body)
	}
	if a := s.send("GET", s.public+"/livez", ""); a.status != 200 {
		t.Errorf("public livez: %d", a.status)
	}
}

func TestTheProbeAsksThisMachine(t *testing.T) {
	s := open(t)
	_, port, err := net.SplitHostPort(s.admin)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	for _, addr := range []string{":" + port, "0.0.0.0:" + port, "127.0.0.1:" + port, "localhost:" + port} {
		if err := Probe(t.Context(), addr); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if err := Probe(t.Context(), "nonsense"); err == nil {
		t.Error("nonsense is ready")
	}
	s.stop()
	if err := Probe(t.Context(), s.admin); err == nil {
		t.Error("what was stopped is ready")
	}
}

func TestADrainingServerFinishesWhatItBegan(t *testing.T) {
	s := open(t)
	s.wait, s.entered = make(chan struct{}), make(chan struct{})
	first := make(chan answer)
	go func() { first <- s.post("/v1/transfers", orderText) }()
	<-s.entered
	if err := s.server.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a := s.get("/readyz"); a.status != 503 || !strings.Contains(string(a.body), "draining") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if err := Probe(t.Context(), s.admin); err == nil || !strings.Contains(err.Error(), "serving: it is draining") {
		t.Errorf("%v", err)
	}
	a := s.post("/v1/transfers", order("reference", `"inv-2"`))
	a.wants(t, unavailable)
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if a := s.get("/v1/transfers"); a.status != 200 {
		t.Errorf("reading: %d", a.status)
	}
	if c, err := net.Dial("tcp", s.public); err == nil {
		c.Close()
		t.Error("webhooks are still taken")
	}
	stopped := make(chan error)
	go func() { stopped <- s.server.Shutdown(context.WithoutCancel(t.Context())) }()
	close(s.wait)
	if a := <-first; a.status != 201 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", s.admin); err == nil {
		c.Close()
		t.Error("the admin listener is open")
	}
	if err := s.server.Shutdown(t.Context()); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestAShutdownThatTakesTooLongCutsOff(t *testing.T) {
	s := open(t)
	s.wait, s.entered = make(chan struct{}), make(chan struct{})
	first := make(chan answer)
	go func() { first <- s.post("/v1/transfers", orderText) }()
	<-s.entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.server.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	a := <-first // its call to the engine was ended
	a.wants(t, unavailable)
}

func TestAServerThatWasShutDownDoesNotServe(t *testing.T) {
	w := newWorld()
	s, err := New(valid(w))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	public, admin := fasthttputil.NewInmemoryListener(), fasthttputil.NewInmemoryListener()
	if err := s.Serve(t.Context(), public, admin); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
	if _, err := public.Dial(); err == nil {
		t.Error("the listener is open")
	}
}

// deaf is a listener that fails.
type deaf struct{ net.Listener }

func (deaf) Accept() (net.Conn, error) { return nil, errors.New("too many open files") }

func TestAListenerThatFailsEndsTheServer(t *testing.T) {
	conf := valid(newWorld())
	conf.Logger = slog.New(slog.DiscardHandler)
	s, err := New(conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(t.Context(), fasthttputil.NewInmemoryListener(), deaf{fasthttputil.NewInmemoryListener()}); err == nil || !strings.Contains(err.Error(), "too many open files") {
		t.Errorf("%v", err)
	}
}

func TestAPanicIsA500AndTheServerGoesOn(t *testing.T) {
	var log syncBuffer
	s := open(t, func(c *Config) { c.Logger = slog.New(slog.NewJSONHandler(&log, nil)) })
	s.set(func(w *world) { w.panics = true })
	a := s.post("/v1/transfers", orderText, "X-Request-Id", "req-77")
	a.wants(t, internalError)
	if strings.Contains(string(a.body), "secret of the inside") || strings.Contains(string(a.body), ".go") {
		t.Errorf("the inside leaks: %s", a.body)
	}
	s.set(func(w *world) { w.panics = false })
	if a := s.post("/v1/transfers", orderText); a.status != 201 {
		t.Errorf("%d", a.status)
	}
	s.stop()
	if text := log.String(); !strings.Contains(text, "secret of the inside") || !strings.Contains(text, `"request_id":"req-77"`) || !strings.Contains(text, `"level":"ERROR"`) {
		t.Errorf("the log: %s", text)
	}
}

// syncBuffer is a log that may be written from anywhere.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestTheLogTellsWhoDidWhatAndNoSecret(t *testing.T) {
	var log syncBuffer
	s := open(t, func(c *Config) {
		c.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	})
	s.post("/v1/transfers", order("description", `"the-body-itself"`), "Idempotency-Key", "the-key-itself")
	s.get("/v1/transfers")
	s.get("/readyz")
	s.get("/metrics")
	s.deliver(eventText, "t=1,v1=junk")
	s.deliver(eventText, "t=1,v1=junk")
	s.deliver(eventText, sign(secretOld, eventText, s.now()))
	s.get("/v1/transfers", "Authorization", "Bearer "+adminToken+"x")
	s.stop()
	text := log.String()
	for _, secret := range []string{s.operator, adminToken, secretOld, "the-body-itself", "the-key-itself", "evt_1Paid"} {
		if strings.Contains(text, secret) {
			t.Errorf("the log tells %q: %s", secret, text)
		}
	}
	if n := strings.Count(text, "\n"); n != 4 { // one write, one read, one complaint of two, one denial
		t.Errorf("%d lines: %s", n, text)
	}
	for _, says := range []string{`"route":"POST /v1/transfers"`, `"status":201`, `"principal":"backend"`, `"webhook refused"`} {
		if !strings.Contains(text, says) {
			t.Errorf("the log does not say %s: %s", says, text)
		}
	}
}

func TestARequestKeepsItsIDWhenThatIsHarmless(t *testing.T) {
	s := open(t)
	if got := s.get("/livez", "X-Request-Id", "a.B-9_").header.Get("X-Request-Id"); got != "a.B-9_" {
		t.Errorf("%q", got)
	}
	seen := make(map[string]bool)
	for _, bad := range []string{"", "a b", `a"b`, strings.Repeat("x", 129), "ä"} {
		got := s.get("/livez", "X-Request-Id", bad).header.Get("X-Request-Id")
		if got == bad || got == "" || seen[got] {
			t.Errorf("%q became %q", bad, got)
		}
		seen[got] = true
	}
}

func TestTheMetricsAreBoundedAndTrue(t *testing.T) {
	s := open(t)
	s.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "other_things"}, func() float64 { return 7 }))
	id := s.created().String()
	s.get("/v1/transfers/" + id)
	s.get("/v1/transfers/" + strings.Repeat("x", 50))
	s.get("/never/heard/of/" + id)
	s.deliver(eventText, sign(secretOld, eventText, s.now()))
	body := strings.Replace(eventText, "transfer.created", "made.up", 1)
	s.deliver(body, sign(secretOld, body, s.now()))
	a := s.get("/metrics", "Authorization", "")
	if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Errorf("%d %v", a.status, a.header)
	}
	for _, line := range []string{
		`settled_http_requests_total{code="201",route="POST /v1/transfers"} 1`,
		`settled_http_requests_total{code="200",route="GET /v1/transfers/{id}"} 1`,
		`settled_http_requests_total{code="404",route="GET /v1/transfers/{id}"} 1`,
		`settled_http_requests_total{code="404",route="none"} 1`,
		`settled_webhooks_total{result="received",type="transfer.created"} 1`,
		`settled_webhooks_total{result="received",type="other"} 1`,
		`settled_http_request_duration_seconds_count{route="POST /v1/transfers"} 1`,
		`other_things 7`,
	} {
		if !strings.Contains(string(a.body), line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(string(a.body), id) || strings.Contains(string(a.body), "made.up") {
		t.Error("a label is what a caller said")
	}
	if a := s.get("/metrics", "Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"); a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "application/vnd.google.protobuf") {
		t.Errorf("%d %v", a.status, a.header)
	}
	s.registry.MustRegister(brokenCollector{})
	if a := s.get("/metrics"); a.status != 200 || !strings.Contains(string(a.body), "other_things 7") {
		t.Errorf("%d: one broken collector costs the others", a.status)
	}
}

// brokenCollector fails.
type brokenCollector struct{}

var brokenDesc = prometheus.NewDesc("broken", "", nil, nil)

func (brokenCollector) Describe(c chan<- *prometheus.Desc) { c <- brokenDesc }
func (brokenCollector) Collect(c chan<- prometheus.Metric) {
	c <- prometheus.NewInvalidMetric(brokenDesc, errors.New("broken"))
}
