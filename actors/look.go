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

// look is a read of Stripe for evidence, and what it is for. At most one is under way.
type look struct {
	decides bool      // the plan's: finding nothing is proof of absence
	answer  *answered // an answer hinted that the effect is there already
	hint    *hint     // an event did
	order   *inject   // a person says so, or denies it
	listing *listing  // that it reads, page by page
}

// purpose is the message that the look was for, if any: it is sent again when the look cannot
// be finished.
func (l *look) purpose() []any {
	switch {
	case l.answer != nil:
		return []any{*l.answer}
	case l.hint != nil:
		return []any{*l.hint}
	case l.order != nil:
		return []any{*l.order}
	}
	return nil
}

// hint is an event's word that something happened to a transfer; the object is read before
// it is believed.
type hint struct {
	event    string // evt_…, told to the inbox when it is applied; empty: the reconciler's own
	stripeID string // tr_…
	reversed int64  // how much came back, says the event; only a reason to look
	tries    int    // reads that failed
}

// sighted is what a read found.
type sighted struct {
	inc     uint64
	look    *look
	version int64 // of the transfer that it was for
	began   time.Time
	found   []ledger.StripeTransfer
	err     error
	absent  bool // Stripe said that the object asked for by ID does not exist

	listing *listing // one page of it was read
	more    bool     // there are more pages, after next
	next    string
	alike   string // may be it, with its metadata removed
}

// named is the transfer with the names that its operations have at Stripe. A permit was given, so
// the account is known by now.
func (t *transfer) named() *ledger.Transfer {
	t.w.record.Transfer = t.w.record.Transfer.Named(t.sys.Policy().Account)
	return &t.w.record.Transfer
}

// seek begins a look; m, which it is for, waits when another look or a call is to end first.
// When the actor asks for a permit already, that one is used: evidence goes before a send.
func (t *transfer) seek(c actor.Context, l *look, m any) {
	if t.w.away() {
		t.w.after = append(t.w.after, m)
		return
	}
	t.w.look = l
	if t.w.errand != asking {
		t.askRead(c)
	}
}

// askRead asks for a permit for the look that is wanted: reading a list, or one object.
func (t *transfer) askRead(c actor.Context) { t.ask(c, t.readsAt(t.w.look)) }

func (t *transfer) readsAt(l *look) gate.Endpoint {
	if t.wanted(l) == "" {
		return gate.Lists
	}
	return gate.Reads
}

// wanted is the ID at Stripe of the object that a look reads; empty: it is not known, and a list is read.
func (t *transfer) wanted(l *look) string {
	x := &t.w.record.Transfer
	_, kind := x.Current()
	switch {
	case l.hint != nil:
		return l.hint.stripeID
	case l.order != nil && l.order.message.Type != ledger.MessageReverse && kind == ledger.CreateTransfer:
		return l.order.message.StripeID
	}
	return x.Operation.StripeID
}

