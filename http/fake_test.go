package http

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	nethttp "net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The library's clock for the Date header runs for as long as the process.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		// It looks for its end every ten seconds only.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		// So does the client of a benchmark.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*TCPDialer).tcpAddrsClean"),
	)
}

// world is an engine, a store, tokens and keys in memory, made of package ledger's own rules.
type world struct {
	mu        sync.Mutex
	clock     time.Time
	transfers map[ledger.ID]*ledger.Dossier
	reference map[string]ledger.ID
	order     []ledger.ID
	events    map[string]ledger.StripeEvent
	messages  map[ledger.ID]ledger.Message
	acted     int // messages that acted
	commits   int
	tokens    []Token
	asked     int // how often the tokens were read
	keys      map[string]*storedKey

	ceilings ledger.Ceilings

	findings []audit.Finding // newest first
	runs     []ledger.By     // walks that were asked for
	clocks   ledger.ClockStanding

	broken   error // the answer of the engine and the store, when not nil
	unready  error // the answer of Ready
	notices  []ledger.Notice
	live     *ledger.Live  // the work of an actor
	blind    error         // the answer of Alike
	panics   bool          // whether Create panics
	wait     chan struct{} // Create waits for it, when not nil
	entered  chan struct{} // told when Create begins to wait
	badToken error         // the answer to reading the tokens, when not nil
	badKey   error         // the answer to claiming a key, when not nil
	lostKey  error         // the answer to finishing or releasing a key, when not nil
}

type storedKey struct {
	fingerprint string
	claim       Claim
}

func newWorld() *world {
	return &world{
		clock:     time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
		transfers: make(map[ledger.ID]*ledger.Dossier), reference: make(map[string]ledger.ID),
		events: make(map[string]ledger.StripeEvent), messages: make(map[ledger.ID]ledger.Message),
		keys: make(map[string]*storedKey), findings: []audit.Finding{aFinding()},
	}
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

// set changes a knob while the server runs.
func (w *world) set(f func(*world)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w)
}

func (w *world) commit(c ledger.Change) *ledger.Dossier {
	c.Stamp(w.clock)
	d := w.transfers[c.After.ID]
	if d == nil {
		d = &ledger.Dossier{}
		w.transfers[c.After.ID] = d
		w.reference[c.After.Reference] = c.After.ID
		w.order = append(w.order, c.After.ID)
	}
	d.Transfer = c.After
	d.History = append(slices.Clone(d.History), c.History)
	for _, p := range c.Postings {
		d.Postings = append(slices.Clone(d.Postings), ledger.DatedPosting{Version: c.After.Version, At: w.clock, Posting: p})
	}
	d.Digest = ledger.Digest{}
	if op, _ := d.Transfer.Current(); op != nil {
		for _, h := range d.History {
			if h.Subject == op.ID {
				d.Digest = d.Digest.Add(h)
			}
		}
	}
	return d
}

func (w *world) Create(ctx context.Context, orders []ledger.Order, by ledger.By) ([]ledger.Acceptance, error) {
	w.mu.Lock()
	wait, entered, panics := w.wait, w.entered, w.panics
	w.mu.Unlock()
	if wait != nil {
		entered <- struct{}{}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ledger.ErrUnavailable, ctx.Err())
		}
	}
	if panics {
		panic("secret of the inside")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return nil, w.broken
	}
	w.commits++
	var all []ledger.Acceptance
	for _, o := range orders {
		if err := o.Check(); err != nil {
			panic(err) // the engine is promised checked orders
		}
		if id, taken := w.reference[o.Reference]; taken {
			t := w.transfers[id].Transfer
			all = append(all, ledger.Acceptance{Transfer: t, Conflict: t.Order.Hash() != o.Hash()})
			continue
		}
		if err := w.ceilings.Check(o.Money, 0); err != nil {
			all = append(all, ledger.Acceptance{Refused: err})
			continue
		}
		d := w.commit(ledger.Accept(o, uuid.Must(uuid.NewV7()), 1, w.clock, by))
		all = append(all, ledger.Acceptance{Transfer: d.Transfer, Created: true})
	}
	return all, nil
}

