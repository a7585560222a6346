package actors_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

func ann() ledger.By {
	return ledger.By{Message: uuid.Must(uuid.NewV7()), Principal: "ann", Reason: "looked it up"}
}

// mended wants a finding to have been applied by somebody, and to be there no more.
func (w *world) mended(id ledger.ID, by string) {
	w.Helper()
	f, err := w.db.Finding(w.Context(), id)
	if err != nil || f.AppliedAt.IsZero() || f.AppliedBy.Principal != by || f.ClearedAt.IsZero() {
		w.Errorf("%+v, %v", f, err)
	}
}

// all lists every finding that ever was.
func (w *world) all() []audit.Finding {
	w.Helper()
	list, err := w.db.Findings(context.Background(), audit.Filter{})
	if err != nil {
		w.Fatal(err)
	}
	return list
}

func TestAReversalMadeOutsideIsAdoptedOnce(t *testing.T) {
	long(t)
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		ids := w.paid(0, 2)
		stripeID := w.transfer(ids[0]).Operation.StripeID
		w.passes(60 * 24 * time.Hour)
		w.reverseByHand(stripeID, 300)
		w.reverseByHand(stripeID, 200)
		w.node.walk()
		w.findsNothing()
		list := w.all()
		if len(list) != 2 || list[0].Class != audit.ReversedOutside || list[1].Class != audit.ReversedOutside {
			w.Fatalf("found %+v", list)
		}
		x := w.transfer(ids[0])
		if x.Status() != ledger.PartiallyReversed || x.AmountReversed != 500 || len(x.Reversals) != 2 || !x.Reversals[0].External || x.Reversals[0].Amount != 300 {
			w.Errorf("%+v", x)
		}
		w.node.walk()
		w.tells(ids[0], "accept, send, confirm T1, adopt")
		h := w.history(ids[0])
		if by := h[len(h)-1].By; by.Principal != "settled" || by.Reason == "" || by.Message == (ledger.ID{}) {
			w.Errorf("by %+v", by)
		}
		// What remains may be reversed here, and no more.
		w.says(ids[0], ledger.Message{Type: ledger.MessageReverse, Amount: 100})
		w.becomes(ids[0], ledger.PartiallyReversed)
		w.reverseByHand(stripeID, 0)
		w.node.walk()
		if x := w.transfer(ids[0]); x.Status() != ledger.Reversed || x.AmountReversed != 1000 {
			w.Errorf("%s, %d came back", x.Status(), x.AmountReversed)
		}
		w.findsNothing()
		w.tells(ids[1], "accept, send, confirm T1")
		w.alarms(map[string]int{"drift": 3})
	}, walks())
}

func TestWhatOthersReversedIsNotAdoptedWhileOneOfOursIsDriven(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		id := w.paid(0, 1)[0]
		stripeID := w.transfer(id).Operation.StripeID
		w.script(stripesim.Rule{Kind: stripesim.KindRolledBack500, Path: reversing})
		w.says(id, ledger.Message{Type: ledger.MessageReverse, Amount: 400})
		w.passes(12 * time.Hour)
		if op := w.current(id); op.State != ledger.Parked {
			w.Fatalf("it is %s", op.State)
		}
		trr := w.reverseByHand(stripeID, 100)
		w.node.walk()
		if f := w.finds(audit.ReversedOutside, id, trr); f.Repair != audit.RepairNone {
			w.Errorf("proposed %s", f.Repair)
		}
		w.says(id, ledger.Message{Type: ledger.MessageResolve, Outcome: ledger.OutcomeFailed})
		w.becomes(id, ledger.PartiallyReversed, ledger.Completed, ledger.PermanentlyFailed)
		w.node.walk()
		w.findsNothing()
		if x := w.transfer(id); x.AmountReversed != 500 {
			w.Errorf("%s, %d came back", x.Status(), x.AmountReversed)
		}
	}, walks())
}

func TestWhatIsParkedIsSettledByWhatAWalkSees(t *testing.T) {
	for name, path := range map[string]string{"a transfer": creating, "a reversal": reversing} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, stripesim.Config{}, func(w *world) {
				w.deaf()
				late := stripesim.Rule{Kind: stripesim.KindLate500, Path: path, Delay: 16 * time.Hour}
				done := ledger.Completed
				if path == creating {
					w.script(late)
				}
				id := w.one()
				if path == reversing {
					done = ledger.PartiallyReversed
					w.becomes(id, ledger.Completed)
					w.script(late)
					w.says(id, ledger.Message{Type: ledger.MessageReverse, Amount: 400})
				}
				w.passes(12 * time.Hour)
				w.node.walk()
				if op := w.current(id); op.State != ledger.Parked || len(w.all()) > 0 {
					w.Fatalf("it is %s; %+v", op.State, w.all())
				}
				w.passes(5 * time.Hour)
				w.node.walk()
				w.findsNothing()
				if x := w.transfer(id); x.Status() != done {
					w.Errorf("it is %s: %s", x.Status(), w.story(id))
				}
				w.mended(w.all()[0].ID, "settled")
				w.alarms(map[string]int{"parked": 1})
			}, walks())
		})
	}
}

