package reconcile

import (
	"context"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/settled/settled/actors/gate"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// reconciler walks Stripe and the ledger, both ways, and keeps the differences. A walk covers all
// that Stripe ever held, so that late deeds of others are found too: a reversal made today
// changes a transfer that was created months ago, which no list of recent ones shows. Between
// walks it rechecks the transfers that events say others changed.
//
// It moves no money. By itself it applies pure evidence alone: the ledger takes in an object that Stripe holds, and the
// transfer's own actor does that.
//
// A walk runs on one goroutine, because it is one long sequence; this actor is its clock, its
// mailbox and its brake. It asks the gate for each read, behind everything else.
type reconciler struct {
	Config

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
	// Begin has it walk at its interval: recovery has begun.
	Begin struct{}
	// Run has a walk begin, which a person wants. It is answered by [audit.Status.Doing] as it was.
	Run struct{ Reply chan<- string }
	// Status asks for its doing, and the time of the next walk.
	Status struct{ Reply chan<- audit.Status }
	// Recheck asks for one transfer at Stripe to be compared, between walks.
	Recheck struct {
		Operation ledger.ID // that it names; zero: none
		StripeID  string
		Reference string // from an event, if one told
	}
	// Halt ends the work, and tells when it has ended.
	Halt struct{ Done chan<- struct{} }

	walkDue   struct{ no uint64 }
	walkEnded struct {
		walker *walker
		in     time.Duration // when the next one is due; 0: as it was
		again  bool          // a person still wants a walk
	}
)

// New makes the reconciler.
func New(c Config) actor.Actor { return &reconciler{Config: c} }

func (r *reconciler) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case Begin:
		if r.Interval > 0 {
			r.told = true
			r.begin(c)
		}
	case walkDue:
		if m.no == r.ticks {
			r.timer = nil
			r.begin(c)
		}
	case Run:
		m.Reply <- r.doing()
		r.told = true // also while one goes on: it may have passed an object that changed just now
		r.begin(c)
	case Recheck:
		r.recheck(c, m)
	case gate.Permit:
		r.permitted(c, m)
	case gate.Denied:
		if w := r.walker; w != nil && m.Inc == w.inc {
			w.cancel()
		}
	case Status:
		status := audit.Status{Doing: r.doing()}
		if r.timer != nil {
			status.NextAt = r.next
		}
		m.Reply <- status
	case walkEnded:
		r.ended(c, m)
	case Halt:
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
	every := r.Interval * 9 / 10 // its own timer is not early by the database's clock
	if r.told {
		every, r.told = 0, false
	}
	r.work(c, func(w *walker) walkEnded { return w.whole(every) })
}

// work starts the goroutine of a walk, or of rechecks alone.
func (r *reconciler) work(c actor.Context, do func(*walker) walkEnded) {
	w := &walker{Config: r.Config, inc: r.Incarnation(), permits: make(chan uint64, 1), self: c.Self()}
	w.ctx, w.cancel = context.WithCancel(r.Calls)
	r.walker = w
	go func() {
		m := walkEnded{in: r.stale()}
		defer func() {
			if bug := recover(); bug != nil {
				r.Bug("reconciler", bug)
			}
			m.walker = w
			w.Tell(w.self, m)
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
		c.Send(r.Gate, gate.Release{No: no, Unused: true})
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
	case r.timer == nil && !r.next.IsZero(): // the time for a walk came during a recheck
		r.arm(c, max(time.Until(r.next), time.Millisecond))
	}
	for _, g := range left {
		r.recheck(c, g)
	}
}

// arm has a walk begin in a while; when it never does so by itself, only if it was told to.
func (r *reconciler) arm(c actor.Context, d time.Duration) {
	r.disarm()
	if r.Interval < 0 && !r.told {
		return
	}
	r.ticks++
	r.next = time.Now().Add(d)
	self, tell, m := c.Self(), r.Tell, walkDue{r.ticks}
	r.timer = time.AfterFunc(d, func() { tell(self, m) })
}

func (r *reconciler) disarm() {
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
}

// recheck has one transfer compared, beside a walk when one goes on.
func (r *reconciler) recheck(c actor.Context, g Recheck) {
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
	c.Send(r.Gate, gate.Release{No: p.No, Unused: true})
}

func (r *reconciler) halt(m Halt) {
	r.halts = true
	r.disarm()
	if r.walker == nil {
		close(m.Done)
		return
	}
	r.halted = append(r.halted, m.Done)
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
