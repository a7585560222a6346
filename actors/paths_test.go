package actors_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// Where scripted faults strike.
const (
	creating  = "POST /v1/transfers$"
	reversing = "POST /v1/transfers/tr_"
	listing   = "GET /v1/transfers$"
	reading   = "GET /v1/transfers/tr_"
)

// refusal is a stored 400 with a code of Stripe's.
func refusal(path, code string, times int) stripesim.Rule {
	return stripesim.Rule{Kind: stripesim.KindAnswer, Path: path, Status: 400, Code: code, Message: "no: " + code, Store: true, Times: times}
}

func TestATransferIsPaid(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		id := w.one()
		w.becomes(id, ledger.Completed)
		w.tells(id, "accept, send, confirm T1")
		w.passes(time.Minute)
		if w.node.system.Live(w.Context(), id).Alive || w.count("actors_alive") != 0 {
			w.Error("a paid transfer still has an actor")
		}
		w.alarms(nil)
	})
}

func TestATimeOutIsSentAgainUnderTheSameKey(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(stripesim.Rule{Kind: stripesim.KindLoseAnswer, Times: 3})
		id := w.one()
		x := w.becomes(id, ledger.Completed)
		w.tells(id, "accept, send, lose T25, send, lose T25, send, lose T25, send, confirm T28")
		if x.Operation.Generation != 1 || w.sent() != 4 {
			w.Errorf("generation %d after %d sends", x.Operation.Generation, w.sent())
		}
		w.alarms(nil)
	})
}

func TestAProofOfAbsenceEarnsTheNextGenerationUntilTheMachineGivesUpAndAPersonRetries(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(stripesim.Rule{Kind: stripesim.KindDrop, Times: -1})
		id := w.one()
		x := w.becomes(id, ledger.PermanentlyFailed)
		if story := w.story(id); x.Operation.Generation != 5 || strings.Count(story, "prove_absent") != 5 || !strings.HasSuffix(story, "prove_absent, give_up") {
			w.Errorf("generation %d: %s", x.Operation.Generation, story)
		}
		w.sim.ClearRules()
		w.says(id, ledger.Message{Type: ledger.MessageRetry})
		if x = w.becomes(id, ledger.Completed); x.Operation.Generation != 6 {
			w.Errorf("paid in generation %d", x.Operation.Generation)
		}
		w.alarms(map[string]int{"gave_up": 1})
	})
}

func TestWhoWaitsForAConditionIsWokenByItsEvent(t *testing.T) {
	for name, tc := range map[string]struct {
		code, reversalCode string
		event              ledger.StripeEvent
	}{
		"T2, the platform's balance": {"balance_insufficient", "", ledger.StripeEvent{ID: "evt_1", Type: "balance.available"}},
		"T3, the seller's account":   {"insufficient_capabilities_for_transfer", "", ledger.StripeEvent{ID: "evt_1", Type: "account.updated", Account: "acct_seller0"}},
		"T3, the seller's power":     {"insufficient_capabilities_for_transfer", "", ledger.StripeEvent{ID: "evt_1", Type: "capability.updated", Account: "acct_seller0"}},
		"T3, told by a thin event": {"insufficient_capabilities_for_transfer", "", ledger.StripeEvent{
			ID: "evt_1", Type: "v2.core.account[configuration.recipient].capability_status_updated", Account: "acct_seller0", Object: "acct_seller0"}},
		"R4, the seller's balance": {"", "balance_insufficient", ledger.StripeEvent{ID: "evt_1", Type: "balance.available", Account: "acct_seller0"}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, stripesim.Config{}, func(w *world) {
				w.deaf()
				done := ledger.Completed
				if tc.code != "" {
					w.script(refusal(creating, tc.code, 1))
				}
				id := w.one()
				if tc.reversalCode != "" {
					done = ledger.Reversed
					w.script(refusal(reversing, tc.reversalCode, 1))
					w.becomes(id, ledger.Completed)
					w.says(id, ledger.Message{Type: ledger.MessageReverse})
				}
				w.passes(10 * time.Minute) // longer than a backoff, shorter than the net
				if x := w.transfer(id); x.Status() == done {
					w.Fatal("it did not wait")
				}
				other := tc.event
				other.ID, other.Account = "evt_0", "acct_other"
				for _, e := range []ledger.StripeEvent{other, tc.event, tc.event} {
					e.Payload, e.Created = []byte("{}"), time.Now()
					if err := w.node.system.Receive(w.Context(), []ledger.StripeEvent{e}); err != nil {
						w.Fatal(err)
					}
				}
				w.passes(time.Second)
				if x := w.transfer(id); x.Status() != done {
					w.Errorf("a second after the event it is %s", x.Status())
				}
				w.alarms(nil)
			})
		})
	}
}

