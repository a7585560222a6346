package actors

import (
	"errors"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/settled/settled/ledger"
)

// A reversal of all that remains is of an amount that the row gives. In a database that lost commits
// the row may lack reversals that Stripe made, the very one that is asked for among them. Taken at its
// word it would be of another amount than the one at Stripe that has its name, and could neither be
// made nor found. So Stripe is read first, and what was lost is taken in.

// remainsUnread reports a command whose amount hangs on reversals that the database may have lost.
func (t *transfer) remainsUnread(m *command) bool {
	return m.message.Amount == 0 && !m.read && t.w.record.Transfer.Operation.StripeID != "" && t.sys.Policy().Epoch > 1
}

// readRemains reads Stripe for a reversal of all that remains.
func (t *transfer) readRemains(c actor.Context, m command) {
	now, p := t.now()
	if err := ledger.CheckRemains(p, now); err != nil {
		t.refuseSurely(c, m, err)
		return
	}
	t.startRead(c, &read{command: &m}, m)
}

// takeInRemains takes in the lost reversals that Stripe holds. Then the command is carried out.
func (t *transfer) takeInRemains(c actor.Context, m *command, found []ledger.StripeTransfer) {
	x := &t.w.record.Transfer
	if len(found) != 1 {
		t.refuse(m, fmt.Errorf("%w: Stripe does not hold %s", ledger.ErrConflict, x.Operation.StripeID))
		return
	}
	lost := x.LostReversals(found[0])
	switch r := x.Unended(); {
	case len(lost) == 0:
		m.read = true
		t.w.later = append([]any{*m}, t.w.later...)
		return
	case r != nil:
		t.refuse(m, fmt.Errorf("%w: the database lost %d reversals of it, which are taken in once reversal %s has come to its end", ledger.ErrTooEarly, len(lost), r.ID))
		return
	}
	by := ledger.By{Principal: "settled", Reason: "Stripe holds reversals that the database lost"}
	change, changed, err := x.AdoptOutside(found[0], by)
	if err == nil && !changed {
		err = fmt.Errorf("%w: reversals of %s cannot be taken in", ledger.ErrConflict, x.Operation.StripeID)
	}
	if err != nil {
		t.refuse(m, err)
		return
	}
	t.sys.alarm("lost_reversals", "transfer", t.id, "detail", change.History.Detail)
	t.commit(c, change, nil, remainsBooked{m, lost[0]})
}

// remainsBooked follows the commit that takes in reversals which the database lost.
type remainsBooked struct {
	command *command
	lost    ledger.StripeReversal // the first
}

func (b remainsBooked) after(t *transfer, _ actor.Context, _ *ledger.Change, err error) {
	if err == nil || errors.Is(err, errStale) {
		t.w.later = append([]any{*b.command}, t.w.later...)
	} else {
		b.command.answer(result{before: t.w.record.Transfer.Status(), record: t.w.record, err: err})
	}
	if err == nil { // what was made since the epoch began is of another loss
		go t.sys.unsent(&ledger.Operation{ID: t.id}, b.lost.Created, b.lost.ID)
	}
}
