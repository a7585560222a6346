package actors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/settled/settled/actors/gate"
	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/ledger"
)

// read is a read of Stripe for evidence, and what it is for. At most one is under way.
type read struct {
	decides bool      // the plan's: finding nothing is proof of absence
	answer  *callDone // an answer hinted that the effect is there already
	hint    *hint     // an event did
	command *command  // a person says so, or denies it
	listing *listing  // that it reads, page by page
}

// purpose is the message that the read was for, if any. It is sent again when the read cannot end.
func (l *read) purpose() []any {
	switch {
	case l.answer != nil:
		return []any{*l.answer}
	case l.hint != nil:
		return []any{*l.hint}
	case l.command != nil:
		return []any{*l.command}
	}
	return nil
}

// named is the transfer with the names that its operations have at Stripe. A permit was given, so
// the account is known by now.
func (t *transfer) named() *ledger.Transfer {
	t.w.record.Transfer = t.w.record.Transfer.Named(t.sys.Policy().Account)
	return &t.w.record.Transfer
}

// hint is an event's word that something happened to a transfer; the object is read before
// it is believed.
type hint struct {
	event    string  // evt_…, marked as handled in the end; empty: the reconciler's own
	stripeID string  // tr_…
	reversed int64   // how much came back, says the event; only a reason to read
	tries    int     // reads that failed
	known    *loaded // the transfer's row, if it was read for the event
}

// followHint follows an event's hint when it can matter: it reads the object.
func (t *transfer) followHint(c actor.Context, h hint) {
	x := &t.w.record.Transfer
	op, kind := x.Current()
	matters := op != nil && (op.State == ledger.Unresolved || op.State == ledger.Parked || op.State == ledger.PendingAtStripe)
	if kind == ledger.CreateTransfer && op != nil && !op.State.Open() {
		matters = true // Stripe may hold what the ledger says was never sent: read, and raise the alarm
	}
	if matters {
		t.startRead(c, &read{hint: &h}, h)
	} else {
		t.hintHandled(c, &h)
	}
}

// startRead begins a read. Its purpose m waits while another read or a call is under way. When the
// actor asks for a permit already, the read takes that one: evidence goes before a send.
func (t *transfer) startRead(c actor.Context, l *read, m any) {
	if t.w.away() {
		t.w.after = append(t.w.after, m)
		return
	}
	t.w.read = l
	if t.w.errand != asking {
		t.askRead(c)
	}
}

// askRead asks for the permit of the read that is wanted: of a list, or of one object.
func (t *transfer) askRead(c actor.Context) { t.ask(c, t.readsAt(t.w.read)) }

func (t *transfer) readsAt(l *read) gate.Endpoint {
	if t.wanted(l) == "" {
		return gate.Lists
	}
	return gate.Reads
}

// wanted is the ID at Stripe of the object to read; empty: it is not known, and a list is read.
func (t *transfer) wanted(l *read) string {
	x := &t.w.record.Transfer
	_, kind := x.Current()
	switch {
	case l.hint != nil:
		return l.hint.stripeID
	case l.command != nil && l.command.message.Type != ledger.MessageReverse && kind == ledger.CreateTransfer:
		return l.command.message.StripeID
	}
	return x.Operation.StripeID
}

// readDone is the end of a read: the objects it found, or an error.
type readDone struct {
	inc     uint64
	read    *read
	version int64 // of the transfer that it was for
	began   time.Time
	found   []ledger.StripeTransfer
	err     error
	absent  bool // Stripe says that the object asked for by ID does not exist

	listing *listing // one page of it was read
	more    bool     // there are more pages, after next
	next    string
	alike   string // may be it, with its metadata removed
}

// readStripe reads with a permit, on a goroutine that only carries the result back. A
// transfer is looked for in the list of its destination, group and time, a page at a time, by its
// metadata; when an ID is known, and for a reversal, the object itself is read.
func (t *transfer) readStripe(c actor.Context) {
	w := t.w
	x := t.named()
	no := w.permit
	w.errand, w.permit = reading, 0
	m := readDone{inc: t.inc, read: w.read, version: x.Version, began: time.Now()}
	op, _ := x.Current()
	id, e := t.wanted(w.read), t.readsAt(w.read)
	if id == "" { // then Stripe is not known to hold it, and it is what is being driven
		m.listing = t.list(w.read, op)
	}
	self, sys, own, list := c.Self(), t.sys, *x, m.listing
	go func() {
		began := time.Now()
		defer func() {
			if bug := recover(); bug != nil {
				sys.bug("read", bug)
				m.err = fmt.Errorf("read: %v", bug)
			}
			sys.tell(sys.gate, gate.AfterRead(no, e, m.err))
			sys.tell(self, m)
		}()
		ctx, cancel := context.WithTimeout(sys.calls, sys.conf.ReadTimeout)
		defer cancel()
		if list != nil {
			sys.page(ctx, &own, list, &m)
		} else {
			var one ledger.StripeTransfer
			if one, m.err = sys.conf.Stripe.Transfer(ctx, id); m.err == nil {
				m.found = []ledger.StripeTransfer{one}
				m.alike, m.err = sys.alike(ctx, &own, one)
			}
			m.absent = errors.Is(m.err, stripe.ErrNotThere)
		}
		sys.metrics.stripeSeconds.WithLabelValues(e.String()).Observe(time.Since(began).Seconds())
	}()
}

