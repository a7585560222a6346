package ledger

import (
	"fmt"
	"slices"
	"time"
)

// What a person may ask of a transfer. Each is a step through the same table as the
// machine's own, and none goes round the money protocol.

// spend has the next send begin a generation: the key in use is bound to a refusal, which would
// only be replayed, or was proved to have moved nothing. What is Pending otherwise keeps its key.
func spend(o *Operation) { o.FirstSentAt = time.Time{} }

// Cancel ends a transfer that was never sent, or of which it is proved that it moved no money.
func (t Transfer) Cancel(by By) (Change, error) {
	if t.Operation.StripeID != "" {
		return Change{}, t.nameTheReversal()
	}
	return t.move(&t.Operation, EventCancel, by, nil)
}

// Retry has a refused operation tried again now, its count of refusals begun anew. Of a
// transfer whose reversals were given up, it takes those up again.
func (t Transfer) Retry(by By) (Change, error) {
	if op, kind := t.Current(); op != nil && (kind == CreateTransfer || t.Status() == ReversalPending) {
		if err := t.unheld(op); err != nil {
			return Change{}, err
		}
		return t.move(op, EventRetry, by, nil)
	}
	if r := t.Unended(); r != nil {
		return Change{}, fmt.Errorf("%w: its reversal %s is held by %s: release it", ErrIllegalMove, r.ID, sources(t.HoldsOf(r.ID)))
	}
	var c *Change
	for _, r := range t.Reversals {
		if r.State != PermanentlyFailed {
			continue
		}
		if c == nil {
			c = t.change(r.ID, by)
		}
		c.step(r.ID, EventRetry, nil)
	}
	if c == nil {
		return Change{}, fmt.Errorf("%w: nothing is left to retry: the transfer is %s", ErrIllegalMove, t.Status())
	}
	return c.done()
}

// ReversalReferred returns the reversal of a reference, or nil. It is an error when that one is of
// another amount; an amount of 0, all that remains, is no other.
func (t *Transfer) ReversalReferred(reference string, amount int64) (*Reversal, error) {
	i := slices.IndexFunc(t.Reversals, func(r Reversal) bool { return r.Reference == reference })
	if i < 0 || reference == "" {
		return nil, nil
	}
	r := &t.Reversals[i]
	if amount != 0 && amount != r.Amount {
		return nil, fmt.Errorf("%w: its reversal with the reference %q is of %s: use another reference for another reversal",
			ErrIllegalMove, reference, Money{r.Amount, t.Money.Currency})
	}
	return r, nil
}

// Reverse asks for a reversal of amount minor units, or (0) of all that remains. What was
// given up before is replaced by it. It returns a FieldErrors when the amount cannot be. The caller
// has looked for the reference: see [Transfer.ReversalReferred].
func (t Transfer) Reverse(id ID, reference string, amount int64, epoch int, by By) (Change, error) {
	if t.Operation.State != Completed {
		return Change{}, fmt.Errorf("%w: only what Stripe holds can be reversed, and this is %s", ErrIllegalMove, t.Status())
	}
	rest := t.Remaining()
	if amount == 0 {
		amount = rest
	}
	m := Money{amount, t.Money.Currency}
	switch err := m.Check(); {
	case reference == "":
		return Change{}, FieldErrors{{"reference", "is required"}}
	case rest <= 0: // below: more came back by other hands than was asked for here
		return Change{}, fmt.Errorf("%w: nothing remains to be reversed", ErrIllegalMove)
	case err != nil:
		return Change{}, FieldErrors{{"amount", err.Error()}}
	case amount > rest:
		return Change{}, FieldErrors{{"amount", fmt.Sprintf("%s is more than what remains: at most %d (%s)",
			m, rest, Money{rest, t.Money.Currency})}}
	}
	c := t.change(id, by)
	for _, r := range t.Reversals {
		if r.State == PermanentlyFailed {
			c.step(r.ID, EventCancel, nil)
		}
	}
	r := Reversal{Operation: Operation{ID: id, Epoch: firstKeys(epoch), Seen: epoch}, Reference: reference, Amount: amount, Cause: by.Reason}
	r.OrderHash = t.ReversalHash(&r)
	return c.adds(r, EventReverse).done()
}

