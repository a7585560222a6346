package actors_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/db"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// world is a real SQLite ledger and a simulated Stripe in a bubble of testing/synctest, with
// any number of daemons over them. All windows are the real ones: hours pass at once. At its
// end the books are audited and what went over the wire is held to the protocol.
type world struct {
	*testing.T
	db     *db.DB
	path   string // of its file
	closes []func() error
	sim    *stripesim.Sim
	policy ledger.Policy
	node   *node   // the daemon that most tests talk to
	nodes  []*node // all that were started

	mu    sync.Mutex
	watch *audit.Watch
	posts []post // in the order of their sending
	hears *node  // the daemon that Stripe's events go to

	offset atomic.Int64 // of the database's clock
	dumb   atomic.Bool  // Stripe's answers do not say what time it is

	forged  bool // Stripe was made to hold what it must not: comparing the two is of no use
	aside   bool // something happened past the world: the watch knows half of it
	spoiled bool // the ledger was made to say what it must not: looking at it is of no use
}

// post is one POST as it went over the wire.
type post struct {
	at   time.Time
	key  string
	path string
	body string
}

// node is one daemon.
type node struct {
	w       *world
	system  *actors.System
	store   *faultyStore
	dead    atomic.Bool                                        // its process has died: nothing it does has an effect
	calls   atomic.Pointer[func(r *http.Request, body string)] // sees every call before it is made
	stopped bool
	metrics *prometheus.Registry
}

// settings change a daemon before it is made.
type settings func(*actors.Config)

// realPolicy is the default of the command.
func realPolicy() ledger.Policy {
	retry := ledger.Retry{Enabled: true, MaxAttempts: 5, MaxAge: 72 * time.Hour, Backoff: ledger.Backoff{Base: time.Minute, Max: time.Hour}}
	retry.ConditionMaxAge = 30 * 24 * time.Hour
	return ledger.Policy{Windows: ledger.DefaultWindows(), Transfers: retry, Reversals: retry, Unresolved: ledger.ParkDoubtful, Epoch: 1}
}

// inWorld runs a test in a world of its own, with one daemon.
func inWorld(t *testing.T, sim stripesim.Config, test func(*world), with ...settings) {
	t.Helper()
	inEmptyWorld(t, sim, func(w *world) {
		w.node = w.start(with...)
		test(w)
	})
}

// inEmptyWorld is inWorld before any daemon was started.
func inEmptyWorld(t *testing.T, cfg stripesim.Config, test func(*world)) {
	t.Helper()
	path := t.TempDir() + "/ledger.db"
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, policy: realPolicy(), path: path, watch: audit.NewWatch(ledger.DefaultWindows())}
		ctx := context.Background()
		var err error
		if w.db, err = db.Open(ctx, "sqlite:"+path, db.Options{Now: w.clock}); err != nil {
			t.Fatal(err)
		}
		defer w.db.Close()
		defer func() {
			for _, end := range w.closes {
				end()
			}
		}()
		if _, err := w.db.Migrate(ctx); err != nil {
			t.Fatal(err)
		}
		cfg.WebhookURL = "http://settled.test/webhooks/stripe"
		cfg.HTTPClient = &http.Client{Transport: hook{w}}
		cfg.Made, cfg.Arrived = w.made, w.arrived
		w.sim = stripesim.New(cfg)
		defer w.sim.Close()
		defer w.hold()
		defer func() {
			for _, n := range w.nodes {
				n.stop()
			}
			w.passes(2 * time.Minute) // late timers' dead letters, and the library's throttle of their log
		}()
		test(w)
	})
}

// clock is the database's.
func (w *world) clock() time.Time { return time.Now().Add(time.Duration(w.offset.Load())) }

// steps sets the database's clock off by so much from now on.
func (w *world) steps(off time.Duration) { w.offset.Store(int64(off)) }

// start starts a daemon.
func (w *world) start(with ...settings) *node {
	w.Helper()
	n := &node{w: w, store: &faultyStore{Store: w.db, committed: w.committed}, metrics: prometheus.NewRegistry()}
	n.store.dead = &n.dead
	client, err := stripe.New(stripe.Config{Key: "sk_test_world", Base: "http://stripe.test", Log: quietLog(), Transport: wire{n}})
	if err != nil {
		w.Fatal(err)
	}
	conf := actors.Config{
		Exhausted: db.Exhausted,
		Store:     n.store, Transient: func(err error) bool { return errors.Is(err, errOutage) || db.Transient(err) },
		Stripe: client, Policy: w.policy, Limits: actors.Limits{Concurrency: 32},
		TransferSweep: 10 * time.Minute, Metrics: n.metrics, Log: quietLog(),
		Reconcile: actors.Reconcile{Interval: -1}, // its own tests begin it
	}
	for _, f := range with {
		f(&conf)
	}
	if n.system, err = actors.New(conf); err != nil {
		w.Fatal(err)
	}
	n.system.Start()
	w.nodes = append(w.nodes, n)
	w.mu.Lock()
	w.hears = n
	w.mu.Unlock()
	return n
}

