package actors_test

import (
	"context"
	"time"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/cmd/settled/adapt"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// hold holds the world to what must be true of any: the books add up, nothing was paid twice,
// the ledger and Stripe agree where the ledger is sure, and no key was used against the rules.
func (w *world) hold() {
	w.Helper()
	if w.spoiled {
		return
	}
	a := audit.New()
	for _, t := range w.sim.Truth().Transfers {
		a.Stripe(adapt.Witnessed(t))
	}
	page, err := w.db.AuditPage(context.Background(), ledger.ID{}, 10_000)
	if err != nil {
		w.Fatal(err)
	}
	for _, row := range page {
		a.Ledger(row)
	}
	for _, d := range a.Report().Differences {
		// What others reversed, and no walk was made since, is there to be found.
		if !w.forged && d.Class != audit.ReversedOutside && d.Class != audit.Reversed {
			w.Errorf("invariant %v: %s", d.Class.Invariants(), d)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.aside {
		return
	}
	for _, v := range w.watch.Violations() {
		w.Errorf("%s", v)
	}
}

// committed makes a commit, and tells the watch of what won; one at a time, in their order.
func (w *world) committed(changes []ledger.Change, commit func() ([]bool, error)) ([]bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	won, err := commit()
	for i := range won {
		if won[i] {
			w.watch.Committed(changes[i], time.Now())
		}
	}
	return won, err
}

func (w *world) made(m stripesim.Made) {
	if id, err := ledger.ParseID(m.Metadata[ledger.MetaOperation]); err == nil && m.Key != "" { // else a test's own hand
		w.mu.Lock()
		defer w.mu.Unlock()
		w.watch.Effect(id, m.Key, m.Reversal)
	}
}

func (w *world) arrived(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watch.Arrived(key, time.Now())
}

// name is what a transfer is called at Stripe.
func (w *world) name(id ledger.ID) ledger.ID { return w.transfer(id).Named("").Operation.Name }

// held is what Stripe holds, by the operation that it names.
func (w *world) held() map[string][]stripesim.Transfer {
	held := map[string][]stripesim.Transfer{}
	for _, s := range w.sim.Truth().Transfers {
		op := s.Metadata[ledger.MetaOperation]
		held[op] = append(held[op], s)
	}
	return held
}

// raises begins a new epoch of the ledger, as settled migrate restored does.
func (w *world) raises() {
	w.Helper()
	ctx := context.Background()
	if _, err := w.db.RaiseEpoch(ctx); err != nil {
		w.Fatal(err)
	}
	epoch, since, _, err := w.db.Epoch(ctx)
	if err != nil {
		w.Fatal(err)
	}
	w.policy.Epoch, w.policy.EpochSince = epoch, since
}
