package actors_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// shut keeps the gate closed: nothing is sent.
func shut() settings { return verified(func() error { return errOutage }) }

func TestWhatIsNotSentYetCanBeHeldReleasedAndCanceled(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		ids := w.create(3)
		for _, id := range ids {
			if x := w.says(id, ledger.Message{Type: ledger.MessageHold}); x.Status() != ledger.Held || x.HeldBy != ledger.HeldByOperator {
				w.Errorf("%s by %s", x.Status(), x.HeldBy)
			}
		}
		w.says(ids[1], ledger.Message{Type: ledger.MessageRelease})
		if x := w.says(ids[2], ledger.Message{Type: ledger.MessageCancel}); x.Status() != ledger.Canceled {
			w.Errorf("canceled, it is %s", x.Status())
		}
		w.refuses(ids[2], ledger.Message{Type: ledger.MessageRelease}, ledger.ErrIllegalMove)
		until := time.Now().Add(3 * time.Hour)
		w.says(ids[0], ledger.Message{Type: ledger.MessageRelease})
		w.says(ids[0], ledger.Message{Type: ledger.MessageHold, Until: until})
		w.restart() // the gate opens
		w.passes(2 * time.Hour)
		for i, want := range []ledger.State{ledger.Held, ledger.Completed, ledger.Canceled} {
			if x := w.transfer(ids[i]); x.Status() != want {
				w.Errorf("transfer %d is %s, want %s", i, x.Status(), want)
			}
		}
		w.passes(time.Hour + time.Second)
		w.becomes(ids[0], ledger.Completed)
		if early := until.Sub(w.posts[1].at); early > 0 {
			w.Errorf("sent %s before the hold ended", early)
		}
		w.refuses(ids[0], ledger.Message{Type: ledger.MessageCancel}, ledger.ErrIllegalMove)
		w.refuses(ids[0], ledger.Message{Type: ledger.MessageHold}, ledger.ErrIllegalMove)
		w.alarms(nil)
	}, shut())
}

func TestATransferIsNotSentBeforeItsDate(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		o := order(1)
		o.NotBefore = time.Now().Add(25 * time.Hour).Truncate(time.Microsecond)
		id := w.orders(o)[0]
		w.restart() // its date is in the ledger
		w.becomes(id, ledger.Completed)
		if at := w.posts[0].at; at.Before(o.NotBefore) || at.After(o.NotBefore.Add(time.Second)) {
			w.Errorf("sent at %s, due at %s", at, o.NotBefore)
		}
		w.tells(id, "hold, release, send, confirm T1")
	})
}

func TestAMessageActsOnce(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		id := w.one()
		w.becomes(id, ledger.Completed)
		m := ledger.Message{ID: uuid.Must(uuid.NewV7()), Type: ledger.MessageReverse, Amount: 100}
		for range 3 {
			w.says(id, m)
		}
		if x := w.becomes(id, ledger.PartiallyReversed); len(x.Reversals) != 1 || x.AmountReversed != 100 {
			w.Errorf("%d reversals, of %d", len(x.Reversals), x.AmountReversed)
		}
		if _, err := w.inject(uuid.Must(uuid.NewV7()), ledger.Message{Type: ledger.MessageRetry}); !errors.Is(err, ledger.ErrNotFound) {
			w.Errorf("a transfer that is not there: %v", err)
		}
	})
}

func TestAnActorIsCrashedOnPurpose(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(stripesim.Rule{Kind: stripesim.KindSlow, Delay: 10 * time.Second})
		id := w.one()
		w.passes(time.Second)
		w.says(id, ledger.Message{Type: ledger.MessageRestart}) // in the middle of its call
		w.becomes(id, ledger.Completed)
		w.tells(id, "accept, send, lose, confirm T1")
		w.alarms(nil)
	})
}

func TestTheSameReferenceIsRegisteredOnce(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		create := func(orders ...ledger.Order) []ledger.Acceptance {
			w.Helper()
			a, err := w.node.system.Create(w.Context(), orders, ledger.By{Principal: "test"})
			if err != nil {
				w.Fatal(err)
			}
			return a
		}
		o := order(1)
		other := o
		other.Money.Amount++
		first := create(o, o, other)
		for i, want := range []ledger.Acceptance{{Created: true}, {}, {Conflict: true}} {
			if a := first[i]; a.Created != want.Created || a.Conflict != want.Conflict || a.Transfer.ID != first[0].Transfer.ID {
				w.Errorf("order %d of the batch: created %v, conflict %v, %s", i, a.Created, a.Conflict, a.Transfer.ID)
			}
		}
		w.becomes(first[0].Transfer.ID, ledger.Completed)
		if a := create(o)[0]; a.Created || a.Conflict || a.Transfer.Status() != ledger.Completed {
			w.Errorf("again: created %v, conflict %v, %s", a.Created, a.Conflict, a.Transfer.Status())
		}
		if a := create(other)[0]; a.Created || !a.Conflict {
			w.Errorf("another body: created %v, conflict %v", a.Created, a.Conflict)
		}
		if a := create(); len(a) != 0 {
			w.Errorf("no orders: %v", a)
		}
	})
}

