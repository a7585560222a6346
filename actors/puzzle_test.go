package actors_test

import (
	"testing"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// TestARetryAfterARefusalThatWasALieDoesNotPayTwice: something answers in Stripe's form, in
// place of Stripe, that paid.
func TestARetryAfterARefusalThatWasALieDoesNotPayTwice(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.aside = true // the answer lies: that it was failed while Stripe held it is the point
		w.script(stripesim.Rule{Kind: stripesim.KindAnswer, Path: creating, Status: 400, Code: "novel", Message: "no", Execute: true, Times: 1})
		id := w.one()
		w.becomes(id, ledger.PermanentlyFailed)
		w.says(id, ledger.Message{Type: ledger.MessageRetry})
		w.becomes(id, ledger.Completed)
		w.tells(id, "accept, send, refuse T18, give_up, retry, confirm")
		if n := len(w.sim.Truth().Transfers); n != 1 || w.sent() != 1 {
			w.Errorf("%d transfers after %d sends", n, w.sent())
		}
	})
}

func TestARetryAfterARefusalThatNobodyKnowsProvesItAndGoesOn(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(refusal(creating, "novel", 1))
		id := w.one()
		w.becomes(id, ledger.PermanentlyFailed)
		w.says(id, ledger.Message{Type: ledger.MessageRetry})
		x := w.becomes(id, ledger.Completed)
		w.tells(id, "accept, send, refuse T18, give_up, retry, send, refuse T28, send, confirm T1")
		if x.Operation.Generation != 2 {
			w.Errorf("paid in generation %d", x.Operation.Generation)
		}
	})
}

// TestAReversalWithAWordingThatNobodyKnowsIsReadFirst: it may say that ours is there.
func TestAReversalWithAWordingThatNobodyKnowsIsReadFirst(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(stripesim.Rule{Kind: stripesim.KindAnswer, Path: reversing, Status: 400, Message: "Not this one.", Execute: true, Times: 1})
		id := w.one()
		w.becomes(id, ledger.Completed)
		w.says(id, ledger.Message{Type: ledger.MessageReverse, Amount: 300})
		x := w.becomes(id, ledger.PartiallyReversed)
		if held := w.sim.Truth().Transfers[0]; x.AmountReversed != 300 || len(held.Reversals) != 1 {
			w.Errorf("%d came back, Stripe holds %d reversals", x.AmountReversed, len(held.Reversals))
		}
	})
}