func TestAnEventThatComesBeforeTheWaitBeginsIsNotMissed(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(refusal(creating, "balance_insufficient", 1))
		w.node.store.onAfter(func(call string, changes []ledger.Change) error {
			if call == "commit" && changes[0].History.Event == ledger.EventRefuse {
				// It is refused durably, and its next incarnation has not read that yet.
				time.Sleep(time.Second)
				e := ledger.StripeEvent{ID: "evt_1", Type: "balance.available", Payload: []byte("{}"), Created: time.Now()}
				return w.node.system.Receive(w.Context(), []ledger.StripeEvent{e})
			}
			return nil
		})
		id := w.one()
		w.passes(10 * time.Second)
		if x := w.transfer(id); x.Status() != ledger.Completed {
			w.Errorf("ten seconds after the event it is %s", x.Status())
		}
	})
}

func TestWhatWasNotExecutedKeepsItsKey(t *testing.T) {
	for name, rule := range map[string]stripesim.Rule{
		"T12": {Kind: stripesim.KindRateLimit},
		"T13": {Kind: stripesim.KindLockTimeout},
		"T14": {Kind: stripesim.KindAuth},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, stripesim.Config{}, func(w *world) {
				w.script(rule)
				id := w.one()
				x := w.becomes(id, ledger.Completed)
				w.tells(id, "accept, send, not_executed "+name+", send, confirm T1")
				if x.Operation.Generation != 1 || w.posts[0].key != w.posts[1].key {
					w.Errorf("generation %d", x.Operation.Generation)
				}
			})
		})
	}
}

func TestAStoredServerErrorBehindWhichStripePaidIsFoundByReading(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(stripesim.Rule{Kind: stripesim.KindStored500})
		id := w.one()
		w.becomes(id, ledger.Completed)
		w.tells(id, "accept, send, lose T20, send, lose T28, confirm")
		w.alarms(nil)
	})
}

func TestAServerErrorBehindWhichNothingIsIsParkedStrictlyAfterQuiet(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.script(stripesim.Rule{Kind: stripesim.KindRolledBack500})
		id := w.one()
		x := w.becomes(id, ledger.Parked)
		h := w.history(id)
		if quiet := x.Operation.FirstSentAt.Add(w.policy.Windows.Quiet); !h[len(h)-1].At.After(quiet) {
			w.Errorf("parked at %s, not after %s", h[len(h)-1].At, quiet)
		}
		w.refuses(id, ledger.Message{Type: ledger.MessageRetry}, ledger.ErrIllegalMove)
		w.refuses(id, ledger.Message{Type: ledger.MessageCancel}, ledger.ErrIllegalMove)
		w.refuses(id, ledger.Message{Type: ledger.MessageResolve, Outcome: ledger.OutcomeCompleted, StripeID: "tr_nothere"}, ledger.ErrIllegalMove)
		var wrong ledger.FieldErrors
		if _, err := w.inject(id, ledger.Message{Type: ledger.MessageResolve, Outcome: ledger.OutcomeCompleted, StripeID: "trr_1"}); !errors.As(err, &wrong) || wrong[0].Field != "stripe_id" {
			w.Errorf("a reversal's ID for a transfer: %v", err)
		}
		w.says(id, ledger.Message{Type: ledger.MessageResolve, Outcome: ledger.OutcomeFailed})
		x = w.becomes(id, ledger.Completed)
		if x.Operation.Generation != 2 {
			w.Errorf("paid in generation %d", x.Operation.Generation)
		}
		w.alarms(map[string]int{"parked": 1})
	})
}

func TestALostSendThatNeverArrivedIsProvedAbsentAndEarnsTheNextGeneration(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.script(stripesim.Rule{Kind: stripesim.KindDrop, Key: "settled:", Match: generation("1"), Times: -1})
		id := w.one()
		x := w.becomes(id, ledger.Completed)
		if x.Operation.Generation != 2 {
			w.Errorf("paid in generation %d", x.Operation.Generation)
		}
		for _, h := range w.history(id) {
			if h.Event == ledger.EventProveAbsent && !h.At.After(w.posts[0].at.Add(w.policy.Windows.Quiet)) {
				w.Errorf("proved absent at %s, %s after its first send", h.At, h.At.Sub(w.posts[0].at))
			}
		}
		w.alarms(nil)
	})
}