func TestWhatIsUnresolvedIsToldWhereToLook(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(stripesim.Rule{Kind: stripesim.KindStored500}, stripesim.Rule{Kind: stripesim.KindList500, Path: listing, Times: 2})
		id := w.one()
		w.passes(10 * time.Minute) // it read in vain, and rests for an hour
		if x := w.transfer(id); x.Status() != ledger.Unresolved {
			w.Fatalf("it is %s: %s", x.Status(), w.story(id))
		}
		w.node.walk()
		w.passes(time.Second)
		if x := w.transfer(id); x.Status() != ledger.Completed || len(w.all()) > 0 {
			w.Errorf("it is %s; %+v", x.Status(), w.all())
		}
		w.alarms(nil)
	}, walks())
}

// Evidence against what the ledger denies: where the money protocol lets it in, it is let in,
// with an alarm; what is final stays, and a person decides.
func TestWhatWasDeniedIsAdoptedUnlessItIsFinal(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(refusal(creating, "balance_insufficient", 1), refusal(creating, "account_invalid", 1))
		failed := w.one()
		w.becomes(failed, ledger.FailedState)
		given := w.orders(order(7))[0]
		w.becomes(given, ledger.PermanentlyFailed)
		held := w.dashboard(failed.String(), 1000, "eur", "acct_seller0")
		denied := w.dashboard(given.String(), 1007, "eur", "acct_seller0")
		w.node.walk()
		if x := w.transfer(failed); x.Status() != ledger.Completed || x.Operation.StripeID != held {
			w.Errorf("it is %s, %s", x.Status(), x.Operation.StripeID)
		}
		f := w.finds(audit.FalseFailed, given, denied)
		if _, err := w.node.system.Mend(w.Context(), f.ID, audit.Apply, time.Time{}, ann()); !errors.Is(err, ledger.ErrIllegalMove) {
			w.Errorf("what has no repair was applied: %v", err)
		}
		w.alarms(map[string]int{"drift": 2, "ruled_out": 1, "answer": 1, "gave_up": 1}) // the answer: a refusal that is not modelled
		if sent := w.sent(); sent != 2 {
			w.Errorf("%d sends", sent)
		}
	}, walks())
}

func TestAPersonAppliesAProposalOnce(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		id := w.paid(0, 1)[0]
		trr := w.reverseByHand(w.transfer(id).Operation.StripeID, 300)
		w.node.walk()
		f := w.finds(audit.ReversedOutside, id, trr)
		by := ann()
		for range 3 { // the answer was lost, and it is asked again
			got, err := w.node.system.Mend(w.Context(), f.ID, audit.Apply, time.Time{}, by)
			if err != nil || got.AppliedBy != by || got.AppliedAt.IsZero() {
				w.Fatalf("%+v, %v", got, err)
			}
		}
		w.passes(10 * time.Second)
		w.mended(f.ID, "ann") // at once, not by the next walk
		w.tells(id, "accept, send, confirm T1, adopt")
		if _, err := w.node.system.Mend(w.Context(), f.ID, audit.Apply, time.Time{}, ann()); !errors.Is(err, ledger.ErrIllegalMove) {
			w.Errorf("applied again: %v", err)
		}
		if _, err := w.node.system.Mend(w.Context(), uuid.Must(uuid.NewV7()), audit.Apply, time.Time{}, ann()); err == nil {
			w.Error("a finding that is not there was applied")
		}
		receipt, found, err := w.db.Receipt(w.Context(), by.Message)
		if err != nil || !found || receipt.Before != ledger.Completed || receipt.After != ledger.PartiallyReversed {
			w.Errorf("%+v, %v, %v", receipt, found, err)
		}
	}, walks(reports))
}

