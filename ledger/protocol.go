package ledger

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// What callers decide on.
var (
	// ErrTooOld reports a key that may not be sent any more; reading Stripe comes next.
	ErrTooOld = errors.New("the key is too old to be sent")
	// ErrDrift reports a request that differs from the one its key was first sent with.
	ErrDrift = errors.New("the request differs from what the key was first sent with")
	// ErrConflict reports evidence against a state that rules it out: an alarm.
	ErrConflict = errors.New("evidence conflicts with the ledger")
	// ErrTooEarly reports a claim that nothing can prove yet.
	ErrTooEarly = errors.New("too early")
)

// Accept registers an order as a transfer: pending, or held when it has a date to wait for, or when there are reasons to
// hold it until a person releases it. The caller has checked the order.
func Accept(o Order, id ID, epoch int, now time.Time, by By, held ...string) Change {
	o.Metadata = maps.Clone(o.Metadata) // the request is made of them: nobody else may hold them
	t := Transfer{ID: id, Operation: Operation{ID: id, Epoch: firstKeys(epoch), Seen: epoch}, Order: o, OrderHash: o.Hash()}
	e := EventAccept
	if o.NotBefore.After(now) {
		e = EventHold
		t.Holds = []Hold{{ID: uuid.NewSHA1(holdNamespace, fmt.Appendf(nil, "%s 1", id)), Operation: id, Source: HeldBySchedule,
			Reason: "the order's not_before", By: by.Principal, Until: o.NotBefore, Begun: 1}}
	}
	for i, reason := range held { // it wants a person's release, as an operator's hold does
		e = EventHold
		t.Holds = append(t.Holds, Hold{ID: uuid.NewSHA1(holdNamespace, fmt.Appendf(nil, "%s 1 %d", id, i+1)), Operation: id, Source: HeldByOperator,
			Reason: reason, By: "settled", Begun: 1})
	}
	c, err := t.move(&t.Operation, e, by, nil)
	if err != nil {
		panic(err) // the table's first line is the only one asked
	}
	return c
}

// Afresh returns the transfer as one whose next send begins a generation. It is for a generation that
// was first sent while the clocks disagreed, and was not executed: nothing of it is open, but how old
// its key is nobody knows, and Stripe may have forgotten it.
func (t Transfer) Afresh() Transfer {
	if op, _ := t.Current(); op != nil && op.State == Pending {
		t.Reversals = slices.Clone(t.Reversals)
		spend(t.operation(op.ID))
	}
	return t
}

// Begin commits to a send: the intent that must be durable before the call. A closed
// generation earns the next one; one that is open, or that was never executed, keeps its key
// while that is young. now is the database's.
func (t Transfer) Begin(p Policy, now time.Time) (Change, error) {
	t = t.Named(p.Account)
	op, _ := t.Current()
	if op == nil {
		return Change{}, fmt.Errorf("%w: nothing is to be sent in %s", ErrIllegalMove, t.Status())
	}
	if err := t.unheld(op); err != nil {
		return Change{}, err
	}
	if t.Altered(op) {
		return Change{}, fmt.Errorf("%w: operation %s", ErrAltered, op.ID)
	}
	if (op.State == Pending || op.State == FailedState) && op.Seen != p.Epoch {
		// What the database lost may have been a send: it is looked up first. (And a policy
		// of an earlier epoch than the operation's is one that has not heard of the loss.)
		return Change{}, fmt.Errorf("%w: the operation was seen in epoch %d and the ledger is in %d", ErrTooOld, op.Seen, p.Epoch)
	}
	young := p.young(op, p.latest(now))
	begins := false
	switch op.State {
	case Unresolved:
		if !young {
			return Change{}, fmt.Errorf("%w: first sent at %s", ErrTooOld, op.FirstSentAt.Format(time.RFC3339))
		}
	case Pending:
		// Not executed, and so not closed: nothing of the generation is open, and its
		// key stays good while it is young.
		begins = !young
	default:
		// A refusal that was understood closed its generation (see [spend]); after one that
		// was not, the key stays in use while it is young.
		begins = !young
	}
	if p.Clocks.Halt {
		return Change{}, fmt.Errorf("%w: the clocks disagree: %s", ErrTooOld, p.Clocks.Trouble)
	}
	if begins && !p.clear(op, now) {
		return Change{}, fmt.Errorf("%w: it may be the repetition of an order that was lost, and is looked up first", ErrTooOld)
	}
	if !begins && t.Request(op).Hash() != op.RequestHash {
		return Change{}, fmt.Errorf("%w: %s", ErrDrift, Key(op.Name, op.Epoch, op.Generation))
	}
	c, err := t.move(op, EventSend, By{}, func(o *Operation) {
		o.OpenSends++
		if begins {
			o.Generation++
			o.OpenSends = 1
		}
	})
	if err != nil {
		return Change{}, err
	}
	if begins {
		c.Begins = true
		if p.Clocks.Trouble != "" {
			c.History.Answer.Code, c.History.Detail = CodeClocks, p.Clocks.Trouble
		}
		s := c.Subject()
		s.RequestHash = c.After.Request(s).Hash()
	}
	return c, nil
}

