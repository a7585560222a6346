package actors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/settled/settled/ledger"
)

// What follows the proof that the ledger's database lost commits: something at Stripe names an
// operation of ours that has no row. One transaction begins a new epoch, and makes the row again.
// From then on no process that goes by the old epoch commits to a send, this one included: it
// ends, and starts anew with what was open at rest.

// named returns the ledger's transfers by the names and references that objects at Stripe carry.
// What was never begun has no stored name yet: its reference gives it.
func (s *System) named(ctx context.Context, names []ledger.ID, references map[ledger.ID]string) (map[ledger.ID]*ledger.Record, error) {
	records, err := s.conf.Store.ByName(ctx, names)
	if err != nil {
		return nil, err
	}
	found := make(map[ledger.ID]*ledger.Record, len(records))
	for i := range records {
		found[records[i].Transfer.Operation.Name] = &records[i]
	}
	var rest []string
	for _, name := range names {
		if found[name] == nil && references[name] != "" && ledger.CheckText(references[name], ledger.ReferenceMax) == nil {
			rest = append(rest, references[name])
		}
	}
	if len(rest) == 0 {
		return found, nil
	}
	if records, err = s.conf.Store.ByReference(ctx, rest); err != nil {
		return nil, err
	}
	for i := range records {
		t := &records[i].Transfer
		if t.Operation.Name != (ledger.ID{}) {
			continue // it is called otherwise
		}
		*t = t.Named(s.Policy().Account)
		if found[t.Operation.Name] == nil {
			found[t.Operation.Name] = &records[i]
		}
	}
	return found, nil
}

// lost takes in a transfer at Stripe that no row is of. It reports whether the row was made again.
func (w *walker) lost(t ledger.StripeTransfer) (rebuilt bool, err error) {
	s := w.sys
	p := s.Policy()
	name, reference, ours := t.Lost(p.Account)
	if !ours {
		return false, nil
	}
	by := ledger.By{Principal: "settled", Reason: "Stripe holds it, and the database lost it"}
	change, wrong := ledger.Rebuild(t, p.Account, s.conf.NewID(), p.Epoch, by)
	row := &change
	if wrong != nil { // a person must make the row: the proof is a proof all the same
		s.alarm("not_rebuilt", "operation", name, "reference", reference, "stripe_id", t.ID, "err", wrong)
		row = nil
	}
	stored, err := w.lostCommits(name, t.ID, t.Created, row)
	if stored {
		s.log.Warn("a row that the database had lost was made again from Stripe", "transfer", change.After.ID, "reference", reference, "stripe_id", t.ID)
		s.metrics.transitions.WithLabelValues(ledger.CreateTransfer.String(), string(change.After.Status())).Inc()
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

func (w *walker) lostCommits(operation ledger.ID, stripeID string, created time.Time, row *ledger.Change) (stored bool, err error) {
	err = w.store(func(ctx context.Context) (err error) {
		var raised bool
		stored, raised, err = w.sys.conf.Store.Lost(ctx, created, w.sys.conf.Policy.Windows.Skew, row)
		if err == nil && raised {
			w.sys.outlived(operation, stripeID)
		}
		return err
	})
	return stored, err
}

// outlived ends a process that has begun a new epoch of the ledger.
func (s *System) outlived(operation ledger.ID, stripeID string) {
	s.alarm("lost_commits", "operation", operation, "stripe_id", stripeID)
	s.fail(fmt.Errorf("the ledger cannot be gone on with: %w: Stripe holds %s, and the database lost it", ledger.ErrNewEpoch, stripeID))
}

// outran follows evidence, which won its commit, for an operation as it was and as it is. (That is the ledger's last word:
// an actor that is behind it proves nothing.)
func (s *System) outran(was, is *ledger.Operation, created time.Time, stripeID string) {
	if was.Generation == 0 || is.Epoch > was.Epoch || is.Generation > was.Generation {
		go s.unsent(was, created, stripeID)
	}
}

// unsent follows evidence for an operation of which that was never sent here: the commit of the
// send was lost, and with it perhaps others.
func (s *System) unsent(op *ledger.Operation, created time.Time, stripeID string) {
	err := s.query(func(ctx context.Context) error {
		_, raised, err := s.conf.Store.Lost(ctx, created, s.conf.Policy.Windows.Skew, nil)
		if err == nil && raised {
			s.outlived(op.ID, stripeID)
		}
		return err
	})
	if err != nil && !errors.Is(err, ledger.ErrNewEpoch) {
		s.log.Warn("that the database lost commits could not be noted; the next evidence is", "operation", op.ID, "stripe_id", stripeID, "err", err)
	}
}
