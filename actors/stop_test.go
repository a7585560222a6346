package actors_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// stopping begins a stop with a budget, and yields its result.
func (n *node) stopping(budget time.Duration) <-chan error {
	n.stopped = true
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), budget)
		defer cancel()
		done <- n.system.Stop(ctx)
	}()
	synctest.Wait()
	return done
}

func TestAStopLetsCallsEndAndStartsNone(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.script(stripesim.Rule{Kind: stripesim.KindSlow, Delay: 10 * time.Second, Times: 2})
		ids := w.create(10) // two calls at once; eight wait for their turn
		w.passes(time.Second)
		began := time.Now()
		done := w.node.stopping(time.Minute)
		if _, err := w.node.system.Create(w.Context(), []ledger.Order{order(99)}, ledger.By{}); !errors.Is(err, ledger.ErrUnavailable) {
			w.Errorf("create: %v", err)
		}
		if _, err := w.inject(ids[9], ledger.Message{Type: ledger.MessageHold}); !errors.Is(err, ledger.ErrUnavailable) {
			w.Errorf("inject: %v", err)
		}
		if w.node.system.Ready(w.Context()) == nil {
			w.Error("ready while it stops")
		}
		if err := <-done; err != nil {
			w.Errorf("stop: %v", err)
		}
		if took := time.Since(began); took > 10*time.Second {
			w.Errorf("it took %s", took)
		}
		if err := w.node.system.Stop(w.Context()); err != nil {
			w.Errorf("a second stop: %v", err)
		}
		if err := w.node.system.Receive(w.Context(), nil); !errors.Is(err, ledger.ErrUnavailable) {
			w.Errorf("receive: %v", err)
		}
		states := map[ledger.State]int{}
		for _, id := range ids {
			states[w.transfer(id).Status()]++
		}
		if w.sent() != 2 || states[ledger.Completed] != 2 || states[ledger.Pending] != 8 {
			w.Errorf("sent %d; %v", w.sent(), states)
		}
		w.node = w.start()
		for _, id := range ids {
			w.becomes(id, ledger.Completed)
		}
	}, func(c *actors.Config) { c.Limits.Concurrency = 2 })
}

func TestAStopCutsOffWhatOutlastsItsBudget(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(stripesim.Rule{Kind: stripesim.KindSlow, Delay: 15 * time.Second})
		id := w.one()
		w.passes(time.Second)
		if err := <-w.node.stopping(5 * time.Second); !errors.Is(err, context.DeadlineExceeded) {
			w.Errorf("stop: %v", err)
		}
		if x := w.transfer(id); !x.Status().Open() { // sending, or unresolved when its end could still be recorded
			w.Errorf("cut off, it is %s", x.Status())
		}
		w.node = w.start()
		w.becomes(id, ledger.Completed)
		if n := w.sent(); n != 2 || w.posts[0].key != w.posts[1].key {
			w.Errorf("sent %d times", n)
		}
	})
}

func TestAnIntentWhoseCallHasNotBegunAtTheStopIsPendingAgain(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		hold := make(chan struct{})
		w.node.store.onAfter(func(call string, changes []ledger.Change) error {
			if call == "commit" && changes[0].History.Event == ledger.EventSend {
				<-hold // the intent is durable, and its actor has not heard of it
			}
			return nil
		})
		id := w.one()
		synctest.Wait()
		done := w.node.stopping(time.Minute)
		close(hold)
		if err := <-done; err != nil {
			w.Errorf("stop: %v", err)
		}
		w.tells(id, "accept, send, not_executed T26")
		if w.sent() != 0 {
			w.Error("it was sent")
		}
		w.node = w.start()
		if x := w.becomes(id, ledger.Completed); x.Operation.Generation != 1 {
			w.Errorf("paid in generation %d", x.Operation.Generation)
		}
	})
}

func TestAStopWaitsForNoReadThatTheGateWillNotPermit(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(stripesim.Rule{Kind: stripesim.KindAnswer, Status: 400, Message: "must not exceed the source amount", Execute: true})
		arrive := make(chan struct{})
		slow := func(*http.Request, string) { <-arrive }
		w.node.calls.Store(&slow)
		id := w.one()
		synctest.Wait()
		began := time.Now()
		done := w.node.stopping(time.Minute)
		close(arrive) // what it answers asks for a read, and nothing new is begun any more
		if err := <-done; err != nil {
			w.Errorf("stop: %v", err)
		}
		if took := time.Since(began); took > time.Second {
			w.Errorf("it took %s", took)
		}
		w.tells(id, "accept, send, lose T7") // unread, the refusal closes nothing
		w.node = w.start()
		w.becomes(id, ledger.Completed)
	})
}

func TestWhoWaitsForAnActorIsLetGoByAStop(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.script(stripesim.Rule{Kind: stripesim.KindRolledBack500})
		id := w.one()
		w.becomes(id, ledger.Parked)
		w.restart(shut())
		answers := make(chan error, 1)
		go func() {
			_, err := w.inject(id, ledger.Message{Type: ledger.MessageResolve, Outcome: ledger.OutcomeFailed})
			answers <- err
		}()
		w.passes(time.Second) // it waits for a permit to read, which does not come
		began := time.Now()
		if err := <-w.node.stopping(30 * time.Second); err != nil {
			w.Errorf("stop: %v", err)
		}
		if err := <-answers; !errors.Is(err, ledger.ErrUnavailable) {
			w.Errorf("resolve: %v", err)
		}
		if took := time.Since(began); took > time.Second {
			w.Errorf("it took %s", took)
		}
		w.tells(id, w.story(id))
	})
}

func TestAStopDuringAnOutageOfTheLedgerEnds(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		id := w.one()
		w.becomes(id, ledger.Completed)
		w.node.store.onBefore(func(string, []ledger.Change) error { return errOutage })
		creating := make(chan error, 1)
		go func() {
			_, err := w.node.system.Create(context.Background(), []ledger.Order{order(5)}, ledger.By{})
			creating <- err
		}()
		w.passes(time.Minute)
		if err := w.node.system.Ready(w.Context()); !errors.Is(err, errOutage) {
			w.Errorf("ready: %v", err)
		}
		if err := <-w.node.stopping(5 * time.Second); !errors.Is(err, context.DeadlineExceeded) {
			w.Errorf("stop: %v", err)
		}
		if err := <-creating; !errors.Is(err, ledger.ErrUnavailable) {
			w.Errorf("create: %v", err)
		}
	})
}

func TestAStopWhileActorsAreBeingSpawnedEnds(t *testing.T) {
	most := 500
	if racing {
		most = 100
	}
	inWorld(t, stripesim.Config{}, func(w *world) {
		for n := range 5 {
			orders := make([]ledger.Order, most)
			for i := range orders {
				orders[i] = order(1000*n + i)
			}
			ids := w.orders(orders...) // their actors are on the way
			if n == 4 {
				w.node.stop()
				w.node = w.start()
				w.becomes(ids[0], ledger.Completed)
				break
			}
			w.restart(shut())
		}
	}, shut())
}

func TestASystemThatWasNeverStartedCanBeStopped(t *testing.T) {
	s, err := actors.New(actors.Config{Policy: realPolicy(), Limits: actors.Limits{Concurrency: 1}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}
