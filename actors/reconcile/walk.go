package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

const (
	sentPage  = 1000 // rows of the ledger in one query
	readTries = 10   // a page that cannot be read so often in a row ends the walk for now
)

// whole makes a walk, or goes on with the one that was begun, to its end.
func (w *walker) whole(every time.Duration) walkEnded {
	defer w.tellForeign()
	stale := w.stale()
	if m := w.aside(); m.in > 0 {
		return m
	}
	var mine bool
	err := w.store(func(ctx context.Context) (err error) {
		// Stripe's clock stamps its objects: it may be ahead of the database's.
		w.at, mine, err = w.Store.OpenWalk(ctx, w.Owner, every, stale, w.Windows.Skew)
		return err
	})
	interval := w.Interval
	switch {
	case err != nil:
		return w.failed(err)
	case !mine && w.at.Ended(): // another process made one
		w.Metrics.walked.Set(float64(w.at.EndedAt.Unix()))
		return walkEnded{in: max(interval-time.Since(w.at.BeganAt), stale)}
	case !mine: // another process is at it; but a person who asks for a walk asks about the time since that one began
		return walkEnded{in: stale, again: every == 0}
	}
	w.walking.Store(true)
	defer w.walking.Store(false)
	began := time.Now()
	w.saved = began
	for !w.at.Ended() {
		if err := w.window(); err != nil {
			return w.failed(err)
		}
	}
	w.rechecks()
	w.Metrics.walks.WithLabelValues("done").Inc()
	w.Metrics.walked.Set(float64(w.at.EndedAt.Unix()))
	w.Log.Info("walked Stripe and the ledger", "walk", w.at.No, "took", time.Since(began).Round(time.Millisecond),
		"reads", w.at.Reads, "at_stripe", w.at.AtStripe, "in_ledger", w.at.InLedger, "differences", w.at.Different)
	return walkEnded{in: max(interval-time.Since(w.at.BeganAt), time.Millisecond)}
}

// failed ends a walk for now. It goes on from the last cursor that was stored.
func (w *walker) failed(err error) walkEnded {
	result := "failed"
	switch {
	case errors.Is(err, errStopping):
		result = "stopped"
	case errors.Is(err, errTaken):
		result = "taken"
	default:
		w.Log.Warn("a walk over Stripe and the ledger could not go on; it is taken up again",
			"walk", w.at.No, "err", err)
	}
	w.Metrics.walks.WithLabelValues(result).Inc()
	if w.at.No > 0 && result != "taken" {
		// In vain at worst: then it is taken up when it has gone stale.
		_ = w.Query(func(ctx context.Context) error { return w.Store.LeaveWalk(ctx, w.at) })
	}
	return walkEnded{in: w.stale(), again: result == "failed"}
}

// aside makes the rechecks that wait, before or between walks. Their findings count as found by
// the newest walk.
func (w *walker) aside() walkEnded {
	defer w.tellForeign()
	var ended audit.Walk
	err := w.store(func(ctx context.Context) (err error) {
		w.at, ended, err = w.Store.Walks(ctx)
		return err
	})
	if err != nil {
		w.at = audit.Walk{}
		return w.failed(err)
	}
	if ended.Ended() {
		w.Metrics.walked.Set(float64(ended.EndedAt.Unix()))
	}
	w.rechecks()
	w.at = audit.Walk{}
	return walkEnded{}
}

// window compares the newest part that is left: first each transfer that Stripe lists with its
// row, then each row of the same time that was not met, by reading its transfer. Then the
// cursor moves past it.
func (w *walker) window() error {
	w.seen, w.before = make(map[string]struct{}), w.seen
	rest := time.Time{} // transfers created before are left; zero: none is
	q := stripe.PageQuery{Until: w.at.Until}
	for listed := 0; ; {
		var page stripe.TransferPage
		err := w.read(readTries, func(ctx context.Context) (calls int, err error) {
			page, err = w.Stripe.Page(ctx, q)
			return 1, err
		})
		if err != nil {
			return fmt.Errorf("list Stripe's transfers: %w", err)
		}
		if err := w.page(page); err != nil {
			return err
		}
		if !page.More {
			break
		}
		last := page.Transfers[len(page.Transfers)-1]
		q.After = last.ID
		listed += len(page.Transfers)
		// Times at Stripe are whole seconds: those of the last one's may go on.
		rest = last.Created.Add(time.Second)
		if listed >= w.Window && rest.Before(w.at.Until) {
			break
		}
		rest = time.Time{}
		if err := w.heartbeat(); err != nil {
			return err
		}
		w.rechecks()
	}
	if err := w.rows(rest); err != nil {
		return err
	}
	w.at.Until = rest
	return w.save()
}

// page compares one page of Stripe's transfers with their rows, which are read after it.
func (w *walker) page(page stripe.TransferPage) error {
	page = w.fresh(page)
	w.at.AtStripe += int64(len(page.Transfers))
	w.Metrics.compared.WithLabelValues("stripe").Add(float64(len(page.Transfers)))
	var names []ledger.ID
	references := make(map[ledger.ID]string)
	var strangers []ledger.StripeTransfer
	for _, s := range page.Transfers {
		if op, named := audit.Named(s); !named {
			strangers = append(strangers, s)
		} else if op != (ledger.ID{}) {
			names, references[op] = append(names, op), s.Metadata[ledger.MetaReference]
		}
	}
	rows, err := w.byName(names, references)
	if err != nil {
		return err
	}
	for i, s := range page.Transfers {
		op, named := audit.Named(s)
		if !named {
			continue
		}
		if page.Partial[i] || !w.agree(rows[op], s) {
			if err := w.recheck(op, s.ID, references[op]); err != nil {
				return err
			}
		}
	}
	return w.strangers(strangers)
}