func generation(n string) func(stripesim.RequestInfo) bool {
	return func(r stripesim.RequestInfo) bool { return r.Form.Get("metadata["+ledger.MetaGeneration+"]") == n }
}

func TestAnEventSettlesALateEffect(t *testing.T) {
	for name, tc := range map[string]struct {
		late   time.Duration
		state  ledger.State
		alarms map[string]int
	}{
		"of what is unresolved": {90 * time.Minute, ledger.Unresolved, nil},
		"of what is parked":     {12 * time.Hour, ledger.Parked, map[string]int{"parked": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, stripesim.Config{}, func(w *world) {
				w.script(stripesim.Rule{Kind: stripesim.KindLate500, Delay: tc.late})
				w.script(stripesim.Rule{Kind: stripesim.KindEventTwice, Path: "transfer.created"})
				w.script(stripesim.Rule{Kind: stripesim.KindAnswer, Path: reading, Status: 500, Times: 2}) // the hint's read fails at first
				w.script(stripesim.Rule{Kind: stripesim.KindListLag, Path: listing, Times: -1})
				id := w.one()
				w.passes(tc.late - time.Minute)
				if x := w.transfer(id); x.Status() != tc.state {
					w.Fatalf("it is %s", x.Status())
				}
				x := w.becomes(id, ledger.Completed)
				if took := x.Operation.Since.Sub(w.posts[0].at); took > tc.late+30*time.Minute {
					w.Errorf("settled %s after the send", took)
				}
				w.passes(time.Hour)
				events, err := w.db.UnhandledEvents(w.Context(), "", 10)
				if err != nil || len(events) != 0 {
					w.Errorf("events that nobody handled: %v, %v", events, err)
				}
				w.alarms(tc.alarms)
			})
		})
	}
}

func TestAHintThatTheEffectIsThereIsReadBeforeAnythingIsClosed(t *testing.T) {
	exceeded := stripesim.Rule{Kind: stripesim.KindAnswer, Path: creating, Status: 400, Message: "Transfers using this transaction as a source must not exceed the source amount of 1."}
	t.Run("T7, and it is there", func(t *testing.T) {
		inWorld(t, stripesim.Config{}, func(w *world) {
			w.deaf()
			exceeded := exceeded
			exceeded.Execute = true
			w.script(exceeded)
			id := w.one()
			w.becomes(id, ledger.Completed)
			w.tells(id, "accept, send, confirm")
			w.alarms(nil)
		})
	})
	t.Run("T7, and it is not", func(t *testing.T) {
		inWorld(t, stripesim.Config{}, func(w *world) {
			w.script(exceeded)
			id := w.one()
			w.becomes(id, ledger.PermanentlyFailed)
			w.tells(id, "accept, send, refuse T7, give_up")
			w.alarms(map[string]int{"gave_up": 1})
		})
	})
	t.Run("T7, and Stripe cannot be read", func(t *testing.T) {
		inWorld(t, stripesim.Config{}, func(w *world) {
			w.deaf()
			exceeded := exceeded
			exceeded.Execute = true
			w.script(exceeded, stripesim.Rule{Kind: stripesim.KindList500, Path: listing})
			id := w.one()
			w.becomes(id, ledger.Completed)
			w.tells(id, "accept, send, lose T7, send, confirm T28")
			w.alarms(nil)
		})
	})
}

func TestReversalsMadeOutsideAreBooked(t *testing.T) {
	for name, tc := range map[string]struct {
		outside, ours int64
		state         ledger.State
		story         string
	}{
		"all came back by other hands: ours is moot":        {1000, 300, ledger.Reversed, "reverse, send, moot R2"},
		"the same amount stands for ours":                   {700, 700, ledger.PartiallyReversed, "reverse, send, confirm R3"},
		"a part, and ours does not fit what is left":        {600, 700, ledger.PermanentlyFailed, "reverse, send, adopt R3, refuse R3, give_up"},
		"a part, and ours fits what is left: both are real": {600, 400, ledger.PartiallyReversed, "reverse, send, confirm R1"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, stripesim.Config{}, func(w *world) {
				w.deaf()
				id := w.one()
				w.becomes(id, ledger.Completed)
				w.script(stripesim.Rule{Kind: stripesim.KindExternalReversal, Path: reversing, Amount: tc.outside})
				w.says(id, ledger.Message{Type: ledger.MessageReverse, Amount: tc.ours})
				w.becomes(id, tc.state)
				w.tells(id, "accept, send, confirm T1, "+tc.story)
			})
		})
	}
}

