package reconcile

import (
	"context"
	"time"

	"github.com/settled/settled/ledger"
)

// Something at Stripe that names an operation of ours without a row proves that the ledger's database lost commits.
// One transaction begins a new epoch, and makes the row again. From then on no process that goes by the old epoch
// commits to a send, this one included: it ends, and starts anew with all open operations at rest.

// lost takes in a transfer at Stripe that no row is of. It reports whether the row was made again.
func (w *walker) lost(t ledger.StripeTransfer) (rebuilt bool, err error) {
	p := w.Policy()
	name, reference, ours := t.Lost(p.Account)
	if !ours {
		return false, nil
	}
	by := ledger.By{Principal: "settled", Reason: "Stripe holds it, and the database lost it"}
	change, wrong := ledger.Rebuild(t, p.Account, w.NewID(), p.Epoch, by)
	row := &change
	if wrong != nil { // a person must make the row: the proof is a proof all the same
		w.Alarm("not_rebuilt", "operation", name, "reference", reference, "stripe_id", t.ID, "err", wrong)
		row = nil
	}
	stored, err := w.lostCommits(name, t.ID, t.Created, row)
	if stored {
		w.Log.Warn("a row that the database had lost was made again from Stripe",
			"transfer", change.After.ID, "reference", reference, "stripe_id", t.ID)
		w.Rebuilt(&change)
	}
	return stored, err
}

// lostReversals takes in reversals at Stripe that a row does not have.
func (w *walker) lostReversals(t *ledger.Transfer, held []ledger.StripeTransfer) error {
	for _, h := range held {
		if h.ID != t.Operation.StripeID {
			continue
		}
		for _, r := range t.LostReversals(h) {
			if _, err := w.lostCommits(t.ID, r.ID, r.Created, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *walker) lostCommits(operation ledger.ID, stripeID string, created time.Time, row *ledger.Change) (
	stored bool, err error) {
	err = w.store(func(ctx context.Context) (err error) {
		var raised bool
		stored, raised, err = w.Store.Lost(ctx, created, w.Windows.Skew, row)
		if err == nil && raised {
			w.Outlived(operation, stripeID)
		}
		return err
	})
	return stored, err
}
