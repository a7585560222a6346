package ledger_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	. "github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
	"pgregory.net/rapid"
)

// A model of the world around one transfer, to walk at random: several owners at once, each
// doing one step at a time from a copy of the row that may be stale; a network that delays,
// loses and outlives; a Stripe that stores, replays and forgets; webhooks; people; a database
// that loses its newest commit. It asks of the ledger what transfer.pml proved of the
// protocol, at every step.
//
//	S1  no operation happens twice at Stripe
//	S2  what the ledger says Stripe holds, Stripe holds, as it was asked for
//	S3  what the ledger says moved no money, moved none, and never will
//
// and besides, at every commit: one version, one row, a balanced entry, books that agree with
// the states; no send without its durable intent; one request per key.

// chance decides what happens next: a property's draws, or a seeded generator's.
type chance func(n int, label string) int

// mutant breaks one rule of the protocol in the world around the ledger.
type mutant struct {
	name       string
	key        func(w *world, r Request) string // instead of the derived key
	unguarded  bool                             // a write does not look at the version
	impatient  bool                             // absence is taken for proof before QUIET
	hasty      bool                             // a 429 closes the generation whatever else is open
	forever    bool                             // a key is sent however old it is
	unlogged   bool                             // the send leaves before its intent is durable
	optimistic bool                             // a server error is taken for a refusal
	trusting   bool                             // the new epoch is not waited for
}

type flight struct { // a request in the network
	r        Request
	key      string
	op       ID
	epoch    int
	gen      int
	dialled  time.Time
	owner    *owner // nil: nobody listens any more
	executed bool   // its answer is on the way back
	answer   Answer
}

type stored struct { // what Stripe's idempotency layer keeps
	at     time.Time
	hash   string
	answer Answer
}

type effect struct { // of a server error, still to come
	r  Request
	by time.Time
}

type thing struct { // what Stripe holds
	id      string
	op      string // the operation that its metadata names; empty: another's
	amount  int64
	visible time.Time // in lists
}

const (
	reading = iota
	planning
	dialling
	waiting
	booking
	concluding
)

type owner struct {
	phase   int
	x       Transfer
	d       Digest
	looked  time.Time
	due     Step
	mine    *flight
	answer  Answer
	settled bool // the answer's hint was followed
	seen    []thing
	seenAt  time.Time
}

type world struct {
	chance
	mutant
	p     Policy
	now   time.Time
	x     Transfer
	rows  []History
	books Books

	before      *snapshot // what one lost commit leads back to
	rolled      bool
	intents     map[string]string // key → hash, of what is or was durable
	net         []*flight
	kept        map[string]stored
	late        []effect
	transfers   []thing
	reversals   []thing
	owners      []*owner
	calm        bool // nothing fails any more
	serial      int
	reversalNo  int
	deliveries  int
	interesting map[string]int
	wrong       string
}

type snapshot struct {
	x     Transfer
	rows  []History
	books Books
}

func newWorld(c chance, m mutant) *world {
	w := &world{chance: c, mutant: m, p: policy(), now: dawn, books: Books{}, intents: map[string]string{}, kept: map[string]stored{},
		interesting: map[string]int{}}
	if w.chance(6, "policy") == 0 {
		w.p.Unresolved = ParkAlways
	}
	w.commit(Accept(order(), id(1), 0, w.now, By{}), nil)
	for range 2 + w.chance(2, "owners") {
		w.owners = append(w.owners, &owner{})
	}
	return w
}

func (w *world) fail(format string, args ...any) {
	if w.wrong == "" {
		w.wrong = fmt.Sprintf(format, args...)
	}
}

func (w *world) once(in int, label string) bool { return !w.calm && w.chance(in, label) == 0 }

