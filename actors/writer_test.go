package actors_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

func TestAChangeThatTheLedgerRefusesFailsAloneAndItsNeighboursCommit(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		bad := errors.New("violates a constraint")
		began := make(chan struct{})
		w.node.store.onBefore(func(call string, changes []ledger.Change) error {
			if call != "commit" {
				return nil
			}
			<-began // all that follows queues up behind the first
			for _, c := range changes {
				if c.After.Reference == "order-5" {
					return bad
				}
			}
			return nil
		})
		results := make([]chan error, 9)
		for i := range results {
			results[i] = make(chan error, 1)
			go func() {
				_, err := w.node.system.Create(context.Background(), []ledger.Order{order(i)}, ledger.By{})
				results[i] <- err
			}()
		}
		synctest.Wait()
		close(began)
		for i, r := range results {
			if err := <-r; (err != nil) != (i == 5) || i == 5 && !errors.Is(err, bad) {
				w.Errorf("order %d: %v", i, err)
			}
		}
	})
}

func TestAnOutageOfTheLedgerIsWaitedOutAndReported(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(stripesim.Rule{Kind: stripesim.KindSlow, Delay: 10 * time.Second})
		id := w.one()
		w.passes(time.Second)
		w.node.store.onBefore(func(string, []ledger.Change) error { return errOutage })
		w.passes(time.Minute) // the answer came, and cannot be written down
		if err := w.node.system.Ready(w.Context()); !errors.Is(err, errOutage) {
			w.Errorf("ready: %v", err)
		}
		ctx, cancel := context.WithTimeout(w.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := w.node.system.Create(ctx, []ledger.Order{order(7)}, ledger.By{}); !errors.Is(err, ledger.ErrUnavailable) {
			w.Errorf("create: %v", err)
		}
		if took := time.Since(began); took != 5*time.Second {
			w.Errorf("let go after %s", took)
		}
		w.passes(time.Hour)
		w.node.store.mend()
		w.passes(outageMost)
		if err := w.node.system.Ready(w.Context()); err != nil {
			w.Errorf("ready: %v", err)
		}
		w.becomes(id, ledger.Completed)
		w.tells(id, "accept, send, confirm T1")
		if r, err := w.db.ByReference(w.Context(), []string{"order-7"}); err != nil || len(r) != 0 {
			w.Errorf("what its caller gave up was registered: %v, %v", r, err)
		}
		w.alarms(nil)
	})
}

// outageMost is longer than any pause between two tries of the writer.
const outageMost = 5 * time.Second

func TestACommitThatHappenedAndWasCutOffIsNotDoneTwice(t *testing.T) {
	for event, story := range map[ledger.Event]string{
		ledger.EventAccept:  "accept, send, confirm T1",
		ledger.EventSend:    "accept, send, lose, send, confirm T1",
		ledger.EventConfirm: "accept, send, confirm T1",
	} {
		t.Run(string(event), func(t *testing.T) {
			inWorld(t, stripesim.Config{}, func(w *world) {
				w.deaf()
				cut := false
				w.node.store.onAfter(func(call string, changes []ledger.Change) error {
					if call == "commit" && len(changes) > 0 && changes[0].History.Event == event && !cut {
						cut = true
						return errOutage
					}
					return nil
				})
				id := w.one() // also: its caller is told that it was created
				w.becomes(id, ledger.Completed)
				w.tells(id, story)
				if w.sent() != 1 || w.count("sweep_finds_total") != 0 {
					w.Errorf("sent %d times; the sweep found %v", w.sent(), w.count("sweep_finds_total"))
				}
				w.alarms(nil)
			})
		})
	}
}

func TestARowThatCannotBeReadConcernsItsOwnActorAlone(t *testing.T) {
	for name, fails := range map[string]func() error{
		"an error": func() error { return errors.New("a state that nobody knows") },
		"a panic":  func() error { panic("a state that nobody knows") },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, stripesim.Config{}, func(w *world) {
				w.script(stripesim.Rule{Kind: stripesim.KindRateLimit, Times: 7})
				ids := w.create(7)
				w.node.store.onLoad(func(asked []ledger.ID) error {
					for _, id := range asked {
						if id == ids[3] {
							return fails()
						}
					}
					return nil
				})
				for i, id := range ids {
					if i != 3 {
						w.becomes(id, ledger.Completed)
					}
				}
				w.node.store.onLoad(nil)
				w.becomes(ids[3], ledger.Completed) // the sweep found it
			})
		})
	}
}

func TestEventsAreAppliedAlthoughTheLedgerWasAway(t *testing.T) {
	for name, fault := range map[string]func(*faultyStore, func(string, []ledger.Change) error){
		"they were stored, and nobody was told": func(s *faultyStore, f func(string, []ledger.Change) error) { s.onAfter(f) },
		"their transfers could not be read":     func(s *faultyStore, f func(string, []ledger.Change) error) { s.onBefore(f) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, stripesim.Config{}, func(w *world) {
				w.script(stripesim.Rule{Kind: stripesim.KindLate500, Delay: 12 * time.Hour})
				id := w.one()
				w.becomes(id, ledger.Parked)
				call := "load"
				if strings.Contains(name, "stored") {
					call = "store_events"
				}
				once := false
				fault(w.node.store, func(c string, _ []ledger.Change) error {
					if c == call && !once {
						once = true
						return errOutage
					}
					return nil
				})
				w.becomes(id, ledger.Completed)
			})
		})
	}
}

func TestTheLedgersOrderIsKeptWhenAPersonIsFasterThanTheAnswer(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		arrive := make(chan struct{})
		slow := func(*http.Request, string) { <-arrive }
		w.node.calls.Store(&slow)
		id := w.one()
		synctest.Wait()
		for _, m := range []ledger.MessageType{ledger.MessageHold, ledger.MessageCancel, ledger.MessageRetry, ledger.MessageReverse} {
			w.refuses(id, ledger.Message{Type: m}, ledger.ErrIllegalMove)
		}
		close(arrive)
		w.becomes(id, ledger.Completed)
	})
}

// Found by the simulation: an order was written, the acknowledgement came after its caller had
// given up, and was lost; nobody spawned its actor before the next sweep.
func TestAnOrderThatWasWrittenAfterItsCallerGaveUpHasItsActor(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		first := true
		w.node.store.onAfter(func(call string, _ []ledger.Change) error {
			if call != "commit" || !first {
				return nil
			}
			first = false
			time.Sleep(12 * time.Second)
			return errOutage
		})
		ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
		defer cancel()
		if _, err := w.node.system.Create(ctx, []ledger.Order{order(1)}, ledger.By{Principal: "test"}); !errors.Is(err, ledger.ErrUnavailable) {
			w.Fatalf("created: %v", err)
		}
		w.passes(time.Minute) // the sweep comes later
		records, err := w.db.ByReference(context.Background(), []string{order(1).Reference})
		if err != nil || len(records) != 1 || records[0].Transfer.Status() != ledger.Completed {
			w.Errorf("a minute later: %+v, %v", records, err)
		}
		if n := w.count("sweep_finds_total"); n != 0 {
			w.Errorf("the sweep found %v", n)
		}
	})
}
