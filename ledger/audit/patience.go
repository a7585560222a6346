package audit

import (
	"slices"
	"time"

	"github.com/settled/settled/ledger"
)

// Patience is what an operation must have been tried before the machine may give it up.
type Patience struct {
	Attempts     int           // refusals of it, each of another generation
	Age          time.Duration // since the first setback
	ConditionAge time.Duration // since it was first refused for a condition of the world; 0: never
}

// tried is what became of an operation's attempts since a person last spoke.
type tried struct {
	first     time.Time            // setback of any kind
	refused   map[string]bool      // keys under which Stripe refused it, and not for a condition
	absent    int                  // generations that were proved absent
	waits     map[string]time.Time // by the code of a condition: when it was first refused for it
	hopeless  bool                 // Stripe's last refusal says that no repetition changes it
	condition string               // or the condition that it waits for
}

// conditions are Stripe's codes for what passes by waiting.
var conditions = []string{"balance_insufficient", "insufficient_capabilities_for_transfer"}

// Patient has the watch hold the machine to its patience, per kind of operation.
func (w *Watch) Patient(transfers, reversals Patience) { w.patience = []Patience{transfers, reversals} }

// attempts returns what is known of an operation's.
func (w *Watch) attempts(op ledger.ID) *tried {
	t := w.tried[op]
	if t == nil {
		t = &tried{refused: map[string]bool{}, waits: map[string]time.Time{}}
		w.tried[op] = t
	}
	return t
}

// Refused takes in that Stripe itself, and nothing in front of it, answered a POST with a 4xx of that
// code, and that a daemon got this answer. What is about the request's way, or about the platform's
// key, is no refusal of an operation: 401, 403, 409, 429, an unknown URL, a key of another request.
func (w *Watch) Refused(key string, status int, typ, code string, now time.Time) {
	it := w.intents[key]
	if it == nil || typ == "idempotency_error" || status != 400 && status != 402 && !(status == 404 && code == "resource_missing") {
		return
	}
	t := w.attempts(it.op)
	if t.condition = ""; slices.Contains(conditions, code) {
		t.condition, t.hopeless = code, false
		if t.waits[code].IsZero() {
			t.waits[code] = now
		}
		return
	}
	t.refused[key], t.hopeless = true, true
}

// heeds checks that nothing is given up before its time.
func (w *Watch) heeds(after *ledger.Transfer, h *ledger.History, now time.Time) {
	if w.patience == nil {
		return
	}
	switch h.Event {
	case ledger.EventRetry:
		w.forget(after)
	case ledger.EventRefuse, ledger.EventNotExecuted, ledger.EventLose, ledger.EventProveAbsent:
		t := w.attempts(h.Subject)
		if t.first.IsZero() {
			t.first = now
		}
		if h.Event == ledger.EventProveAbsent {
			t.absent++
		}
	case ledger.EventGiveUp:
		t, p := w.attempts(h.Subject), w.patience[h.Kind]
		waited := t.waits[t.condition]
		// The ledger's clock may be off by the skew.
		switch skew := w.windows.Skew; {
		case t.hopeless, len(t.refused)+t.absent >= p.Attempts:
		case t.condition == "" && !t.first.IsZero() && now.Sub(t.first) >= p.Age-skew:
		case t.condition != "" && p.ConditionAge > 0 && now.Sub(waited) >= p.ConditionAge-skew:
		default:
			w.breaks(28, h.Subject, "it is given up (%s) after %d refusals, %s of trying and a wait for %q since %s",
				h.Detail, len(t.refused)+t.absent, now.Sub(t.first), t.condition, waited.UTC().Format(time.RFC3339))
		}
		delete(w.tried, h.Subject)
	}
}

// forget begins the counts of a transfer's operations anew.
func (w *Watch) forget(t *ledger.Transfer) {
	delete(w.tried, t.ID)
	for i := range t.Reversals {
		delete(w.tried, t.Reversals[i].ID)
	}
}