// commit is the database: a guarded write of the whole change.
func (w *world) commit(c Change, err error) bool {
	if err != nil {
		return false
	}
	stale := c.After.Version != w.x.Version+1
	if stale && !w.unguarded {
		return false
	}
	before := &snapshot{w.x, w.rows, maps.Clone(w.books)}
	c.Stamp(w.now)
	if !stale {
		for _, f := range flaws(w.x, c, w.rows, w.books) {
			w.fail("version %d, %s: %s", c.After.Version, c.History.Event, f)
		}
		w.checkGenerations(c)
	}
	w.x, w.rows, w.before = c.After, append(w.rows[:len(w.rows):len(w.rows)], c.History), before
	if c.History.Event == EventSend {
		op := c.Subject()
		w.intents[Key(op.ID, op.Epoch, op.Generation)] = op.RequestHash
	}
	w.interesting[string(c.History.Event)]++
	if c.History.Event == EventConfirm && !c.History.From.Open() {
		w.interesting["caught up"]++
	}
	w.check()
	return true
}

// checkGenerations holds a step to rule 6: a generation grows by one, when none of it is open,
// and its time is written once.
func (w *world) checkGenerations(c Change) {
	now := c.Subject()
	for _, op := range append([]*Operation{&w.x.Operation}, operations(&w.x)...) {
		if op.ID != now.ID {
			continue
		}
		switch {
		case now.Generation == op.Generation && now.Epoch == op.Epoch && !op.FirstSentAt.IsZero() && !now.FirstSentAt.IsZero() && !now.FirstSentAt.Equal(op.FirstSentAt):
			w.fail("the first send of generation %d moved from %s to %s", op.Generation, op.FirstSentAt, now.FirstSentAt)
		case now.Generation > op.Generation && (now.Generation != op.Generation+1 || op.State.Open() || op.OpenSends != 0):
			w.fail("generation %d follows %d in %s with %d open", now.Generation, op.Generation, op.State, op.OpenSends)
		case now.Generation > op.Generation && !now.FirstSentAt.Equal(w.now):
			w.fail("generation %d has no time of its own", now.Generation)
		}
	}
	h := c.History
	table := leavesTo
	if h.Kind == MakeReversal {
		table = reversalLeavesTo
	}
	if h.From != "" && h.From != h.To && !slices.Contains(table[h.From], h.To) && !(w.rolled && h.Event == EventConfirm) {
		w.fail("%s led from %s to %s", h.Event, h.From, h.To)
	}
}

func operations(x *Transfer) (all []*Operation) {
	for i := range x.Reversals {
		all = append(all, &x.Reversals[i].Operation)
	}
	return all
}

// check is S1 to S3.
func (w *world) check() {
	count := map[string]int{}
	for _, th := range append(w.transfers[:len(w.transfers):len(w.transfers)], w.reversals...) {
		if th.op != "" {
			count[th.op]++
		}
		if count[th.op] > 1 {
			w.fail("S1: %s happened twice", th.op)
		}
	}
	w.checkOne(&w.x.Operation, w.x.Money.Amount, w.transfers)
	var back int64
	for i := range w.x.Reversals {
		r := &w.x.Reversals[i]
		w.checkOne(&r.Operation, r.Amount, w.reversals)
		if r.State == Completed {
			back += r.Amount
		}
	}
	if back != w.x.AmountReversed || back > w.x.Money.Amount {
		w.fail("%d of %d came back, and the row says %d", back, w.x.Money.Amount, w.x.AmountReversed)
	}
}

func (w *world) checkOne(op *Operation, amount int64, held []thing) {
	var one *thing
	for i := range held {
		if held[i].op == op.ID.String() || op.StripeID != "" && held[i].id == op.StripeID {
			one = &held[i]
		}
	}
	switch {
	case op.StripeID != "":
		if one == nil || one.id != op.StripeID || one.amount != amount {
			w.fail("S2: the ledger says that %s is %s, and Stripe holds %+v", op.ID, op.StripeID, one)
		}
	case op.State.Open():
	case op.Epoch < w.p.Epoch && (op.State == Pending || op.State == FailedState || op.State == Held):
		// The database lost commits: it claims nothing before it was looked up.
	case one != nil:
		w.fail("S3: %s is %s, and Stripe holds %s", op.ID, op.State, one.id)
	default:
		for _, f := range w.net {
			if k, sealed := w.kept[f.key]; f.op == op.ID && !f.executed && !(sealed && k.answer.Verdict == Failed && f.dialled.Add(w.p.Windows.Wire).Before(k.at.Add(w.p.Windows.KeyLife))) {
				w.fail("S3: %s is %s, and a request of it is under way", op.ID, op.State)
			}
		}
		for _, e := range w.late {
			if e.r.Operation == op.ID {
				w.fail("S3: %s is %s, and an effect of it is to come", op.ID, op.State)
			}
		}
	}
}

