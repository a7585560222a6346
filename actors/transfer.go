package actors

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/settled/settled/actors/gate"
	"github.com/settled/settled/ledger"
)

// transfer drives one transfer, and then its reversals, one operation at a time. Its name is
// the transfer's ID. While it waits it is no more than this struct and a timer.
type transfer struct {
	sys     *System
	id      ledger.ID
	inc     uint64 // of this incarnation; tags what may come back to a later one
	timer   *time.Timer
	until   time.Time // the end of the wait
	inVain  time.Time // when Stripe was last read in vain, by the database's clock
	listing *listing  // a list that was not read to its end
	resting bool      // nothing is to be done; the shard was told
	entered bool      // counted as having a send of uncertain end: see System.enter
	version int64     // of the record that was dropped for the wait
	probe   uint64    // the probe that is its own to make of the condition it waits for; 0: it sleeps, or waits for none
	w       *work     // nil while it waits
}

// reply is an answer to a transfer's actor, tagged with the incarnation that asked: a later one
// has asked anew.
type reply[T any] struct {
	inc    uint64 // 0: whichever; it came with the spawn
	answer T
}

// Messages of a transfer to itself, or from those it asked. Each that could outlive its
// incarnation carries it.
type (
	recall   struct{}                // read the ledger
	due      struct{ inc uint64 }    // the wait is over
	delayed  struct{ inc uint64 }    // its commit waits for a row that another session holds
	setAside struct{ reason string } // it panicked too often
	mayStop  struct{}                // the shard holds new messages back: is there still nothing to do?

	// callDone is the outcome of a call. It is evidence, so it outlives its incarnation.
	callDone struct {
		inc        uint64
		subject    ledger.ID
		epoch, gen int
		answer     ledger.Answer
		checked    bool // Stripe was read already, as the answer asked
		counted    bool // in the metrics
	}
)

func (t *transfer) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		t.begin(c)
	case recall:
		if t.w == nil { // else it is being read, or was since the recall was sent
			t.recall(c)
		}
	case reply[loaded]:
		if m.inc == t.inc || m.inc == 0 && t.w == nil { // else the ledger is being read, and says it anew
			t.learn(c, m.answer)
		}
	case due:
		if m.inc == t.inc && t.w == nil {
			t.recall(c)
		}
	case gate.BeginProbe:
		t.beginProbe(c, m)
	case gate.StillProbing:
		if m.No != t.probe {
			c.Send(t.sys.conditions, gate.Probed{No: m.No, Ended: gate.InVain})
		}
	case gate.Permit:
		t.permitted(c, m)
	case gate.Denied:
		if m.Inc == t.inc && t.w != nil && t.w.errand == asking {
			t.denied(c)
		}
	case delayed:
		if m.inc == t.inc {
			t.delayed(c)
		}
	case reply[committed]:
		if m.inc == t.inc {
			t.settle(c, m.answer)
		}
	case callDone:
		if m.inc == t.inc && t.w != nil && t.w.errand == calling {
			t.w.errand = idle
		}
		t.take(c, m)
	case readDone:
		t.readEnded(c, m)
	case command, hint:
		t.take(c, m)
	case live:
		t.tellLive(c, m)
	case setAside:
		t.recall(c)
		t.w.aside = m.reason
	case mayStop:
		if t.resting {
			c.Send(c.Parent(), goodbye{t.id})
		} else {
			c.Send(c.Parent(), stay{t.id})
		}
	case *actor.Stopping, *actor.Restarting: // must neither panic nor block: the tree would hang
		t.disarm()
		t.leave()
		t.endProbe(c, gate.InVain)
		t.handOn(c, m)
	}
	if t.w != nil {
		t.w.check()
	}
}

// begin names the incarnation. It reads nothing: a panic here would restart in a hot loop.
func (t *transfer) begin(c actor.Context) {
	name := c.Self().Id
	t.id, _ = ledger.ParseID(name[strings.LastIndexByte(name, '/')+1:])
	t.inc = t.sys.incarnations.Add(1)
}