func TestRetriesThatAreOffWaitForAPerson(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(refusal(creating, "balance_insufficient", 1))
		id := w.one()
		w.passes(48 * time.Hour)
		w.tells(id, "accept, send, refuse T2")
		w.says(id, ledger.Message{Type: ledger.MessageRetry})
		w.becomes(id, ledger.Completed)
	}, func(c *actors.Config) { c.Policy.Transfers.Enabled = false })
}

func TestReversalsThatAreOffAreRecordedAndWait(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		id := w.one()
		w.becomes(id, ledger.Completed)
		w.says(id, ledger.Message{Type: ledger.MessageReverse, Amount: 400})
		w.passes(48 * time.Hour)
		w.tells(id, "accept, send, confirm T1, reverse")
		w.restart()
		w.becomes(id, ledger.PartiallyReversed)
	}, func(c *actors.Config) { c.Policy.Reversals.Enabled = false })
}

func TestNothingIsSentBeforeTheAccountIsVerified(t *testing.T) {
	t.Run("which is tried until it can be", func(t *testing.T) {
		tries := 0
		inWorld(t, stripesim.Config{}, func(w *world) {
			id := w.one()
			w.passes(time.Second)
			if w.sent() != 0 || w.node.system.Ready(w.Context()) != nil {
				w.Errorf("sent %d, ready: %v", w.sent(), w.node.system.Ready(w.Context()))
			}
			w.becomes(id, ledger.Completed)
			if tries != 10 {
				w.Errorf("tried %d times", tries)
			}
		}, verified(func() error {
			if tries++; tries < 10 {
				return errOutage
			}
			return nil
		}))
	})
	t.Run("and another account ends the daemon", func(t *testing.T) {
		wrong := errors.New("the key is another account's")
		inWorld(t, stripesim.Config{}, func(w *world) {
			id := w.one()
			if err := <-w.node.system.Failed(); !errors.Is(err, wrong) {
				w.Errorf("failed with %v", err)
			}
			w.passes(time.Hour)
			w.tells(id, "accept")
		}, verified(func() error { return wrong }))
	})
}

// forge makes a transfer at Stripe as a send would have that the ledger knows nothing of.
func (w *world) forge(x ledger.Transfer, key string) {
	w.aside = true // Stripe is given what nobody sent
	w.Helper()
	x = x.Named("")
	form := url.Values{"amount": {"1000"}, "currency": {"eur"}, "destination": {x.Destination}, "transfer_group": {x.Group()}}
	for k, v := range x.Request(&x.Operation).Metadata {
		form.Set("metadata["+k+"]", v)
	}
	form.Set("metadata["+ledger.MetaGeneration+"]", "1")
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/v1/transfers", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", "Bearer sk_test_world")
	r.Header.Set("Idempotency-Key", key)
	rec := httptest.NewRecorder()
	w.sim.Handler().ServeHTTP(rec, r)
	if rec.Code != http.StatusOK {
		w.Fatalf("%d %s", rec.Code, rec.Body)
	}
}

func TestEvidenceThatTheProtocolRuledOutIsBookedAndRaisesAnAlarm(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.script(refusal(creating, "balance_insufficient", 1))
		id := w.one()
		w.becomes(id, ledger.FailedState)
		w.forge(w.transfer(id), "a stranger's")
		x := w.becomes(id, ledger.Completed)
		if w.sent() != 1 || x.Operation.Generation != 1 {
			w.Errorf("sent %d times, in generation %d", w.sent(), x.Operation.Generation)
		}
		w.alarms(map[string]int{"ruled_out": 1})
	})
}

func TestEvidenceGoesBeforeASendThatWaitsForItsPermit(t *testing.T) {
	closed := true
	inWorld(t, stripesim.Config{}, func(w *world) {
		id := w.one()
		w.passes(time.Second)
		if live := w.node.system.Live(w.Context(), id); live.Doing != "asking" {
			w.Fatalf("it is %s", live.Doing)
		}
		w.forge(w.transfer(id), "a stranger's") // its event comes while the gate is shut
		w.passes(time.Hour)
		closed = false
		w.becomes(id, ledger.Completed)
		if w.sent() != 0 {
			w.Errorf("sent %d times, although Stripe held it", w.sent())
		}
		w.alarms(map[string]int{"ruled_out": 1, "lost_commits": 1}) // nothing was ever sent here
	}, verified(func() error {
		if closed {
			return errOutage
		}
		return nil
	}))
}