// step lets one thing happen.
func (w *world) step() {
	switch n := w.chance(24, "step"); {
	case n < 12:
		w.drive(w.owners[w.chance(len(w.owners), "owner")])
	case n < 16:
		w.deliver()
	case n < 17:
		w.answerLost()
	case n < 19:
		w.tick(w.nap())
	case n < 20:
		if w.once(3, "crash") {
			o := w.owners[w.chance(len(w.owners), "crashed")]
			w.abandon(o)
			*o = owner{}
		}
	case n < 21:
		w.tell()
	case n < 22:
		w.takeEffect()
	case n < 23:
		w.interfere()
	default:
		if !w.rolled && w.once(12, "rollback") {
			w.rollback()
		}
	}
	w.check()
}

func (w *world) nap() time.Duration {
	wins := w.p.Windows
	naps := []time.Duration{time.Second, time.Minute, 20 * time.Minute, time.Hour, 3 * time.Hour, wins.Late, wins.Quiet}
	d := naps[w.chance(len(naps), "nap")]
	if op, _ := w.x.Current(); op != nil && !op.FirstSentAt.IsZero() && w.chance(3, "to an edge") == 0 {
		// The edges of the protocol are where it could be off by one.
		edges := []time.Time{op.FirstSentAt.Add(wins.Safe), op.FirstSentAt.Add(wins.Quiet), w.p.EpochSince.Add(wins.Quiet)}
		edge := edges[w.chance(len(edges), "edge")].Add(time.Duration(w.chance(3, "side") - 1))
		if edge.After(w.now) {
			d = edge.Sub(w.now)
		}
	}
	return d
}

// tick lets time pass, and on the way whatever its bounds make inevitable: a request arrives
// at most WIRE after it was dialled, an effect LATE after its error.
func (w *world) tick(d time.Duration) {
	until := w.now.Add(d)
	for w.wrong == "" {
		next, what := until, func() {}
		for _, f := range w.net {
			if by := f.dialled.Add(w.p.Windows.Wire); !f.executed && by.Before(next) {
				next, what = by, func() { w.arrive(f) }
			}
		}
		for i, e := range w.late {
			if e.by.Before(next) {
				next, what = e.by, func() { w.realise(i) }
			}
		}
		if next.After(w.now) {
			w.now = next
		}
		if !next.Before(until) {
			return
		}
		what()
		w.check()
	}
}

// drive lets an owner take its next step.
func (w *world) drive(o *owner) {
	switch o.phase {
	case reading:
		o.x = w.x
		o.d = Digest{}
		if op, _ := o.x.Current(); op != nil {
			o.d = NewDigest(w.rows, op.ID)
		}
		o.phase = planning
	case planning:
		o.phase = reading
		w.follow(o)
	case dialling:
		w.dial(o)
	case waiting:
		if f := o.mine; f.executed {
			o.answer, o.phase = f.answer, booking
			w.net = slices.DeleteFunc(w.net, func(g *flight) bool { return g == f })
			o.x = w.x
		} else if w.once(4, "time-out") {
			o.answer, o.phase = timedOut, booking
			f.owner = nil
			o.x = w.x
		}
	case booking:
		w.book(o)
	case concluding:
		o.phase = reading
		w.conclude(o)
	}
}