// readEnded concludes from a read if the ledger is known and still as it was when the read began.
func (t *transfer) readEnded(c actor.Context, m readDone) {
	w := t.w
	if m.inc != t.inc || w == nil || w.read != m.read {
		return // of an earlier incarnation, which sent on what it was for
	}
	same := w.view == current && w.record.Transfer.Version == m.version
	if m.listing != nil && t.turned(&m) && same {
		t.askRead(c)
		return
	}
	w.errand, w.read = idle, nil
	if same {
		t.conclude(c, m)
	} else { // the transfer moved meanwhile: its object is read again if that still matters
		w.later = append(w.later, m.read.purpose()...)
	}
	t.turn(c)
}

// conclude decides what follows from the objects that were read.
func (t *transfer) conclude(c actor.Context, m readDone) {
	x := t.named()
	l := m.read
	op, kind := x.Current()
	if m.err != nil && !m.absent {
		t.inVain, _ = t.now()
		t.sys.log.Info("Stripe could not be read", "transfer", t.id, "err", m.err)
		t.readFailed(c, l, m.err)
		return
	}
	if l.command != nil && l.command.message.Type == ledger.MessageReverse {
		t.takeInRemains(c, l.command, m.found)
		return
	}
	if op == nil && l.command != nil && l.command.message.Type == ledger.MessageAdopt && len(m.found) == 1 {
		t.adoptOutside(c, l.command, m.found[0])
		return
	}
	if op == nil { // settled meanwhile by other evidence
		t.hintHandled(c, l.hint)
		switch {
		case l.answer != nil:
			t.callOver(*l.answer)
		case l.command != nil:
			t.refuse(l.command, fmt.Errorf("%w: it is %s already", ledger.ErrIllegalMove, x.Status()))
		}
		return
	}
	stripeID, wrong := match(x, op, kind, m.found)
	how := "read at Stripe: it is there"
	if stripeID == "" && wrong == nil && kind == ledger.CreateTransfer {
		if stripeID = stripped(x, m); stripeID != "" {
			how += "; its metadata was removed there, and it was recognised by its transfer_group, amount and destination"
			t.sys.alarm("stripped", "transfer", t.id, "stripe_id", stripeID)
		}
	}
	if wrong != nil {
		t.inVain, _ = t.now()
		t.sys.alarm("mismatch", "transfer", t.id, "err", wrong)
		t.hintHandled(c, l.hint)
		if l.hint == nil {
			t.readFailed(c, l, wrong)
		}
		return
	}
	switch {
	case stripeID != "":
		t.bookFound(c, l, op, stripeID, how, m.found)
	case t.bookKept(c, l, m.found):
	case l.command != nil:
		t.commandUnproved(c, m)
	case l.answer != nil:
		t.foundOthers(c, *l.answer, kind, m.found)
	default:
		t.foundNothing(c, m, op)
	}
}

// readAgain has Stripe read again when the transfer moved on before the read was booked, unless a person waits, who
// is told that. It reports whether it does.
func (t *transfer) readAgain(l *read, err error) bool {
	again := errors.Is(err, errStale) && l.command == nil
	if again {
		t.w.later = append(l.purpose(), t.w.later...)
	}
	return again
}

// bookFound settles the operation: Stripe holds it.
func (t *transfer) bookFound(c actor.Context, l *read, op *ledger.Operation, stripeID, how string, found []ledger.StripeTransfer) {
	change, changed, err := t.w.record.Transfer.Found(op.ID, stripeID, how)
	if taken, is, wrong := t.takesIn(found); is || wrong != nil {
		change, changed, err = taken, is, wrong
	}
	if errors.Is(err, ledger.ErrConflict) {
		t.hintHandled(c, l.hint)
		if l.command != nil {
			t.refuse(l.command, err)
		}
		t.sys.alarm("conflict", "transfer", t.id, "err", err)
		return
	}
	if err == nil && !changed {
		t.hintHandled(c, l.hint)
		return
	}
	if l.command != nil {
		change.History.By = l.command.message.By
	}
	// An operation that the database lost is expected at Stripe, and an open send. No other is.
	expected := op.State.Undecided() || op.Seen < t.sys.Policy().Epoch || op.Retraces()
	t.commit(c, change, err, foundBooked{read: l, was: *op, stripeID: stripeID, created: createdAt(found, stripeID), expected: expected,
		before: t.w.record.Transfer.Status(), awaited: t.awaited()})
}

