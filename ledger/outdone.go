package ledger

import (
	"fmt"
	"strconv"
	"time"
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

// OutdoneBy returns the operation of t that was given up here, and that the transfer at Stripe shows to be done: see
// [Operation.Outdone]; nil when there is none. stripeID is its own there, and created its time.
func (t *Transfer) OutdoneBy(s StripeTransfer) (op *Operation, stripeID string, created time.Time) {
	op, stripeID, created, _ = t.outdone(s)
	return op, stripeID, created
}

func (t *Transfer) outdone(s StripeTransfer) (op *Operation, stripeID string, created time.Time, metadata map[string]string) {
	if t.Operation.StripeID == "" {
		asOrdered := s.Amount == t.Money.Amount && s.Currency == t.Money.Currency && s.Destination == t.Destination
		if t.Operation.State == PermanentlyFailed && asOrdered && t.Operation.Outdone(s.Metadata) {
			return &t.Operation, s.ID, s.Created, s.Metadata
		}
		return nil, "", time.Time{}, nil
	}
	for i := range t.Reversals {
		r := &t.Reversals[i]
		if t.Operation.StripeID != s.ID || r.State != PermanentlyFailed {
			continue
		}
		for _, k := range s.Reversals {
			if k.Amount == r.Amount && r.Outdone(k.Metadata) {
				return &r.Operation, k.ID, k.Created, k.Metadata
			}
		}
	}
	return nil, "", time.Time{}, nil
}

// TakeIn completes an operation that was given up here, and that Stripe did: it takes the steps that the row missed,
// with their postings. It returns false when there is none; see [Transfer.OutdoneBy]. It returns [ErrIllegalMove]
// while a reversal is not at its end, and [ErrConflict] when more would have come back than was paid.
func (t Transfer) TakeIn(s StripeTransfer, by By) (Change, bool, error) {
	op, stripeID, created, metadata := t.outdone(s)
	if op == nil {
		return Change{}, false, nil
	}
	if kind, m := t.terms(op); kind == MakeReversal {
		switch r := t.Unended(); {
		case r != nil:
			return Change{}, false, fmt.Errorf("%w: reversal %s has not come to its end, and does first", ErrIllegalMove, r.ID)
		case t.AmountReversed+m.Amount > t.Money.Amount:
			return Change{}, false, fmt.Errorf("%w: Stripe holds reversal %s as %s, and of %d the ledger has %d come back already",
				ErrConflict, op.ID, stripeID, t.Money.Amount, t.AmountReversed)
		}
	}
	building := t.change(op.ID, by).step(op.ID, EventRetry, nil).catchUp(op.ID).completes(op.ID, stripeID)
	done := building.After.operation(op.ID)
	done.Epoch, done.Generation, _ = keyed(metadata)
	done.FirstSentAt, done.RequestHash = created, building.After.Request(done).Hash()
	c, err := building.done()
	if err != nil {
		return Change{}, false, err
	}
	c.History.Detail = fmt.Sprintf("it was %s here, and Stripe did it under a key of which the row cannot know that it moved nothing", op.State)
	return c, true, nil
}