func (w *world) follow(o *owner) {
	step := Plan(&o.x, o.d, w.p, w.now, o.looked)
	if step.At.After(w.now) && !(step.Action == Send && w.once(3, "woken early")) {
		return
	}
	switch step.Action {
	case Send:
		c, err := o.x.Begin(w.p, w.now)
		if w.trusting && errors.Is(err, ErrTooOld) {
			c, err = o.x.Begin(Policy{Windows: w.p.Windows, Epoch: o.x.Epoch}, w.now)
		}
		if err != nil && !errors.Is(err, ErrTooOld) {
			w.fail("the plan asked for a send that is refused: %v", err)
		}
		if err != nil || !w.unlogged && !w.commit(c, nil) {
			return
		}
		op := c.Subject()
		r := c.After.Request(op)
		o.mine = &flight{r: r, key: r.Key, op: op.ID, epoch: op.Epoch, gen: op.Generation, owner: o}
		if w.key != nil {
			o.mine.key = w.key(w, r)
		}
		o.x, o.phase = c.After, dialling
		if w.unlogged {
			w.commit(c, nil)
		}
	case Look:
		o.due, o.seenAt = step, w.now
		o.seen = w.look(&o.x)
		o.phase = concluding
	case NoteLost:
		w.commit(o.x.Lost("cut off"))
	case GiveUp:
		w.commit(o.x.GiveUp(step.Code, step.Why))
	case Release:
		w.commit(o.x.Release(By{}))
	}
}

// look lists Stripe: what is younger than LAG may not be in it yet.
func (w *world) look(x *Transfer) (found []thing) {
	held := w.transfers
	if x.StripeID != "" {
		held = w.reversals
	}
	for _, th := range held {
		if !th.visible.After(w.now) {
			found = append(found, th)
		}
	}
	return found
}

func (w *world) conclude(o *owner) {
	op, _ := o.x.Current()
	for _, th := range o.seen {
		if th.op == op.ID.String() {
			c, changed, err := o.x.Found(op.ID, th.id, "listed")
			if err != nil {
				w.fail("what was found cannot be taken in: %v", err)
			}
			if changed {
				w.commit(c, err)
			}
			return
		}
	}
	o.looked = w.now
	p := w.p
	if w.impatient {
		p.Windows.Quiet = time.Minute
		o.due.Decides = true
	}
	if !o.due.Decides && !op.State.Open() {
		return
	}
	// Of an open operation the owner claims absence even when the plan's read was not to
	// decide: it is the ledger that must know that it is too early.
	var c Change
	var err error
	if op.State.Open() {
		c, err = o.x.Absent(p, o.d.Doubtful && !w.optimistic, o.seenAt)
	} else {
		c, err = o.x.RenewEpoch(p, o.seenAt)
	}
	if err != nil && !errors.Is(err, ErrTooEarly) {
		w.fail("the plan asked for a conclusion that is refused: %v", err)
	}
	w.commit(c, err)
}

// dial is the last check of freshness, by a clock that may be off, and the send.
func (w *world) dial(o *owner) {
	f := o.mine
	op := f.operation(&o.x)
	skew := time.Duration(w.chance(3, "skew")-1) * w.p.Windows.Skew
	if age := w.now.Add(skew).Sub(op.FirstSentAt); !w.forever && age >= w.p.Windows.Safe {
		o.answer, o.phase, o.x = Answer{Row: "T26", Verdict: NotExecuted, Code: "too_old"}, booking, w.x
		return
	}
	if hash, durable := w.intents[f.r.Key]; !durable || hash != f.r.Hash() {
		w.fail("5: %s leaves without a durable intent that matches it", f.r.Key)
	}
	f.dialled, o.phase = w.now, waiting
	w.net = append(w.net, f)
}

func (f *flight) operation(x *Transfer) *Operation {
	if x.ID == f.op {
		return &x.Operation
	}
	for _, op := range operations(x) {
		if op.ID == f.op {
			return op
		}
	}
	panic("no such operation")
}

