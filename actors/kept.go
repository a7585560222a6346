package actors

import (
	"errors"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/settled/settled/ledger"
)

// kept takes in that Stripe keeps the reversal pending, or that it came to nothing after it was.
// It reports whether the read said so.
func (t *transfer) kept(c actor.Context, l *look, found []ledger.StripeTransfer) bool {
	if len(found) != 1 {
		return false
	}
	change, changed, err := t.w.record.Transfer.Kept(found[0])
	if err == nil && !changed {
		return false
	}
	before := t.w.record.Transfer.Status()
	t.commit(c, change, err, func(c actor.Context, ch *ledger.Change, err error) {
		if errors.Is(err, errStale) && l.order == nil {
			t.w.later = append(l.purpose(), t.w.later...)
			return
		}
		if l.order != nil {
			l.order.answer(injected{before: before, record: t.w.record, err: errors.Join(err, ledger.ErrIllegalMove)})
		}
		if err != nil {
			return
		}
		t.looked, _ = t.now()
		t.leave()
		t.applied(c, l)
		if ch.History.Event == ledger.EventRefuse {
			t.crash(&Setback{Kind: Refused, Row: ch.History.Answer.Row, Code: ch.History.Answer.Code})
		}
	})
	return true
}
