package actors_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// reverses asks for a reversal, and returns its ID.
func (w *world) reverses(id ledger.ID, amount int64) ledger.ID {
	w.Helper()
	m := ledger.Message{ID: uuid.Must(uuid.NewV7()), Type: ledger.MessageReverse, Amount: amount}
	w.says(id, m)
	return m.ID
}

func stateOf(x ledger.Transfer, reversal ledger.ID) ledger.State {
	if r, err := x.Reversal(reversal); err == nil {
		return r.State
	}
	return ""
}

func TestAHoldAndItsReleaseDoNotPayBeforeTheDate(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		o := order(1)
		o.NotBefore = time.Now().Add(25 * time.Hour).Truncate(time.Microsecond)
		id := w.orders(o)[0]
		w.says(id, ledger.Message{Type: ledger.MessageHold})
		w.says(id, ledger.Message{Type: ledger.MessageHold, Until: time.Now().Add(time.Hour)})
		if x := w.says(id, ledger.Message{Type: ledger.MessageRelease}); x.Status() != ledger.Held || x.HeldBy != ledger.HeldBySchedule {
			w.Errorf("%s by %s", x.Status(), x.HeldBy)
		}
		w.refuses(id, ledger.Message{Type: ledger.MessageRelease}, ledger.ErrIllegalMove)
		w.becomes(id, ledger.Completed)
		if at := w.posts[0].at; at.Before(o.NotBefore) || at.After(o.NotBefore.Add(time.Second)) {
			w.Errorf("sent at %s, due at %s", at, o.NotBefore)
		}
		w.tells(id, "hold, hold, hold, let_go, release, send, confirm T1")
	})
}

// A hold ends at its own time while others stand: the ledger says so when it is so, and also
// after a restart.
func TestEachHoldEndsAtItsOwnTime(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		o := order(1)
		o.NotBefore = time.Now().Add(3 * time.Hour).Truncate(time.Microsecond)
		id := w.orders(o)[0]
		w.says(id, ledger.Message{Type: ledger.MessageHold})
		w.restart()
		w.passes(3*time.Hour + time.Second)
		if x := w.transfer(id); x.Status() != ledger.Held || len(x.Holds) != 1 || x.Holds[0].Source != ledger.HeldByOperator {
			w.Errorf("%s by %v", x.Status(), x.Holds)
		}
		w.says(id, ledger.Message{Type: ledger.MessageRelease})
		w.becomes(id, ledger.Completed)
	})
}

func TestAHeldReversalIsNotMadeAndItsSiblingsGoOn(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		id := w.one()
		w.becomes(id, ledger.Completed)
		w.node.stop()
		w.node = w.start(shut())
		first, second := w.reverses(id, 100), w.reverses(id, 200)
		w.says(id, ledger.Message{Type: ledger.MessageHold, Reversal: first, Until: time.Now().Add(5 * time.Hour)})
		w.says(id, ledger.Message{Type: ledger.MessageHold, Reversal: first, By: ledger.By{Reason: "another"}})
		w.refuses(id, ledger.Message{Type: ledger.MessageRelease, Reversal: second}, ledger.ErrIllegalMove)
		w.refuses(id, ledger.Message{Type: ledger.MessageRetry, Reversal: first}, ledger.ErrIllegalMove)
		w.restart()
		w.until(id, "the second reversal is made", func(x ledger.Transfer) bool { return stateOf(x, second) == ledger.Completed })
		w.passes(6 * time.Hour)
		if x := w.transfer(id); x.Status() != ledger.ReversalPending || stateOf(x, first) != ledger.Pending || len(x.Holds) != 1 {
			w.Errorf("%s, and the first reversal is %s with %d holds", x.Status(), stateOf(x, first), len(x.Holds))
		}
		w.says(id, ledger.Message{Type: ledger.MessageRelease, Reversal: first})
		if x := w.becomes(id, ledger.PartiallyReversed); x.AmountReversed != 300 {
			w.Errorf("%d came back", x.AmountReversed)
		}
	})
}

func TestAWrongReversalIsCanceledByItsID(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		id := w.one()
		w.becomes(id, ledger.Completed)
		w.node.stop()
		w.node = w.start(shut())
		wrong := w.reverses(id, 0)
		_, err := w.inject(id, ledger.Message{Type: ledger.MessageCancel})
		if err == nil || !strings.Contains(err.Error(), wrong.String()) {
			w.Errorf("a cancel of what Stripe holds is answered %v", err)
		}
		if x := w.says(id, ledger.Message{Type: ledger.MessageCancel, Reversal: wrong}); x.Status() != ledger.Completed || x.Remaining() != x.Money.Amount {
			w.Errorf("%s, %d remain", x.Status(), x.Remaining())
		}
		w.refuses(id, ledger.Message{Type: ledger.MessageCancel, Reversal: wrong}, ledger.ErrIllegalMove)
		right := w.reverses(id, 100)
		w.refuses(id, ledger.Message{Type: ledger.MessageResolve, Outcome: ledger.OutcomeFailed, Reversal: right}, ledger.ErrIllegalMove)
		var fields ledger.FieldErrors
		for _, kind := range []ledger.MessageType{ledger.MessageCancel, ledger.MessageHold, ledger.MessageRelease, ledger.MessageRetry, ledger.MessageResolve} {
			m := ledger.Message{Type: kind, Reversal: id}
			if kind == ledger.MessageResolve {
				m.Outcome = ledger.OutcomeFailed
			}
			if _, err := w.inject(id, m); !errors.As(err, &fields) || fields[0].Field != "reversal" {
				w.Errorf("%s of what is no reversal: %v", kind, err)
			}
		}
		w.restart()
		x := w.becomes(id, ledger.PartiallyReversed)
		if stateOf(x, right) != ledger.Completed || x.AmountReversed != 100 {
			w.Errorf("%s, %d came back", stateOf(x, right), x.AmountReversed)
		}
	})
}

// What lost commits may have sent is not denied before it was looked up.
func TestAReversalOfAnEarlierEpochIsNotCanceled(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		id := w.one()
		w.becomes(id, ledger.Completed)
		w.node.stop()
		w.node = w.start(shut())
		first, second := w.reverses(id, 100), w.reverses(id, 200)
		w.policy.Epoch, w.policy.EpochSince = 2, time.Now()
		if _, err := w.db.RaiseEpoch(context.Background()); err != nil {
			t.Fatal(err)
		}
		w.restart()
		for _, r := range []ledger.ID{first, second} {
			w.refuses(id, ledger.Message{Type: ledger.MessageCancel, Reversal: r}, ledger.ErrTooEarly)
		}
		w.says(id, ledger.Message{Type: ledger.MessageHold, Reversal: first})
	})
}
