package actors_test

import (
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// keeps has Stripe keep the next reversal pending for a while, and then end it so.
func (w *world) keeps(end string, delay time.Duration) {
	w.script(stripesim.Rule{Kind: stripesim.KindKept, Path: reversing, Code: end, Delay: delay, Times: 1})
}

// drivesAs waits until the transfer's last reversal is in a state.
func (w *world) drivesAs(id ledger.ID, state ledger.State) ledger.Transfer {
	w.Helper()
	return w.until(id, "its reversal is "+string(state), func(x ledger.Transfer) bool {
		return len(x.Reversals) > 0 && x.Reversals[len(x.Reversals)-1].State == state
	})
}

func TestAReversalThatStripeKeepsPendingWaitsAndIsMade(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.keeps("succeeded", 20*24*time.Hour)
		id := w.one()
		w.becomes(id, ledger.Completed)
		w.says(id, ledger.Message{Type: ledger.MessageReverse, Amount: 300})
		x := w.drivesAs(id, ledger.PendingAtStripe)
		r := x.Reversals[0]
		if x.Status() != ledger.ReversalPending || x.AmountReversed != 0 || x.Remaining() != x.Money.Amount-300 || r.OpenSends != 0 || r.StripeID != "" {
			w.Errorf("it is kept as %+v", r)
		}
		if b := x.Books(); b[ledger.Returning] != 0 || b[ledger.Paid] != x.Money.Amount {
			w.Errorf("money is booked for it: %v", b)
		}
		step := ledger.Plan(&x, ledger.Digest{}, w.policy, r.Since, time.Time{})
		if step.Mover != ledger.MoveOfSeller || step.Code != "pending_at_stripe" || step.Decides || !strings.Contains(step.Why, r.Since.Add(ledger.KeptMost).UTC().Format("2 January 2006")) {
			w.Errorf("why: %+v", step)
		}
		w.refuses(id, ledger.Message{Type: ledger.MessageRetry}, ledger.ErrIllegalMove)
		sent := w.sent()
		w.passes(19 * 24 * time.Hour)
		w.drivesAs(id, ledger.PendingAtStripe)
		if w.sent() != sent {
			w.Errorf("it was sent again, %d times", w.sent()-sent)
		}
		w.passes(2 * 24 * time.Hour)
		if x = w.becomes(id, ledger.PartiallyReversed); x.AmountReversed != 300 {
			w.Errorf("%d came back", x.AmountReversed)
		}
		w.alarms(nil)
	})
}

func TestAReversalThatStripeKeptAndDidNotMakeIsTriedUnderANewKey(t *testing.T) {
	long(t)
	for _, end := range []string{"failed", "canceled"} {
		t.Run(end, func(t *testing.T) {
			inWorld(t, stripesim.Config{}, func(w *world) {
				w.deaf()
				w.keeps(end, 45*24*time.Hour)
				id := w.one()
				w.becomes(id, ledger.Completed)
				w.says(id, ledger.Message{Type: ledger.MessageReverse, Amount: 300})
				w.drivesAs(id, ledger.PendingAtStripe)
				w.passes(46 * 24 * time.Hour)
				x := w.becomes(id, ledger.PartiallyReversed)
				if r := x.Reversals[0]; r.Generation != 2 || len(w.sim.Truth().Transfers[0].Reversals) != 1 {
					w.Errorf("made in generation %d", r.Generation)
				}
				if story := w.story(id); !strings.HasSuffix(story, "send, keep R1, refuse R4, send, confirm R1") {
					w.Errorf("it went so: %s", story)
				}
			})
		})
	}
}

// TestAnEventEndsTheWaitForAKeptReversal: nobody has to wait for the slow read.
func TestAnEventEndsTheWaitForAKeptReversal(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.keeps("succeeded", 10*time.Minute)
		id := w.one()
		w.becomes(id, ledger.Completed)
		w.says(id, ledger.Message{Type: ledger.MessageReverse, Amount: 300})
		w.drivesAs(id, ledger.PendingAtStripe)
		w.passes(11 * time.Minute) // the timer's read comes after an hour
		if x := w.transfer(id); x.Status() != ledger.PartiallyReversed {
			w.Errorf("it is %s", x.Status())
		}
	})
}

func TestAKeptReversalOutlivesTheDaemon(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		id := w.one()
		w.becomes(id, ledger.Completed)
		w.keeps("failed", time.Minute)
		w.says(id, ledger.Message{Type: ledger.MessageReverse, Amount: 300})
		w.drivesAs(id, ledger.PendingAtStripe)
		w.restart() // nothing of it is in memory
		if x := w.becomes(id, ledger.PartiallyReversed); x.AmountReversed != 300 {
			w.Errorf("%d came back", x.AmountReversed)
		}
	})
}