// CheckResolve reports whether a person's word that an operation moved no money may be taken
// yet: it must be parked, and QUIET must be over. Of a generation that was stamped by a wrong clock nobody knows how old
// it is, but that it was sent before it was parked.
func (t Transfer) CheckResolve(p Policy, d Digest, now time.Time) error {
	op, _ := t.Current()
	if op == nil || op.State != Parked {
		return fmt.Errorf("%w: only what is parked can be resolved as failed, and this is %s", ErrIllegalMove, t.subjectState())
	}
	if at := op.Since.Add(p.Windows.Quiet); d.Untimed && !p.earliest(now).After(at) {
		return fmt.Errorf("%w: the clocks disagreed when it was first sent: absence is no evidence before %s", ErrTooEarly, at.Format(time.RFC3339))
	}
	return p.quiet(op, now)
}

// ResolveAbsent takes a person's word, after a read that found nothing, that a parked
// operation moved no money. The next generation is begun only by what follows.
func (t Transfer) ResolveAbsent(p Policy, d Digest, now time.Time, by By) (Change, error) {
	if err := t.CheckResolve(p, d, now); err != nil {
		return Change{}, err
	}
	op, _ := t.Current()
	return t.move(op, EventProveAbsent, by, p.rested)
}

func (t *Transfer) subjectState() State {
	if op, _ := t.Current(); op != nil {
		return op.State
	}
	return t.Status()
}

// Reconcile books what Stripe was read to hold against the reversal being driven, after an
// answer that hints that the money came back already (STRIPE rows R2, R3). Reversals that
// nobody here made are booked as external. Then, in this order: ours is there, and is
// confirmed; one made outside for the same amount stands for it; nothing remains, and ours is
// moot. It returns false when Stripe holds nothing that the ledger does not know.
func (t Transfer) Reconcile(s StripeTransfer, a Answer) (Change, bool, error) {
	op, kind := t.Current()
	if kind != MakeReversal || op == nil {
		return Change{}, false, nil
	}
	at := slices.IndexFunc(t.Reversals, func(r Reversal) bool { return r.ID == op.ID })
	ours := t.Reversals[at]
	var foreign []StripeReversal
	var listed int64
	for _, sr := range s.Reversals {
		if Names(sr.Metadata, ours.Name) {
			return t.Found(ours.ID, sr.ID, "read at Stripe: the reversal is there")
		}
		listed += sr.Amount
		known := slices.ContainsFunc(t.Reversals, func(r Reversal) bool { return r.StripeID == sr.ID || Names(sr.Metadata, r.Name) })
		if !known {
			foreign = append(foreign, sr)
		}
	}
	remains := s.Amount - s.AmountReversed
	if listed != s.AmountReversed {
		return Change{}, false, nil // the list lags behind the amount: what it lacks may be ours
	}
	if len(foreign) == 0 || remains >= ours.Amount {
		return Change{}, false, nil
	}
	slices.Reverse(foreign) // oldest first
	event, detail := EventAdopt, "reversed outside settled"
	c := t.change(ours.ID, By{})
	stands := slices.IndexFunc(foreign, func(sr StripeReversal) bool { return sr.Amount == ours.Amount && !t.lostReversal(sr) })
	switch {
	case stands >= 0 && !op.State.Open(), stands < 0 && remains == 0 && !op.State.Open():
		return Change{}, false, nil
	case stands >= 0:
		event, detail = EventConfirm, "a reversal of the same amount was made outside settled and stands for this one"
		c.completes(ours.ID, foreign[stands].ID)
		c.After.Reversals[at].External = true
		foreign = slices.Delete(foreign, stands, stands+1)
	case remains == 0:
		event, detail = EventMoot, "all of the transfer was reversed outside settled"
		c.step(ours.ID, EventMoot, func(o *Operation) {
			o.OpenSends = 0
			o.ErrorCode, o.ErrorMessage = "already_reversed", a.Message
		})
	}
	change, err := c.adopt(foreign).done()
	if err != nil {
		return Change{}, false, err
	}
	h := &change.History
	if h.Event == "" { // the subject did not move
		h.Kind, h.From = MakeReversal, ours.State
	}
	h.Event, h.Answer, h.Detail = event, a, detail
	return change, true, nil
}
