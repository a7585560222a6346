package everyn_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/db"
	"github.com/settled/settled/ledger"
)

// pace is how fast time passes in a life.
type pace struct {
	policy   ledger.Policy
	times    stripesim.Times
	timeout  time.Duration // of a call to Stripe
	cooldown time.Duration // after a 429
	sweep    time.Duration
	onItsWay time.Duration                            // of a request that is late: longer than its caller waits
	patience time.Duration                            // of whoever waits for something that must come
	glance   func(waited time.Duration) time.Duration // the pause before one looks again
}

// amounts of the one transfer, and of what comes back of it at first.
const (
	amount   = 1000
	returned = 300
)

// life is one transfer's, and the world that it is in: a ledger, a Stripe, a daemon over them,
// the client who orders it and the person on call.
type life struct {
	*testing.T
	pace     pace
	url      string
	log      *slog.Logger
	watch    *db.DB // whose statements are no points
	sim      *stripesim.Sim
	points   *points
	troubles []trouble // to come
	order    ledger.Order
	id       ledger.ID // once it is known

	mu      sync.Mutex
	daemons []*daemon // those that run; the first is in trouble
	turn    int       // whose turn it is to hear an event
	posts   map[string]post
	alarmed map[string]int // by daemons that are no more
}

// post is the first POST under a key.
type post struct {
	at         time.Time
	path, body string
}

// begin makes a world over a migrated, empty database.
func begin(t *testing.T, pace pace, url string, watch *db.DB, troubles []trouble) *life {
	l := &life{T: t, pace: pace, url: url, watch: watch, log: slog.New(slog.DiscardHandler), points: &points{}, troubles: troubles,
		posts: map[string]post{}, alarmed: map[string]int{}}
	if *tell {
		l.log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	l.sim = stripesim.New(stripesim.Config{
		Times: pace.times, PlatformBalance: map[string]int64{"eur": 0},
		WebhookURL: "http://settled.test/webhooks/stripe", HTTPClient: &http.Client{Transport: hook{l}},
	})
	l.order = ledger.Order{Reference: "order-1", Seller: "seller-1", Destination: "acct_seller1",
		Money: ledger.Money{Amount: amount, Currency: "eur"}, Description: "for a vase", Metadata: map[string]string{"vase": "blue"}}
	return l
}

// end ends the world.
func (l *life) end() {
	for _, d := range l.daemons {
		d.stop()
	}
	l.sim.Close()
}

// live takes the transfer through its life: refused at first, for want of money; paid; brought
// back in part; then the rest. Then the world must come to rest. All of its owners drive it, if
// there are several, and hear of the same messages.
func (l *life) live(owners int) {
	l.Helper()
	l.points.arm(l.troubles)
	l.owned(owners)
	l.submit()
	l.until("refused", func(x *ledger.Transfer) bool { return x.Status() == ledger.FailedState })
	l.fund()
	l.until("paid", func(x *ledger.Transfer) bool { return x.Status() == ledger.Completed })
	l.say(ledger.Message{Type: ledger.MessageReverse, Amount: returned})
	l.until("partly back", func(x *ledger.Transfer) bool { return x.Status() == ledger.PartiallyReversed })
	l.say(ledger.Message{Type: ledger.MessageReverse})
	l.until("all back", func(x *ledger.Transfer) bool { return x.Status() == ledger.Reversed })
	l.rest()
}

// pay is the beginning of a life, to where the transfer is paid, at once, by a daemon that runs.
func (l *life) pay() {
	l.Helper()
	l.fund()
	l.owned(1)
	l.wait("ready", func() bool { return l.first().system.Ready(context.Background()) == nil })
	l.rest()
	l.points.arm(l.troubles)
	l.submit()
	l.until("paid", func(x *ledger.Transfer) bool { return x.Status() == ledger.Completed })
	l.rest()
}

// owned starts so many daemons. The first is the one in trouble.
func (l *life) owned(n int) {
	l.Helper()
	for i := range n {
		p := l.points
		if i > 0 {
			p = &points{}
		}
		d := l.start(p)
		l.mu.Lock()
		l.daemons = append(l.daemons, d)
		l.mu.Unlock()
	}
}

// fund gives the platform what it is to pay.
func (l *life) fund() {
	l.Helper()
	l.control("balance", fmt.Sprintf(`{"currency": "eur", "available": %d}`, 10*amount))
}

// first is the daemon in trouble, started again if it has died.
func (l *life) first() *daemon {
	l.mu.Lock()
	d := l.daemons[0]
	l.mu.Unlock()
	if !d.isDead() {
		return d
	}
	d.crash()
	l.retire(d)
	d = l.start(l.points)
	l.mu.Lock()
	l.daemons[0] = d
	l.mu.Unlock()
	return d
}

// retire keeps what a daemon that has ended had to say.
func (l *life) retire(d *daemon) {
	for kind, n := range d.alarms() {
		l.alarmed[kind] += n
	}
}

// listener is the daemon that hears the next event; nil: none can be reached.
func (l *life) listener() *daemon {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.daemons) == 0 {
		return nil
	}
	l.turn++
	d := l.daemons[l.turn%len(l.daemons)]
	if d.isDead() {
		return nil
	}
	return d
}