// handOn re-sends unhandled messages to the next incarnation. If the actor is stopping, callers get
// errStopping.
func (t *transfer) handOn(c actor.Context, why any) {
	w := t.w
	if w == nil {
		return
	}
	t.w = nil
	if w.permit != 0 {
		c.Send(t.sys.gate, gate.Release{No: w.permit, Unused: true})
	}
	rest := append(w.later, w.after...)
	if l := w.read; l != nil {
		rest = append(rest, l.purpose()...)
	}
	_, last := why.(*actor.Stopping)
	for _, m := range rest {
		if !last {
			c.Send(c.Self(), m)
			continue
		}
		switch m := m.(type) {
		case command:
			m.answer(result{err: errStopping})
		case hint:
			t.sys.missed.Store(true) // it is stored, and told again
		}
	}
}

// recall has the ledger read.
func (t *transfer) recall(c actor.Context) {
	t.disarm()
	t.resting = false
	if t.w == nil {
		t.w = &work{}
	}
	if t.w.view == loading || t.w.view == committing { // the commit's answer says where the ledger stands
		return
	}
	t.w.view = loading
	self, sys, inc := c.Self(), t.sys, t.inc
	c.Send(t.sys.reader, load{t.id, func(l loaded) { sys.tell(self, reply[loaded]{inc, l}) }})
}

// learn takes in the record that was read.
func (t *transfer) learn(c actor.Context, l loaded) {
	if t.w == nil {
		t.w = &work{}
	}
	t.w.view = stale
	switch {
	case errors.Is(l.err, errStopping):
		return
	case l.err != nil:
		panic(fmt.Errorf("transfer %s: %w", t.id, l.err))
	case l.record == nil:
		for _, m := range t.w.later {
			switch m := m.(type) {
			case command:
				m.answer(result{err: ledger.ErrNotFound})
			case hint:
				t.hintHandled(c, &m)
			}
		}
		t.rest(c)
		return
	}
	t.w.record, t.w.view, t.w.at = *l.record, current, l.at
	t.turn(c)
}

// take handles evidence, hints and people's messages: at once when the ledger is known and
// still, else as soon as it is.
func (t *transfer) take(c actor.Context, m any) {
	if h, is := m.(hint); is && h.known != nil && t.w == nil && h.known.record.Transfer.Version >= t.version {
		// The row was read for the event, and is no older than what this actor knew when it began to wait.
		t.disarm()
		t.resting = false
		known := *h.known
		h.known = nil
		t.w = &work{later: []any{h}}
		t.learn(c, known)
		return
	}
	if t.w == nil || t.w.view == stale {
		t.recall(c)
	}
	t.w.later = append(t.w.later, m)
	t.turn(c)
}

// turn handles the messages that waited, and then takes the next step of the plan: both only while
// the ledger is known and nothing is being committed.
func (t *transfer) turn(c actor.Context) {
	w := t.w
	if !w.away() {
		w.later, w.after = append(w.after, w.later...), nil
	}
	for w.view == current && len(w.later) > 0 {
		m := w.later[0]
		w.later = w.later[1:]
		switch m := m.(type) {
		case callDone:
			t.bookAnswer(c, m)
		case command:
			t.carryOut(c, m)
		case hint:
			t.followHint(c, m)
		}
	}
	if w.view == current && w.errand == idle {
		t.proceed(c)
	}
}

// now is the database's clock, as it was heard last by anybody here: what the record was read
// by may have been a wrong clock, that is right by now. With it comes the policy, which says how
// the other clocks stand.
func (t *transfer) now() (time.Time, ledger.Policy) {
	p := t.sys.Policy()
	now, state, heard := t.sys.clocks.now()
	if p.Clocks = state; !heard { // a record that nobody here read: it was created just now
		now = t.w.record.ReadAt.Add(time.Since(t.w.at))
	}
	return now, p
}

// proceed takes the next step of the plan.
func (t *transfer) proceed(c actor.Context) {
	w := t.w
	x := &w.record.Transfer
	if w.aside != "" {
		t.stepAside(c)
		return
	}
	now, policy := t.now()
	step := ledger.Plan(x, w.record.Digest, policy, now, t.inVain)
	if t.sys.closing.Load() && step.Action != ledger.Rest {
		return // what is unfinished stays as the ledger has it
	}
	t.step(c, step, policy, now)
}

