package actors

import (
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/settled/settled/actors/gate"
	"github.com/settled/settled/ledger"
)

func (t *transfer) ask(c actor.Context, e gate.Endpoint) {
	x := &t.w.record.Transfer
	t.w.errand, t.w.asked = asking, e
	c.Send(t.sys.gate, gate.Ask{Endpoint: e, Seller: x.Destination, Age: t.id, From: c.Self(), Inc: t.inc})
}

// permitted uses a permit: for the read that it was asked for, or for the send that the plan
// still wants. A permit that nobody wants any more goes back.
func (t *transfer) permitted(c actor.Context, p gate.Permit) {
	w := t.w
	if p.Inc != t.inc || w == nil || w.errand != asking {
		c.Send(t.sys.gate, gate.Release{No: p.No, Unused: true})
		return
	}
	w.errand, w.permit = holding, p.No
	if in := w.intent; in != nil {
		w.intent = nil
		t.enter()
		t.call(c, in.fresh, in.op)
		return
	}
	if w.read != nil {
		t.readStripe(c)
		return
	}
	if w.view == current {
		now, policy := t.now()
		step := ledger.Plan(&w.record.Transfer, w.record.Digest, policy, now, t.inVain)
		if step.Action == ledger.Send && !step.Reads && t.isDue(step, policy, now) && t.commitTo(c, policy, now) {
			return
		}
	}
	t.giveBack(c)
	t.turn(c)
}

// giveBack returns a permit that is not wanted any more.
func (t *transfer) giveBack(c actor.Context) {
	if w := t.w; w.errand == holding {
		c.Send(t.sys.gate, gate.Release{No: w.permit, Unused: true})
		w.errand, w.permit = idle, 0
	}
}

// denied goes on without the permit that was asked for: the daemon stops.
func (t *transfer) denied(c actor.Context) {
	w := t.w
	w.errand = idle
	if in := w.intent; in != nil { // the call sees that the daemon stops, and says that nothing was sent
		w.intent = nil
		t.call(c, in.fresh, in.op)
		return
	}
	if l := w.read; l != nil {
		w.read = nil
		if w.view == current {
			t.readFailed(c, l, errStopping)
		} else {
			w.later = append(w.later, l.purpose()...)
		}
	}
	t.turn(c)
}

// commitTo makes the intent durable. Only the winner of that commit may call. It reports
// false when nothing may be sent after all.
func (t *transfer) commitTo(c actor.Context, policy ledger.Policy, now time.Time) bool {
	x := t.w.record.Transfer
	if t.w.record.Digest.Untimed {
		x = x.Afresh()
	}
	change, err := x.Begin(policy, now)
	switch {
	case errors.Is(err, ledger.ErrTooOld): // the key aged while the permit came, or the clocks parted; the plan says what now
		return false
	case err != nil:
		panic(err)
	case !t.enter():
		return false
	}
	submitted, wall := t.sys.clocks.read()
	t.commit(c, change, nil, intentWritten{freshness{clocks: t.sys.clocks, at: submitted, wall: wall, windows: policy.Windows}})
	return true
}

// intentWritten follows the commit of an intent: its winner makes the call.
type intentWritten struct{ fresh freshness }

func (i intentWritten) after(t *transfer, c actor.Context, ch *ledger.Change, err error) {
	if err != nil {
		t.giveBack(c)
		t.leave()
		return
	}
	op, fresh := ch.Subject(), i.fresh
	fresh.firstSent, fresh.then, fresh.untimed = op.FirstSentAt, ch.History.At, ch.History.Answer.Code == ledger.CodeClocks
	if t.w.errand != holding { // it was delayed
		t.w.intent = &intent{fresh, op}
		t.ask(c, gate.Of(ch.History.Kind))
		return
	}
	t.call(c, fresh, op)
}

// intent is a call that was committed to, and that has no permit.
type intent struct {
	fresh freshness
	op    *ledger.Operation
}

