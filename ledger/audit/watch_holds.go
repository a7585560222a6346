package audit

import (
	"time"

	"github.com/settled/settled/ledger"
)

// known is a hold as it was when it began, whatever a later row says of it.
type known struct {
	ledger.Hold
	transfer ledger.ID
}

// Told takes in a message of a person, before it acts.
func (w *Watch) Told(m ledger.Message) { w.told[m.ID] = m }

// holding checks what a change does to the holds of its transfer: each ends only at its own
// time, by a message that means it, or with its operation; and nothing is sent while one stands.
func (w *Watch) holding(before *ledger.Transfer, c *ledger.Change, now time.Time) {
	after, h := &c.After, &c.History
	if after.Version != before.Version+1 { // see invariant 10: what was known may be of another past
		for id, k := range w.holds {
			if k.transfer == after.ID {
				delete(w.holds, id)
			}
		}
		for _, d := range after.Holds {
			w.holds[d.ID] = known{d, after.ID}
		}
		return
	}
	scheduled := false
	for _, d := range h.Holds {
		if d.Begun == after.Version {
			scheduled = scheduled || d.Source == "schedule" && !d.Until.Before(after.NotBefore.Truncate(time.Microsecond))
			w.holds[d.ID] = known{d, after.ID}
			continue
		}
		k, there := w.holds[d.ID]
		if there && !w.mayEnd(k, c, now) {
			w.breaks(holdsEach, k.Operation, "the hold of %s by %s until %s is ended by %s at %s", k.Source, k.By, k.Until, h.Event, now)
		}
		delete(w.holds, d.ID)
	}
	stand := map[ledger.ID]ledger.Hold{}
	for _, d := range after.Holds {
		stand[d.ID] = d
	}
	for id, k := range w.holds {
		if k.transfer != after.ID {
			continue
		}
		d, there := stand[id]
		switch {
		case !there:
			w.breaks(holdsEach, k.Operation, "the hold of %s by %s is gone, and no step ended it", k.Source, k.By)
			delete(w.holds, id)
		case !d.Until.Equal(k.Until):
			w.breaks(holdsEach, k.Operation, "the end of a hold moves from %s to %s", k.Until, d.Until)
		case h.Event == ledger.EventSend && k.Operation == h.Subject:
			w.breaks(holdsEach, k.Operation, "it is sent while it is held by %s until %s", k.Source, k.Until)
		}
	}
	// (What is made again from Stripe was paid, by a word that may have been lost with its row.)
	if after.Version == 1 && h.Event != ledger.EventRebuild && after.NotBefore.Sub(now) > w.windows.Skew && !scheduled {
		w.breaks(holdsEach, after.ID, "it is ordered for %s, and nothing holds it until then", after.NotBefore)
	}
}

// holdsEach is the number of the invariant about holds.
const holdsEach = 27

// mayEnd reports whether a change may end a hold.
func (w *Watch) mayEnd(k known, c *ledger.Change, now time.Time) bool {
	switch state := c.Subject().State; {
	case c.History.Subject != k.Operation:
		return false
	case state != "pending" && state != "failed":
		return state != "sending" // it came to its end, by evidence or by a person
	case !k.Until.IsZero() && k.Until.Sub(now) <= w.windows.Skew:
		return true
	}
	if c.History.By.Message == (ledger.ID{}) {
		return false
	}
	m, heard := w.told[c.History.By.Message]
	if !heard {
		return true // nobody tells this watch of messages
	}
	meant := m.Override == string(k.Source) || m.Override == k.ID.String() || m.Override == "" && k.Source == "operator"
	return m.Type == ledger.MessageRelease && m.Operation() == k.Operation && meant
}