func (w *world) Inject(_ context.Context, m ledger.Message) (ledger.Record, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return ledger.Record{}, w.broken
	}
	d := w.transfers[m.Transfer]
	if d == nil {
		return ledger.Record{}, ledger.ErrNotFound
	}
	if _, again := w.messages[m.ID]; again {
		return w.record(d), nil
	}
	w.messages[m.ID] = m
	var c ledger.Change
	var err error
	switch m.Type {
	default:
		c, err = d.Transfer.Command(m)
	case ledger.MessageReverse:
		c, err = d.Transfer.Reverse(uuid.Must(uuid.NewV7()), m.Reference, m.Amount, 1, m.By)
	case ledger.MessageResolve:
		c, err = d.Transfer.ResolveAbsent(w.Policy(), ledger.Digest{}, w.clock, m.By)
	case ledger.MessageRestart:
		w.acted++
		return w.record(d), nil
	}
	if err != nil {
		delete(w.messages, m.ID) // it did not act, and may once it may
		return ledger.Record{}, err
	}
	w.acted++
	return w.record(w.commit(c)), nil
}

func (w *world) record(d *ledger.Dossier) ledger.Record {
	r := d.Record
	r.ReadAt = w.clock
	return r
}

func (w *world) Receive(_ context.Context, events []ledger.StripeEvent) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return w.broken
	}
	for _, e := range events {
		w.events[e.ID] = e
	}
	return nil
}

func (w *world) Live(context.Context, ledger.ID) ledger.Live {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.live != nil {
		return *w.live
	}
	return ledger.Live{Alive: true, Doing: "waiting", Until: w.clock.Add(time.Hour), Incarnation: 3}
}

func (w *world) Ready(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unready
}

func (w *world) Notices() []ledger.Notice {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.notices
}

func (w *world) Policy() ledger.Policy {
	r := ledger.Retry{Enabled: true, MaxAttempts: 5, MaxAge: time.Hour, Backoff: ledger.Backoff{Base: time.Minute, Max: time.Hour}}
	return ledger.Policy{Windows: ledger.DefaultWindows(), Transfers: r, Reversals: r, Epoch: 1}
}

func (w *world) Dossier(ctx context.Context, id ledger.ID, latest int) (ledger.Dossier, error) {
	chapter, err := w.Chapter(ctx, id, 0, latest)
	if err != nil {
		return ledger.Dossier{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return ledger.Dossier{Record: w.record(w.transfers[id]), Chapter: chapter}, nil
}

func (w *world) Chapter(_ context.Context, id ledger.ID, before int64, limit int) (c ledger.Chapter, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return c, w.broken
	}
	d := w.transfers[id]
	if d == nil {
		return c, ledger.ErrNotFound
	}
	for _, h := range d.History {
		if before == 0 || h.Version < before {
			c.History = append(c.History, h)
		}
	}
	c.History = c.History[max(0, len(c.History)-limit):]
	for _, p := range d.Postings {
		if len(c.History) > 0 && p.Version >= c.History[0].Version && p.Version <= c.History[len(c.History)-1].Version {
			c.Postings = append(c.Postings, p)
		}
	}
	return c, nil
}

func (w *world) Alike(_ context.Context, references []string) (map[string]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.blind != nil {
		return nil, w.blind
	}
	alike := make(map[string]string)
	for _, r := range references {
		for _, d := range w.transfers {
			if other := d.Transfer.Reference; other != r && ledger.Skeleton(other) == ledger.Skeleton(r) {
				alike[r] = other
			}
		}
	}
	return alike, nil
}

func (w *world) List(_ context.Context, f ledger.Filter) ([]ledger.Record, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return nil, w.broken
	}
	var found []ledger.Record
	for _, id := range slices.Backward(w.order) {
		t := w.transfers[id].Transfer
		is := func(want, have string) bool { return want == "" || want == have }
		if !is(string(f.Status), string(t.Status())) || !is(f.Seller, t.Seller) || !is(f.Destination, t.Destination) ||
			!is(f.Reference, t.Reference) || !is(f.ErrorCode, t.Operation.ErrorCode) {
			continue
		}
		if !f.CreatedAfter.IsZero() && !t.CreatedAt.After(f.CreatedAfter) || !f.CreatedBefore.IsZero() && !t.CreatedAt.Before(f.CreatedBefore) {
			continue
		}
		if f.Before != uuid.Nil && id.String() >= f.Before.String() {
			continue
		}
		if len(found) < f.Limit {
			found = append(found, ledger.Record{Transfer: t, ReadAt: w.clock})
		}
	}
	return found, nil
}