// Conclude draws what an answer proves, given the other sends of its generation. It returns
// false when the answer changes nothing: it says no more than the ledger knows.
//
// A refusal closes the generation only when no other send of it is open, or when it is a
// replay of the stored answer; otherwise it takes its own send off the count, and the
// operation stays unresolved. A key that was retraced is older than the row knows: Stripe may forget
// the refusal while that other send is under way, so its replay proves nothing of that.
func (t Transfer) Conclude(subject ID, epoch, generation int, a Answer) (Change, bool, error) {
	op := t.operation(subject)
	if a.Verdict == Done {
		return t.confirm(op, a.StripeID, a, "")
	}
	if op.Epoch != epoch || op.Generation != generation || !op.State.Open() {
		return Change{}, false, nil // an answer to a generation that is closed already
	}
	if a.Verdict == Kept {
		c, err := t.keep(op, a, "")
		return c, err == nil, err
	}
	others, e := op.OpenSends, EventLose
	if a.Verdict != Unknown {
		others--
		switch {
		case a.Verdict == Failed && (a.Replayed && !op.Retraces() || others == 0):
			e, others = EventRefuse, 0
		case a.Verdict == NotExecuted && others == 0:
			e = EventNotExecuted
			if op.State != Sending { // lost and found: another owner took it for lost meanwhile
				e = EventRefuse
			}
		}
	}
	if e == EventLose && op.State == Parked {
		return Change{}, false, nil
	}
	c, err := t.move(op, e, By{}, func(o *Operation) {
		o.OpenSends = others
		o.ErrorCode, o.ErrorMessage = a.Code, a.Message
		if e == EventRefuse && !a.Puzzling() {
			spend(o)
		}
		if e == EventNotExecuted && a.Code == CodeClocks {
			spend(o) // its first send may have been stamped by the clock that is wrong
		}
	})
	c.History.Answer = a
	return c, err == nil, err
}

// Found settles an operation by what Stripe was read to hold.
func (t Transfer) Found(subject ID, stripeID, how string) (Change, bool, error) {
	return t.confirm(t.operation(subject), stripeID, Answer{}, how)
}

// confirm settles an operation by evidence. Against a final state it is an alarm: ErrConflict.
func (t Transfer) confirm(op *Operation, stripeID string, a Answer, detail string) (Change, bool, error) {
	switch {
	case op.StripeID == stripeID && op.StripeID != "":
		return Change{}, false, nil // known
	case op.StripeID != "":
		return Change{}, false, fmt.Errorf("%w: %s is %s, and %s names the same operation", ErrConflict, op.ID, op.StripeID, stripeID)
	}
	if !op.State.Undecided() {
		detail = fmt.Sprintf("Stripe holds it although it was %s and no send of it was known; %s", op.State, detail)
	}
	c, err := t.change(op.ID, By{}).catchUp(op.ID).completes(op.ID, stripeID).done()
	if err != nil {
		return Change{}, false, fmt.Errorf("%w: %s is %s, and Stripe holds it as %s", ErrConflict, op.ID, op.State, stripeID)
	}
	c.History.Answer, c.History.Detail = a, detail
	return c, true, nil
}

// catchUp lets an operation of which no send is known to be open take the step that it missed, so that evidence can
// settle it. Evidence meets such an operation when the database lost the commit of the send; left as it is, it would be
// sent again.
func (c *Change) catchUp(id ID) *Change {
	if c.After.operation(id).State.Undecided() {
		return c
	}
	return c.step(id, EventSend, nil)
}

// completes settles an operation that Stripe holds.
func (c *Change) completes(id ID, stripeID string) *Change {
	return c.step(id, EventConfirm, func(o *Operation) {
		o.StripeID, o.OpenSends = stripeID, 0
		o.ErrorCode, o.ErrorMessage = "", ""
	})
}

// Lost records that a send's outcome is not known because its owner died or was cut off.
func (t Transfer) Lost(detail string) (Change, error) {
	op, _ := t.Current()
	c, err := t.move(op, EventLose, By{}, func(o *Operation) {
		o.ErrorCode, o.ErrorMessage = "interrupted", detail
	})
	c.History.Detail = detail
	return c, err
}

