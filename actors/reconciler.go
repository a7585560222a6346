package actors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/settled/settled/actors/gate"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// DriftStore is what the reconciler needs of the ledger's database.
type DriftStore interface {
	// OpenWalk finds the walk to be made: the unended one, or a new one when the last began
	// longer ago than every. One that is not mine is another process's, or was made just now.
	OpenWalk(ctx context.Context, owner ledger.ID, every, stale, ahead time.Duration) (w audit.Walk, mine bool, err error)
	// SaveWalk stores how far a walk has come; false: another process has taken it.
	SaveWalk(ctx context.Context, w audit.Walk) (after audit.Walk, ok bool, err error)
	LeaveWalk(ctx context.Context, w audit.Walk) error
	Walks(ctx context.Context) (newest, ended audit.Walk, err error)

	ByStripeID(ctx context.Context, ids []string) ([]ledger.Record, error)
	Sent(ctx context.Context, since, until time.Time, after audit.Sent, limit int) ([]audit.Sent, error)

	// Judge stores all that a look at some transfers at Stripe found, and clears the rest of what
	// is known about them.
	Judge(ctx context.Context, objects []string, walk int64, found []audit.Finding) (stored []audit.Finding, opened []bool, err error)
	KeepFindings(ctx context.Context, objects []string, walk int64) error
	Finding(ctx context.Context, id ledger.ID) (audit.Finding, error)
	MarkApplied(ctx context.Context, id ledger.ID, by ledger.By) error
	MarkAccepted(ctx context.Context, id ledger.ID, by ledger.By, until time.Time) error
	MarkReopened(ctx context.Context, id ledger.ID, by ledger.By) error
}

// Reconcile are the reconciler's settings. The zero value is good.
type Reconcile struct {
	// Interval is between the beginnings of two walks; a walk that takes longer is followed by
	// the next at once. 0: 1 hour. Negative: it walks only when told, and heeds no events.
	Interval time.Duration
	// Rate bounds its reads of Stripe a second. A walk reads a page of 100 transfers at a time.
	// 0: 2. Negative: no limit of its own.
	Rate int
	// ReportOnly has it apply nothing by itself. Otherwise what is pure evidence is: see
	// [audit.Propose].
	ReportOnly bool
	// IgnoreForeign has it pass over transfers that others make in the same account.
	IgnoreForeign bool
	// Window is how many transfers at Stripe are compared between two durable cursors; so many
	// of their IDs are held in memory, twice. 0: 20,000.
	Window int
}

func (r Reconcile) orDefaults() Reconcile {
	if r.Interval == 0 {
		r.Interval = time.Hour
	}
	if r.Rate == 0 {
		r.Rate = 2
	}
	if r.Window <= 0 {
		r.Window = 20_000
	}
	return r
}

const (
	// staleWalk is how long after its owner was last seen a walk is taken over.
	staleWalk = 2 * time.Minute
	// glancesMost bounds the looks that events ask for; what is dropped, the next walk finds.
	glancesMost = 1000
)

// stale is staleWalk, or less where time runs faster.
func (s *System) stale() time.Duration {
	if every := s.conf.Reconcile.Interval; every > 0 {
		return min(staleWalk, every)
	}
	return staleWalk
}

// reconciler walks Stripe and the ledger, both ways, and keeps what differs. A walk covers all
// that Stripe ever held, so that what others did long after is found too: a reversal made today
// changes a transfer that was created months ago, which no list of recent ones shows. Between
// walks it looks at what events say others did.
//
// It moves no money. What it applies by itself is that the ledger takes in what Stripe is read
// to hold, and the transfer's own actor does that.
//
// A walk runs on one goroutine, because it is one long sequence; this actor is its clock, its
// mailbox and its brake. It asks the gate for each read, behind everything else.
type reconciler struct {
	sys   *System
	owner ledger.ID // this process, to others that walk

	walker *walker // at work; nil: idle
	told   bool    // a walk is to begin that nobody has begun yet
	timer  *time.Timer
	next   time.Time
	ticks  uint64 // only the timer armed last counts
	halted []chan<- struct{}
	halts  bool
}

