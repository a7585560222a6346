package prove

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/settled/settled/ledger"
)

// The platform and its people, as they would behave: they ask, and ask again under the same
// reference or idempotency key until they have a definite answer.

// traffic has everything asked for that the plan has, each at its moment.
func (w *world) traffic() {
	for i, o := range w.plan.orders {
		w.background(func() {
			time.Sleep(o.at)
			w.order(i, o)
		})
	}
	for i, m := range w.plan.messages {
		w.background(func() {
			time.Sleep(m.at)
			w.say(fmt.Sprintf("message-%d-%d", w.seed, i), m)
		})
	}
}

// ask brings a request to one daemon or another until one of them gives a definite answer.
func (w *world) ask(name, method, path, key string, body any) (status int, answer []byte) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	header := map[string]string{"Content-Type": "application/json", "Authorization": "Bearer " + adminToken}
	if key != "" {
		header["Idempotency-Key"] = key
	}
	for {
		w.turn("platform " + name)
		if n := w.anyNode("platform " + name); n != nil {
			status, answer = n.call(n.admin, method, path, text, header)
			// One commit answers many at once; from here on they go on one by one again.
			w.turn(fmt.Sprintf("%s answered %d", name, status))
			lost := w.troubled() && w.strikes("answer lost", w.plan.LoseAnswer, name)
			if status != 0 && status < 500 && status != 429 && !lost && !running(answer) {
				return status, answer
			}
		}
		time.Sleep(time.Second + w.chance.within(2*time.Minute, "platform waits "+name))
	}
}

// running reports an answer that says that the same request is still being worked on.
func running(answer []byte) bool {
	var p struct {
		Type string `json:"type"`
	}
	return json.Unmarshal(answer, &p) == nil && p.Type == "urn:settled:problem:idempotency-key-in-use"
}

// order orders a transfer. What is there already, because an answer was lost, is the same.
func (w *world) order(i int, p planned) {
	o := p.order
	body := map[string]any{"reference": o.Reference, "seller": o.Seller, "destination": o.Destination,
		"amount": o.Money.Amount, "currency": o.Money.Currency}
	if o.TransferGroup != "" {
		body["transfer_group"] = o.TransferGroup
	}
	if p.charge > 0 {
		body["source_transaction"] = w.charges[p.charge-1]
		w.met("order of a charge")
	}
	if p.wait > 0 {
		w.met("order for later")
		body["not_before"] = w.began.Add(p.at + p.wait).UTC()
	}
	losses := w.lossesYet()
	status, answer := w.ask("orders "+o.Reference, "POST", "/v1/transfers", "", body)
	for losses != w.lossesYet() { // who says so may mean what was lost since
		losses = w.lossesYet()
		status, answer = w.ask("orders "+o.Reference, "POST", "/v1/transfers", "", body)
	}
	var t struct {
		ID ledger.ID `json:"id"`
	}
	if err := json.Unmarshal(answer, &t); err != nil || status != 200 && status != 201 {
		w.breaks(18, "an order was answered %d %s", status, answer)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.orders[i].id, w.orders[i].accepted, w.orders[i].forgone = t.ID, true, false
}

// say sends a message once its transfer exists. A state that forbids it is an answer too; but
// a reversal is asked for again until the transfer was paid, as long as there is trouble.
func (w *world) say(key string, m planned) {
	for {
		w.mu.Lock()
		o := *w.orders[m.target]
		w.mu.Unlock()
		if o.accepted {
			body := map[string]any{"type": m.kind, "reason": "it was planned"}
			if m.amount > 0 {
				body["amount"] = m.amount
			}
			if m.failed {
				body["outcome"] = ledger.OutcomeFailed
			}
			if m.kind == ledger.MessageReverse {
				w.mu.Lock()
				w.orders[m.target].asked[key] = true
				w.mu.Unlock()
			}
			losses := w.lossesYet()
			w.says(m, ledger.ID{}, body)
			status, answer := w.ask("says "+key, "POST", "/v1/transfers/"+o.id.String()+"/messages", key, body)
			switch {
			case status == 202:
				if m.kind == ledger.MessageReverse {
					w.mu.Lock()
					if losses == w.losses { // else it may be lost again
						w.orders[m.target].granted[key] = m
					}
					w.mu.Unlock()
					w.follow(key, o.id, m, answer)
				} else {
					w.met(string(m.kind) + " " + m.about() + "that acts")
				}
				return
			case status == 404 && w.lost(): // it was there a moment ago
			case status != 409 && status != 422:
				w.breaks(16, "%s was answered %d %s", m.kind, status, answer)
				return
			case m.kind != ledger.MessageReverse || !w.troubled():
				return
			}
			key += "+" // a refusal is remembered with its key
		}
		if !w.troubled() {
			return
		}
		time.Sleep(2*time.Hour + w.chance.within(3*time.Hour, "again "+key))
	}
}

// operate is the person on call: what is parked is looked up at Stripe, what is held by an
// operator is released.
func (w *world) operate() {
	ctx := context.Background()
	for _, status := range []ledger.State{ledger.Parked, ledger.ReversalPending, ledger.Held} {
		records, err := w.db.List(ctx, ledger.Filter{Status: status, Limit: 1000})
		if err != nil {
			w.breaks(18, "the ledger cannot be listed: %v", err)
			return
		}
		for _, r := range records {
			t := &r.Transfer
			body := map[string]any{"reason": "somebody looked after it"}
			op, _ := t.Current()
			held, by := operated(t)
			switch {
			case by:
				body["type"] = ledger.MessageRelease
				if held != t.ID {
					body["reversal"] = held
				}
			case op != nil && op.State == ledger.Parked && w.sim.Truth().Pending == 0: // else it may be there in an hour
				body["type"], body["outcome"] = ledger.MessageResolve, ledger.OutcomeFailed
				if id := w.heldAs(op.Name); id != "" {
					body["outcome"], body["stripe_id"] = ledger.OutcomeCompleted, id
				}
			default:
				continue
			}
			w.looked++
			w.ask("operator "+t.ID.String(), "POST", "/v1/transfers/"+t.ID.String()+"/messages", fmt.Sprintf("operator-%d-%d", w.seed, w.looked), body)
		}
	}
}

// heldAs looks an operation up at Stripe, as a person would in the dashboard.
func (w *world) heldAs(op ledger.ID) string {
	for _, t := range w.sim.Truth().Transfers {
		if ledger.Names(t.Metadata, op) {
			return t.ID
		}
		for _, r := range t.Reversals {
			if ledger.Names(r.Metadata, op) {
				return r.ID
			}
		}
	}
	return ""
}