func (w *world) Tokens(context.Context) ([]Token, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	return slices.Clone(w.tokens), w.badToken
}

func (w *world) ClaimKey(_ context.Context, key, fingerprint string, _ time.Duration) (Claim, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := w.keys[key]
	switch {
	case w.badKey != nil:
		return Claim{}, w.badKey
	case k == nil:
		w.keys[key] = &storedKey{fingerprint, Claim{State: KeyRunning}}
		return Claim{State: KeyNew}, nil
	case k.fingerprint != fingerprint:
		return Claim{State: KeyMismatch}, nil
	}
	return k.claim, nil
}

func (w *world) FinishKey(_ context.Context, key string, status int, body []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lostKey != nil {
		return w.lostKey
	}
	w.keys[key].claim = Claim{KeyDone, status, bytes.Clone(body)}
	return nil
}

func (w *world) ReleaseKey(_ context.Context, key string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.keys, key)
	return nil
}

// token makes and stores a token.
func (w *world) token(name string, role Role, change func(*Token)) string {
	var chance [64]byte
	copy(chance[:], name+strings.Repeat("x", 64))
	text, prefix, hash := NewToken(bytes.NewReader(chance[:]))
	t := Token{Name: name, Prefix: prefix, Hash: hash, Role: role, CreatedAt: w.now()}
	if change != nil {
		change(&t)
	}
	w.set(func(w *world) { w.tokens = append(w.tokens, t) })
	return text
}

// paid drives a transfer until Stripe holds it.
func (w *world) paid(id ledger.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	must := func(c ledger.Change, err error) ledger.Transfer {
		if err != nil {
			panic(err)
		}
		return w.commit(c).Transfer
	}
	t := must(w.transfers[id].Transfer.Begin(w.Policy(), w.clock))
	c, _, err := t.Conclude(id, 1, t.Operation.Generation, ledger.Answer{Row: "T1", Verdict: ledger.Done, HTTPStatus: 200, StripeID: "tr_1", RequestID: "req_1"})
	must(c, err)
}

// refused has Stripe refuse a transfer.
func (w *world) refused(id ledger.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.transfers[id].Transfer
	c, err := t.Begin(w.Policy(), w.clock)
	if err != nil {
		panic(err)
	}
	t = w.commit(c).Transfer
	c, _, err = t.Conclude(id, 1, t.Operation.Generation, ledger.Answer{Row: "T2", Verdict: ledger.Failed, Reaction: ledger.AwaitFunds, HTTPStatus: 400,
		Code: "balance_insufficient", Message: "Insufficient funds.", RequestID: "req_2", Replayed: true})
	if err != nil {
		panic(err)
	}
	w.commit(c)
}

const (
	secretOld  = "whsec_the_old_one"
	secretNew  = "whsec_the_new_one"
	adminToken = "bootstrap-token-of-any-form"
)

// site is a running server with its engine, store and keys.
type site struct {
	*world
	t             testing.TB
	server        *Server
	public, admin string // addresses
	registry      *prometheus.Registry
	client        *nethttp.Client
	stop          func()
	operator      string
}

