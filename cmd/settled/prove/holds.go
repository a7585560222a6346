package prove

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/settled/settled/ledger"
)

// hold has orders wait for a date, people hold them and one another's holds, and stop reversals
// by their ID. It draws by itself: what else a seed plans stays as it is.
func (p *plan) hold(rng *rand.Rand) {
	within := func(d time.Duration) time.Duration { return time.Duration(rng.Float64() * float64(d)) }
	until := func() time.Duration {
		if rng.IntN(2) == 0 {
			return 0
		}
		return time.Minute + within(20*time.Hour)
	}
	for i := range p.orders {
		o := &p.orders[i]
		if rng.IntN(6) > 0 {
			continue
		}
		o.wait = time.Hour + within(20*time.Hour)
		say := func(m planned) {
			m.at, m.target = o.at+within(o.wait+4*time.Hour), i
			p.messages = append(p.messages, m)
		}
		for range 1 + rng.IntN(3) {
			say(planned{kind: ledger.MessageHold, until: until()})
		}
		if rng.IntN(2) == 0 {
			say(planned{kind: ledger.MessageRelease})
		}
		switch rng.IntN(8) {
		case 0:
			say(planned{kind: ledger.MessageRelease, override: string(ledger.HeldBySchedule)})
		case 1:
			say(planned{kind: ledger.MessageRelease, override: string(ledger.HeldByOperator)})
		case 2:
			say(planned{kind: ledger.MessageRelease, override: string(ledger.HeldByDispute)})
		}
	}
	for i := range p.messages {
		m := &p.messages[i]
		if m.kind != ledger.MessageReverse || rng.IntN(3) > 0 {
			continue
		}
		switch rng.IntN(4) {
		case 0:
			m.then = []planned{{kind: ledger.MessageCancel}}
		case 1:
			m.then = []planned{{kind: ledger.MessageHold, until: until()}, {kind: ledger.MessageCancel, at: within(8 * time.Hour)}}
		default:
			m.then = []planned{{kind: ledger.MessageHold, until: until()}, {kind: ledger.MessageHold, until: until(), at: within(time.Hour)},
				{kind: ledger.MessageRelease, at: within(8 * time.Hour)}, {kind: ledger.MessageRetry, at: within(time.Hour)}}
		}
	}
}

// about names what is special about a message, for the summary.
func (m *planned) about() string {
	switch {
	case m.override != "":
		return "with override "
	case m.until > 0:
		return "until a moment "
	}
	return ""
}

// says completes a message's body.
func (w *world) says(m planned, reversal ledger.ID, body map[string]any) {
	if m.until > 0 {
		body["until"] = time.Now().Add(m.until).UTC()
	}
	if m.override != "" {
		body["override"] = m.override
	}
	if reversal != (ledger.ID{}) {
		body["reversal"] = reversal
	}
}

// follow says what was planned about a reversal once it was granted: the last of the answer.
func (w *world) follow(key string, id ledger.ID, m planned, answer []byte) {
	var t struct {
		Reversals []struct {
			ID ledger.ID `json:"id"`
		} `json:"reversals"`
	}
	if json.Unmarshal(answer, &t) != nil || len(t.Reversals) == 0 {
		return
	}
	reversal := t.Reversals[len(t.Reversals)-1].ID
	for i, next := range m.then {
		if next.at > 0 {
			time.Sleep(next.at)
		}
		name := fmt.Sprintf("%s-%d", key, i)
		body := map[string]any{"type": next.kind, "reason": fmt.Sprintf("it was planned as number %d", i)}
		w.says(next, reversal, body)
		status, answer := w.ask("says "+name, "POST", "/v1/transfers/"+id.String()+"/messages", name, body)
		switch status {
		case 202:
			w.met(string(next.kind) + " of a reversal that acts")
		case 409, 422:
		default:
			if status == 404 && w.lost() {
				return
			}
			w.breaks(16, "%s of a reversal was answered %d %s", next.kind, status, answer)
		}
	}
}

// operated returns an operation of a transfer that an operator holds; false: none is.
func operated(t *ledger.Transfer) (operation ledger.ID, held bool) {
	for _, h := range t.Holds {
		if h.Source == ledger.HeldByOperator {
			return h.Operation, true
		}
	}
	return operation, false
}