// stop ends a daemon in order.
func (n *node) stop() {
	if n.stopped {
		return
	}
	n.stopped = true
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := n.system.Stop(ctx); err != nil && !n.dead.Load() {
		n.w.Errorf("stop: %v", err)
	}
}

// crash ends a daemon as a power cut does: nothing it would still do has any effect.
func (n *node) crash() {
	n.dead.Store(true)
	n.stopped = true
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	n.system.Stop(ctx)
	synctest.Wait()
}

// restart replaces the daemon by a new one over the same ledger.
func (w *world) restart(with ...settings) {
	w.Helper()
	w.node.stop()
	w.node = w.start(with...)
}

// wire takes a daemon's calls to the simulator without a socket.
type wire struct{ n *node }

var errBroken = errors.New("connection broken")

func (x wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w := x.n.w
	if x.n.dead.Load() {
		return nil, errBroken // its body was never read: it was not sent
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if see := x.n.calls.Load(); see != nil {
		(*see)(r, string(body))
	}
	if x.n.dead.Load() {
		return nil, errBroken
	}
	if r.Method == http.MethodPost {
		w.mu.Lock()
		p := post{time.Now(), r.Header.Get("Idempotency-Key"), r.URL.Path, string(body)}
		w.posts = append(w.posts, p)
		w.watch.Sent(p.key, p.path, p.body, p.at)
		w.mu.Unlock()
	}
	select {
	case res := <-w.sim.Carry(r, body):
		if res == nil {
			return nil, errBroken
		}
		if w.dumb.Load() {
			res.Header.Del("Date")
		}
		return res, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// hook takes Stripe's events to the daemons, as the webhook's handler does.
type hook struct{ w *world }

func (h hook) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	res := httptest.NewRecorder()
	h.w.mu.Lock()
	n := h.w.hears
	h.w.mu.Unlock()
	if n == nil || n.dead.Load() || n.system.Receive(r.Context(), []ledger.StripeEvent{event(h.w, body)}) != nil {
		res.Code = http.StatusServiceUnavailable
	}
	return res.Result(), nil
}

// event reads an event as package http does.
func event(t testing.TB, body []byte) ledger.StripeEvent {
	var e struct {
		ID         string `json:"id"`
		Type       string `json:"type"`
		Account    string `json:"account"`
		Livemode   bool   `json:"livemode"`
		APIVersion string `json:"api_version"`
		Created    int64  `json:"created"`
		Data       struct {
			Object struct {
				ID string `json:"id"`
			} `json:"object"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		t.Errorf("an event: %v", err)
	}
	return ledger.StripeEvent{ID: e.ID, Type: e.Type, Account: e.Account, Livemode: e.Livemode, APIVersion: e.APIVersion,
		Object: e.Data.Object.ID, Created: time.Unix(e.Created, 0), Payload: body}
}

// script makes something go wrong.
func (w *world) script(rules ...stripesim.Rule) {
	for _, r := range rules {
		if r.Path == "" {
			r.Path = "POST /v1/transfers$"
		}
		w.sim.Inject(r)
	}
}

// deaf ends the delivery of events: then nothing but answers and reads tell of Stripe.
func (w *world) deaf() { w.sim.SetWebhook("", "") }

// passes lets time pass.
func (w *world) passes(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// long says that a test lets weeks pass, with a commit or a sweep in each minute of them: the race
// detector, which has the same steps in the days of other tests, would take minutes for it.
func long(t *testing.T) {
	if racing {
		t.Skip("weeks pass: NOT TESTED under the race detector")
	}
}

// create orders n transfers.
func (w *world) create(n int) []ledger.ID {
	w.Helper()
	orders := make([]ledger.Order, n)
	for i := range orders {
		orders[i] = order(i)
	}
	return w.orders(orders...)
}

func (w *world) orders(orders ...ledger.Order) []ledger.ID {
	w.Helper()
	accepted, err := w.node.system.Create(context.Background(), orders, ledger.By{Principal: "test"})
	if err != nil {
		w.Fatal(err)
	}
	ids := make([]ledger.ID, len(accepted))
	for i, a := range accepted {
		if !a.Created {
			w.Fatalf("order %d was there already", i)
		}
		ids[i] = a.Transfer.ID
	}
	return ids
}

// one orders a single transfer of 1,000.
func (w *world) one() ledger.ID { w.Helper(); return w.create(1)[0] }

func (w *world) transfer(id ledger.ID) ledger.Transfer {
	w.Helper()
	records, err := w.db.Load(context.Background(), []ledger.ID{id})
	if err != nil || len(records) != 1 {
		w.Fatalf("%s: %d records, %v", id, len(records), err)
	}
	return records[0].Transfer
}

// becomes lets time pass, for days if need be, until the transfer is in one of the states.
func (w *world) becomes(id ledger.ID, states ...ledger.State) ledger.Transfer {
	w.Helper()
	return w.until(id, fmt.Sprintf("in %v", states), func(x ledger.Transfer) bool { return slices.Contains(states, x.Status()) })
}

// until lets time pass until the transfer is as wanted.
func (w *world) until(id ledger.ID, what string, wanted func(ledger.Transfer) bool) ledger.Transfer {
	w.Helper()
	for began := time.Now(); time.Since(began) < 5*24*time.Hour; {
		synctest.Wait()
		if x := w.transfer(id); wanted(x) {
			return x
		}
		time.Sleep(max(10*time.Millisecond, time.Since(began)/16))
	}
	w.Fatalf("%s never was %s:\n%s\n%+v", id, what, w.story(id), w.node.system.Live(context.Background(), id))
	return ledger.Transfer{}
}

// story tells a transfer's history, a word for each step: the event, and the row of the answer.
func (w *world) story(id ledger.ID) string {
	w.Helper()
	var words []string
	for _, h := range w.history(id) {
		word := string(h.Event)
		if h.Answer.Row != "" {
			word += " " + h.Answer.Row
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

func (w *world) history(id ledger.ID) []ledger.History {
	w.Helper()
	d, err := w.db.Dossier(context.Background(), id, 0)
	if err != nil {
		w.Fatal(err)
	}
	return d.History
}

// tells wants a transfer's story to be this one.
func (w *world) tells(id ledger.ID, want string) {
	w.Helper()
	if got := w.story(id); got != want {
		w.Errorf("the story is\n  %s\nand should be\n  %s", got, want)
	}
}

func (w *world) inject(id ledger.ID, m ledger.Message) (ledger.Record, error) {
	return w.node.inject(id, m)
}

func (n *node) inject(id ledger.ID, m ledger.Message) (ledger.Record, error) {
	if m.ID == (ledger.ID{}) {
		m.ID = uuid.Must(uuid.NewV7())
	}
	m.Transfer = id
	m.By = ledger.By{Message: m.ID, Principal: "test", Reason: "a test"}
	if m.Type == ledger.MessageReverse && m.Reference == "" {
		m.Reference = m.ID.String()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return n.system.Inject(ctx, m)
}

// says injects a message that must be taken.
func (w *world) says(id ledger.ID, m ledger.Message) ledger.Transfer {
	w.Helper()
	r, err := w.inject(id, m)
	if err != nil {
		w.Fatalf("%s: %v", m.Type, err)
	}
	return r.Transfer
}

// refuses injects a message that must be refused, and for this reason.
func (w *world) refuses(id ledger.ID, m ledger.Message, want error) {
	w.Helper()
	if _, err := w.inject(id, m); !errors.Is(err, want) {
		w.Errorf("%s: got %v, want %v", m.Type, err, want)
	}
}

// count sums a metric's samples over all daemons; pairs of labels select.
func (w *world) count(name string, labels ...string) (sum float64) {
	w.Helper()
	for _, n := range w.nodes {
		families, err := n.metrics.Gather()
		if err != nil {
			w.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() != "settled_"+name {
				continue
			}
			for _, m := range f.GetMetric() {
				matches := 0
				for _, l := range m.GetLabel() {
					for i := 0; i < len(labels); i += 2 {
						if l.GetName() == labels[i] && l.GetValue() == labels[i+1] {
							matches += 2
						}
					}
				}
				if matches == len(labels) {
					sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
	}
	return sum
}

// alarms wants exactly so many alarms of each kind, and none of any other.
func (w *world) alarms(want map[string]int) {
	w.Helper()
	total := 0
	for kind, n := range want {
		total += n
		if got := w.count("alarms_total", "kind", kind); got != float64(n) {
			w.Errorf("%v alarms of kind %s, want %d", got, kind, n)
		}
	}
	if got := w.count("alarms_total"); got != float64(total) {
		w.Errorf("%v alarms in all, want %d", got, total)
	}
}

// alarmsOfABadDay wants no alarm but those for which a Stripe that fails in every way gives reason: answers that
// nobody models or that contradict themselves, and the platform's own trouble. None is about the ledger.
func (w *world) alarmsOfABadDay() {
	w.Helper()
	total := w.count("alarms_total")
	for _, kind := range []string{"answer", "platform", "platform_funds", "waits_for_platform", "gave_up", "parked"} {
		total -= w.count("alarms_total", "kind", kind)
	}
	if total != 0 {
		w.Errorf("%v alarms that Stripe's faults do not explain", total)
	}
}

// sent counts the POSTs so far.
func (w *world) sent() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.posts)
}
