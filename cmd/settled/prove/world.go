package prove

import (
	"bytes"
	"context"
	sqldriver "database/sql/driver"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	nethttp "net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/db"
	"github.com/settled/settled/db/faulty"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// Secrets of a world: none of them may be seen outside.
const (
	secretKey     = "sk_test_canary_5c1e0b7a"
	webhookSecret = "whsec_canary_91d2c4e8"
	adminToken    = "token-canary-7f30aa12"
)

// world is one run: a database, a simulated Stripe, some daemons over both, a platform that
// asks for things, and somebody who looks after what the machine may not decide.
type world struct {
	conf   Config
	seed   uint64
	plan   plan
	driver *driver
	chance *chance
	db     *db.DB
	single single // the connection of db
	sim    *stripesim.Sim
	nodes  []*node // by slot; nil while there is none
	every  []*node // all that were ever started
	starts int
	log    *slog.Logger
	began  time.Time
	calm   atomic.Bool

	closing atomic.Bool // no daemon is started any more
	kills   atomic.Int64
	ids     atomic.Uint64

	failing int   // so many statements on, one fails; 0: none
	dying   *node // and this process dies at it

	parts sync.WaitGroup // what the world does beside its daemons

	mu         sync.Mutex
	watch      *audit.Watch
	herd       herd
	violations []audit.Violation
	faults     map[string]int
	orders     []*asked // as the plan has them
	charges    []string // likewise: their IDs at Stripe
	acked      map[string]bool
	commits    int // that daemons were told of
	losses     int // how often the database was put back
	posts      int
	rows       map[ledger.State]int // transfers at the end
	returned   int                  // and reversals
	looked     int                  // how often the operator acted

	foreign, outside int   // what was made and reversed in the dashboard
	walks            int64 // of the reconcilers
}

// asked is what became of an order of the plan.
type asked struct {
	id       ledger.ID
	accepted bool
	asked    map[string]bool    // reversals, by their keys
	granted  map[string]planned // and those that were taken
	forgone  bool               // it was lost, and is not asked for again
}

// troubled reports the first phase, in which anything fails. In the second everything must
// come to its end.
func (w *world) troubled() bool { return !w.calm.Load() }

// strikes draws a fault, and counts it.
func (w *world) strikes(kind string, p float64, about string) bool {
	if !w.chance.hits(p, kind+" "+about) {
		return false
	}
	w.mu.Lock()
	w.faults[kind]++
	w.mu.Unlock()
	return true
}

// met counts something worth seeing that was not drawn.
func (w *world) met(kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults[kind]++
}

// answered tells the watch what a daemon was answered, when it was Stripe itself that spoke.
func (w *world) answered(key string, res *nethttp.Response) error {
	if key == "" || res.StatusCode < 400 || res.StatusCode >= 500 || res.Header.Get("Request-Id") == "" {
		return nil
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	var e struct {
		Error struct{ Type, Code string } `json:"error"`
	}
	if json.Unmarshal(body, &e) == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.watch.Refused(key, res.StatusCode, e.Error.Type, e.Error.Code, time.Now())
	}
	return nil
}

// breaks reports a violation.
func (w *world) breaks(invariant int, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations = append(w.violations, audit.Violation{Invariant: invariant, Detail: fmt.Sprintf(format, args...)})
}

// committed, sent and made tell the watch.
func (w *world) committed(changes []ledger.Change, won []bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, c := range changes {
		if won[i] {
			w.watch.Committed(c, time.Now())
			w.herd.sees(&c)
		}
	}
}

func (w *world) told(m ledger.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watch.Told(m)
}

func (w *world) sent(key, path, body string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.posts++
	w.watch.Sent(key, path, body, time.Now())
}

func (w *world) arrived(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watch.Arrived(key, time.Now())
}

func (w *world) made(m stripesim.Made) {
	if id, err := ledger.ParseID(m.Metadata[ledger.MetaOperation]); err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.watch.Effect(id, m.Key, m.Reversal)
	}
}

func (w *world) acknowledged(event string, losses int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if losses == w.losses { // else it may have been stored before, and acknowledged after
		w.acked[event] = true
	}
}

// lossesYet tells how often the database was put back.
func (w *world) lossesYet() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.losses
}

