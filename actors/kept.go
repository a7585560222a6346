package actors

import (
	"errors"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/settled/settled/ledger"
)

// bookKept takes in that Stripe keeps the reversal pending, or that it came to nothing after it was.
// It reports whether the read said so.
func (t *transfer) bookKept(c actor.Context, l *read, found []ledger.StripeTransfer) bool {
	if len(found) != 1 {
		return false
	}
	change, changed, err := t.w.record.Transfer.Kept(found[0])
	if err == nil && !changed {
		return false
	}
	before := t.w.record.Transfer.Status()
	t.commit(c, change, err, keptBooked{l, before})
	return true
}

// keptBooked follows the commit that takes in a reversal's being kept pending, or its end.
type keptBooked struct {
	read   *read
	before ledger.State
}

func (k keptBooked) after(t *transfer, c actor.Context, ch *ledger.Change, err error) {
	l := k.read
	if t.readAgain(l, err) {
		return
	}
	if l.command != nil {
		l.command.answer(result{before: k.before, record: t.w.record, err: errors.Join(err, ledger.ErrIllegalMove)})
	}
	if err != nil {
		return
	}
	t.inVain, _ = t.now()
	t.leave()
	t.hintHandled(c, l.hint)
	if ch.History.Event == ledger.EventRefuse {
		t.crash(&Setback{Kind: Refused, Row: ch.History.Answer.Row, Code: ch.History.Answer.Code})
	}
}