// delayed gives back what is held for a call whose intent waits for its row: the permit, which
// others need meanwhile, and the place among the sends that a stop waits for. Once the intent is
// written it asks for both again.
func (t *transfer) delayed(c actor.Context) {
	if w := t.w; w != nil && w.errand == holding {
		t.giveBack(c)
		t.leave()
	}
}

// call makes the call, on a goroutine that only carries the answer back. It goes by way of
// the shard: evidence finds its actor even when that has ended meanwhile.
func (t *transfer) call(c actor.Context, fresh freshness, op *ledger.Operation) {
	no := t.w.permit
	t.w.errand, t.w.permit = calling, 0
	x := &t.w.record.Transfer
	r := x.Request(op)
	e := gate.Of(r.Kind)
	sys, id, seller := t.sys, t.id, x.Destination
	m := callDone{inc: t.inc, subject: op.ID, epoch: op.Epoch, gen: op.Generation}
	go func() {
		began := time.Now()
		defer func() {
			if bug := recover(); bug != nil {
				sys.bug("call", bug)
				m.answer = ledger.Answer{Row: rowBug, Code: rowBug, Message: fmt.Sprint(bug)}
			}
			mute := m.answer.HTTPStatus == 0 && m.answer.Scope == ledger.ScopeNone || m.answer.Replayed // never sent, given up by us, or of another time
			sys.tell(sys.gate, gate.Release{No: no, Endpoint: e, Scope: m.answer.Scope, After: m.answer.RetryAfter, Unused: mute, Said: m.answer.Message})
			sys.tell(sys.shard(id), deliver{id, m})
		}()
		if sys.closing.Load() {
			m.answer = ledger.Answer{Row: "T26", Verdict: ledger.NotExecuted, Code: "shutdown", Message: "the daemon is stopping; nothing was sent"}
			return
		}
		if err := fresh.agree(); err != nil {
			m.answer = ledger.Answer{Row: "T26", Verdict: ledger.NotExecuted, Code: ledger.CodeClocks, Message: err.Error()}
			return
		}
		m.answer = sys.refusals.Attribute(r.Kind, seller, sys.conf.Stripe.Send(sys.calls, r, fresh.check))
		sys.metrics.stripeSeconds.WithLabelValues(e.String()).Observe(time.Since(began).Seconds())
	}()
}

// rowBug is the row of an answer that never came because the call panicked.
const rowBug = "bug"

// bookAnswer books what an answer proves. An answer that hints that the effect is there already has
// Stripe read first.
func (t *transfer) bookAnswer(c actor.Context, m callDone) {
	x := &t.w.record.Transfer
	if m.answer.Reaction == ledger.LookFirst && m.answer.Verdict != ledger.Unknown && !m.checked {
		t.startRead(c, &read{answer: &m}, m)
		return
	}
	if !m.counted {
		m.counted = true
		kind := ledger.MakeReversal
		if m.subject == x.ID {
			kind = ledger.CreateTransfer
		}
		t.sys.metrics.attempts.WithLabelValues(kind.String(), m.answer.Verdict.String()).Inc()
		if m.answer.Alert {
			t.sys.alarm("answer", "operation", m.subject, "row", m.answer.Row, "code", m.answer.Code, "message", m.answer.Message)
		}
	}
	awaited := t.awaited()
	if t.w.record.Digest.Untimed && m.answer.Puzzling() {
		// It may be a lie, which only a resend under the same key would show; and how old that key is nobody knows.
		m.answer.Verdict = ledger.Unknown
	}
	change, changed, err := x.Conclude(m.subject, m.epoch, m.gen, m.answer)
	if errors.Is(err, ledger.ErrConflict) {
		t.callOver(m)
		t.sys.alarm("conflict", "transfer", t.id, "err", err)
		return
	}
	if err == nil && !changed {
		t.callOver(m)
		return
	}
	t.commit(c, change, err, answerBooked{m, awaited})
}

// answerBooked follows the commit of an answer's conclusion.
type answerBooked struct {
	callDone
	awaited ledger.Condition
}

