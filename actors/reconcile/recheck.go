package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// recheck compares one transfer a second time, and keeps its findings: it reads the row,
// then the object by its ID, then the row again. A row that moved meanwhile proves nothing, and
// the findings about it stay as they are.
func (w *walker) recheck(operation ledger.ID, stripeID, reference string) error {
	mended, err := w.compare(operation, stripeID, reference)
	if mended && err == nil {
		_, err = w.compare(operation, stripeID, reference) // which clears the finding
	}
	return err
}

// compare makes one comparison; mended tells that a finding was mended by it.
func (w *walker) compare(operation ledger.ID, stripeID, reference string) (mended bool, err error) {
	before, err := w.row(operation, stripeID, reference)
	if err != nil {
		return false, err
	}
	objects := []string{stripeID}
	if before != nil && before.Transfer.Operation.StripeID != "" && before.Transfer.Operation.StripeID != stripeID {
		objects = append(objects, before.Transfer.Operation.StripeID)
	}
	var held []ledger.StripeTransfer
	for _, id := range objects {
		s, err := w.object(id)
		switch {
		case err == nil:
			held = append(held, s)
		case errors.Is(err, stripe.ErrNotThere):
		case errors.Is(err, errStopping):
			return false, err
		default:
			w.Log.Warn("a transfer cannot be read at Stripe, and so not be compared", "stripe_id", id, "err", err)
			return false, w.keep(objects)
		}
	}
	after, err := w.row(operation, stripeID, reference)
	if err != nil {
		return false, err
	}
	if moved(before, after) {
		return false, w.keep(objects)
	}
	if after != nil && w.seen != nil {
		w.seen[after.Transfer.Operation.StripeID] = struct{}{}
	}
	for _, s := range held {
		if after != nil || s.ID != stripeID {
			continue
		}
		// The object names its operation; the recheck may have been asked for without it.
		if op, named := audit.Named(s); named && (op != operation || s.Metadata[ledger.MetaReference] != reference) {
			return w.compare(op, stripeID, s.Metadata[ledger.MetaReference])
		}
		if rebuilt, err := w.lost(s); rebuilt || err != nil {
			return rebuilt, err
		}
	}
	if after != nil {
		if err := w.lostReversals(&after.Transfer, held); err != nil {
			return false, err
		}
	}
	found, sure := w.differences(after, held)
	if !sure {
		return false, w.keep(objects)
	}
	return w.record(objects, found)
}

// moved reports that a row is another than before.
func moved(before, after *ledger.Record) bool {
	if before == nil || after == nil {
		return before != after
	}
	return before.Transfer.ID != after.Transfer.ID || before.Transfer.Version != after.Transfer.Version
}

// row reads the row that an object names, or else the one that claims it.
func (w *walker) row(operation ledger.ID, stripeID, reference string) (row *ledger.Record, err error) {
	err = w.store(func(ctx context.Context) error {
		if operation != (ledger.ID{}) {
			rows, err := w.Find(ctx, []ledger.ID{operation}, map[ledger.ID]string{operation: reference})
			row = rows[operation]
			return err
		}
		records, err := w.Store.ByStripeID(ctx, []string{stripeID})
		if err == nil && len(records) > 0 {
			row = &records[0]
		}
		return err
	})
	return row, err
}

func (w *walker) object(id string) (s ledger.StripeTransfer, err error) {
	err = w.read(oddTries, func(ctx context.Context) (int, error) {
		s, err = w.Stripe.Transfer(ctx, id)
		return stripe.CallsFor(s), err
	})
	return s, err
}

// differences compares a row that stood still with its objects. It is not sure while absence may be a lag of
// Stripe's reads.
func (w *walker) differences(r *ledger.Record, held []ledger.StripeTransfer) (found []audit.Finding, sure bool) {
	if r == nil {
		for _, s := range held {
			d := audit.Unclaimed(s)
			if d.Class != audit.Foreign || !w.IgnoreForeign {
				found = append(found, audit.Found(d, nil, held))
			}
		}
		return found, true
	}
	t := &r.Transfer
	var mine []ledger.StripeTransfer
	for _, s := range held {
		if op, _ := audit.Named(s); op == t.Operation.Name || s.ID == t.Operation.StripeID {
			mine = append(mine, s)
		}
	}
	for _, d := range audit.Compare(t, mine) {
		absent := d.Class == audit.MissingAtStripe || d.Class == audit.ReversalMissing
		if absent && r.ReadAt.Sub(settledAt(t, d.StripeID)) < w.Windows.Lag {
			return nil, false
		}
		found = append(found, audit.Found(d, t, mine))
	}
	for _, e := range audit.Unsettled(t, mine) {
		switch {
		case e.State == ledger.Parked:
			d := audit.Difference{Class: audit.Parked, Transfer: t.ID, StripeID: e.StripeID,
				Detail: fmt.Sprintf("%s is parked in the ledger, and Stripe holds it", e.Operation)}
			found = append(found, audit.Found(d, t, mine))
		case e.State == ledger.Unresolved && !w.ReportOnly:
			w.nudge(t, e)
		}
	}
	return found, true
}

