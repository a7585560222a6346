package ledger_test

import (
	"fmt"
	"maps"
	"slices"
	"time"

	. "github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
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
	lateForEver bool              // effects of server errors are not bounded
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
	replay      *acceptor // of the protocol's model
	wrong       string
}

type snapshot struct {
	x     Transfer
	rows  []History
	books Books
}

func newWorld(c chance, m mutant) *world {
	w := &world{chance: c, mutant: m, p: policy(), now: dawn, books: Books{}, intents: map[string]string{}, kept: map[string]stored{},
		interesting: map[string]int{}, replay: newAcceptor(modelMoves())}
	if w.chance(6, "policy") == 0 {
		w.p.Unresolved = ParkAlways
		// Only who never takes absence for proof is safe from effects that come at any time;
		// and from a lost commit not even that (.ci/model: QUARANTINE_LATEFREE).
		w.lateForEver = w.chance(2, "late for ever") == 0
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
		for _, refused := range w.replay.accept(&c) {
			w.fail("version %d: %s", c.After.Version, refused)
		}
	}
	w.x, w.rows, w.before = c.After.Named(""), append(w.rows[:len(w.rows):len(w.rows)], c.History), before
	if c.History.Event == EventSend {
		op := c.Subject()
		w.intents[Key(op.Name, op.Epoch, op.Generation)] = op.RequestHash
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
	if h.From != "" && h.From != h.To && !slices.Contains(leavesTo[h.From], h.To) && !(w.rolled && h.Event == EventConfirm) {
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
		if held[i].op == op.Name.String() || op.StripeID != "" && held[i].id == op.StripeID {
			one = &held[i]
		}
	}
	switch {
	case op.StripeID != "":
		if one == nil || one.id != op.StripeID || one.amount != amount {
			w.fail("S2: the ledger says that %s is %s, and Stripe holds %+v", op.ID, op.StripeID, one)
		}
	case op.State.Open():
	case op.Seen < w.p.Epoch && (op.State == Pending || op.State == FailedState || op.State == Held):
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
			if e.r.Operation == op.Name {
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
		if !w.rolled && !w.lateForEver && w.once(12, "rollback") {
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

// interfere is people: at the desk, and in Stripe's dashboard.
func (w *world) interfere() {
	op, _ := w.x.Current()
	if op != nil && op.Seen < w.p.Epoch {
		return // nothing is decided by hand before it was looked up
	}
	by := By{Principal: "ops", Reason: "model"}
	until := time.Time{}
	switch w.chance(11, "people") {
	case 0:
		if w.x.Status() == Completed || w.x.Status() == PartiallyReversed || w.x.Status() == ReversalPending || w.x.Status() == PermanentlyFailed {
			w.reverse(int64(w.chance(6, "amount") * 200))
		}
	case 1:
		w.reverse(0)
	case 2:
		w.commit(w.x.Retry(by))
	case 3:
		if w.chance(2, "until") == 0 {
			until = w.now.Add(time.Duration(1+w.chance(20, "hours")) * time.Hour)
		}
		w.commit(w.x.Hold([]HoldSource{HeldByOperator, HeldByOperator, HeldByDispute}[w.chance(3, "source")], until, by))
	case 4, 5:
		override := ""
		if len(w.x.Holds) > 0 && w.chance(3, "override") == 0 {
			override = string(w.x.Holds[0].Source)
		}
		w.commit(w.x.LetGo(w.x.ID, override, by))
	case 6:
		if w.once(4, "cancel") {
			w.commit(w.x.Cancel(by))
		}
	case 7: // a person looks at Stripe, does not find it, and says so
		if op == nil || slices.ContainsFunc(w.look(&w.x), func(th thing) bool { return th.op == op.Name.String() }) {
			return
		}
		if w.x.CheckResolve(w.p, Digest{}, w.now) == nil && !w.doubted(op) {
			w.commit(w.x.ResolveAbsent(w.p, Digest{}, w.now, by))
		}
	case 9, 10: // one of the reversals, by its ID
		if len(w.x.Reversals) == 0 {
			return
		}
		r := &w.x.Reversals[w.chance(len(w.x.Reversals), "reversal")]
		switch w.chance(5, "command") {
		case 0, 1:
			if w.chance(2, "until") == 0 {
				until = w.now.Add(time.Duration(1+w.chance(20, "hours")) * time.Hour)
			}
			w.commit(w.x.HoldReversal(r.ID, HeldByOperator, until, by))
		case 2:
			w.commit(w.x.LetGo(r.ID, "", by))
		case 3:
			w.commit(w.x.RetryReversal(r.ID, by))
		case 4:
			if r.Epoch == w.p.Epoch && w.once(2, "cancel a reversal") {
				w.commit(w.x.CancelReversal(r.ID, by))
			}
		}
	case 8: // somebody reverses in the dashboard
		if rest := w.rest(); rest > 0 && len(w.transfers) == 1 && w.once(2, "dashboard") {
			w.serial++
			n := min(rest, int64(1+w.chance(5, "outside"))*200)
			w.reversals = append(w.reversals, thing{id: fmt.Sprintf("trr_%d", w.serial), amount: n, visible: w.now})
		}
	}
}

// doubted reports an operation that Stripe may yet roll forward, or has just now, out of all
// bounds, so that no list shows it yet; the model's person knows.
func (w *world) doubted(op *Operation) bool {
	return slices.ContainsFunc(w.late, func(e effect) bool { return e.r.Operation == op.Name }) ||
		w.lateForEver && slices.ContainsFunc(slices.Concat(w.transfers, w.reversals), func(th thing) bool { return th.op == op.Name.String() })
}

func (w *world) reverse(amount int64) {
	w.reversalNo++
	w.commit(w.x.Reverse(id(uint64(100+w.reversalNo)), id(uint64(100+w.reversalNo)).String(), amount, w.p.Epoch, By{Principal: "ops", Reason: "model"}))
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
	w.replay.loses(&w.x)
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
	for i := range w.late {
		w.late[i].by = w.now
	}
	for _, o := range w.owners {
		w.abandon(o)
		*o = owner{}
	}
	for i := 0; !w.quiet() && w.wrong == ""; i++ {
		if i == 3000 {
			w.fail("18: it never comes to rest: %s", w.x.Status())
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
	if s := w.x.Status(); w.wrong == "" && (s == Sending || s == Unresolved || s == Pending) {
		w.fail("18: it rests in %s", s)
	}
	w.audit()
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
	a.Ledger(AuditRow{Transfer: w.x, Books: w.books, Versions: int64(len(w.rows)), LastStatus: w.rows[len(w.rows)-1].Status, Listed: w.x.Status()})
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
