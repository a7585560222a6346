package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/settled/settled/actors/gate"
	"github.com/settled/settled/ledger"
)

// How a transfer's actor waits for a condition: it says so to conditions, sleeps, and sends again only when it is
// its turn to probe. See [conditions].

// sleeps reports a step that is made only in the actor's turn.
func (t *transfer) sleeps(step ledger.Step) bool {
	return step.Action == ledger.Send && step.Awaits != ledger.BackOff
}

// isDue reports that a step's time has come. One that waits for a condition has no time of its own: thousands may
// wait for the same.
func (t *transfer) isDue(step ledger.Step, p ledger.Policy, now time.Time) bool {
	if t.sleeps(step) {
		return t.probe != 0
	}
	return p.Until(step, now) <= 0
}

// sleep has conditions wake the actor in its turn. By itself it wakes when the wait is over or somebody must be told,
// and now and then to see whether another daemon has brought it to its end.
func (t *transfer) sleep(c actor.Context, step ledger.Step, p ledger.Policy, now time.Time) {
	w := t.w
	x := &w.record.Transfer
	op, kind := x.Current()
	since := w.at.Add(w.record.Digest.Last.Sub(w.record.ReadAt))
	c.Send(t.sys.conditions, gate.Await{Condition: x.Awaits(step.Awaits), Urgent: kind == ledger.MakeReversal, Operation: op.ID, Who: c.Self(), Since: since})
	d := t.idlePause()
	if !step.Ends.IsZero() {
		d = min(d, p.Until(ledger.Step{At: step.Ends, Decides: true}, now)) // by every clock
	}
	t.wait(c, d)
}

// beginProbe begins a probe: the ledger is read, and what waits is sent.
func (t *transfer) beginProbe(c actor.Context, m gate.BeginProbe) {
	if t.w != nil || t.resting { // it does something else
		c.Send(t.sys.conditions, gate.Probed{No: m.No, Ended: gate.Yielded})
		return
	}
	t.probe = m.No
	t.recall(c)
}

// endProbe says how the probe ended, if one was going on.
func (t *transfer) endProbe(c actor.Context, ended gate.ProbeEnd) {
	if t.probe != 0 {
		c.Send(t.sys.conditions, gate.Probed{No: t.probe, Ended: ended})
		t.probe = 0
	}
}

// awaited is the condition that the operation being driven was last refused for.
func (t *transfer) awaited() ledger.Condition {
	return t.w.record.Transfer.Awaits(t.w.record.Digest.Awaits)
}

// learned tells conditions what an outcome says of the condition that the operation was refused for before.
func (t *transfer) learned(c actor.Context, ch *ledger.Change, before ledger.Condition) {
	h := &ch.History
	refused := h.Event == ledger.EventRefuse || h.Event == ledger.EventNotExecuted
	switch {
	case h.Event == ledger.EventConfirm && t.probe != 0:
		t.endProbe(c, gate.Passed)
	case h.Event == ledger.EventConfirm && before.Reaction != ledger.BackOff:
		c.Send(t.sys.conditions, gate.Came{Condition: before})
	case refused && h.Answer.Reaction == before.Reaction:
		t.endProbe(c, gate.Refused)
	case h.Event == ledger.EventRefuse && h.Answer.Reaction != ledger.BackOff && h.Answer.Reaction != ledger.AwaitPlatform:
		t.endProbe(c, gate.Yielded) // about itself, or about another condition
	default:
		t.endProbe(c, gate.InVain)
	}
}