// open runs a server on loopback until the test ends.
func open(t testing.TB, change ...func(*Config)) *site {
	t.Helper()
	w := newWorld()
	s := &site{world: w, t: t, registry: prometheus.NewRegistry(), operator: w.token("backend", RoleOperator, nil)}
	c := Config{
		Engine: w, Store: w, Tokens: w, Keys: w,
		WebhookSecrets: []string{secretOld, secretNew}, Bootstrap: map[string]string{"root": adminToken},
		Limits: Limits{Read: patience, Idle: patience, Write: patience, Call: patience},
		Hosts:  []string{"x"}, Registerer: s.registry, Now: w.now, Logger: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&c)
	}
	var err error
	if s.server, err = New(c); err != nil {
		t.Fatal(err)
	}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	public, admin := listen(), listen()
	s.public, s.admin = public.Addr().String(), admin.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.server.Serve(ctx, public, admin) }()
	transport := &nethttp.Transport{}
	s.client = &nethttp.Client{Transport: transport, Timeout: patience}
	s.stop = sync.OnceFunc(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// answer is the response to a request.
type answer struct {
	status int
	header nethttp.Header
	body   []byte
}

func (a answer) json(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(a.body, &m); err != nil {
		t.Fatalf("%d %q is no JSON: %v", a.status, a.body, err)
	}
	return m
}

// send makes one request. Headers are given in pairs; an empty value takes the header away.
func (s *site) send(method, url, body string, headers ...string) answer {
	s.t.Helper()
	r, err := nethttp.NewRequest(method, "http://"+url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Del(headers[i])
		if headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	got, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{got.StatusCode, got.Header, text}
}

// post and get are calls of the admin API as an operator.
func (s *site) post(path, body string, headers ...string) answer {
	s.t.Helper()
	return s.send("POST", s.admin+path, body, append([]string{"Authorization", "Bearer " + s.operator, "Content-Type", "application/json"}, headers...)...)
}

func (s *site) get(path string, headers ...string) answer {
	s.t.Helper()
	return s.send("GET", s.admin+path, "", append([]string{"Authorization", "Bearer " + s.operator}, headers...)...)
}

// wants checks a problem: its status, its type, and the fields that it names, in order.
func (a answer) wants(t testing.TB, k *kind, fields ...string) {
	t.Helper()
	if a.status != k.status {
		t.Fatalf("status %d, want %d: %s", a.status, k.status, a.body)
	}
	if got := a.header.Get("Content-Type"); got != problemType {
		t.Errorf("Content-Type %q", got)
	}
	var p problem
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatalf("%q is no problem: %v", a.body, err)
	}
	if p.Type != problemBase+k.slug || p.Title != k.title || p.Status != k.status || p.Retryable != k.retryable || p.Detail == "" {
		t.Errorf("problem %s, want %s", a.body, k.slug)
	}
	if p.RequestID == "" || p.RequestID != a.header.Get("X-Request-Id") {
		t.Errorf("request_id %q, header %q", p.RequestID, a.header.Get("X-Request-Id"))
	}
	var named []string
	for _, e := range p.Errors {
		named = append(named, e.Field)
		if e.Detail == "" {
			t.Errorf("field %s has no detail", e.Field)
		}
	}
	if !slices.Equal(named, fields) {
		t.Errorf("fields %q, want %q: %s", named, fields, a.body)
	}
}

// detail returns a problem's detail, or that of its field.
func (a answer) detail(t testing.TB, field string) string {
	t.Helper()
	var p problem
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatal(err)
	}
	for _, e := range p.Errors {
		if e.Field == field {
			return e.Detail
		}
	}
	return p.Detail
}

const orderText = `{"reference":"inv-1","seller":"s-1","destination":"acct_1Seller","amount":1230,"currency":"eur"}`

// order is an order's JSON with some members replaced; an empty text takes a member away.
func order(replace ...string) string {
	names := []string{"reference", "seller", "destination", "amount", "currency"}
	values := map[string]string{"reference": `"inv-1"`, "seller": `"s-1"`, "destination": `"acct_1Seller"`, "amount": "1230", "currency": `"eur"`}
	for i := 0; i < len(replace); i += 2 {
		if _, there := values[replace[i]]; !there {
			names = append(names, replace[i])
		}
		values[replace[i]] = replace[i+1]
	}
	var members []string
	for _, n := range names {
		if values[n] != "" {
			members = append(members, fmt.Sprintf("%q:%s", n, values[n]))
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

// created makes a transfer and returns its ID.
func (s *site) created(replace ...string) ledger.ID {
	s.t.Helper()
	a := s.post("/v1/transfers", order(replace...))
	if a.status != 201 {
		s.t.Fatalf("%d %s", a.status, a.body)
	}
	return uuid.MustParse(a.json(s.t)["id"].(string))
}
