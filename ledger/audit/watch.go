package audit

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/settled/settled/ledger"
)

// Watch holds what happens to the invariants that the end of a run cannot show: who sent what
// and when, in which order states came, what took effect how often. It is told everything in
// the order in which it happened, by a clock of its own, and like the auditor shares no rule
// with what it checks. It is not safe for use by several goroutines.
type Watch struct {
	windows    ledger.Windows
	rows       map[ledger.ID]*ledger.Transfer
	intents    map[string]*intent // by idempotency key
	effects    map[ledger.ID]int  // executions at Stripe, by the operation's name
	executions map[string]int     // and by key
	acts       map[ledger.ID]int  // commits, by the message that they followed
	holds      map[ledger.ID]known
	told       map[ledger.ID]ledger.Message
	found      []Violation

	losses int                // how often the database was put back
	denies map[ledger.ID]bool // by name: of these it lost a send

	patience []Patience // by kind; nil: it is not checked
	tried    map[ledger.ID]*tried
}

// Violation is a broken invariant.
type Violation struct {
	Invariant int
	Operation ledger.ID // or the transfer
	Detail    string
}

func (v Violation) String() string {
	return fmt.Sprintf("invariant %d, %s: %s", v.Invariant, v.Operation, v.Detail)
}

// intent is a generation that was committed to.
type intent struct {
	op     ledger.ID
	name   ledger.ID // at Stripe
	path   string
	amount string
	first  time.Time // when it was committed to
	body   string    // as first sent
	sends  int

	epoch, generation int
	loss              int  // it was committed to after so many losses
	anew              bool // the database lost it, and it was committed to again

	lately int // sends within the minute that began at since
	since  time.Time
}

// The most that a key may be sent, in all and in a minute: far above what backing off for
// SAFE allows several owners, and far below what a loop does.
const (
	sendsMost       = 300
	sendsMostMinute = 30
)

// NewWatch returns a watch that has seen nothing.
func NewWatch(w ledger.Windows) *Watch {
	return &Watch{windows: w, rows: map[ledger.ID]*ledger.Transfer{}, intents: map[string]*intent{},
		effects: map[ledger.ID]int{}, tried: map[ledger.ID]*tried{}, executions: map[string]int{}, acts: map[ledger.ID]int{},
		holds: map[ledger.ID]known{}, told: map[ledger.ID]ledger.Message{}, denies: map[ledger.ID]bool{}}
}

// Violations returns what was found so far, in order.
func (w *Watch) Violations() []Violation { return w.found }

func (w *Watch) breaks(invariant int, op ledger.ID, format string, args ...any) {
	w.found = append(w.found, Violation{invariant, op, fmt.Sprintf(format, args...)})
}

// follows lists the states that may come after one of an operation.
var follows = map[ledger.State]string{
	"":                   "pending completed", // the last: found, or made again
	"pending":            "pending canceled permanently_failed sending completed",
	"sending":            "completed failed unresolved pending canceled pending_at_stripe",
	"failed":             "failed pending canceled permanently_failed sending completed",
	"unresolved":         "unresolved sending completed failed parked canceled pending_at_stripe",
	"parked":             "completed failed canceled pending_at_stripe",
	"pending_at_stripe":  "completed failed",
	"permanently_failed": "pending canceled",
	"completed":          "",
	"canceled":           "",
}