// foundBooked follows the commit of an operation's being there at Stripe.
type foundBooked struct {
	read     *read
	was      ledger.Operation // before the commit
	stripeID string
	created  time.Time // at Stripe
	expected bool      // the protocol had not ruled it out
	before   ledger.State
	awaited  ledger.Condition
}

func (b foundBooked) after(t *transfer, c actor.Context, ch *ledger.Change, err error) {
	l := b.read
	if t.readAgain(l, err) {
		return
	}
	if err == nil {
		t.leave()
		t.learned(c, ch, b.awaited)
		t.confirmed(ch, b.expected)
		t.hintHandled(c, l.hint)
		t.sys.outran(&b.was, ch.Subject(), b.created, b.stripeID)
	}
	if l.command != nil {
		l.command.answer(result{before: b.before, record: t.w.record, acted: err == nil, err: err})
	}
}

// foundNothing goes on after a read of the plan, or of an event, that did not find the operation.
func (t *transfer) foundNothing(c actor.Context, m readDone, op *ledger.Operation) {
	t.hintHandled(c, m.read.hint)
	x := &t.w.record.Transfer
	now, p := t.now()
	if !m.read.decides {
		t.inVain, t.w.record.Digest.Read, op.ClearAt = now, now, now
		return
	}
	if !t.sys.clocks.heardSince(m.began) { // the answer that shows nothing must say what time it is at Stripe
		t.inVain = now
		return
	}
	var change ledger.Change
	var err error
	switch {
	case m.alike != "" && op.State.Open():
		if change, err = x.Suspect(p, m.alike, now); err == nil {
			t.sys.alarm("stripped", "operation", op.ID, "stripe_id", m.alike)
		}
	case op.State.Open():
		change, err = x.Absent(p, t.w.record.Digest.Doubtful, now)
	default:
		change, err = x.RenewEpoch(p, now)
	}
	if errors.Is(err, ledger.ErrTooEarly) {
		t.inVain = now
		return
	}
	t.inVain = time.Time{}
	t.commit(c, change, err, absenceBooked{})
}

// absenceBooked follows the commit of an operation's absence at Stripe.
type absenceBooked struct{}

func (absenceBooked) after(t *transfer, _ actor.Context, ch *ledger.Change, err error) {
	if err == nil && ch.History.Event == ledger.EventProveAbsent {
		t.crash(&Setback{Kind: Refused, Code: "absent"})
	}
}

// foundOthers goes on after an answer said that the effect is there already, and a read did not
// find ours: reversals that others made are booked, and then the answer stands.
func (t *transfer) foundOthers(c actor.Context, a callDone, kind ledger.Kind, found []ledger.StripeTransfer) {
	a.checked = true
	if kind == ledger.MakeReversal && len(found) == 1 {
		change, changed, err := t.w.record.Transfer.Reconcile(found[0], a.answer)
		if err == nil && changed {
			t.sys.alarm("reversed_outside", "transfer", t.id, "detail", change.History.Detail)
			t.commit(c, change, nil, othersBooked{a})
			return
		}
	}
	t.bookAnswer(c, a)
}

// othersBooked follows the commit of others' reversals: the answer that had Stripe read is booked
// next, unless that commit was its end too.
type othersBooked struct{ callDone }

func (b othersBooked) after(t *transfer, _ actor.Context, ch *ledger.Change, err error) {
	if err != nil || ch.History.Event == ledger.EventAdopt {
		t.w.later = append([]any{b.callDone}, t.w.later...)
		return
	}
	t.callOver(b.callDone)
}

// readFailed goes on after a read that taught nothing.
func (t *transfer) readFailed(c actor.Context, l *read, err error) {
	switch {
	case l.answer != nil: // without the read no generation may be closed: the outcome counts as unknown
		a := *l.answer
		a.answer.Verdict, a.answer.Reaction, a.checked = ledger.Unknown, ledger.BackOff, true
		t.bookAnswer(c, a)
	case l.hint != nil && l.hint.event == "": // the reconciler reads again by itself
	case l.hint != nil && !errors.Is(err, errStopping): // nobody else may ever read: a parked transfer's actor is about to rest
		h := *l.hint
		h.tries++
		h.known = nil // it ages meanwhile
		sys, id := t.sys, t.id
		wait := t.sys.Policy().Transfers.Backoff.Wait(h.tries, ledger.Jitter(id, h.tries))
		time.AfterFunc(wait, func() { sys.tell(sys.shard(id), deliver{id, h}) })
	case l.command != nil:
		t.refuse(l.command, fmt.Errorf("%w: %w: %v", ledger.ErrUnavailable, ledger.ErrStripeAway, err))
	case l.hint == nil: // the plan's: if it was a probe's, another's turn comes
		t.endProbe(c, gate.InVain)
	}
}

// hintHandled tells the handler that a hint's event needs nothing more. A hint of the reconciler's has no event.
func (t *transfer) hintHandled(c actor.Context, h *hint) {
	if h != nil && h.event != "" {
		c.Send(t.sys.handler, handled{h.event})
	}
}
