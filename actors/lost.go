package actors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/settled/settled/ledger"
)

// A process that has proved that the ledger's database lost commits has begun a new epoch, and so it ends: see
// package reconcile, whose walks find most proofs. Evidence for an operation that was never sent is a proof too.

// named returns the ledger's transfers by the names and references that objects at Stripe carry.
// An operation that was never begun has no stored name yet: its reference gives it.
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

// outlived ends a process that has begun a new epoch of the ledger.
func (s *System) outlived(operation ledger.ID, stripeID string) {
	s.alarm("lost_commits", "operation", operation, "stripe_id", stripeID)
	s.fail(fmt.Errorf("the ledger cannot be gone on with: %w: Stripe holds %s, and the database lost it", ledger.ErrNewEpoch, stripeID))
}

// outran follows evidence that changed an operation, from was to is. Evidence that is ahead of its row proves lost
// commits: it won its commit, so the row was the ledger's last word.
func (s *System) outran(was, is *ledger.Operation, created time.Time, stripeID string) {
	if was.Generation == 0 || is.Epoch > was.Epoch || is.Generation > was.Generation {
		go s.unsent(was, created, stripeID)
	}
}

// unsent follows evidence for an operation that was never sent here: the commit of the
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
