package actors

import (
	"fmt"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/settled/settled/ledger"
)

// command carries a person's message to the transfer's actor. It is answered once, on a buffered
// channel. A command that waits when its actor crashes is carried out by the next incarnation. One
// whose handling panicked is not answered: the caller waits until its deadline, and the message's
// ID keeps a repetition from acting twice.
type command struct {
	message ledger.Message
	reply   chan<- result
	read    bool // Stripe was read for it, and holds no reversal that the ledger lacks
	reread  bool // the ledger was read after it came
}

// answer replies. It must not block: whoever asked may have gone.
func (m *command) answer(r result) {
	select {
	case m.reply <- r:
	default:
	}
}

// result is the answer to a command.
type result struct {
	before ledger.State
	record ledger.Record
	acted  bool // in a commit, which has the message's receipt
	err    error
}

// carryOut carries a person's command out, if the state table and the money protocol allow it.
func (t *transfer) carryOut(c actor.Context, m command) {
	x := &t.w.record.Transfer
	msg := m.message
	var change ledger.Change
	var err error
	if msg.Type == ledger.MessageCancel && t.behindEpoch(msg) {
		// The lost commits may have been of a send, and a cancel would deny it.
		t.refuseSurely(c, m, fmt.Errorf("%w: the database lost commits at %s, and this has not been looked up at Stripe since; released or retried, it will be, before anything is sent",
			ledger.ErrTooEarly, t.sys.Policy().EpochSince.UTC().Format(time.RFC3339)))
		return
	}
	if op, _ := x.Current(); msg.Type == ledger.MessageCancel && op != nil && op.Retraces() && op.ClearAt.IsZero() && !op.State.Open() {
		t.startRead(c, &read{command: &m}, m) // the order that it may repeat may have been paid
		return
	}
	switch msg.Type {
	case ledger.MessageReverse:
		for _, r := range x.Reversals {
			if r.ID == msg.ID { // the message acted before its answer was lost
				m.answer(result{before: x.Status(), record: t.w.record})
				return
			}
		}
		var same *ledger.Reversal
		if same, err = x.ReversalReferred(msg.Reference, msg.Amount); same != nil { // another message asked for it
			m.answer(result{before: x.Status(), record: t.w.record})
			return
		} else if err == nil && t.remainsUnread(&m) {
			t.readRemains(c, m)
			return
		} else if err == nil {
			change, err = x.Reverse(msg.ID, msg.Reference, msg.Amount, t.sys.Policy().Epoch, msg.By)
		}
	case ledger.MessageResolve:
		t.resolve(c, m)
		return
	case ledger.MessageAdopt:
		t.startRead(c, &read{command: &m}, m)
		return
	case ledger.MessageRestart:
		now, policy := t.now()
		over := ledger.Plan(x, t.w.record.Digest, policy, now, t.inVain).Action == ledger.Rest && x.Status() != ledger.Held
		if over && t.w.aside == "" {
			t.refuseSurely(c, m, fmt.Errorf("%w: nothing is left to restart: the transfer is %s, and no actor drives it", ledger.ErrIllegalMove, x.Status()))
			return
		}
		m.answer(result{before: x.Status(), record: t.w.record})
		t.crash(&Setback{Kind: Asked, Code: "restart"})
	default:
		if msg.Type == ledger.MessageHold && x.Holding(msg) {
			m.answer(result{before: x.Status(), record: t.w.record})
			return
		}
		change, err = x.Command(msg)
	}
	if err != nil {
		t.refuseSurely(c, m, err)
		return
	}
	t.commit(c, change, nil, commandDone{m, x.Status()})
}

// commandDone follows the commit of a command.
type commandDone struct {
	command command
	before  ledger.State
}

func (d commandDone) after(t *transfer, _ actor.Context, _ *ledger.Change, err error) {
	if d.command.message.Type == ledger.MessageRetry {
		t.inVain = time.Time{} // what was read in vain before says nothing about now
	}
	d.command.answer(result{before: d.before, record: t.w.record, acted: err == nil, err: err})
}

// behindEpoch reports a command about an operation of an earlier epoch, which was not looked up at
// Stripe since.
func (t *transfer) behindEpoch(msg ledger.Message) bool {
	x := &t.w.record.Transfer
	epoch := t.sys.Policy().Epoch
	if msg.Reversal == (ledger.ID{}) {
		op, _ := x.Current()
		return op != nil && op.Seen < epoch
	}
	r, err := x.Reversal(msg.Reversal)
	return err == nil && r.Seen < epoch
}