func TestAReversalIsDrivenLikeATransfer(t *testing.T) {
	for name, tc := range map[string]struct {
		rule  stripesim.Rule
		story string
	}{
		"its answer is lost":             {stripesim.Rule{Kind: stripesim.KindLoseAnswer}, "send, lose T25, send, confirm T28"},
		"a stored 500 that reversed":     {stripesim.Rule{Kind: stripesim.KindStored500}, "send, lose T20, send, lose T28, confirm"},
		"the object is locked":           {stripesim.Rule{Kind: stripesim.KindLockTimeout}, "send, not_executed T13, send, confirm R1"},
		"the seller has nothing":         {stripesim.Rule{Kind: stripesim.KindSellerDrained}, "send, refuse R4, send, confirm R1"},
		"cut in the middle of an answer": {stripesim.Rule{Kind: stripesim.KindTruncated}, "send, lose T24, send, confirm T28"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, stripesim.Config{}, func(w *world) {
				w.deaf()
				id := w.one()
				w.becomes(id, ledger.Completed)
				tc.rule.Path = reversing
				w.script(tc.rule)
				w.says(id, ledger.Message{Type: ledger.MessageReverse, Amount: 300})
				x := w.becomes(id, ledger.PartiallyReversed)
				if got := strings.TrimPrefix(w.story(id), "accept, send, confirm T1, reverse, "); got != tc.story || x.AmountReversed != 300 {
					w.Errorf("reversed %d: %s", x.AmountReversed, got)
				}
				w.alarms(nil)
			})
		})
	}
}

func TestReversalsGoOneAfterAnother(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		id := w.one()
		w.becomes(id, ledger.Completed)
		w.script(stripesim.Rule{Kind: stripesim.KindLoseAnswer, Path: reversing})
		for _, amount := range []int64{100, 200, 300} {
			w.says(id, ledger.Message{Type: ledger.MessageReverse, Amount: amount})
		}
		var wrong ledger.FieldErrors
		if _, err := w.inject(id, ledger.Message{Type: ledger.MessageReverse, Amount: 401}); !errors.As(err, &wrong) || wrong[0].Field != "amount" {
			w.Errorf("401 of 400 left: %v", err)
		}
		w.becomes(id, ledger.PartiallyReversed)
		w.says(id, ledger.Message{Type: ledger.MessageReverse})
		x := w.becomes(id, ledger.Reversed)
		w.refuses(id, ledger.Message{Type: ledger.MessageReverse}, ledger.ErrIllegalMove)
		var amounts []int64
		for _, r := range x.Reversals {
			amounts = append(amounts, r.Amount)
		}
		if len(amounts) != 4 || amounts[0] != 100 || amounts[3] != 400 {
			w.Errorf("reversed %v", amounts)
		}
	})
}

func TestTheKeyIsNotSentWhenItIsTooOld(t *testing.T) {
	t.Run("because the permit came late", func(t *testing.T) {
		inWorld(t, stripesim.Config{}, func(w *world) {
			w.deaf()
			w.script(stripesim.Rule{Kind: stripesim.KindDrop})
			id := w.one()
			w.becomes(id, ledger.Unresolved)
			opens := time.Now().Add(7 * time.Hour)
			w.restart(verified(func() error {
				if time.Now().Before(opens) {
					return errOutage
				}
				return nil
			}))
			w.becomes(id, ledger.Completed)
			w.tells(id, "accept, send, lose T25, prove_absent, send, confirm T1")
		})
	})
	t.Run("because the ledger took its time", func(t *testing.T) {
		inWorld(t, stripesim.Config{}, func(w *world) {
			w.deaf()
			w.script(stripesim.Rule{Kind: stripesim.KindDrop})
			id := w.one()
			x := w.becomes(id, ledger.Unresolved)
			w.node.store.onBefore(func(call string, changes []ledger.Change) error {
				if call == "commit" && time.Now().Before(x.Operation.FirstSentAt.Add(w.policy.Windows.Safe+time.Minute)) {
					return errOutage
				}
				return nil
			})
			w.until(id, "sent again, or not", func(x ledger.Transfer) bool { return x.Version > 4 })
			w.tells(id, "accept, send, lose T25, send, lose T26")
			w.becomes(id, ledger.Completed)
			if w.sent() != 2 || w.transfer(id).Operation.Generation != 2 {
				w.Errorf("sent %d times", w.sent())
			}
		})
	})
}