// newID makes UUIDv7s of the seed's own.
func (w *world) newID() (id ledger.ID) {
	binary.BigEndian.PutUint64(id[:], uint64(time.Now().UnixMilli())<<16)
	binary.BigEndian.PutUint64(id[8:], newChance(w.seed^w.ids.Add(1)).bits())
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// bits draws 64 bits.
func (c *chance) bits() uint64 {
	return uint64(c.unit("bits")*(1<<32))<<32 | uint64(c.unit("bits")*(1<<32))
}

// turn waits until the driver lets somebody outside of the daemons go on: what they read then
// nothing else changes at the same time.
func (w *world) turn(name string) { w.driver.park(context.Background(), name) }

// background does something beside the daemons; the world ends after it.
func (w *world) background(do func()) { w.parts.Go(do) }

// gone takes a daemon that died or stops out of reach.
func (w *world) gone(n *node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.nodes[n.slot] == n {
		w.nodes[n.slot] = nil
	}
}

// live returns the daemons that run.
func (w *world) live() []*node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.nodes), func(n *node) bool { return n == nil })
}

// anyNode picks a daemon that lives, or nil.
func (w *world) anyNode(about string) *node {
	live := w.live()
	if len(live) == 0 {
		return nil
	}
	return live[w.chance.below(len(live), "node for "+about)]
}

// clock is the database's: off by a constant, and now and then by another one.
func (w *world) clock() time.Time {
	now, off := time.Now(), w.plan.BaseSkew
	if w.plan.SkewJumps && now.Sub(w.began)/time.Hour%3 == 1 {
		off = -off
	}
	return now.Add(off + w.off(false))
}

// open makes the world's database and its Stripe.
func (w *world) open() (err error) {
	ctx := context.Background()
	faults := faulty.New(w.statement)
	connector := func(real sqldriver.Connector) sqldriver.Connector { return faults.Connector(w.single.of(real)) }
	if w.db, err = db.Open(ctx, "sqlite::memory:", db.Options{Now: w.clock, Connector: connector}); err != nil {
		return err
	}
	if _, err = w.db.Migrate(ctx); err != nil {
		return err
	}
	if _, _, _, err = w.db.Epoch(ctx); err != nil {
		return err
	}
	if err = w.db.Bind(ctx, ledger.Binding{Account: ownAccount, Mode: ledger.TestMode}); err != nil {
		return err
	}
	windows := w.conf.Policy.Windows
	w.sim = stripesim.New(stripesim.Config{
		Seed: w.seed, Faults: w.plan.Faults, Now: func() time.Time { return time.Now().Add(w.plan.StripeSkew) },
		Times:      stripesim.Times{KeyLife: windows.KeyLife, LateMax: windows.Late, WireMax: windows.Wire, ListLag: windows.Lag},
		WebhookURL: "http://settled.test/webhooks/stripe", WebhookSecret: webhookSecret,
		PageMax:    w.plan.PageMax,
		AccountsV2: w.plan.AccountsV2, KeepReversals: w.plan.Kept > 0,
		HTTPClient: &nethttp.Client{Transport: hook{w}}, Made: w.made, Arrived: w.arrived,
	})
	if w.plan.Kept > 0 {
		w.sim.Inject(stripesim.Rule{Kind: stripesim.KindKept, Path: "POST /v1/transfers/", Times: w.plan.Kept})
	}
	w.breakStripe()
	w.hideLists()
	return w.sell()
}

// story is what happens in a world, from its first daemon to its last.
func (w *world) story() {
	defer w.driver.finish()
	for slot := range w.plan.Nodes {
		if _, err := w.start(slot); err != nil {
			w.breaks(18, "a daemon does not start: %v", err)
			return
		}
	}
	w.traffic()
	w.meddle()
	w.weather()
	w.misfortunes()
	w.clocksGoWrong()
	w.intrude()
	w.lose()
	time.Sleep(w.plan.Troubled)
	w.turn("faults end")
	w.calm.Store(true)
	w.sim.SetFaults(stripesim.None)
	w.parts.Wait()
	w.settle()
	w.reconcile()
	w.rest()
	w.audit()
	w.herds()
	w.again()
	w.close()
}