// book concludes an answer, against the row as it is by then.
func (w *world) book(o *owner) {
	f, a := o.mine, o.answer
	if w.rolled && f.operationOrNil(&o.x) == nil { // the reversal itself was lost
		o.phase = reading
		return
	}
	if f.r.Kind == MakeReversal && a.Reaction == LookFirst && a.Verdict == Failed && !o.settled {
		o.settled = true
		if op, _ := o.x.Current(); op != nil && op.ID == f.op {
			c, changed, err := o.x.Reconcile(w.stripeTransfer(), a)
			if err != nil {
				w.fail("reconcile: %v", err)
			}
			if changed {
				w.interesting["reconcile"]++
				if w.commit(c, err) && c.History.Event != EventAdopt {
					o.phase, o.settled = reading, false
					return
				}
				o.x = w.x
			}
		}
	}
	if w.hasty && a.Verdict == NotExecuted {
		a.Verdict, a.Replayed = Failed, true
	}
	if w.optimistic && a.ServerError() {
		a.Verdict, a.Replayed = Failed, true
	}
	c, changed, err := o.x.Conclude(f.op, f.epoch, f.gen, a)
	switch {
	case errors.Is(err, ErrConflict):
		w.fail("a conflict: %v", err)
	case err != nil:
		w.fail("an answer cannot be taken in: %v", err)
	case changed && !w.commit(c, nil):
		o.x = w.x // stale: the evidence is weighed against what the ledger says now
		return
	}
	o.phase, o.settled = reading, false
}

func (f *flight) operationOrNil(x *Transfer) *Operation {
	if x.ID != f.op && !slices.ContainsFunc(x.Reversals, func(r Reversal) bool { return r.ID == f.op }) {
		return nil
	}
	return f.operation(x)
}

// deliver lets a request arrive, in any order.
func (w *world) deliver() {
	var open []*flight
	for _, f := range w.net {
		if !f.executed {
			open = append(open, f)
		}
	}
	if len(open) == 0 {
		return
	}
	f := open[w.chance(len(open), "arrives")]
	if w.once(8, "request lost") {
		w.drop(f)
		return
	}
	w.arrive(f)
}

func (w *world) drop(f *flight) {
	w.net = slices.DeleteFunc(w.net, func(g *flight) bool { return g == f })
	if f.owner != nil {
		f.executed, f.answer = true, timedOut
		w.net = append(w.net, f)
	}
}

func (w *world) answerLost() {
	for _, f := range w.net {
		if f.executed && f.owner != nil && f.answer.Row != "T25" && w.once(2, "answer lost") {
			f.answer = timedOut
			return
		}
	}
}

// arrive executes a request at Stripe and sends its answer on its way.
func (w *world) arrive(f *flight) {
	w.deliveries++
	a := w.execute(f)
	f.executed, f.answer = true, a
	if f.owner == nil {
		w.net = slices.DeleteFunc(w.net, func(g *flight) bool { return g == f })
	}
}

func (w *world) execute(f *flight) Answer {
	hash := f.r.Hash()
	if w.once(8, "turned away") {
		return []Answer{rateLimited, {Row: "T14", Verdict: NotExecuted, HTTPStatus: 401, Scope: ScopeAuth}, {Row: "T11", Verdict: Unknown, HTTPStatus: 409, Code: "idempotency_key_in_use"},
			{Row: "T22", Verdict: Unknown, HTTPStatus: 503}, {Row: "T9", Verdict: Failed, HTTPStatus: 400, Code: "parameter"}}[w.chance(5, "by what")]
	}
	if k, known := w.kept[f.key]; known && w.now.Before(k.at.Add(w.p.Windows.KeyLife)) {
		if k.hash != hash {
			w.fail("6: key %s is used for another request", f.key)
			return otherRequest
		}
		a := k.answer
		a.Replayed = true
		return a
	}
	keep := func(a Answer) Answer {
		w.kept[f.key] = stored{w.now, hash, a}
		return a
	}
	rest := w.rest()
	if f.r.Kind == MakeReversal && f.r.Amount > rest {
		return keep(reversedAll)
	}
	switch n := w.chance(8, "executed"); {
	case w.calm || n < 4:
		return keep(w.make(f.r))
	case n == 4:
		return keep(refused)
	case n == 5: // a server error without an effect
		return keep(serverError)
	case n == 6: // with one
		w.make(f.r)
		return keep(serverError)
	default: // with one to come
		w.late = append(w.late, effect{f.r, w.now.Add(w.p.Windows.Late)})
		return keep(serverError)
	}
}

// rest is what may still be reversed at Stripe, less what errors may yet roll forward.
func (w *world) rest() int64 {
	rest := int64(0)
	for _, th := range w.transfers {
		rest += th.amount
	}
	for _, th := range w.reversals {
		rest -= th.amount
	}
	for _, e := range w.late {
		if e.r.Kind == MakeReversal {
			rest -= e.r.Amount
		}
	}
	return rest
}