// read reads Stripe, with a permit, on a goroutine that only carries the result back. A
// transfer is looked for in the list of its destination, group and time, a page at a time, by its
// metadata; when an ID is known, and for a reversal, the object itself is read.
func (t *transfer) read(c actor.Context) {
	w := t.w
	x := t.named()
	no := w.permit
	w.errand, w.permit = reading, 0
	m := sighted{inc: t.inc, look: w.look, version: x.Version, began: time.Now()}
	op, _ := x.Current()
	id, e := t.wanted(w.look), t.readsAt(w.look)
	if id == "" { // then Stripe is not known to hold it, and it is what is being driven
		m.listing = t.list(w.look, op)
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

// seen takes in what a read found, once the ledger is known and still.
func (t *transfer) seen(c actor.Context, m sighted) {
	w := t.w
	if m.inc != t.inc || w == nil || w.look != m.look {
		return // of an earlier incarnation, which sent on what it was for
	}
	same := w.view == current && w.record.Transfer.Version == m.version
	if m.listing != nil && t.turned(&m) && same {
		t.askRead(c)
		return
	}
	w.errand, w.look = idle, nil
	if same {
		t.judge(c, m)
	} else { // the transfer moves meanwhile: what was read is read again if it still matters
		w.later = append(w.later, m.look.purpose()...)
	}
	t.turn(c)
}

// judge draws the conclusion from what was read.
func (t *transfer) judge(c actor.Context, m sighted) {
	x := t.named()
	l := m.look
	op, kind := x.Current()
	if m.err != nil && !m.absent {
		t.looked, _ = t.now()
		t.sys.log.Info("Stripe could not be read", "transfer", t.id, "err", m.err)
		t.unread(c, l, m.err)
		return
	}
	if l.order != nil && l.order.message.Type == ledger.MessageReverse {
		t.remains(c, l.order, m.found)
		return
	}
	if op == nil && l.order != nil && l.order.message.Type == ledger.MessageAdopt && len(m.found) == 1 {
		t.adoptOutside(c, l.order, m.found[0])
		return
	}
	if op == nil { // settled meanwhile by other evidence
		t.applied(c, l)
		switch {
		case l.answer != nil:
			t.over(*l.answer)
		case l.order != nil:
			t.refuse(l.order, fmt.Errorf("%w: it is %s already", ledger.ErrIllegalMove, x.Status()))
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
		t.looked, _ = t.now()
		t.sys.alarm("mismatch", "transfer", t.id, "err", wrong)
		t.applied(c, l)
		if l.hint == nil {
			t.unread(c, l, wrong)
		}
		return
	}
	switch {
	case stripeID != "":
		t.adopt(c, l, op, stripeID, how, m.found)
	case t.kept(c, l, m.found):
	case l.order != nil:
		t.decide(c, m)
	case l.answer != nil:
		t.reconcile(c, *l.answer, kind, m.found)
	default:
		t.absent(c, m, op)
	}
}

// stripped picks the transfer that lost its metadata and can be no other than ours: it stands in
// our own group, or a person says that it is the one.
func stripped(x *ledger.Transfer, m sighted) string {
	order := m.look.order
	for _, s := range m.found {
		said := order != nil && order.message.Outcome == ledger.OutcomeCompleted && order.message.StripeID == s.ID && m.alike == s.ID
		if x.Is(s) || said {
			return s.ID
		}
	}
	return ""
}

// unread goes on after a read that failed: nothing was learned.
func (t *transfer) unread(c actor.Context, l *look, err error) {
	switch {
	case l.answer != nil: // without the read nothing may be closed: the outcome counts as unknown
		a := *l.answer
		a.answer.Verdict, a.answer.Reaction, a.weighed = ledger.Unknown, ledger.BackOff, true
		t.weigh(c, a)
	case l.hint != nil && l.hint.event == "": // the reconciler looks again by itself
	case l.hint != nil && !errors.Is(err, errStopping): // nobody else may ever look: a parked transfer's actor is about to rest
		h := *l.hint
		h.tries++
		sys, id := t.sys, t.id
		wait := t.sys.Policy().Transfers.Backoff.Wait(h.tries, ledger.Jitter(id, h.tries))
		time.AfterFunc(wait, func() { sys.tell(sys.shard(id), deliver{id, h}) })
	case l.order != nil:
		t.refuse(l.order, fmt.Errorf("%w: %w: %v", ledger.ErrUnavailable, ledger.ErrStripeAway, err))
	case l.hint == nil: // the plan's: if it was a probe's, another's turn comes
		t.endProbe(c, gate.InVain)
	}
}

// match picks the object that names the operation, and checks that it is what was asked for.
func match(x *ledger.Transfer, op *ledger.Operation, kind ledger.Kind, found []ledger.StripeTransfer) (stripeID string, err error) {
	for _, s := range found {
		if kind == ledger.MakeReversal {
			for _, r := range s.Reversals {
				if !ledger.Names(r.Metadata, op.Name) {
					continue
				}
				if want := x.Request(op).Amount; r.Amount != want {
					return "", fmt.Errorf("%s names reversal %s but is of %d, not %d", r.ID, op.ID, r.Amount, want)
				}
				return r.ID, nil
			}
			continue
		}
		if !ledger.Names(s.Metadata, op.Name) {
			continue
		}
		if s.Amount != x.Money.Amount || s.Currency != x.Money.Currency || s.Destination != x.Destination {
			return "", fmt.Errorf("%s names transfer %s but is %s to %s, not %s to %s", s.ID, op.ID,
				ledger.Money{Amount: s.Amount, Currency: s.Currency}, s.Destination, x.Money, x.Destination)
		}
		if stripeID != "" && stripeID != s.ID { // pages overlap when objects come while they are read
			return "", fmt.Errorf("%s and %s both name transfer %s: it was paid twice", stripeID, s.ID, op.ID)
		}
		stripeID = s.ID
	}
	return stripeID, nil
}

// adopt settles the operation by what was read.
func (t *transfer) adopt(c actor.Context, l *look, op *ledger.Operation, stripeID, how string, found []ledger.StripeTransfer) {
	change, changed, err := t.w.record.Transfer.Found(op.ID, stripeID, how)
	if taken, is, wrong := t.takesIn(found, ledger.By{}); is || wrong != nil {
		change, changed, err = taken, is, wrong
	}
	if errors.Is(err, ledger.ErrConflict) {
		t.applied(c, l)
		if l.order != nil {
			t.refuse(l.order, err)
		}
		t.sys.alarm("conflict", "transfer", t.id, "err", err)
		return
	}
	if err == nil && !changed {
		t.applied(c, l)
		return
	}
	if l.order != nil {
		change.History.By = l.order.message.By
	}
	// What the database lost may well be there: it is looked for. Else only an open send is.
	expected := op.State.Undecided() || op.Seen < t.sys.Policy().Epoch || op.Retraces()
	was, at := *op, createdAt(found, stripeID)
	before, awaited := t.w.record.Transfer.Status(), t.awaited()
	t.commit(c, change, err, func(c actor.Context, ch *ledger.Change, err error) {
		if errors.Is(err, errStale) && l.order == nil {
			t.w.later = append(l.purpose(), t.w.later...)
			return
		}
		if err == nil {
			t.leave()
			t.learned(c, ch, awaited)
			t.confirmed(ch, expected)
			t.applied(c, l)
			t.sys.outran(&was, ch.Subject(), at, stripeID)
		}
		if l.order != nil {
			l.order.answer(injected{before: before, record: t.w.record, acted: err == nil, err: err})
		}
	})
}

// createdAt is when Stripe created what has the ID.
func createdAt(found []ledger.StripeTransfer, stripeID string) time.Time {
	for _, s := range found {
		if s.ID == stripeID {
			return s.Created
		}
		for _, r := range s.Reversals {
			if r.ID == stripeID {
				return r.Created
			}
		}
	}
	return time.Time{}
}

// applied tells the inbox that an event needs nothing more.
func (t *transfer) applied(c actor.Context, l *look) {
	if l.hint != nil {
		c.Send(t.sys.inbox, handled{l.hint.event})
	}
}

// absent goes on after the plan's read, or an event's, found nothing.
func (t *transfer) absent(c actor.Context, m sighted, op *ledger.Operation) {
	t.applied(c, m.look)
	x := &t.w.record.Transfer
	now, p := t.now()
	if !m.look.decides {
		t.looked, t.w.record.Digest.Read, op.ClearAt = now, now, now
		return
	}
	if !t.sys.clocks.heardSince(m.began) { // the answer that shows nothing must say what time it is at Stripe
		t.looked = now
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
		t.looked = now
		return
	}
	t.looked = time.Time{}
	t.commit(c, change, err, func(c actor.Context, ch *ledger.Change, err error) {
		if err == nil && ch.History.Event == ledger.EventProveAbsent {
			t.crash(&Setback{Kind: Refused, Code: "absent"})
		}
	})
}

// reconcile goes on after an answer's hint that the effect is there already found that ours
// is not: what others reversed is booked, and then the answer stands.
func (t *transfer) reconcile(c actor.Context, a answered, kind ledger.Kind, found []ledger.StripeTransfer) {
	a.weighed = true
	if kind == ledger.MakeReversal && len(found) == 1 {
		change, changed, err := t.w.record.Transfer.Reconcile(found[0], a.answer)
		if err == nil && changed {
			t.sys.alarm("reversed_outside", "transfer", t.id, "detail", change.History.Detail)
			t.commit(c, change, nil, func(c actor.Context, ch *ledger.Change, err error) {
				if err != nil || ch.History.Event == ledger.EventAdopt {
					t.w.later = append([]any{a}, t.w.later...)
					return
				}
				t.over(a)
			})
			return
		}
	}
	t.weigh(c, a)
}

// heed follows an event's hint when it can matter, by reading the object.
func (t *transfer) heed(c actor.Context, h hint) {
	x := &t.w.record.Transfer
	op, kind := x.Current()
	matters := op != nil && (op.State == ledger.Unresolved || op.State == ledger.Parked || op.State == ledger.PendingAtStripe)
	if kind == ledger.CreateTransfer && op != nil && !op.State.Open() {
		matters = true // Stripe may hold what the ledger says was never sent: read, and raise the alarm
	}
	if matters {
		t.seek(c, &look{hint: &h}, h)
	} else {
		c.Send(t.sys.inbox, handled{h.event})
	}
}