// nudge tells a transfer's actor the ID of the object that it looks for, which saves it the wait.
func (w *walker) nudge(t *ledger.Transfer, e audit.Evidence) {
	at := e.StripeID
	if e.Operation != t.ID {
		at = t.Operation.StripeID
	}
	w.Hint(t.ID, at)
}

// settledAt is when the operation that has a Stripe ID came to where it is.
func settledAt(t *ledger.Transfer, stripeID string) time.Time {
	for i := range t.Reversals {
		if t.Reversals[i].StripeID == stripeID {
			return t.Reversals[i].Since
		}
	}
	return t.Operation.Since
}

// keep leaves findings open for objects that could not be compared.
func (w *walker) keep(objects []string) error {
	return w.store(func(ctx context.Context) error { return w.Store.KeepFindings(ctx, objects, w.at.No) })
}

// record stores all findings of one comparison, raises the alarm for new ones, and applies those that are pure
// evidence. It reports whether it applied one.
func (w *walker) record(objects []string, found []audit.Finding) (mended bool, err error) {
	w.at.Different += int64(len(found))
	for i := range found {
		found[i].ID = w.NewID()
	}
	var stored []audit.Finding
	var opened []bool
	err = w.store(func(ctx context.Context) (err error) {
		stored, opened, err = w.Store.StoreFindings(ctx, objects, w.at.No, found)
		return err
	})
	if err != nil {
		return false, err
	}
	for i := range stored {
		f := &stored[i]
		switch {
		case !opened[i]:
		case f.Class == audit.Foreign: // an account may have many: see tellForeign
			w.foreign++
			w.Log.Debug("drift", "finding", f.ID, "difference", f.Difference.String())
		case f.Class == audit.Parked: // of no harm in itself
			w.Log.Warn("drift", "finding", f.ID, "difference", f.Difference.String())
		default:
			w.Alarm("drift", "finding", f.ID, "difference", f.Difference.String())
		}
		if f.Repair != audit.RepairNone && f.Open(f.LastSeen) && f.AppliedAt.IsZero() && !w.ReportOnly {
			mended = w.apply(f) || mended
		}
	}
	return mended, nil
}

// tellForeign tells in one line how many transfers were found that others made: the first walk over
// an account that also pays by other ways finds all of them.
func (w *walker) tellForeign() {
	if w.foreign > 0 {
		w.Log.Warn("others made transfers in this account; GET /v1/drift?class=foreign lists them, and RECONCILE_FOREIGN=ignore passes them over",
			"transfers", w.foreign)
	}
	w.foreign = 0
}

// applyTimeout bounds how long a transfer's actor is waited for.
const applyTimeout = time.Minute

// applyNamespace derives the IDs of the messages by which findings are mended.
var applyNamespace = uuid.MustParse("5a0c1f55-7d2e-5e8a-b0a7-3d0d6f1c9e42")

// apply sends the proposed message, once for each walk that sees the finding: its ID is the same in every process.
func (w *walker) apply(f *audit.Finding) bool {
	m, _ := f.Message()
	m.ID = uuid.NewSHA1(applyNamespace, fmt.Appendf(nil, "%s %d %d", f.ID, w.at.No, f.OpenedAt.UnixMicro()))
	m.By = ledger.By{Message: m.ID, Principal: "settled", Reason: "the reconciler read it at Stripe"}
	ctx, cancel := context.WithTimeout(w.ctx, applyTimeout)
	defer cancel()
	_, err := w.Inject(ctx, m)
	if err == nil {
		err = w.store(func(ctx context.Context) error { return w.Store.MarkApplied(ctx, f.ID, m.By) })
	}
	if err != nil {
		w.Log.Warn("what the reconciler found could not be mended; the next walk tries again",
			"finding", f.ID, "err", err)
		return false
	}
	w.Log.Info("mended", "finding", f.ID, "by", m.Type)
	return true
}