// step takes a step of the plan, or waits until its time has come. It is long because it names every action.
func (t *transfer) step(c actor.Context, step ledger.Step, policy ledger.Policy, now time.Time) {
	w := t.w
	x := &w.record.Transfer
	if step.Awaits == ledger.BackOff {
		t.endProbe(c, gate.Yielded)
	}
	wait := policy.Until(step, now)
	switch {
	case step.Action == ledger.Rest:
		t.rest(c)
	case step.Action == ledger.Idle:
		t.wait(c, t.idlePause())
		t.until = time.Time{} // nothing is to happen then
	case step.Action == ledger.NoteLost:
		change, err := x.Lost("the process that sent it ended before the answer was recorded")
		t.commit(c, change, err, setbackNoted{&Setback{Kind: Lost, Code: "interrupted"}})
	case !t.isDue(step, policy, now) && t.sleeps(step):
		t.sleep(c, step, policy, now)
	case !t.isDue(step, policy, now):
		if policy.Clocks.Trouble != "" { // the clock that it waits for may be the wrong one
			wait = min(wait, policy.Windows.Skew)
		}
		t.wait(c, wait)
	case step.Action == ledger.Send && step.Reads:
		w.read = &read{}
		t.ask(c, gate.Reads)
	case step.Action == ledger.Send:
		_, kind := x.Current()
		t.ask(c, gate.Of(kind))
	case step.Action == ledger.Look:
		w.read = &read{decides: step.Decides}
		t.askRead(c)
	case step.Action == ledger.Release && t.sys.conf.Verify != nil && !t.sys.clocks.heardSince(time.Time{}):
		// Our two clocks may be wrong together. The account's verification brings Stripe's.
		t.wait(c, hearMost)
	case step.Action == ledger.Release:
		change, err := x.Lapse(now.Add(-policy.Clocks.Behind))
		t.commit(c, change, err, nil)
	case step.Action == ledger.Tell:
		t.sys.alarm("waits_for_platform", "operation", t.id, "code", step.Code, "why", step.Why)
		change, err := x.Tell(step.Why)
		t.commit(c, change, err, nil)
	case step.Action == ledger.GiveUp:
		if step.Code == ledger.CodeAltered {
			t.sys.alarm("altered", "transfer", t.id)
		}
		change, err := x.GiveUp(step.Code, step.Why)
		t.commit(c, change, err, nil)
	}
}

// idlePause is how long an actor that waits for a person believes what the ledger said: the
// person may have spoken to another daemon, and nothing is left to wait for.
func (t *transfer) idlePause() time.Duration {
	quiet := t.sys.Policy().Windows.Quiet
	return quiet + quiet>>16*time.Duration(ledger.Jitter(t.id, 0)>>16)
}

// waitLeast is longer than the database's clock is coarse (1 µs): a wait for the moment after QUIET
// would otherwise end again and again before that clock has moved.
const waitLeast = time.Millisecond

// wait arms the timer and drops the record: a million actors wait at once, and the ledger has it.
func (t *transfer) wait(c actor.Context, d time.Duration) {
	if end := t.w.record.Transfer.NextHoldEnd(); !end.IsZero() {
		// A hold ends at its own time, by every clock, whatever else is waited for.
		now, policy := t.now()
		if left := policy.Until(ledger.Step{Action: ledger.Release, At: end}, now); left > 0 {
			d = min(d, left)
		}
	}
	self, sys, m := c.Self(), t.sys, due{t.inc}
	d = max(d, waitLeast)
	t.until = time.Now().Add(d)
	t.timer = time.AfterFunc(d, func() { sys.tell(self, m) })
	t.version, t.w = t.w.record.Transfer.Version, nil
}

func (t *transfer) disarm() {
	if t.timer != nil {
		t.timer.Stop()
		t.timer, t.until = nil, time.Time{}
	}
}

// rest tells the shard that there is nothing to do. The shard answers with mayStop once no
// new message can be under way.
func (t *transfer) rest(c actor.Context) {
	t.version, t.w, t.resting = t.w.record.Transfer.Version, nil, true
	c.Send(c.Parent(), finished{t.id})
}
