package audit

import (
	"maps"

	"github.com/settled/settled/ledger"
)

// Past is the part of a watch's knowledge that goes back when the database is put back to an
// older copy. What was committed to, sent and made at Stripe does not go back with it.
type Past struct {
	rows  map[ledger.ID]*ledger.Transfer
	acts  map[ledger.ID]int
	holds map[ledger.ID]known
	tried map[ledger.ID]*tried
}

// Past returns the present, to be put back later.
func (w *Watch) Past() Past {
	return Past{maps.Clone(w.rows), maps.Clone(w.acts), maps.Clone(w.holds), cloneTried(w.tried)}
}

// PutBack takes in that the database is as it was. That money moved once per name is held to as
// before; only that a row denies what was lost is no violation until it was looked up.
func (w *Watch) PutBack(p Past) {
	w.losses++
	w.rows, w.acts, w.holds, w.tried = maps.Clone(p.rows), maps.Clone(p.acts), maps.Clone(p.holds), cloneTried(p.tried)
	for _, it := range w.intents {
		if !w.knows(it) {
			w.denies[it.name] = true
		}
	}
}

// knows reports whether the rows tell of a generation that was committed to.
func (w *Watch) knows(it *intent) bool {
	for _, op := range w.operations(it.name) {
		sent := op.State != "pending" // again, it may have been
		return op.StripeID != "" || op.Epoch > it.epoch || op.Epoch == it.epoch && (op.Generation > it.generation || op.Generation == it.generation && sent)
	}
	return false
}

// looked takes in the steps that decide about an operation by reading Stripe: from then on
// it denies nothing any more.
func (w *Watch) looked(op *ledger.Operation, h *ledger.History) {
	if op.StripeID != "" || h.Event == ledger.EventRenewEpoch || h.Event == ledger.EventProveAbsent {
		delete(w.denies, op.Name)
	}
}

func cloneTried(from map[ledger.ID]*tried) map[ledger.ID]*tried {
	to := make(map[ledger.ID]*tried, len(from))
	for id, t := range from {
		c := *t
		c.refused, c.waits = maps.Clone(t.refused), maps.Clone(t.waits)
		to[id] = &c
	}
	return to
}
