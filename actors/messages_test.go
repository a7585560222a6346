package actors_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// held is an order whose date is far, so that nothing but messages moves it.
func held(w *world) ledger.ID {
	w.Helper()
	o := order(0)
	o.Reference = uuid.NewString()
	o.NotBefore = time.Now().Add(1000 * time.Hour)
	return w.orders(o)[0]
}

func TestAMessageWhoseReceiptWasLostDoesNotActTwice(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		// The process dies after the message's act is durable, and before anybody hears of it.
		m := ledger.Message{ID: uuid.Must(uuid.NewV7()), Type: ledger.MessageHold}
		id := held(w)
		n := w.node
		n.store.onAfter(func(call string, changes []ledger.Change) error {
			if call == "commit" && slices.ContainsFunc(changes, func(c ledger.Change) bool { return c.History.By.Message == m.ID }) {
				n.dead.Store(true)
				return errOutage
			}
			return nil
		})
		if _, err := w.inject(id, m); !errors.Is(err, ledger.ErrUnavailable) {
			t.Fatalf("got %v from a daemon that died", err)
		}
		n.crash()
		w.node = w.start()
		w.tells(id, "hold, hold")
		w.says(id, ledger.Message{Type: ledger.MessageHold, Until: time.Now().Add(2000 * time.Hour)})
		holds := len(w.transfer(id).Holds)

		x := w.says(id, m) // the client asks again
		w.tells(id, "hold, hold, hold")
		if len(x.Holds) != holds {
			t.Errorf("the repetition acted: %d holds stand, and %d did", len(x.Holds), holds)
		}
	})
}

func TestTwoDaemonsActOnOneMessageOnce(t *testing.T) {
	for _, kind := range []ledger.MessageType{ledger.MessageHold, ledger.MessageRelease, ledger.MessageCancel} {
		t.Run(string(kind), func(t *testing.T) {
			inWorld(t, stripesim.Config{}, func(w *world) {
				other := w.start()
				for range 20 {
					id := held(w)
					m := ledger.Message{ID: uuid.Must(uuid.NewV7()), Type: kind}
					if kind == ledger.MessageRelease {
						m.Override = string(ledger.HeldBySchedule)
					}
					errs := make(chan error, 6)
					for i := range 6 {
						go func() {
							_, err := []*node{w.node, other}[i%2].inject(id, m)
							errs <- err
						}()
					}
					synctest.Wait()
					for range 6 {
						if err := <-errs; err != nil {
							t.Errorf("a repetition was refused: %v", err)
						}
					}
					acts := 0
					for _, h := range w.history(id) {
						if h.By.Message == m.ID {
							acts++
						}
					}
					if acts != 1 {
						t.Errorf("it acted %d times: %s", acts, w.story(id))
					}
				}
			})
		})
	}
}

// A repetition hears what the first was told: the same text, on the same ground.
func TestARefusalIsRepeatedOnTheSameGround(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		paid := w.one()
		w.becomes(paid, ledger.Completed)
		w.policy.Unresolved = ledger.ParkAlways
		for name, tc := range map[string]struct {
			m  ledger.Message
			is func(error) bool
		}{
			"a state": {ledger.Message{Type: ledger.MessageCancel}, func(err error) bool { return errors.Is(err, ledger.ErrIllegalMove) }},
			"a field": {ledger.Message{Type: ledger.MessageReverse, Amount: 5000}, func(err error) bool {
				var wrong ledger.FieldErrors
				return errors.As(err, &wrong) && len(wrong) == 1 && wrong[0].Field == "amount"
			}},
		} {
			tc.m.ID = uuid.Must(uuid.NewV7())
			_, first := w.inject(paid, tc.m)
			if !tc.is(first) {
				t.Fatalf("%s: %v", name, first)
			}
			w.restart()
			if _, again := w.inject(paid, tc.m); !tc.is(again) || again.Error() != first.Error() {
				t.Errorf("%s: first %q, and then %q", name, first, again)
			}
		}
	})
}

func TestARefusalThatCameTooEarlyStaysTooEarly(t *testing.T) {
	inEmptyWorld(t, stripesim.Config{}, func(w *world) {
		w.node = w.start()
		id := held(w)
		// The database lost commits: nothing is denied before it was looked up.
		w.policy.Epoch, w.policy.EpochSince = 2, time.Now()
		if _, err := w.db.RaiseEpoch(context.Background()); err != nil {
			t.Fatal(err)
		}
		w.restart()
		m := ledger.Message{ID: uuid.Must(uuid.NewV7()), Type: ledger.MessageCancel}
		_, first := w.inject(id, m)
		_, again := w.inject(id, m)
		if !errors.Is(first, ledger.ErrTooEarly) || !errors.Is(again, ledger.ErrTooEarly) || errors.Is(again, ledger.ErrIllegalMove) {
			t.Errorf("first %v, and then %v", first, again)
		}
	})
}

func TestAMessageThatWasRefusedForNowActsWhenItIsSaidAgain(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.script(stripesim.Rule{Kind: stripesim.KindDrop, Path: creating})
		id := w.one()
		w.becomes(id, ledger.Unresolved)
		m := ledger.Message{ID: uuid.Must(uuid.NewV7()), Type: ledger.MessageReverse, Amount: 300}
		w.refuses(id, m, ledger.ErrIllegalMove)
		w.becomes(id, ledger.Completed)
		w.says(id, m)
		w.says(id, m)
		if x := w.becomes(id, ledger.PartiallyReversed); x.AmountReversed != 300 || len(x.Reversals) != 1 {
			w.Errorf("%d came back by %d reversals", x.AmountReversed, len(x.Reversals))
		}
		w.refuses(id, ledger.Message{ID: m.ID, Type: ledger.MessageReverse, Amount: 5000}, nil) // it is the same message
	})
}