// Committed takes in a change that won its commit. A change that lost is none.
func (w *Watch) Committed(c ledger.Change, now time.Time) {
	after, h := &c.After, &c.History
	before := w.rows[after.ID]
	if before == nil {
		before = &ledger.Transfer{}
	}
	next := *after
	w.rows[after.ID] = &next

	if after.Version != before.Version+1 || h.Version != after.Version {
		w.breaks(10, after.ID, "version %d, with a line of history for %d, follows version %d", after.Version, h.Version, before.Version)
	}
	if h.Status != status(after) {
		w.breaks(10, after.ID, "its history says %s, and its row is %s", h.Status, status(after))
	}
	if m := h.By.Message; m != (ledger.ID{}) {
		if w.acts[m]++; w.acts[m] > 1 {
			w.breaks(16, after.ID, "message %s acts for the second time, by %s", m, h.Event)
		}
	}
	var sum int64
	for _, p := range c.Postings {
		sum += p.Amount
	}
	if sum != 0 {
		w.breaks(11, after.ID, "version %d is off by %d", after.Version, sum)
	}
	if after.AmountReversed < before.AmountReversed || after.AmountReversed > after.Money.Amount {
		w.breaks(12, after.ID, "%d of %d came back, after %d", after.AmountReversed, after.Money.Amount, before.AmountReversed)
	}
	w.step(&before.Operation, &after.Operation, h, now)
	for i := range after.Reversals {
		was := &ledger.Operation{}
		if i < len(before.Reversals) {
			was = &before.Reversals[i].Operation
		}
		w.step(was, &after.Reversals[i].Operation, h, now)
	}
	w.holding(before, &c, now)
	w.begun(before, after, h, now)
	w.heeds(after, h, now)
	var back int64
	for _, r := range after.Reversals {
		if r.State != "canceled" && r.State != "permanently_failed" && !r.External {
			back += r.Amount
		}
	}
	// A reversal that was lost and found again may leave less than what was asked for meanwhile: Stripe refuses that.
	if back > after.Money.Amount && w.losses == 0 {
		w.breaks(12, after.ID, "we ask for %d of %d back", back, after.Money.Amount)
	}
}

// step checks how one operation moved.
func (w *Watch) step(from, to *ledger.Operation, h *ledger.History, now time.Time) {
	next := follows[from.State]
	if w.losses > 0 && from.State == "permanently_failed" {
		next += " completed" // a retry that the database lost
	}
	if from.State != to.State && !slices.Contains(strings.Fields(next), string(to.State)) {
		w.breaks(9, to.ID, "%s follows %s", to.State, from.State)
	}
	if to.Epoch < from.Epoch || to.Generation < from.Generation {
		w.breaks(7, to.ID, "generation %d of epoch %d follows generation %d of epoch %d", to.Generation, to.Epoch, from.Generation, from.Epoch)
	}
	if to.Generation > from.Generation && unknown(from.State) {
		w.breaks(7, to.ID, "generation %d begins while %d is %s", to.Generation, from.Generation, from.State)
	}
	if to.ID != h.Subject {
		return
	}
	open := unknown(from.State)
	switch ended := open && (to.State == "failed" || to.State == "pending" || to.State == "canceled"); {
	case !ended:
	case h.Event == ledger.EventProveAbsent && h.By.Principal == "":
		it := w.intents[keyOf(from)]
		if it != nil && now.Sub(it.first) <= w.windows.Quiet-w.windows.Skew {
			w.breaks(7, to.ID, "generation %d is taken to be absent %s after its first send", from.Generation, now.Sub(it.first))
		}
	case h.Event == ledger.EventRefuse || h.Event == ledger.EventNotExecuted:
		if from.OpenSends > 1 && !h.Answer.Replayed {
			w.breaks(7, to.ID, "%s closes generation %d with %d sends open", h.Event, from.Generation, from.OpenSends)
		}
	}
	w.looked(to, h)
	if gone(to.State) && w.effects[to.Name] > 0 && !w.denies[to.Name] {
		w.breaks(3, to.ID, "it is %s, and Stripe holds it", to.State)
	}
}

// gone reports a state that says that no money moved, and none will.
func gone(s ledger.State) bool {
	return s == "failed" || s == "canceled" || s == "pending"
}

func keyOf(op *ledger.Operation) string {
	return fmt.Sprintf("settled:%s:%d:%d", op.Name, op.Epoch, op.Generation)
}

// begun notes a generation that was committed to: from now on it may be sent.
func (w *Watch) begun(before, t *ledger.Transfer, h *ledger.History, now time.Time) {
	if h.Event != ledger.EventSend {
		return
	}
	it := &intent{op: h.Subject, path: "/v1/transfers", amount: fmt.Sprint(t.Money.Amount), first: now}
	op := &t.Operation
	for i := range t.Reversals {
		if r := &t.Reversals[i]; r.ID == h.Subject {
			op, it.path, it.amount = &r.Operation, "/v1/transfers/"+t.Operation.StripeID+"/reversals", fmt.Sprint(r.Amount)
		}
	}
	it.name, it.epoch, it.generation, it.loss = op.Name, op.Epoch, op.Generation, w.losses
	key := keyOf(op)
	known := w.intents[key]
	if known == nil {
		w.intents[key] = it
		return
	}
	was := before.OperationNamed(op.Name)
	if known.loss < w.losses && (was == nil || keyOf(was) != key) {
		// The database lost that it was committed to: its age begins anew. Its bytes stay if it took effect. Else what
		// is asked for again may be of another amount, when it is all that remains: Stripe refuses that under the key.
		known.op, known.first, known.loss, known.amount, known.anew = it.op, now, w.losses, it.amount, true
	}
}

