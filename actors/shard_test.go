package actors_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// forgetful keeps no audit of messages: what is tried here is the way to the actor.
type forgetful struct{ actors.Store }

func (forgetful) StoreMessage(context.Context, ledger.Message, ledger.State) (bool, error) {
	return true, nil
}
func (forgetful) StoreReceipt(context.Context, ledger.Receipt) error { return nil }

// TestNoMessageIsLostWhileAnActorEnds sends messages to transfers that are final. Each
// message spawns an actor that answers and ends, so that most arrive while one is ending;
// each must be answered, once.
func TestNoMessageIsLostWhileAnActorEnds(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		ids := w.create(3)
		for _, id := range ids {
			w.becomes(id, ledger.Completed)
		}
		const senders, each = 6, 240
		var answered atomic.Int64
		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() {
				for i := range each {
					if _, err := w.inject(ids[(s+i)%len(ids)], ledger.Message{Type: ledger.MessageHold}); !errors.Is(err, ledger.ErrIllegalMove) {
						w.Errorf("message %d of sender %d: %v", i, s, err)
						return
					}
					answered.Add(1)
				}
			})
		}
		wg.Wait()
		if n := answered.Load(); n != senders*each {
			w.Errorf("%d answers", n)
		}
		w.passes(time.Second)
		if n := w.count("actors_alive"); n != 0 {
			w.Errorf("%v actors have not ended", n)
		}
		if n := w.count("actor_spawns_total"); n < 30 {
			w.Errorf("only %v actors were spawned: this tests nothing", n)
		}
		w.alarms(nil)
	}, func(c *actors.Config) { c.Store = forgetful{c.Store} })
}

func TestAMessageThatComesWhileAnActorLooksUpItsEndIsHeldAndDelivered(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		id := w.one()
		w.becomes(id, ledger.Completed)
		for range 20 { // each reversal wakes the transfer; the next comes as its actor ends
			w.says(id, ledger.Message{Type: ledger.MessageReverse, Amount: 50})
		}
		x := w.becomes(id, ledger.Reversed)
		if len(x.Reversals) != 20 {
			w.Errorf("%d reversals", len(x.Reversals))
		}
	})
}

func TestAnAnswerFindsItsTransferAlthoughTheActorHasEnded(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(stripesim.Rule{Kind: stripesim.KindSlow, Delay: 10 * time.Second})
		id := w.one()
		w.passes(time.Second)
		// Four bugs in a row set the transfer aside while its call is under way.
		bugs := 0
		w.node.store.onBefore(func(call string, changes []ledger.Change) error {
			if call == "commit" && changes[0].History.Event == ledger.EventLose && bugs < 4 {
				bugs++
				panic("a bug")
			}
			return nil
		})
		w.says(id, ledger.Message{Type: ledger.MessageRestart})
		w.becomes(id, ledger.Parked)
		synctest.Wait()
		if w.node.system.Live(w.Context(), id).Alive {
			w.Error("its actor has not ended")
		}
		w.passes(10 * time.Second)
		w.tells(id, "accept, send, lose, park, confirm T1")
	})
}

func TestAMessageThatMeetsACrashIsAnsweredByTheNextIncarnation(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(refusal(creating, "balance_insufficient", 1))
		arrive := make(chan struct{})
		w.node.store.onAfter(func(call string, changes []ledger.Change) error {
			if call == "commit" && changes[0].History.Event == ledger.EventRefuse {
				<-arrive
			}
			return nil
		})
		id := w.one()
		synctest.Wait()
		answers := make(chan error, 3)
		for range cap(answers) {
			go func() {
				_, err := w.inject(id, ledger.Message{Type: ledger.MessageHold})
				answers <- err
			}()
		}
		synctest.Wait() // they wait for the commit, whose end is a crash
		close(arrive)
		for range cap(answers) {
			if err := <-answers; err != nil {
				w.Error(err)
			}
		}
	})
}

func TestAReadWhoseTransferMovesMeanwhileDecidesNothing(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(refusal(creating, "balance_insufficient", 1))
		id := w.one()
		w.becomes(id, ledger.FailedState)
		w.policy.Epoch, w.policy.EpochSince = 2, time.Now()
		w.restart()
		arrive, reading := make(chan struct{}), make(chan struct{}, 1)
		slow := func(r *http.Request, _ string) {
			if r.Method == http.MethodGet {
				reading <- struct{}{}
				<-arrive
			}
		}
		w.node.calls.Store(&slow)
		<-reading // after QUIET
		w.says(id, ledger.Message{Type: ledger.MessageHold})
		close(arrive)
		w.passes(time.Hour)
		w.tells(id, "accept, send, refuse T2, hold")
		w.alarms(nil)
	})
}

func TestARestartOnPurposeIsOneIncarnationMore(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(refusal(creating, "balance_insufficient", 1))
		id := w.one()
		w.becomes(id, ledger.FailedState)
		synctest.Wait()
		before := w.node.system.Live(w.Context(), id)
		if !before.Alive || before.Doing != "waiting" || before.Until.Before(time.Now()) {
			w.Errorf("before: %+v", before)
		}
		w.says(id, ledger.Message{Type: ledger.MessageRestart})
		synctest.Wait()
		after := w.node.system.Live(w.Context(), id)
		if after.Incarnation <= before.Incarnation || !after.Until.Round(time.Second).Equal(before.Until.Round(time.Second)) {
			w.Errorf("after: %+v, before: %+v", after, before)
		}
		if n := w.count("actor_restarts_total", "kind", string(actors.Asked)); n != 1 {
			w.Errorf("%v restarts", n)
		}
		w.becomes(id, ledger.Completed)
		synctest.Wait()
		if live := w.node.system.Live(w.Context(), id); live.Alive {
			w.Errorf("done: %+v", live)
		}
	})
}
