package ledger

import (
	"fmt"
	"strconv"
)

// A row that gave an operation up may know less than Stripe: a person had it tried again, it was done, and the database
// lost all of that. Left as it is, the row would deny for ever that the money moved. The key in the object's metadata
// tells whether the row can know.

// Outdone reports metadata at Stripe that name the operation by a key of which the row does not know that it moved
// nothing: a later one, to which only commits that the database lost can have led; or the one in use, because its
// refusal was not understood (see [spend]).
func (o *Operation) Outdone(metadata map[string]string) bool {
	epoch, generation, ok := keyed(metadata)
	switch {
	case !ok || !Names(metadata, o.Name):
		return false
	case epoch == o.Epoch && generation == o.Generation:
		return !o.FirstSentAt.IsZero()
	}
	return epoch > o.Epoch || epoch == o.Epoch && generation > o.Generation
}

// keyed reads of which key metadata at Stripe are.
func keyed(metadata map[string]string) (epoch, generation int, ok bool) {
	epoch, wrong := strconv.Atoi(metadata[MetaEpoch])
	generation, odd := strconv.Atoi(metadata[MetaGeneration])
	return epoch, generation, wrong == nil && odd == nil
}

// OutdoneBy returns the ID at Stripe of the operation of t that was given up here, and that the transfer at Stripe shows
// to be done: see [Operation.Outdone]; empty: there is none.
func (t *Transfer) OutdoneBy(s StripeTransfer) (stripeID string) {
	_, shown := t.outdone(s)
	return shown.ID
}

// outdone returns such an operation, and the object that shows it: of a transfer no amount is told.
func (t *Transfer) outdone(s StripeTransfer) (op *Operation, shown StripeReversal) {
	if t.Operation.StripeID == "" {
		if t.Operation.State == PermanentlyFailed && t.AsOrdered(s) && t.Operation.Outdone(s.Metadata) {
			return &t.Operation, StripeReversal{ID: s.ID, Created: s.Created, Metadata: s.Metadata}
		}
		return nil, shown
	}
	for i := range t.Reversals {
		r := &t.Reversals[i]
		if t.Operation.StripeID != s.ID || r.State != PermanentlyFailed {
			continue
		}
		for _, k := range s.Reversals {
			if k.Amount == r.Amount && r.Outdone(k.Metadata) {
				return &r.Operation, k
			}
		}
	}
	return nil, shown
}

// TakeIn completes an operation that was given up here, and that Stripe did: it takes the steps that the row missed,
// with their postings. It returns false when there is none; see [Transfer.OutdoneBy]. It returns [ErrIllegalMove]
// while a reversal is not at its end, and [ErrConflict] when more would have come back than was paid.
func (t Transfer) TakeIn(s StripeTransfer, by By) (Change, bool, error) {
	op, shown := t.outdone(s)
	if op == nil {
		return Change{}, false, nil
	}
	if kind, m := t.terms(op); kind == MakeReversal {
		switch r := t.Unended(); {
		case r != nil:
			return Change{}, false, fmt.Errorf("%w: reversal %s has not come to its end, and does first", ErrIllegalMove, r.ID)
		case t.AmountReversed+m.Amount > t.Money.Amount:
			return Change{}, false, fmt.Errorf("%w: Stripe holds reversal %s as %s, and of %d the ledger has %d come back already",
				ErrConflict, op.ID, shown.ID, t.Money.Amount, t.AmountReversed)
		}
	}
	building := t.change(op.ID, by).step(op.ID, EventRetry, nil).catchUp(op.ID).completes(op.ID, shown.ID)
	done := building.After.operation(op.ID)
	done.Epoch, done.Generation, _ = keyed(shown.Metadata)
	done.FirstSentAt, done.RequestHash = shown.Created, building.After.Request(done).Hash()
	c, err := building.done()
	if err != nil {
		return Change{}, false, err
	}
	c.History.Detail = fmt.Sprintf("it was %s here, and Stripe did it under a key of which the row cannot know that it moved nothing", op.State)
	return c, true, nil
}