// Absent follows a read of Stripe, made strictly after QUIET, that found nothing: proof that
// the generation moved no money; or, when the generation is doubtful, no proof but the last
// safe move of the machine. now is the database's.
func (t Transfer) Absent(p Policy, doubtful bool, now time.Time) (Change, error) {
	op, _ := t.Current()
	if op == nil {
		return t.move(nil, EventProveAbsent, By{}, nil)
	}
	if err := p.quiet(op, now); err != nil {
		return Change{}, err
	}
	if doubtful || p.Unresolved == ParkAlways {
		c, err := t.move(op, EventPark, By{}, nil)
		c.History.Detail = "read after the quiet period: Stripe does not hold it, but may still roll it forward"
		return c, err
	}
	c, err := t.move(op, EventProveAbsent, By{}, p.rested)
	c.History.Detail = "read after the quiet period: Stripe does not hold it"
	return c, err
}

// quietAt returns the moment after which nothing of the operation's generation can be under
// way: QUIET after its first send, and after the ledger's epoch began; and, of clocks that disagree,
// after a person said which is right, because how long ago anything before was nobody knows.
func (p Policy) quietAt(op *Operation) time.Time {
	at := op.FirstSentAt.Add(p.Windows.Quiet)
	if !p.Clocks.Trusted.IsZero() {
		at = latest(at, p.Clocks.Trusted.Add(p.Windows.Quiet))
	}
	if op.Seen < p.Epoch {
		if since := p.EpochSince.Add(p.Windows.Quiet); since.After(at) {
			at = since
		}
	}
	return at
}

// RenewEpoch lets an operation go on after the database lost commits: it rested for QUIET and
// was looked up, and Stripe does not hold it.
func (t Transfer) RenewEpoch(p Policy, now time.Time) (Change, error) {
	op, _ := t.Current()
	if op == nil {
		return t.move(nil, EventRenewEpoch, By{}, nil)
	}
	if err := t.unheld(op); err != nil {
		return Change{}, err
	}
	if err := p.quiet(op, now); err != nil {
		return Change{}, fmt.Errorf("the database lost commits at %s: %w", p.EpochSince.Format(time.RFC3339), err)
	}
	return t.move(op, EventRenewEpoch, By{}, func(o *Operation) {
		// A new generation, whatever the old one was: its key may have been used by what was lost.
		p.rested(o)
	})
}

// rested notes that an operation was looked up after QUIET, when nothing of it could be under way:
// it goes on under the keys of the ledger's own epoch, which nothing that was lost has used.
func (p Policy) rested(o *Operation) {
	o.OpenSends, o.Epoch, o.Seen = 0, max(o.Epoch, p.Epoch), max(o.Seen, p.Epoch)
	spend(o)
}

// clear reports an operation of which a generation may begin: one that retraces the keys of an order
// that may have been lost was looked up just now. What of that order was sent so long ago that Stripe
// may have forgotten its key is in the list by then: the look is at most as old as a key's life leaves
// beside QUIET and SAFE. What was sent since has a key, which the generation uses.
func (p Policy) clear(o *Operation, now time.Time) bool {
	w := p.Windows
	return !o.Retraces() || !o.ClearAt.IsZero() && now.Before(o.ClearAt.Add(max(w.Lag, min(w.Safe, w.KeyLife-w.Safe-w.Quiet))))
}

// GiveUp ends an operation of which no send is open.
func (t Transfer) GiveUp(code, detail string) (Change, error) {
	op, _ := t.Current()
	if err := t.unheld(op); err != nil {
		return Change{}, err
	}
	c, err := t.move(op, EventGiveUp, By{}, func(o *Operation) {
		if code != "" {
			o.ErrorCode, o.ErrorMessage = code, detail
		}
	})
	c.History.Detail = detail
	return c, err
}

// Tell records that a person was told for what a refused operation waits. Without this row what the platform has
// to mend is not given up: see [Plan].
func (t Transfer) Tell(detail string) (Change, error) {
	op, _ := t.Current()
	c, err := t.move(op, EventTell, By{}, nil)
	c.History.Detail = detail
	return c, err
}

// SetAside takes an operation out of the machine's hands after repeated bugs: parked when a
// send is open (after [Transfer.Lost]), else given up.
func (t Transfer) SetAside(reason string) (Change, error) {
	op, _ := t.Current()
	if op == nil {
		return Change{}, fmt.Errorf("%w: nothing is being driven in %s", ErrIllegalMove, t.Status())
	}
	if !op.State.Open() {
		return t.GiveUp("bug", reason)
	}
	c, err := t.move(op, EventPark, By{}, func(o *Operation) { o.ErrorCode, o.ErrorMessage = "bug", reason })
	c.History.Detail = reason
	return c, err
}