// misfortunes ends processes at random moments, by power cut or by order.
func (w *world) misfortunes() {
	strike := func(kind string, i int, do func(*node)) {
		at := w.chance.within(w.plan.Troubled, fmt.Sprintf("%s %d", kind, i))
		w.background(func() {
			time.Sleep(at)
			w.turn(fmt.Sprintf("%s %d", kind, i))
			if n := w.anyNode(kind); n != nil {
				w.driver.note(kind + " " + n.name)
				do(n)
			}
		})
	}
	for i := range w.plan.Kills {
		strike("kill", i, func(n *node) { n.die("of a power cut") })
	}
	for i := range w.plan.Stops {
		strike("stop", i, func(n *node) {
			if n.dead.Load() || n.leaving.Load() {
				return
			}
			n.stop()
			w.revive(n.slot, w.chance.within(time.Hour, "revive after "+n.name))
		})
	}
}

// patience is how long after the last fault everything must have come to its end: a transfer
// may have to be tried for days before the machine gives up, and rest for QUIET in between.
const patience = 30 * 24 * time.Hour

// settle waits until nothing is left to be done, and looks after what is parked.
func (w *world) settle() {
	ctx := context.Background()
	for began := time.Now(); ; time.Sleep(30 * time.Minute) {
		w.turn("somebody looks")
		w.operate()
		left, err := w.left(ctx)
		switch {
		case err != nil:
			w.breaks(18, "the database cannot be read: %v", err)
			return
		case left == "":
			return
		case time.Since(began) > patience:
			w.breaks(18, "%s after the last fault there is still: %s", patience, left)
			return
		}
	}
}

// rest waits until every actor has found out that there is nothing to be done: of a transfer
// that another daemon brought to its end it may be waiting for QUIET.
func (w *world) rest() {
	time.Sleep(time.Minute) // who has just answered is still putting things away
	w.turn("somebody counts the actors")
	for began := time.Now(); time.Since(began) < 3*w.conf.Policy.Windows.Quiet && w.actors() > 0; w.turn("somebody counts the actors") {
		time.Sleep(time.Hour)
	}
}

// actors counts the transfers' actors that are alive.
func (w *world) actors() (alive float64) {
	for _, n := range w.live() {
		alive += n.gauge("settled_actors_alive")
	}
	return alive
}

// left says what is still to be done.
func (w *world) left(ctx context.Context) (string, error) {
	counts, err := w.db.Counts(ctx)
	if err != nil {
		return "", err
	}
	var total int64
	for _, c := range counts {
		if !ended(c.Status) {
			return fmt.Sprintf("%d %s", c.Number, c.Status), nil
		}
		total += c.Number
	}
	w.mu.Lock()
	live := !slices.Contains(w.nodes, nil)
	w.mu.Unlock()
	forgone, awaited := w.missing()
	switch pending := w.sim.Truth().Pending; {
	case w.lost() && awaited > 0:
		return fmt.Sprintf("%d of %d orders, %d of which nobody awaits", awaited, len(w.plan.orders), forgone), nil
	case !w.lost() && total < int64(len(w.plan.orders)):
		return fmt.Sprintf("%d of %d orders", len(w.plan.orders)-int(total), len(w.plan.orders)), nil
	case pending > 0:
		return fmt.Sprintf("%d effects to come at Stripe", pending), nil
	case !live:
		return "a daemon that does not run", nil
	}
	events, err := w.db.UnhandledEvents(ctx, "", 1)
	if err == nil && len(events) > 0 {
		return "event " + events[0].ID + " is not handled", nil
	}
	return "", err
}

// ended reports the states in which nothing more happens by itself, nor should.
func ended(s ledger.State) bool {
	switch s {
	case ledger.Completed, ledger.Reversed, ledger.PartiallyReversed, ledger.Canceled, ledger.PermanentlyFailed:
		return true
	}
	return false
}

func eventID(body []byte) string {
	var e struct {
		ID string `json:"id"`
	}
	json.Unmarshal(body, &e)
	return e.ID
}

// close ends the daemons and the simulator.
func (w *world) close() {
	w.closing.Store(true)
	for _, n := range w.live() {
		w.turn("end " + n.name)
		n.stop()
	}
	w.parts.Wait()
	w.sim.Close()
	w.db.Close()
	time.Sleep(2 * time.Minute) // late timers of what has ended, and the actor library's throttle of its log
}
