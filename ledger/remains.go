package ledger

import (
	"fmt"
	"time"
)

// CheckRemains reports whether it can be said how much of a transfer remains. In a database that
// lost commits nobody can while a reversal that it lost may still be under way; after that Stripe
// is read, which holds all of them.
func CheckRemains(p Policy, now time.Time) error {
	if p.Epoch <= 1 {
		return nil
	}
	at := p.EpochSince.Add(p.Windows.Quiet)
	if p.Clocks.Trouble == "" && p.earliest(now).After(at) {
		return nil
	}
	return fmt.Errorf("%w: the database lost commits at %s, and reversals of it may be under way: how much remains is known after %s; say an amount, or ask again then",
		ErrTooEarly, p.EpochSince.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
}
