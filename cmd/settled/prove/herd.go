package prove

import (
	"bytes"
	"time"

	"github.com/settled/settled/ledger"
)

// herd counts how often operations that wait for a condition are refused for it again. Of all that wait for the same
// one asks, when an event speaks of it or the slow timer is over; so the refusals do not grow with the number of those
// that wait.
type herd struct {
	waits   map[ledger.ID]ledger.Condition // by operation: what it was last refused for
	refused map[ledger.Condition]int       // again
	most    map[ledger.Condition]int       // waited at once
	heard   int                            // events that may speak of a condition
}

func (h *herd) sees(c *ledger.Change) {
	if h.waits == nil {
		h.waits, h.refused, h.most = map[ledger.ID]ledger.Condition{}, map[ledger.Condition]int{}, map[ledger.Condition]int{}
	}
	op := c.History.Subject
	r := c.History.Answer.Reaction
	switch {
	case c.History.Event == ledger.EventRefuse && (r == ledger.AwaitFunds || r == ledger.AwaitSeller || r == ledger.AwaitSellerFunds):
		x := c.After.Awaits(r)
		if h.waits[op] == x {
			h.refused[x]++
		}
		h.waits[op] = x
		n := 0
		for _, y := range h.waits {
			if y == x {
				n++
			}
		}
		h.most[x] = max(h.most[x], n)
	case c.History.Event != ledger.EventSend:
		delete(h.waits, op)
	}
}

func (h *herd) hears(event []byte) {
	for _, kind := range []string{"balance.available", "account.updated", "capability.updated", "v2.core.account["} {
		if bytes.Contains(event, []byte(kind)) {
			h.heard++
			return
		}
	}
}

// herds wants no condition to have been asked for more often than there was reason to: an event, each twice because it
// may be newer than the refusal, a start, or the timer of each daemon.
func (w *world) herds() {
	w.mu.Lock()
	h, hours := w.herd, int(time.Since(w.began)/time.Hour)
	w.mu.Unlock()
	for x, n := range h.refused {
		if least := 2*h.heard + 2*w.starts + w.plan.Nodes*hours + 5; n > least {
			w.breaks(23, "%d operations waited for %s (%s%s), and were refused %d times again: %d events, %d starts and %d hours of %d daemons are no reason for it",
				h.most[x], x.Reaction, x.Account, x.Currency, n, h.heard, w.starts, hours, w.plan.Nodes)
		}
	}
}
