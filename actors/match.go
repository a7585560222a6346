package actors

import (
	"fmt"
	"time"

	"github.com/settled/settled/ledger"
)

// match picks the object that names the operation, and compares it with the order.
func match(x *ledger.Transfer, op *ledger.Operation, kind ledger.Kind, found []ledger.StripeTransfer) (stripeID string, err error) {
	for _, s := range found {
		if kind == ledger.MakeReversal {
			for _, r := range s.Reversals {
				if !ledger.Names(r.Metadata, op.Name) {
					continue
				}
				if want := x.Request(op).Amount; r.Amount != want {
					return "", fmt.Errorf("%s names reversal %s but is of %d, not %d", r.ID, op.ID, r.Amount, want)
				}
				return r.ID, nil
			}
			continue
		}
		if !ledger.Names(s.Metadata, op.Name) {
			continue
		}
		if !x.AsOrdered(s) {
			return "", fmt.Errorf("%s names transfer %s but is %s to %s, not %s to %s", s.ID, op.ID,
				ledger.Money{Amount: s.Amount, Currency: s.Currency}, s.Destination, x.Money, x.Destination)
		}
		if stripeID != "" && stripeID != s.ID { // pages overlap when objects come while they are read
			return "", fmt.Errorf("%s and %s both name transfer %s: it was paid twice", stripeID, s.ID, op.ID)
		}
		stripeID = s.ID
	}
	return stripeID, nil
}

// stripped picks the transfer that lost its metadata and can be no other than ours: it stands in
// our own group, or a person says that it is the one.
func stripped(x *ledger.Transfer, m readDone) string {
	by := m.read.command
	for _, s := range m.found {
		said := by != nil && by.message.Outcome == ledger.OutcomeCompleted && by.message.StripeID == s.ID && m.alike == s.ID
		if x.Is(s) || said {
			return s.ID
		}
	}
	return ""
}

// createdAt is when Stripe created the object of an ID.
func createdAt(found []ledger.StripeTransfer, stripeID string) time.Time {
	for _, s := range found {
		if s.ID == stripeID {
			return s.Created
		}
		for _, r := range s.Reversals {
			if r.ID == stripeID {
				return r.Created
			}
		}
	}
	return time.Time{}
}