// resolve reads Stripe before a person's word is taken: evidence wins over it.
func (t *transfer) resolve(c actor.Context, m command) {
	x := &t.w.record.Transfer
	op, kind := x.Current()
	form := map[ledger.Kind]string{ledger.CreateTransfer: "tr_", ledger.MakeReversal: "trr_"}[kind]
	if id := m.message.Reversal; id != (ledger.ID{}) && (op == nil || op.ID != id) {
		// Only one operation is under way at a time, and it is another, if any.
		r, err := x.Reversal(id)
		if err == nil {
			err = fmt.Errorf("%w: only what is unresolved or parked can be resolved, and reversal %s is %s", ledger.ErrIllegalMove, id, r.State)
		}
		t.refuseSurely(c, m, err)
		return
	}
	switch {
	case op == nil || op.State != ledger.Unresolved && op.State != ledger.Parked:
		t.refuseSurely(c, m, fmt.Errorf("%w: only what is unresolved or parked can be resolved, and this is %s", ledger.ErrIllegalMove, x.Status()))
		return
	case m.message.Outcome == ledger.OutcomeCompleted && !strings.HasPrefix(m.message.StripeID, form):
		t.refuseSurely(c, m, ledger.FieldErrors{{Field: "stripe_id", Detail: fmt.Sprintf("must begin with %s: what is not known here is a %s's outcome", form, kind)}})
		return
	case m.message.Outcome == ledger.OutcomeFailed:
		if err := t.mayResolve(); err != nil {
			t.refuseSurely(c, m, err)
			return
		}
	}
	t.startRead(c, &read{command: &m}, m)
}

func (t *transfer) mayResolve() error {
	now, policy := t.now()
	return t.w.record.Transfer.CheckResolve(policy, t.w.record.Digest, now)
}

// commandUnproved ends a command after Stripe was read and does not show the operation as done.
func (t *transfer) commandUnproved(c actor.Context, read readDone) {
	m := read.read.command
	x := &t.w.record.Transfer
	if m.message.Type == ledger.MessageCancel {
		if op, _ := x.Current(); op != nil {
			op.ClearAt, _ = t.now()
		}
		t.w.later = append([]any{*m}, t.w.later...)
		return
	}
	if m.message.Type == ledger.MessageAdopt {
		t.refuse(m, fmt.Errorf("%w: Stripe shows nothing of it that could be booked while it is %s", ledger.ErrIllegalMove, x.Status()))
		return
	}
	if m.message.Outcome == ledger.OutcomeCompleted {
		t.refuse(m, fmt.Errorf("%w: %s at Stripe does not name this operation in its metadata (%s)",
			ledger.ErrIllegalMove, m.message.StripeID, ledger.MetaOperation))
		return
	}
	if !t.sys.clocks.heardSince(read.began) {
		t.refuse(m, fmt.Errorf("%w: Stripe's answer does not say what time it is there", ledger.ErrTooEarly))
		return
	}
	now, policy := t.now()
	change, err := x.ResolveAbsent(policy, t.w.record.Digest, now, m.message.By)
	if err != nil {
		t.refuse(m, err)
		return
	}
	t.commit(c, change, nil, commandDone{*m, x.Status()})
}

// adoptOutside books reversals that others made, and one of ours that was given up here, as Stripe was read to hold them.
func (t *transfer) adoptOutside(c actor.Context, m *command, s ledger.StripeTransfer) {
	x := &t.w.record.Transfer
	next := outsideAdopted{commandDone: commandDone{*m, x.Status()}}
	change, changed, err := x.TakeIn(s, m.message.By)
	if changed {
		if r, wrong := x.Reversal(change.History.Subject); wrong == nil {
			was := r.Operation
			next.outdone, next.created = &was, createdAt([]ledger.StripeTransfer{s}, change.Subject().StripeID)
		}
	} else if err == nil {
		change, changed, err = x.AdoptOutside(s, m.message.By)
	}
	if err != nil {
		t.refuse(m, err)
		return
	}
	if !changed { // it acted before its answer was lost, or was of no use
		m.answer(result{before: x.Status(), record: t.w.record})
		return
	}
	t.commit(c, change, nil, next)
}

// outsideAdopted follows the commit that books reversals that others made, or one of ours that was given up here.
type outsideAdopted struct {
	commandDone
	outdone *ledger.Operation // as it was given up; nil: none was
	created time.Time
}

func (d outsideAdopted) after(t *transfer, c actor.Context, ch *ledger.Change, err error) {
	d.commandDone.after(t, c, ch, err)
	if err == nil && d.outdone != nil {
		t.sys.outran(d.outdone, ch.Subject(), d.created, ch.Subject().StripeID)
	}
}

// takesIn is [ledger.Transfer.TakeIn] of the first object that it takes in.
func (t *transfer) takesIn(found []ledger.StripeTransfer) (change ledger.Change, changed bool, err error) {
	for _, s := range found {
		if change, changed, err = t.w.record.Transfer.TakeIn(s, ledger.By{}); changed || err != nil {
			return change, changed, err
		}
	}
	return ledger.Change{}, false, nil
}

// refuseSurely refuses a command by a record that is newer than the command: another node, or a
// page of recovery that was long on its way, may have left this actor behind. A change by an old
// record loses to the guard. A refusal has no guard, so the ledger is read first.
func (t *transfer) refuseSurely(c actor.Context, m command, err error) {
	if m.reread {
		t.refuse(&m, err)
		return
	}
	m.reread = true
	t.w.later = append([]any{m}, t.w.later...)
	t.recall(c)
}

func (t *transfer) refuse(m *command, err error) {
	m.answer(result{before: t.w.record.Transfer.Status(), record: t.w.record, err: err})
}