func (w *world) make(r Request) Answer {
	w.serial++
	th := thing{op: r.Metadata[MetaOperation], amount: r.Amount, visible: w.now.Add(time.Duration(w.chance(2, "lag")) * w.p.Windows.Lag)}
	if r.Kind == CreateTransfer {
		th.id = fmt.Sprintf("tr_%d", w.serial)
		w.transfers = append(w.transfers, th)
	} else {
		th.id = fmt.Sprintf("trr_%d", w.serial)
		w.reversals = append(w.reversals, th)
	}
	return made(th.id)
}

func (w *world) takeEffect() {
	if len(w.late) > 0 {
		w.realise(w.chance(len(w.late), "effect"))
	}
}

func (w *world) realise(i int) {
	e := w.late[i]
	w.late = slices.Delete(w.late, i, i+1)
	w.make(e.r)
	w.interesting["late effect"]++
}

// tell is a webhook: an event about an object, twice or never, followed by a read of it.
func (w *world) tell() {
	all := append(w.transfers[:len(w.transfers):len(w.transfers)], w.reversals...)
	if len(all) == 0 {
		return
	}
	th := all[w.chance(len(all), "event")]
	op, _ := w.x.Current()
	if op == nil || th.op != op.ID.String() {
		return
	}
	c, changed, err := w.x.Found(op.ID, th.id, "event")
	if err != nil {
		w.fail("an event cannot be taken in: %v", err)
	}
	if changed {
		w.commit(c, err)
	}
}

func (w *world) stripeTransfer() StripeTransfer {
	x := StripeTransfer{ID: w.x.StripeID, Amount: 1000, Currency: "eur", Destination: "acct_1"}
	for _, th := range w.reversals {
		r := StripeReversal{ID: th.id, Amount: th.amount}
		if th.op != "" {
			r.Metadata = map[string]string{MetaOperation: th.op}
		}
		x.AmountReversed += th.amount
		if !th.visible.After(w.now) { // the list may lag behind the amount
			x.Reversals = append([]StripeReversal{r}, x.Reversals...)
		}
	}
	return x
}

// interfere is people: at the desk, and in Stripe's dashboard.
func (w *world) interfere() {
	op, _ := w.x.Current()
	if op != nil && op.Epoch < w.p.Epoch {
		return // nothing is decided by hand before it was looked up
	}
	by := By{Principal: "ops", Reason: "model"}
	switch w.chance(9, "people") {
	case 0:
		if w.x.State == Completed || w.x.State == PartiallyReversed || w.x.State == ReversalPending || w.x.State == PermanentlyFailed {
			w.reverse(int64(w.chance(6, "amount") * 200))
		}
	case 1:
		w.reverse(0)
	case 2:
		w.commit(w.x.Retry(by))
	case 3:
		w.commit(w.x.Hold(HeldByOperator, time.Time{}, by))
	case 4, 5:
		w.commit(w.x.Release(by))
	case 6:
		if w.once(4, "cancel") {
			w.commit(w.x.Cancel(by))
		}
	case 7: // a person looks at Stripe, does not find it, and says so
		if op == nil || slices.ContainsFunc(w.look(&w.x), func(th thing) bool { return th.op == op.ID.String() }) {
			return
		}
		if w.x.CheckResolve(w.p, w.now) == nil && !w.doubted(op) {
			w.commit(w.x.ResolveAbsent(w.p, w.now, by))
		}
	case 8: // somebody reverses in the dashboard
		if rest := w.rest(); rest > 0 && len(w.transfers) == 1 && w.once(2, "dashboard") {
			w.serial++
			n := min(rest, int64(1+w.chance(5, "outside"))*200)
			w.reversals = append(w.reversals, thing{id: fmt.Sprintf("trr_%d", w.serial), amount: n, visible: w.now})
		}
	}
}