// asks makes a client's request, again and again until it is answered. Whatever failed, the
// answer to a client may only be that it is to ask again: any other would be believed.
func (l *life) asks(what string, request func(ctx context.Context, d *daemon) error) {
	l.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), l.pace.patience)
	defer cancel()
	for began := time.Now(); ctx.Err() == nil; l.pause(ctx, time.Since(began)) {
		d := l.first()
		asking, hangUp := context.WithCancel(ctx)
		unhook := context.AfterFunc(deadOf(d), hangUp) // with its process, a connection breaks
		err := request(asking, d)
		unhook()
		hangUp()
		switch {
		case d.isDead(): // whatever it said, nobody heard it
		case err == nil:
			return
		case !errors.Is(err, ledger.ErrUnavailable):
			l.Errorf("%s was answered: %v", what, err)
		}
	}
	l.Fatalf("%s was never answered", what)
}

// deadOf is a context that ends with a process.
func deadOf(d *daemon) context.Context { return death{context.Background(), d.faults.Dead()} }

type death struct {
	context.Context
	done <-chan struct{}
}

func (c death) Done() <-chan struct{} { return c.done }

func (c death) Err() error {
	select {
	case <-c.done:
		return context.Canceled
	default:
		return nil
	}
}

// submit orders the transfer.
func (l *life) submit() {
	l.Helper()
	l.asks("the order", func(ctx context.Context, d *daemon) error {
		accepted, err := d.system.Create(ctx, []ledger.Order{l.order}, ledger.By{Principal: "shop"})
		if err != nil || d.isDead() {
			return err
		}
		if accepted[0].Conflict {
			l.Error("the order is said to be another one than it was")
		}
		l.id = accepted[0].Transfer.ID
		return nil
	})
	for _, d := range l.daemons[1:] { // they hear of it, and read the ledger
		m := ledger.Message{ID: uuid.Must(uuid.NewV7()), Transfer: l.id, Type: ledger.MessageRestart}
		m.By = ledger.By{Message: m.ID, Principal: "on call", Reason: "to own it as well"}
		if _, err := d.system.Inject(context.Background(), m); err != nil {
			l.Error(err)
		}
	}
}

// say sends a message: the same one, however often it is sent.
func (l *life) say(m ledger.Message) {
	l.Helper()
	m.ID, m.Transfer = uuid.Must(uuid.NewV7()), l.id
	if m.Type == ledger.MessageReverse {
		m.Reference = m.ID.String()
	}
	m.By = ledger.By{Message: m.ID, Principal: "finance", Reason: "a refund"}
	ctx, cancel := context.WithTimeout(context.Background(), l.pace.patience)
	defer cancel()
	var others sync.WaitGroup
	for _, d := range l.daemons[1:] {
		others.Go(func() {
			if _, err := d.system.Inject(ctx, m); err != nil {
				l.Errorf("the message was answered by another daemon: %v", err)
			}
		})
	}
	l.asks("the message", func(ctx context.Context, d *daemon) error {
		_, err := d.system.Inject(ctx, m)
		return err
	})
	others.Wait()
}