// Messages to the reconciler.
type (
	recoveryBegun struct{}
	walkDue       struct{ no uint64 }
	walkTold      struct{ reply chan<- string } // a person wants a walk
	walkStatus    struct{ reply chan<- audit.Status }
	walkEnded     struct {
		walker *walker
		in     time.Duration // when the next one is due; 0: as it was
		again  bool          // what it was told to do is still to be done
	}
	// glance asks for a look at one transfer at Stripe, between walks.
	glance struct {
		operation ledger.ID // that it names; zero: none
		stripeID  string
		reference string // that an event told of it, if one did
	}
	halt struct{ done chan<- struct{} } // end what is under way; tell when it has
)

func (r *reconciler) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case recoveryBegun:
		if r.sys.conf.Reconcile.Interval > 0 {
			r.told = true
			r.begin(c)
		}
	case walkDue:
		if m.no == r.ticks {
			r.timer = nil
			r.begin(c)
		}
	case walkTold:
		m.reply <- r.doing()
		r.told = true // also while one goes on: it may have passed what was changed just now
		r.begin(c)
	case glance:
		r.glance(c, m)
	case gate.Permit:
		r.permitted(c, m)
	case gate.Denied:
		if w := r.walker; w != nil && m.Inc == w.inc {
			w.cancel()
		}
	case walkStatus:
		status := audit.Status{Doing: r.doing()}
		if r.timer != nil {
			status.NextAt = r.next
		}
		m.reply <- status
	case walkEnded:
		r.ended(c, m)
	case halt:
		r.halt(m)
	case *actor.Stopping, *actor.Restarting:
		r.disarm()
		if r.walker != nil {
			r.walker.cancel()
		}
	}
}

// begin begins a walk, unless one goes on.
func (r *reconciler) begin(c actor.Context) {
	if r.walker != nil || r.halts {
		return
	}
	r.disarm()
	every := r.sys.conf.Reconcile.Interval * 9 / 10 // its own timer is not early by the database's clock
	if r.told {
		every, r.told = 0, false
	}
	r.work(c, func(w *walker) walkEnded { return w.whole(every) })
}

// work starts the goroutine of a walk, or of glances alone.
func (r *reconciler) work(c actor.Context, do func(*walker) walkEnded) {
	w := &walker{sys: r.sys, owner: r.owner, inc: r.sys.incarnations.Add(1), permits: make(chan uint64, 1), self: c.Self()}
	w.ctx, w.cancel = context.WithCancel(r.sys.calls)
	r.walker = w
	go func() {
		m := walkEnded{in: r.sys.stale()}
		defer func() {
			if bug := recover(); bug != nil {
				r.sys.bug("reconciler", bug)
			}
			m.walker = w
			w.sys.tell(w.self, m)
		}()
		m = do(w)
	}()
}

// ended follows the end of the goroutine's work.
func (r *reconciler) ended(c actor.Context, m walkEnded) {
	r.walker = nil
	m.walker.cancel()
	select {
	case no := <-m.walker.permits: // came when nobody waited any more
		c.Send(r.sys.gate, gate.Release{No: no, Unused: true})
	default:
	}
	for _, done := range r.halted {
		close(done)
	}
	if r.halted = nil; r.halts {
		return
	}
	left := m.walker.left()
	switch {
	case m.again:
		r.told = true
		r.arm(c, m.in)
	case r.told: // told while it went on
		r.begin(c)
	case m.in > 0:
		r.arm(c, m.in)
	case r.timer == nil && !r.next.IsZero(): // the time for a walk came during a glance
		r.arm(c, max(time.Until(r.next), time.Millisecond))
	}
	for _, g := range left {
		r.glance(c, g)
	}
}

