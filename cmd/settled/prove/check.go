package prove

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/settled/settled/cmd/settled/adapt"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// audit compares what the ledger says at the end with what Stripe holds, and with what the
// platform was told.
func (w *world) audit() {
	ctx := context.Background()
	a := audit.New()
	for _, t := range w.sim.Truth().Transfers {
		a.Stripe(adapt.Witnessed(t))
	}
	rows, err := w.db.AuditPage(ctx, ledger.ID{}, 1_000_000)
	if err != nil {
		w.breaks(10, "the ledger cannot be audited: %v", err)
		return
	}
	byID := map[ledger.ID]*ledger.Transfer{}
	for i, r := range rows {
		a.Ledger(r)
		byID[r.Transfer.ID] = &rows[i].Transfer
		w.rows[r.Transfer.Status()]++
		w.returned += len(r.Transfer.Reversals)
	}
	sums, err := w.db.Unbalanced(ctx)
	if err != nil {
		w.breaks(11, "the books cannot be summed: %v", err)
		return
	}
	a.Unbalanced(sums)
	seals, err := w.db.AuditSeals(ctx)
	if err != nil {
		w.breaks(10, "the seals cannot be audited: %v", err)
		return
	}
	a.Add(seals)
	records, err := w.db.AuditRecords(ctx)
	if err != nil {
		w.breaks(16, "what is beside the transfers cannot be audited: %v", err)
		return
	}
	a.Add(records)
	report := a.Report()
	for _, d := range report.Differences {
		w.breaks(d.Class.Invariants()[0], "%s", d)
	}
	if report.Open > 0 && len(w.Violations()) == 0 {
		w.breaks(18, "%d rows are not at their end: %v", report.Open, report.UnfinishedIDs)
	}
	w.promises(byID)
	w.events(ctx)
	w.tree()
}

// tree wants no actor left when nothing is to be done, and that nobody was forgotten: what a
// single daemon finds by its sweep, it should have had an actor for.
func (w *world) tree() {
	if alive := w.actors(); alive > 0 {
		w.breaks(25, "%v actors are alive, and nothing is to be done", alive)
	}
	for _, n := range w.every {
		if finds := n.gauge("settled_sweep_finds_total"); w.plan.Nodes == 1 && finds > 0 && !w.lost() {
			w.breaks(18, "the sweep of %s found %v transfers that had been forgotten", n.name, finds)
		}
	}
}

// promises compares the ledger with what the platform was told.
func (w *world) promises(rows map[ledger.ID]*ledger.Transfer) {
	if len(rows) != len(w.orders) && !w.lost() {
		w.breaks(18, "the ledger has %d transfers of %d orders", len(rows), len(w.orders))
	}
	for i, o := range w.orders {
		if o.forgone {
			w.forgives(i, rows)
			continue
		}
		t := rows[o.id]
		if !o.accepted || t == nil || t.Reference != w.plan.orders[i].order.Reference {
			w.breaks(18, "order %s was accepted: %v; the ledger has it: %v", w.plan.orders[i].order.Reference, o.accepted, t != nil)
			continue
		}
		ours := 0
		for _, r := range t.Reversals {
			if r.ID != ledger.ExternalID(r.StripeID) || !r.External { // one made outside may stand for one of ours
				ours++
			}
		}
		if ours < len(o.granted) || ours > len(o.asked) {
			w.breaks(16, "transfer %s has %d reversals: %d were asked for, and %d granted", t.ID, ours, len(o.asked), len(o.granted))
		}
	}
}

// events wants every event that was acknowledged to be in the ledger: stored again, it is no news.
func (w *world) events(ctx context.Context) {
	var events []ledger.StripeEvent
	for id := range w.acked {
		events = append(events, ledger.StripeEvent{ID: id, Type: "transfer.created", Created: time.Now(), Payload: []byte("{}")})
	}
	if len(events) == 0 {
		return
	}
	slices.SortFunc(events, func(a, b ledger.StripeEvent) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	fresh, err := w.db.StoreEvents(ctx, events)
	if err != nil {
		w.breaks(15, "the events cannot be read: %v", err)
		return
	}
	for i, e := range events {
		if fresh[i] {
			w.breaks(15, "event %s was acknowledged, and is not in the ledger", e.ID)
		}
	}
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.ID
	}
	if err := w.db.HandleEvents(ctx, ids); err != nil {
		w.breaks(15, "the events cannot be marked: %v", err)
	}
}

// again starts every daemon anew, and wants nothing to change.
func (w *world) again() {
	w.turn("all is at rest")
	before, posts := w.versions(), w.posts
	for _, n := range w.live() {
		w.turn("restart " + n.name)
		n.stop()
		if _, err := w.start(n.slot); err != nil {
			w.breaks(19, "a daemon does not start again: %v", err)
		}
	}
	time.Sleep(3 * time.Hour)
	w.turn("all is at rest again")
	if after := w.versions(); after != before || w.posts != posts {
		w.breaks(19, "a restart changed the ledger: %s, and was %s; %d calls were made", after, before, w.posts-posts)
	}
}

// versions sums up where all rows are.
func (w *world) versions() string {
	rows, err := w.db.AuditPage(context.Background(), ledger.ID{}, 1_000_000)
	if err != nil {
		return err.Error()
	}
	var sum int64
	for _, r := range rows {
		sum += r.Transfer.Version
	}
	return fmt.Sprintf("%d rows with %d versions", len(rows), sum)
}

// Violations returns what was found so far.
func (w *world) Violations() []audit.Violation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append(slices.Clone(w.violations), w.watch.Violations()...)
}