// verified has the daemon verify the account before it opens the gate.
func verified(verify func() error) settings {
	return func(c *actors.Config) {
		c.Verify = func(ctx context.Context) (string, error) { return "acct_1", verify() }
		c.Names = func(context.Context) (string, error) { return "", nil } // as the world reckons them
		c.Passing = func(err error) bool { return errors.Is(err, errOutage) }
	}
}

func TestAbsenceIsNotConcludedEarlyBecauseACommitTookHours(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		id := w.one()
		w.becomes(id, ledger.Completed)
		w.script(stripesim.Rule{Kind: stripesim.KindDrop, Path: reversing})
		w.says(id, ledger.Message{Type: ledger.MessageReverse, Amount: 100})
		w.passes(time.Second)
		sent := w.posts[1].at
		w.node.store.onBefore(func(call string, changes []ledger.Change) error {
			if call == "commit" && time.Since(sent) < w.policy.Windows.Safe+time.Hour {
				return errOutage
			}
			return nil
		})
		go w.inject(id, ledger.Message{Type: ledger.MessageReverse, Amount: 200}) // gives up waiting, and acts
		w.becomes(id, ledger.PartiallyReversed)
		for _, h := range w.history(id) {
			if h.Event == ledger.EventProveAbsent && !h.At.After(sent.Add(w.policy.Windows.Quiet)) {
				w.Errorf("absence was concluded %s after the send", h.At.Sub(sent))
			}
		}
	})
}

func TestAPanicOfTheClientSetsTheTransferAsideAndSiblingsGoOn(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		panics := func(r *http.Request, body string) {
			if r.Method == http.MethodPost && strings.Contains(body, "acct_seller3") {
				panic("the client has a bug")
			}
		}
		w.node.calls.Store(&panics)
		ids := w.create(7)
		x := w.becomes(ids[3], ledger.Parked)
		if x.Operation.ErrorCode != "bug" || !strings.Contains(x.Operation.ErrorMessage, "the client has a bug") {
			w.Errorf("parked with %s %q", x.Operation.ErrorCode, x.Operation.ErrorMessage)
		}
		for i, id := range ids {
			if i != 3 {
				w.becomes(id, ledger.Completed)
			}
		}
		if n := w.count("actor_restarts_total", "kind", "bug"); n != 4 {
			w.Errorf("restarted %v times", n)
		}
		// It is parked before QUIET, and a person's word is not taken before either.
		w.node.calls.Store(nil)
		w.refuses(ids[3], ledger.Message{Type: ledger.MessageResolve, Outcome: ledger.OutcomeFailed}, ledger.ErrTooEarly)
		w.passes(w.policy.Windows.Quiet)
		w.says(ids[3], ledger.Message{Type: ledger.MessageResolve, Outcome: ledger.OutcomeFailed})
		w.becomes(ids[3], ledger.Completed)
	})
}

func TestAPanicOfTheStoreSetsTheTransferAsideAndSiblingsGoOn(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.node.store.onBefore(func(call string, changes []ledger.Change) error {
			for _, c := range changes {
				if c.After.Destination == "acct_seller3" && c.History.Event == ledger.EventSend {
					panic("the store has a bug")
				}
			}
			return nil
		})
		ids := w.create(7)
		x := w.becomes(ids[3], ledger.PermanentlyFailed)
		if x.Operation.ErrorCode != "bug" || !strings.Contains(x.Operation.ErrorMessage, "the store has a bug") {
			w.Errorf("given up with %s %q", x.Operation.ErrorCode, x.Operation.ErrorMessage)
		}
		for i, id := range ids {
			if i != 3 {
				w.becomes(id, ledger.Completed)
			}
		}
		w.node.store.mend()
		w.says(ids[3], ledger.Message{Type: ledger.MessageRetry})
		w.becomes(ids[3], ledger.Completed)
	})
}

// Found by the simulation: an event that was acted on, and could not be marked so, stayed
// unhandled until the next start.
func TestAnEventThatCannotBeMarkedIsToldAgainByTheSweep(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		failed := 0
		w.node.store.onBefore(func(call string, _ []ledger.Change) error {
			if call == "handle_events" && failed < 2 {
				failed++
				return errOutage
			}
			return nil
		})
		w.becomes(w.one(), ledger.Completed)
		w.passes(time.Hour)
		if failed == 0 {
			w.Fatal("no event was ever to be marked")
		}
		events, err := w.db.UnhandledEvents(w.Context(), "", 10)
		if err != nil || len(events) != 0 {
			w.Errorf("events that nobody handled: %v, %v", events, err)
		}
	})
}