// arm has a walk begin in a while; when it never does so by itself, only if it was told to.
func (r *reconciler) arm(c actor.Context, d time.Duration) {
	r.disarm()
	if r.sys.conf.Reconcile.Interval < 0 && !r.told {
		return
	}
	r.ticks++
	r.next = time.Now().Add(d)
	self, sys, m := c.Self(), r.sys, walkDue{r.ticks}
	r.timer = time.AfterFunc(d, func() { sys.tell(self, m) })
}

func (r *reconciler) disarm() {
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
}

// glance looks at one transfer, beside a walk when one goes on.
func (r *reconciler) glance(c actor.Context, g glance) {
	switch {
	case r.halts:
	case r.walker != nil:
		r.walker.push(g)
	default:
		r.work(c, func(w *walker) walkEnded {
			w.push(g)
			return w.aside()
		})
	}
}

// permitted hands a permit on to the goroutine that asked for it.
func (r *reconciler) permitted(c actor.Context, p gate.Permit) {
	if w := r.walker; w != nil && w.inc == p.Inc {
		select {
		case w.permits <- p.No:
			return
		default: // it asked once, and was given one already
		}
	}
	c.Send(r.sys.gate, gate.Release{No: p.No, Unused: true})
}

func (r *reconciler) halt(m halt) {
	r.halts = true
	r.disarm()
	if r.walker == nil {
		close(m.done)
		return
	}
	r.halted = append(r.halted, m.done)
	r.walker.cancel()
}

func (r *reconciler) doing() string {
	switch {
	case r.walker != nil && r.walker.walking.Load():
		return "walking"
	case r.walker != nil:
		return "looking"
	case r.timer != nil || r.told:
		return "waiting"
	}
	return "off"
}

// glance asks the reconciler for a look at what an event says others did.
func (s *System) glance(send func(*actor.PID, any), g glance) {
	stranger := g.operation == (ledger.ID{})
	if s.conf.Reconcile.Interval > 0 && !(stranger && s.conf.Reconcile.IgnoreForeign) {
		send(s.reconciler, g)
	}
}

// messageRun is a person's word to the reconciler, and its kin about a finding: they are
// audited like the messages to transfers.
const (
	messageRun    ledger.MessageType = "run"
	messageAccept ledger.MessageType = "accept"
	messageReopen ledger.MessageType = "reopen"
)

// Reconcile has a walk begin now, or after the one that goes on, and tells what the reconciler
// is doing. The message's ID makes it act once.
func (s *System) Reconcile(ctx context.Context, by ledger.By) (audit.Status, error) {
	if s.closing.Load() {
		return audit.Status{}, errStopping
	}
	before, err := s.Reconciler(ctx)
	if err != nil {
		return before, err
	}
	fresh, err := s.conf.Store.StoreMessage(ctx, ledger.Message{ID: by.Message, Type: messageRun, By: by}, ledger.State(before.Doing))
	if err != nil {
		return before, fmt.Errorf("store the message: %w", s.unavailable(err))
	}
	if !fresh {
		return before, nil
	}
	told := make(chan string, 1)
	s.tell(s.reconciler, walkTold{told})
	if _, err := hear(ctx, s, told); err != nil {
		return before, err
	}
	after, err := s.Reconciler(ctx)
	if err != nil {
		return after, err
	}
	s.storeReceipt(ctx, ledger.Receipt{Message: by.Message, Before: ledger.State(before.Doing), After: ledger.State(after.Doing)})
	return after, nil
}

// Reconciler tells what the reconciler is doing.
func (s *System) Reconciler(ctx context.Context) (audit.Status, error) {
	reply := make(chan audit.Status, 1)
	s.tell(s.reconciler, walkStatus{reply})
	status, err := hear(ctx, s, reply)
	if err != nil {
		return status, err
	}
	status.Newest, status.Ended, err = s.conf.Store.Walks(ctx)
	return status, s.unavailable(err)
}