func TestEvidenceAgainstAFinalStateRaisesAnAlarmAndChangesNothing(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		id := w.one()
		w.says(id, ledger.Message{Type: ledger.MessageCancel})
		w.forge(w.transfer(id), "a stranger's")
		w.passes(24 * time.Hour)
		w.restart()
		w.passes(24 * time.Hour)
		w.tells(id, "accept, cancel")
		w.alarms(map[string]int{"conflict": 1})
		w.forged = true
	}, shut(), func(c *actors.Config) { c.Passing = func(error) bool { return true } })
}

func TestANewEpochRestsAndLooksBeforeItGoesOn(t *testing.T) {
	for name, tc := range map[string]struct {
		before func(*world) ledger.ID
		sends  int // in the new epoch
	}{
		"what was refused": {func(w *world) ledger.ID {
			w.script(refusal(creating, "balance_insufficient", 1))
			id := w.one()
			w.becomes(id, ledger.FailedState)
			return id
		}, 1},
		"what was never sent": {func(w *world) ledger.ID {
			w.restart(shut())
			return w.one()
		}, 1},
		"what was sent, but the ledger lost that": {func(w *world) ledger.ID {
			w.restart(shut())
			id := w.one()
			w.forge(w.transfer(id), ledger.Key(w.name(id), 1, 1))
			return id
		}, 0},
		"what is unresolved, and arrives yet": {func(w *world) ledger.ID {
			w.script(stripesim.Rule{Kind: stripesim.KindHang, Delay: time.Hour})
			id := w.one()
			w.becomes(id, ledger.Unresolved)
			return id
		}, 0},
		"what is unresolved, and never arrived": {func(w *world) ledger.ID {
			w.script(stripesim.Rule{Kind: stripesim.KindDrop})
			id := w.one()
			w.becomes(id, ledger.Unresolved)
			return id
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, stripesim.Config{}, func(w *world) {
				w.deaf()
				id := tc.before(w)
				raised, sent := time.Now(), w.sent()
				w.raises()
				readable := raised.Add(w.policy.Windows.Quiet + 5*time.Hour)
				w.script(stripesim.Rule{Kind: stripesim.KindList500, Path: listing, Times: -1, Match: func(stripesim.RequestInfo) bool { return time.Now().Before(readable) }})
				w.restart()
				x := w.becomes(id, ledger.Completed)
				posts := w.posts[sent:]
				if len(posts) != tc.sends {
					w.Errorf("sent %d times in the new epoch, want %d", len(posts), tc.sends)
				}
				for _, p := range posts {
					if p.at.Sub(raised) <= w.policy.Windows.Quiet || p.key != ledger.Key(x.Operation.Name, 2, x.Operation.Generation) {
						w.Errorf("sent %s after the epoch began, under %s", p.at.Sub(raised), p.key)
					}
				}
				if n := w.sim.Counts()["request GET /v1/transfers"]; n > 40 { // reads that fail are spaced
					w.Errorf("Stripe was read %d times", n)
				}
				w.alarms(nil)
			})
		})
	}
}

// A restart is for what is under way. Of what is over nothing would begin again, and the answer says so.
func TestWhatIsOverHasNothingToRestart(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		ids := w.create(3)
		w.says(ids[0], ledger.Message{Type: ledger.MessageCancel})
		w.says(ids[1], ledger.Message{Type: ledger.MessageHold})
		w.restart() // the gate opens
		w.becomes(ids[2], ledger.Completed)
		for _, id := range []ledger.ID{ids[0], ids[2]} {
			before := w.transfer(id)
			_, err := w.inject(id, ledger.Message{Type: ledger.MessageRestart})
			if want := "nothing is left to restart: the transfer is " + string(before.Status()); !errors.Is(err, ledger.ErrIllegalMove) || !strings.Contains(err.Error(), want) {
				w.Errorf("%v, want %q", err, want)
			}
			if after := w.transfer(id); after.Version != before.Version {
				w.Errorf("it changed from version %d to %d", before.Version, after.Version)
			}
		}
		w.says(ids[1], ledger.Message{Type: ledger.MessageRestart})
		w.alarms(nil)
	}, shut())
}