func (a answerBooked) after(t *transfer, c actor.Context, ch *ledger.Change, err error) {
	m, awaited := a.callDone, a.awaited
	switch {
	case errors.Is(err, errStale): // the evidence is kept, and checked against what the ledger says now
		if t.w.retried && m.answer.Verdict != ledger.Done && !m.answer.Replayed {
			// The first try of the commit was cut off, so it may be what this one lost to. Its
			// send would be taken off the count twice, and another that is still open be denied.
			m.answer.Verdict = ledger.Unknown
		}
		t.w.later = append([]any{m}, t.w.later...)
	case err != nil:
		t.callOver(m)
	case ch.History.Event == ledger.EventConfirm:
		t.callOver(m)
		t.learned(c, ch, awaited)
		t.confirmed(ch, ch.History.From.Undecided() && m.epoch == ch.History.Epoch && m.gen == ch.History.Generation)
	case ch.History.Event == ledger.EventKeep:
		t.callOver(m)
		t.learned(c, ch, awaited)
	case m.answer.Row == rowBug:
		panic(m.answer.Message)
	default:
		t.learned(c, ch, awaited)
		t.crash(&Setback{Kind: kindOf(ch.History.Event), Row: m.answer.Row, Code: m.answer.Code})
	}
}

func kindOf(e ledger.Event) Kind {
	switch e {
	case ledger.EventRefuse:
		return Refused
	case ledger.EventNotExecuted:
		return NotExecuted
	}
	return Lost
}

// confirmed goes on after it is booked that Stripe holds an operation. Evidence that the protocol
// had ruled out is booked all the same, and a person must find out why.
func (t *transfer) confirmed(ch *ledger.Change, expected bool) {
	t.inVain = time.Time{}
	if !expected {
		t.sys.alarm("ruled_out", "operation", ch.History.Subject, "was", ch.History.From, "stripe_id", ch.Subject().StripeID)
	}
}

// enter and leave count sends whose outcome is not recorded yet; a graceful stop waits for
// them. It is false when the system stops: then nothing may be sent.
func (t *transfer) enter() bool {
	if !t.entered {
		t.entered = t.sys.enter()
	}
	return t.entered
}

func (t *transfer) leave() {
	if t.entered {
		t.entered = false
		t.sys.leave()
	}
}

// callOver ends a call whose answer needs nothing more. A call of an earlier incarnation was counted
// by that one.
func (t *transfer) callOver(m callDone) {
	if m.inc == t.inc {
		t.leave()
	}
}

// freshness tells whether a key may still be sent.
type freshness struct {
	clocks    *clocks
	firstSent time.Time // by the database's clock
	then      time.Time // the database's clock at some moment
	at        time.Time // the monotonic clock just before that moment
	wall      time.Time // the wall clock then
	windows   ledger.Windows
	untimed   bool // the generation began while the clocks disagreed, and is marked
}

// check measures the key's age with the monotonic clock and with the wall clock, and believes
// the older: the monotonic clock stands still while a machine is suspended.
func (f freshness) check() error {
	now, wall := f.clocks.read()
	age := f.then.Sub(f.firstSent) + max(now.Sub(f.at), wall.Sub(f.wall))
	switch {
	case age >= f.windows.Safe:
		return fmt.Errorf("%w: %s since its first send", ledger.ErrTooOld, age.Round(time.Second))
	case age < -f.windows.Skew:
		return fmt.Errorf("%w: its first send is to come, in %s", ledger.ErrTooOld, (-age).Round(time.Second))
	}
	return f.agree()
}

// agree reports clocks that forbid the send. The time that came with the intent's commit, as
// its first_sent_at, is among what they say.
func (f freshness) agree() error {
	if s := f.clocks.state(); s.Halt || s.Trouble != "" && !f.untimed {
		return fmt.Errorf("%w: the clocks disagree: %s", ledger.ErrTooOld, s.Trouble)
	}
	return nil
}