// Mend does what a person decided about a finding: apply sends the proposed message to the
// transfer, accept records that it is as it should be, until a moment (zero: for [audit.AcceptFor]),
// reopen takes that back. None acts twice.
func (s *System) Mend(ctx context.Context, id ledger.ID, how audit.Mending, until time.Time, by ledger.By) (audit.Finding, error) {
	if s.closing.Load() {
		return audit.Finding{}, errStopping
	}
	f, err := s.conf.Store.Finding(ctx, id)
	if err != nil {
		return f, s.unavailable(err)
	}
	m, proposed := f.Message()
	switch {
	case how == audit.Apply && f.AppliedBy.Message == by.Message && !f.AppliedAt.IsZero():
		return f, nil // asked again
	case !f.ClearedAt.IsZero():
		return f, fmt.Errorf("%w: it was cleared at %s, for the difference is there no more", ledger.ErrIllegalMove, f.ClearedAt.Format(time.RFC3339))
	case how == audit.Accept:
		return s.decide(ctx, f, messageAccept, until, by, "accepted", func() error { return s.conf.Store.MarkAccepted(ctx, f.ID, by, until) })
	case how == audit.Reopen:
		return s.decide(ctx, f, messageReopen, time.Time{}, by, "open", func() error { return s.conf.Store.MarkReopened(ctx, f.ID, by) })
	case !proposed:
		return f, fmt.Errorf("%w: it has no repair that a message could make; mend it at Stripe, or accept it", ledger.ErrIllegalMove)
	case !f.AppliedAt.IsZero():
		return f, fmt.Errorf("%w: %s applied it at %s", ledger.ErrIllegalMove, f.AppliedBy.Principal, f.AppliedAt.Format(time.RFC3339))
	}
	m.ID, m.By = by.Message, by
	if _, err := s.Inject(ctx, m); err != nil {
		return f, err
	}
	if err := s.conf.Store.MarkApplied(ctx, id, by); err != nil {
		return f, s.unavailable(err)
	}
	s.tell(s.reconciler, glance{stripeID: f.Object}) // it clears what is mended
	f, err = s.conf.Store.Finding(ctx, id)
	return f, s.unavailable(err)
}

// decide keeps what a person says about a finding, as a message, and does it. A message that did it is not done again.
func (s *System) decide(ctx context.Context, f audit.Finding, kind ledger.MessageType, until time.Time, by ledger.By, after ledger.State,
	do func() error) (audit.Finding, error) {
	m := ledger.Message{ID: by.Message, Transfer: f.Transfer, Type: kind, By: by, StripeID: f.StripeID, Until: until}
	if _, err := s.conf.Store.StoreMessage(ctx, m, ledger.State(f.Class)); err != nil {
		return f, fmt.Errorf("store the message: %w", s.unavailable(err))
	}
	_, done, err := s.conf.Store.Receipt(ctx, by.Message)
	if err == nil && !done {
		if err = do(); err == nil {
			s.storeReceipt(ctx, ledger.Receipt{Message: by.Message, Before: ledger.State(f.Class), After: after})
			s.log.Warn("a person decided about a difference", "decision", kind, "finding", f.ID, "difference", f.Difference.String(),
				"principal", by.Principal, "reason", by.Reason)
		}
	}
	if err != nil {
		return f, s.unavailable(err)
	}
	f, err = s.conf.Store.Finding(ctx, f.ID)
	return f, s.unavailable(err)
}

// hear waits for one answer of an actor.
func hear[T any](ctx context.Context, s *System, reply <-chan T) (answer T, err error) {
	select {
	case answer = <-reply:
	case <-ctx.Done():
		err = fmt.Errorf("%w: %w", ledger.ErrUnavailable, ctx.Err())
	case <-s.stopped:
		err = errStopping
	}
	return answer, err
}

// errTaken ends a walk that another process has taken.
var errTaken = errors.New("another process has taken the walk")