// until waits until the transfer is as wanted, while daemons die and are started again. What
// was parked is resolved.
func (l *life) until(what string, wanted func(*ledger.Transfer) bool) {
	l.Helper()
	var x *ledger.Transfer
	l.wait(what, func() bool {
		l.first()
		x = l.transfer()
		if x.Status() == ledger.PermanentlyFailed || x.Status() == ledger.Held || x.Status() == ledger.Canceled {
			l.Fatalf("it is %s:\n%s", x.Status(), l.story())
		}
		if op, kind := x.Current(); op != nil && op.State == ledger.Parked {
			l.resolve(op, kind)
		}
		return wanted(x)
	})
}

// wait waits for what must come.
func (l *life) wait(what string, come func() bool) {
	l.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), l.pace.patience)
	defer cancel()
	for began := time.Now(); !come(); l.pause(ctx, time.Since(began)) {
		if ctx.Err() != nil {
			l.Fatalf("it never was %s:\n%s", what, l.story())
		}
	}
}

// pause waits a moment.
func (l *life) pause(ctx context.Context, waited time.Duration) {
	timer := time.NewTimer(l.pace.glance(waited))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// resolve is what a person does who looks up at Stripe what is parked.
func (l *life) resolve(op *ledger.Operation, kind ledger.Kind) {
	m := ledger.Message{ID: uuid.Must(uuid.NewV7()), Transfer: l.id, Type: ledger.MessageResolve, Outcome: ledger.OutcomeFailed}
	m.By = ledger.By{Message: m.ID, Principal: "on call", Reason: "looked it up"}
	for _, t := range l.sim.Truth().Transfers {
		if kind == ledger.CreateTransfer && ledger.Names(t.Metadata, op.Name) {
			m.Outcome, m.StripeID = ledger.OutcomeCompleted, t.ID
		}
		for _, r := range t.Reversals {
			if ledger.Names(r.Metadata, op.Name) {
				m.Outcome, m.StripeID = ledger.OutcomeCompleted, r.ID
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.pace.timeout)
	defer cancel()
	l.first().system.Inject(ctx, m) // an error: it is still parked, and another round comes
}

// transfer reads the one transfer of the ledger.
func (l *life) transfer() *ledger.Transfer {
	l.Helper()
	records, err := l.watch.ByReference(context.Background(), []string{l.order.Reference})
	if err != nil || len(records) != 1 {
		l.Fatalf("%d transfers, %v", len(records), err)
	}
	if l.id != records[0].Transfer.ID {
		l.Fatalf("the transfer is %s, and was %s", records[0].Transfer.ID, l.id)
	}
	return &records[0].Transfer
}

// story tells the transfer's history, a line for each step.
func (l *life) story() string {
	ctx := context.Background()
	records, err := l.watch.ByReference(ctx, []string{l.order.Reference})
	if err != nil || len(records) != 1 {
		return fmt.Sprintf("%d transfers, %v", len(records), err)
	}
	d, err := l.watch.Dossier(ctx, records[0].Transfer.ID, 0)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, h := range d.History {
		fmt.Fprintf(&b, "  %d %s of %s %s: %s to %s, generation %d, %s %s %s\n", h.Version, h.Event, h.Kind, h.Subject, h.From, h.To,
			h.Generation, h.Answer.Row, h.Answer.Code, h.Detail)
	}
	return b.String()
}

// control changes the simulator's world.
func (l *life) control(name, body string) {
	l.Helper()
	rec := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "http://localhost/_sim/"+name, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	l.sim.Handler().ServeHTTP(rec, r)
	if rec.Code != http.StatusOK {
		l.Fatalf("%s: %s", name, rec.Body)
	}
}