// Sent takes in a POST as it leaves a daemon.
func (w *Watch) Sent(key, path, body string, now time.Time) {
	it := w.intents[key]
	if it == nil {
		w.breaks(5, ledger.ID{}, "POST %s leaves under key %q, to which nobody committed", path, key)
		return
	}
	if path != it.path {
		w.breaks(6, it.op, "key %s goes to %s, and belongs to %s", key, path, it.path)
	}
	if it.sends == 0 || it.anew && w.executions[key] == 0 {
		it.body, it.anew = body, false
		w.says(it, key, body)
	} else if body != it.body {
		w.breaks(6, it.op, "key %s is sent with %q, and was with %q", key, body, it.body)
	}
	if age := now.Sub(it.first); age > w.windows.Safe+w.windows.Skew {
		w.breaks(8, it.op, "key %s is sent %s after it was committed to", key, age)
	}
	if now.Sub(it.since) >= time.Minute {
		it.since, it.lately = now, 0
	}
	it.sends++
	it.lately++
	if it.sends == sendsMost || it.lately == sendsMostMinute {
		w.breaks(23, it.op, "key %s was sent %d times, %d of them in a minute", key, it.sends, it.lately)
	}
}

// says checks that a request is the row's.
func (w *Watch) says(it *intent, key, body string) {
	v, err := url.ParseQuery(body)
	if err != nil {
		w.breaks(5, it.op, "its request cannot be read: %v", err)
		return
	}
	want := map[string]string{"amount": it.amount, "metadata[settled_operation]": it.name.String()}
	if t := w.rows[it.op]; t != nil && it.path == "/v1/transfers" {
		want["destination"], want["currency"] = t.Destination, strings.ToLower(string(t.Money.Currency))
	}
	for name, value := range want {
		if got := v.Get(name); got != value {
			w.breaks(5, it.op, "key %s says %s %q, and its row %q", key, name, got, value)
		}
	}
}

// Arrived takes in a POST as it reaches Stripe.
func (w *Watch) Arrived(key string, now time.Time) {
	if it := w.intents[key]; it != nil {
		if age := now.Sub(it.first); age > w.windows.Safe+w.windows.Skew+w.windows.Wire {
			w.breaks(8, it.op, "key %s reaches Stripe %s after it was committed to", key, age)
		}
	}
}

// Effect takes in a transfer or a reversal that Stripe has made, under which key, and which
// operation it names.
func (w *Watch) Effect(op ledger.ID, key string, reversal bool) {
	w.effects[op]++
	w.executions[key]++
	invariant := 1
	if reversal {
		invariant = 13
	}
	if n := w.effects[op]; n > 1 {
		w.breaks(invariant, op, "Stripe has made it %d times, the last under key %s", n, key)
	}
	if n := w.executions[key]; n > 1 {
		w.breaks(20, op, "key %s was executed %d times", key, n)
	}
	for _, o := range w.operations(op) {
		if gone(o.State) && o.OpenSends == 0 && !w.denies[op] {
			w.breaks(3, op, "Stripe makes it while it is %s", o.State)
		}
	}
}

// Row returns the newest committed state of a transfer, or nil.
func (w *Watch) Row(id ledger.ID) *ledger.Transfer { return w.rows[id] }

// operations returns the operation of a name, if it is known.
func (w *Watch) operations(name ledger.ID) []*ledger.Operation {
	for _, t := range w.rows {
		if t.Operation.Name == name || t.Operation.Name == (ledger.ID{}) && ledger.TransferName("", t.Reference) == name { // a world has no account
			return []*ledger.Operation{&t.Operation}
		}
		for i := range t.Reversals {
			if t.Reversals[i].Name == name {
				return []*ledger.Operation{&t.Reversals[i].Operation}
			}
		}
	}
	return nil
}
