package ledger_test

import (
	"fmt"
	"slices"
	"time"

	. "github.com/settled/settled/ledger"
)

// Stripe and the network before it, as the walks have them.

type flight struct { // a request in the network
	r        Request
	key      string
	op       ID
	epoch    int
	gen      int
	dialled  time.Time
	owner    *owner // nil: nobody listens any more
	executed bool   // its answer is on the way back
	answer   Answer
}

type stored struct { // what Stripe's idempotency layer keeps
	at     time.Time
	hash   string
	answer Answer
}

type effect struct { // of a server error, still to come
	r  Request
	by time.Time
}

type thing struct { // what Stripe holds
	id      string
	op      string // the operation that its metadata names; empty: another's
	amount  int64
	visible time.Time // in lists
}

// deliver lets a request arrive, in any order.
func (w *world) deliver() {
	var open []*flight
	for _, f := range w.net {
		if !f.executed {
			open = append(open, f)
		}
	}
	if len(open) == 0 {
		return
	}
	f := open[w.chance(len(open), "arrives")]
	if w.once(8, "request lost") {
		w.drop(f)
		return
	}
	w.arrive(f)
}

func (w *world) drop(f *flight) {
	w.net = slices.DeleteFunc(w.net, func(g *flight) bool { return g == f })
	if f.owner != nil {
		f.executed, f.answer = true, timedOut
		w.net = append(w.net, f)
	}
}

func (w *world) answerLost() {
	for _, f := range w.net {
		if f.executed && f.owner != nil && f.answer.Row != "T25" && w.once(2, "answer lost") {
			f.answer = timedOut
			return
		}
	}
}

// arrive executes a request at Stripe and sends its answer on its way.
func (w *world) arrive(f *flight) {
	w.deliveries++
	a := w.execute(f)
	f.executed, f.answer = true, a
	if f.owner == nil {
		w.net = slices.DeleteFunc(w.net, func(g *flight) bool { return g == f })
	}
}

func (w *world) execute(f *flight) Answer {
	hash := f.r.Hash()
	if w.once(8, "turned away") {
		return []Answer{rateLimited, {Row: "T14", Verdict: NotExecuted, HTTPStatus: 401, Scope: ScopeAuth}, {Row: "T11", Verdict: Unknown, HTTPStatus: 409, Code: "idempotency_key_in_use"},
			{Row: "T22", Verdict: Unknown, HTTPStatus: 503}, {Row: "T9", Verdict: Failed, HTTPStatus: 400, Code: "parameter"}}[w.chance(5, "by what")]
	}
	if k, known := w.kept[f.key]; known && w.now.Before(k.at.Add(w.p.Windows.KeyLife)) {
		if k.hash != hash {
			w.fail("6: key %s is used for another request", f.key)
			return otherRequest
		}
		a := k.answer
		a.Replayed = true
		return a
	}
	keep := func(a Answer) Answer {
		w.kept[f.key] = stored{w.now, hash, a}
		return a
	}
	rest := w.rest()
	if f.r.Kind == MakeReversal && f.r.Amount > rest {
		return keep(reversedAll)
	}
	switch n := w.chance(8, "executed"); {
	case w.calm || n < 4:
		return keep(w.make(f.r))
	case n == 4:
		return keep(refused)
	case n == 5: // a server error without an effect
		return keep(serverError)
	case n == 6: // with one
		w.make(f.r)
		return keep(serverError)
	default: // with one to come
		by := w.now.Add(w.p.Windows.Late)
		if w.lateForEver && !w.calm {
			by = w.now.Add(1000 * time.Hour)
		}
		w.late = append(w.late, effect{f.r, by})
		return keep(serverError)
	}
}

// rest is what may still be reversed at Stripe, less what errors may yet roll forward.
func (w *world) rest() int64 {
	rest := int64(0)
	for _, th := range w.transfers {
		rest += th.amount
	}
	for _, th := range w.reversals {
		rest -= th.amount
	}
	for _, e := range w.late {
		if e.r.Kind == MakeReversal {
			rest -= e.r.Amount
		}
	}
	return rest
}

func (w *world) make(r Request) Answer {
	w.serial++
	th := thing{op: r.Metadata[MetaOperation], amount: r.Amount, visible: w.now.Add(time.Duration(w.chance(2, "lag")) * w.p.Windows.Lag)}
	if r.Kind == CreateTransfer {
		th.id = fmt.Sprintf("tr_%d", w.serial)
		w.transfers = append(w.transfers, th)
	} else {
		th.id = fmt.Sprintf("trr_%d", w.serial)
		w.reversals = append(w.reversals, th)
	}
	return made(th.id)
}

func (w *world) takeEffect() {
	if len(w.late) > 0 {
		w.realise(w.chance(len(w.late), "effect"))
	}
}

func (w *world) realise(i int) {
	e := w.late[i]
	w.late = slices.Delete(w.late, i, i+1)
	w.make(e.r)
	w.interesting["late effect"]++
}

// tell is a webhook: an event about an object, twice or never, followed by a read of it.
func (w *world) tell() {
	all := append(w.transfers[:len(w.transfers):len(w.transfers)], w.reversals...)
	if len(all) == 0 {
		return
	}
	th := all[w.chance(len(all), "event")]
	op, _ := w.x.Current()
	if op == nil || th.op != op.Name.String() {
		return
	}
	c, changed, err := w.x.Found(op.ID, th.id, "event")
	if err != nil {
		w.fail("an event cannot be taken in: %v", err)
	}
	if changed {
		w.commit(c, err)
	}
}

func (w *world) stripeTransfer() StripeTransfer {
	x := StripeTransfer{ID: w.x.Operation.StripeID, Amount: 1000, Currency: "eur", Destination: "acct_1"}
	for _, th := range w.reversals {
		r := StripeReversal{ID: th.id, Amount: th.amount}
		if th.op != "" {
			r.Metadata = map[string]string{MetaOperation: th.op}
		}
		x.AmountReversed += th.amount
		if !th.visible.After(w.now) { // the list may lag behind the amount
			x.Reversals = append([]StripeReversal{r}, x.Reversals...)
		}
	}
	return x
}

func (w *world) tellAll() {
	for range len(w.transfers) + len(w.reversals) {
		for _, th := range append(w.transfers[:len(w.transfers):len(w.transfers)], w.reversals...) {
			op, _ := w.x.Current()
			if op != nil && th.op == op.Name.String() {
				if c, changed, err := w.x.Found(op.ID, th.id, "event"); changed {
					w.commit(c, err)
				} else if err != nil {
					w.fail("an event cannot be taken in: %v", err)
				}
			}
		}
	}
}
