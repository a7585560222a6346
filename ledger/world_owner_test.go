package ledger_test

import (
	"errors"
	"slices"
	"time"

	. "github.com/settled/settled/ledger"
)

// An owner drives the transfer from a copy of the row that may be stale, one step at a time.

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
			c, err = o.x.Begin(Policy{Windows: w.p.Windows, Epoch: o.x.Operation.Seen}, w.now)
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
		w.commit(o.x.Lapse(w.now))
	}
}

// look lists Stripe: what is younger than LAG may not be in it yet.
func (w *world) look(x *Transfer) (found []thing) {
	held := w.transfers
	if x.Operation.StripeID != "" {
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
		if th.op == op.Name.String() {
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