func TestWhatAPersonAcceptsIsToldNoMoreUntilItChanges(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.paid(0, 1)
		foreign := w.dashboard("", 700, "eur", "acct_seller1")
		w.node.walk()
		f := w.finds(audit.Foreign, ledger.ID{}, foreign)
		by, bob := ann(), ann()
		bob.Principal = "bob"
		mend := func(how audit.Mending, until time.Time, who ledger.By) (audit.Finding, error) {
			return w.node.system.Mend(w.Context(), f.ID, how, until, who)
		}
		for range 2 { // one person's word, also when it comes twice, is not enough
			if got, err := mend(audit.Accept, time.Time{}, by); err != nil || got.AcceptedBy != by || !got.Open(time.Now()) {
				w.Fatalf("%+v, %v", got, err)
			}
		}
		if _, err := mend(audit.Accept, time.Time{}, ann()); !errors.Is(err, ledger.ErrIllegalMove) {
			w.Errorf("the same person seconds it: %v", err)
		}
		w.finds(audit.Foreign, ledger.ID{}, foreign)
		for range 2 {
			if got, err := mend(audit.Accept, time.Now().Add(48*time.Hour), bob); err != nil || got.AcceptedBy != by || got.SecondedBy != bob || got.Open(time.Now()) {
				w.Fatalf("%+v, %v", got, err)
			}
		}
		if receipt, found, err := w.db.Receipt(w.Context(), by.Message); err != nil || !found || receipt.After != "accepted" {
			w.Errorf("%+v, %v, %v", receipt, found, err)
		}
		w.node.walk()
		w.findsNothing()
		if list := w.all(); len(list) != 1 || !list[0].ClearedAt.IsZero() {
			w.Errorf("%+v", list)
		}
		// It ends by itself, and then it is told as if it were new.
		w.passes(49 * time.Hour)
		w.finds(audit.Foreign, ledger.ID{}, foreign)
		w.node.walk()
		if f := w.finds(audit.Foreign, ledger.ID{}, foreign); !f.AcceptedAt.IsZero() {
			w.Errorf("%+v", f)
		}
		// And by a person's word.
		for _, who := range []string{"ann", "bob"} {
			by := ann()
			by.Principal = who
			if _, err := mend(audit.Accept, time.Time{}, by); err != nil {
				w.Fatal(err)
			}
		}
		w.findsNothing()
		if _, err := mend(audit.Reopen, time.Time{}, ann()); err != nil {
			w.Fatal(err)
		}
		w.finds(audit.Foreign, ledger.ID{}, foreign)
		if _, err := mend(audit.Reopen, time.Time{}, ann()); !errors.Is(err, ledger.ErrIllegalMove) {
			w.Errorf("reopened twice: %v", err)
		}
	}, walks())
}

func TestForeignTransfersMayBeIgnored(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.paid(0, 1)
		foreign := w.dashboard("", 700, "eur", "acct_seller1")
		w.passes(time.Minute)
		w.reverseByHand(foreign, 100)
		w.passes(3 * time.Hour)
		if len(w.all()) > 0 {
			w.Errorf("found %+v", w.all())
		}
		stray := uuid.Must(uuid.NewV7()) // what names us is not ignored
		named := w.dashboard(stray.String(), 700, "eur", "acct_seller1")
		w.passes(2 * time.Hour)
		w.finds(audit.MissingHere, stray, named)
	}, walks(hourly, func(r *actors.Reconcile) { r.IgnoreForeign = true }))
}

// An event says that others were at work: it is looked at within seconds, long before a walk.
func TestAnEventOfOthersWorkIsLookedAtAtOnce(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.passes(time.Minute) // the first walk is over
		id := w.one()
		w.becomes(id, ledger.Completed)
		w.says(id, ledger.Message{Type: ledger.MessageReverse, Amount: 100}) // ours asks for no look
		w.becomes(id, ledger.PartiallyReversed)
		w.passes(10 * time.Second)
		if n := w.count("reconcile_reads_total"); n != 1 {
			w.Errorf("%v reads", n)
		}
		foreign := w.dashboard("", 700, "eur", "acct_seller1")
		w.passes(10 * time.Second)
		w.finds(audit.Foreign, ledger.ID{}, foreign)
		w.reverseByHand(w.transfer(id).Operation.StripeID, 300)
		w.passes(10 * time.Second)
		if x := w.transfer(id); x.AmountReversed != 400 {
			w.Errorf("%d came back", x.AmountReversed)
		}
		stray := uuid.Must(uuid.NewV7())
		w.dashboard(stray.String(), 700, "eur", "acct_seller1")
		w.passes(10 * time.Second)
		if list := w.drift(); len(list) != 2 || list[0].Class != audit.MissingHere || list[0].Transfer != stray {
			w.Errorf("%+v", list)
		}
		w.passes(3 * time.Hour) // the walks see them too
		if list := w.drift(); len(list) != 2 {
			w.Errorf("%+v", list)
		}
		if newest, _, _ := w.db.Walks(w.Context()); newest.No != 4 {
			w.Errorf("%+v", newest)
		}
		w.alarms(map[string]int{"drift": 2, "unknown_operation": 1})
	}, walks(hourly))
}

// current is the operation that is being driven.
func (w *world) current(id ledger.ID) ledger.Operation {
	w.Helper()
	x := w.transfer(id)
	op, _ := x.Current()
	return *op
}
