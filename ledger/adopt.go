package ledger

import (
	"fmt"
	"slices"
)

// AdoptOutside books reversals that others made of a transfer of which nothing is being driven
// here, as Stripe was read to hold it. It returns false when Stripe holds none that the ledger
// does not know. (While one of ours is being driven, one made outside may stand for it: see
// [Transfer.Reconcile].)
func (t Transfer) AdoptOutside(s StripeTransfer, by By) (Change, bool, error) {
	if t.Operation.StripeID == "" || s.ID != t.Operation.StripeID {
		return Change{}, false, fmt.Errorf("%w: transfer %s is %q at Stripe, and %q was read", ErrConflict, t.ID, t.Operation.StripeID, s.ID)
	}
	var listed, sum int64
	var foreign []StripeReversal
	for _, r := range s.Reversals {
		listed += r.Amount
		known := slices.ContainsFunc(t.Reversals, func(k Reversal) bool { return k.StripeID == r.ID })
		// What names an operation is not others'; but the database may have lost that one.
		if !known && (r.Metadata[MetaOperation] == "" || t.lostReversal(r)) {
			foreign = append(foreign, r)
			sum += r.Amount
		}
	}
	switch {
	case len(foreign) == 0:
		return Change{}, false, nil
	case listed != s.AmountReversed:
		return Change{}, false, fmt.Errorf("%w: Stripe lists reversals of %d and says that %d came back", ErrTooEarly, listed, s.AmountReversed)
	case t.Unended() != nil:
		return Change{}, false, fmt.Errorf("%w: reversal %s has not come to its end, and does first", ErrIllegalMove, t.Unended().ID)
	case t.AmountReversed+sum > t.Money.Amount:
		return Change{}, false, fmt.Errorf("%w: %d came back by other hands, and of %d the ledger has %d come back already",
			ErrConflict, sum, t.Money.Amount, t.AmountReversed)
	}
	slices.Reverse(foreign) // oldest first
	c, err := t.change(ExternalID(foreign[0].ID), by).adopt(foreign).done()
	if err != nil {
		return Change{}, false, err
	}
	c.History.Detail = fmt.Sprintf("%s was reversed outside settled, or by what the database lost, in %d parts", Money{sum, t.Money.Currency}, len(foreign))
	return c, true, nil
}