// doubted reports an operation that Stripe may yet roll forward; the model's person knows.
func (w *world) doubted(op *Operation) bool {
	return slices.ContainsFunc(w.late, func(e effect) bool { return e.r.Operation == op.ID })
}

func (w *world) reverse(amount int64) {
	w.reversalNo++
	w.commit(w.x.Reverse(id(uint64(100+w.reversalNo)), amount, w.p.Epoch, By{Principal: "ops", Reason: "model"}))
}

// abandon leaves an owner's request to the network.
func (w *world) abandon(o *owner) {
	for _, f := range slices.Clone(w.net) {
		if f.owner == o {
			f.owner = nil
			if f.executed {
				w.net = slices.DeleteFunc(w.net, func(g *flight) bool { return g == f })
			}
		}
	}
}

// rollback has the database lose its newest commit. Every process that was connected to it
// reads it anew, under a new epoch.
func (w *world) rollback() {
	if w.before == nil || w.before.x.Version == 0 {
		return
	}
	w.rolled = true
	w.interesting["rollback"]++
	w.x, w.rows, w.books = w.before.x, w.before.rows, w.before.books
	if !w.trusting {
		w.p.Epoch, w.p.EpochSince = w.p.Epoch+1, w.now
	}
	w.before = nil
	for _, o := range w.owners {
		w.abandon(o)
		*o = owner{}
	}
}

// rest state: nothing that the machine does by itself is left.
func (w *world) quiet() bool {
	op, _ := w.x.Current()
	if len(w.net) > 0 || len(w.late) > 0 {
		return false
	}
	d := Digest{}
	if op != nil {
		d = NewDigest(w.rows, op.ID)
	}
	a := Plan(&w.x, d, w.p, w.now, time.Time{}).Action
	return a == Rest || a == Idle
}

// finish stops all faults and lets a single owner go on: whatever happened must come to rest.
func (w *world) finish() {
	w.calm = true
	for _, o := range w.owners {
		w.abandon(o)
		*o = owner{}
	}
	for i := 0; !w.quiet() && w.wrong == ""; i++ {
		if i == 3000 {
			w.fail("18: it never comes to rest: %s", w.x.State)
			return
		}
		w.drive(w.owners[0])
		w.deliver()
		if i%6 == 5 {
			w.tick(10 * time.Minute)
		}
		w.check()
	}
	w.tick(w.p.Windows.Quiet) // events that come late
	w.tellAll()
	for !w.quiet() && w.wrong == "" {
		w.drive(w.owners[0])
		w.deliver()
		w.tick(10 * time.Minute)
	}
	if s := w.x.State; w.wrong == "" && (s == Sending || s == Unresolved || s == Pending) {
		w.fail("18: it rests in %s", s)
	}
	w.audit()
}

func (w *world) tellAll() {
	for range len(w.transfers) + len(w.reversals) {
		for _, th := range append(w.transfers[:len(w.transfers):len(w.transfers)], w.reversals...) {
			op, _ := w.x.Current()
			if op != nil && th.op == op.ID.String() {
				if c, changed, err := w.x.Found(op.ID, th.id, "event"); changed {
					w.commit(c, err)
				} else if err != nil {
					w.fail("an event cannot be taken in: %v", err)
				}
			}
		}
	}
}

// audit has the auditor, which shares nothing with the ledger but its words, agree.
func (w *world) audit() {
	if w.wrong != "" {
		return
	}
	a := audit.New()
	for _, th := range w.transfers {
		x := w.stripeTransfer()
		x.Reversals = nil
		for _, th := range w.reversals {
			r := StripeReversal{ID: th.id, Amount: th.amount}
			if th.op != "" {
				r.Metadata = map[string]string{MetaOperation: th.op}
			}
			x.Reversals = append(x.Reversals, r)
		}
		x.ID, x.Metadata = th.id, map[string]string{MetaOperation: th.op}
		a.Stripe(x)
	}
	a.Ledger(AuditRow{Transfer: w.x, Books: w.books, Versions: int64(len(w.rows)), LastStatus: w.rows[len(w.rows)-1].Status})
	for _, d := range a.Report().Differences {
		// What others reversed and no answer hinted at is a difference by design.
		if d.Class != audit.ReversedOutside {
			w.fail("audit: %s", d)
		}
	}
}