// fresh leaves out the transfers that the page before had too: pages overlap when objects come while they are
// read, and a transfer that is listed twice is one transfer.
func (w *walker) fresh(page stripe.TransferPage) stripe.TransferPage {
	before := w.listed
	w.listed = make(map[string]struct{}, len(page.Transfers))
	out := stripe.TransferPage{More: page.More}
	for i, s := range page.Transfers {
		_, again := before[s.ID]
		_, twice := w.listed[s.ID]
		w.listed[s.ID] = struct{}{}
		if !again && !twice {
			out.Transfers, out.Partial = append(out.Transfers, s), append(out.Partial, page.Partial[i])
		}
	}
	return out
}

// agree compares a transfer as Stripe lists it with its row. A difference is only a
// suspicion: one of the two may have moved since it was read.
func (w *walker) agree(t *ledger.Transfer, s ledger.StripeTransfer) bool {
	one := []ledger.StripeTransfer{s}
	if t == nil || t.Operation.StripeID != "" && t.Operation.StripeID != s.ID || len(audit.Compare(t, one)) > 0 {
		return false
	}
	if t.Operation.StripeID == s.ID {
		w.seen[s.ID] = struct{}{}
	}
	for _, e := range audit.Unsettled(t, one) {
		switch {
		case e.State == ledger.Parked:
			return false
		case e.State == ledger.Unresolved && !w.ReportOnly:
			w.nudge(t, e)
		}
	}
	return true
}

// strangers keeps transfers that do not name us: others made them, unless a row claims one. A
// transfer of others cannot become ours, so it needs no recheck.
func (w *walker) strangers(list []ledger.StripeTransfer) error {
	if len(list) == 0 {
		return nil
	}
	ids := make([]string, len(list))
	for i, s := range list {
		ids[i] = s.ID
	}
	var claims []ledger.Record
	err := w.store(func(ctx context.Context) (err error) {
		claims, err = w.Store.ByStripeID(ctx, ids)
		return err
	})
	if err != nil {
		return err
	}
	claimed := make(map[string]ledger.ID, len(claims))
	for i := range claims {
		claimed[claims[i].Transfer.Operation.StripeID] = claims[i].Transfer.Operation.Name
	}
	var objects []string
	var found []audit.Finding
	for _, s := range list {
		if id, ours := claimed[s.ID]; ours {
			if err := w.recheck(id, s.ID, ""); err != nil {
				return err
			}
		} else if !w.IgnoreForeign {
			objects = append(objects, s.ID)
			found = append(found, audit.Found(audit.Unclaimed(s), nil, []ledger.StripeTransfer{s}))
		}
	}
	if len(found) == 0 {
		return nil
	}
	_, err = w.record(objects, found)
	return err
}

// rows reads, by their IDs, the transfers of the window that the ledger says Stripe holds and
// that were not listed: Stripe may have created them much later than they were first sent, or
// may not have them. A transfer that was sent just now is left to the next walk.
func (w *walker) rows(since time.Time) error {
	until := w.at.Until
	if settled := w.at.BeganAt.Add(-w.Windows.Lag); settled.Before(until) {
		until = settled
	}
	for after := (audit.Sent{}); ; {
		var page []audit.Sent
		err := w.store(func(ctx context.Context) (err error) {
			page, err = w.Store.Sent(ctx, since, until, after, sentPage)
			return err
		})
		if err != nil {
			return err
		}
		w.at.InLedger += int64(len(page))
		w.Metrics.compared.WithLabelValues("ledger").Add(float64(len(page)))
		for _, row := range page {
			_, now := w.seen[row.StripeID]
			_, before := w.before[row.StripeID]
			if now || before {
				continue
			}
			if err := w.recheck(ledger.ID{}, row.StripeID, ""); err != nil {
				return err
			}
			if err := w.heartbeat(); err != nil {
				return err
			}
		}
		if len(page) < sentPage {
			return nil
		}
		after = page[len(page)-1]
	}
}

// heartbeat tells others, now and then, that the walk has its owner.
func (w *walker) heartbeat() error {
	if time.Since(w.saved) < w.stale()/4 {
		return nil
	}
	return w.save()
}

func (w *walker) save() error {
	var ok bool
	err := w.store(func(ctx context.Context) error {
		after, won, err := w.Store.SaveWalk(ctx, w.at)
		if err == nil {
			w.at, ok = after, won
		}
		return err
	})
	if err == nil && !ok {
		err = errTaken
	}
	w.saved = time.Now()
	return err
}

func (w *walker) byName(names []ledger.ID, references map[ledger.ID]string) (map[ledger.ID]*ledger.Transfer, error) {
	var records map[ledger.ID]*ledger.Record
	err := w.store(func(ctx context.Context) (err error) {
		records, err = w.Find(ctx, names, references)
		return err
	})
	rows := make(map[ledger.ID]*ledger.Transfer, len(records))
	for name, r := range records {
		rows[name] = &r.Transfer
	}
	return rows, err
}