func (w *world) run(steps int) string {
	for i := 0; i < steps && w.wrong == ""; i++ {
		w.step()
	}
	if w.wrong == "" {
		w.finish()
	}
	return w.wrong
}

// TestNoMoneyMovesTwice walks the world by a property's draws, so that what fails is shrunk.
func TestNoMoneyMovesTwice(t *testing.T) {
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		if err := checks.Value.Set("1000"); err != nil {
			t.Fatal(err)
		}
		defer checks.Value.Set(checks.DefValue) // it took the same text before
	}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(func(n int, label string) int { return rapid.IntRange(0, n-1).Draw(t, label) }, mutant{})
		if wrong := w.run(rapid.IntRange(1, 150).Draw(t, "steps")); wrong != "" {
			t.Fatal(wrong)
		}
	})
}

func seeded(seed uint64) chance {
	r := rand.New(rand.NewPCG(seed, 0))
	return func(n int, _ string) int { return r.IntN(n) }
}

// TestNoMoneyMovesTwiceInManyWorlds walks more of them, and further, by seeds.
func TestNoMoneyMovesTwiceInManyWorlds(t *testing.T) {
	worlds := 6_000
	if testing.Short() {
		worlds = 2_000
	}
	base := uint64(time.Now().UnixNano())
	happened := map[string]int{}
	for i := range worlds {
		seed := base + uint64(i)
		w := newWorld(seeded(seed), mutant{})
		if wrong := w.run(150); wrong != "" {
			t.Fatalf("seed %d: %s\n%s", seed, wrong, w.tale())
		}
		for what, n := range w.interesting {
			happened[what] += n
		}
		happened["deliveries"] += w.deliveries
		happened["rests in "+string(w.x.State)]++
	}
	for _, e := range []Event{EventSend, EventConfirm, EventRefuse, EventNotExecuted, EventLose, EventProveAbsent, EventPark, EventGiveUp, EventCancel,
		EventRetry, EventReverse, EventRenewEpoch, EventAdopt, EventMoot, "late effect", "rollback", "reconcile", "caught up"} {
		if happened[string(e)] == 0 {
			t.Errorf("%s never happened: the walk misses what it is for", e)
		}
	}
	t.Logf("from seed %d: %v", base, happened)
}

func (w *world) tale() (text string) {
	for _, h := range w.rows {
		text += fmt.Sprintf("%3d %s %-13s %s → %s, generation %d/%d, %d open, %s\n", h.Version, h.At.Format("02 15:04:05"), h.Event, h.From, h.To, h.Epoch, h.Generation, h.OpenSends, h.Answer.Row)
	}
	return text + fmt.Sprintf("    now %s; Stripe holds %+v %+v", w.now.Format("02 15:04:05"), w.transfers, w.reversals)
}

// TestTheModelFindsEveryBrokenRule breaks one rule at a time: a walk that cannot see a broken
// rule proves nothing by finding none.
func TestTheModelFindsEveryBrokenRule(t *testing.T) {
	for _, m := range []mutant{
		{name: "a key that ignores the generation", key: func(_ *world, r Request) string { return Key(r.Operation, 0, 0) }},
		{name: "a key that is drawn", key: func(w *world, _ Request) string { return fmt.Sprint(w.chance(1<<40, "key")) }},
		{name: "a write that does not look at the version", unguarded: true},
		{name: "absence before QUIET", impatient: true},
		{name: "a 429 that closes the generation while others are open", hasty: true},
		{name: "a key that is sent however old it is", forever: true},
		{name: "a send before its intent", unlogged: true},
		{name: "a server error taken for a refusal", optimistic: true},
		{name: "lost commits that nobody waits for", trusting: true},
	} {
		t.Run(m.name, func(t *testing.T) {
			const worlds = 5_000
			for seed := range uint64(worlds) {
				w := newWorld(seeded(seed), m)
				if wrong := w.run(150); wrong != "" {
					t.Logf("found in world %d: %s", seed, wrong)
					return
				}
			}
			t.Errorf("not found in %d worlds", worlds)
		})
	}
}
