package actors_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// errLocked is what the database says of a row that another session holds.
var errLocked = &pgconn.PgError{Code: "55P03", Message: "canceling statement due to lock timeout"}

// lockRows has every commit wait in vain in which there is such a change, until it is undone.
func lockRows(s *faultyStore, held func(ledger.Change) bool) (unlock func()) {
	s.onBefore(func(call string, changes []ledger.Change) error {
		if call != "commit" || !slices.ContainsFunc(changes, held) {
			return nil
		}
		time.Sleep(500 * time.Millisecond)
		return errLocked
	})
	return s.mend
}

func TestWhileOneRowIsLockedAllOthersAreCommitted(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		ids := w.create(20)
		locked := ids[7]
		for _, id := range ids {
			w.becomes(id, ledger.Completed)
		}
		unlock := lockRows(w.node.store, func(c ledger.Change) bool { return c.After.ID == locked })
		done := make(chan error, 1)
		go func() {
			id := uuid.Must(uuid.NewV7())
			_, err := w.node.system.Inject(context.Background(), ledger.Message{ID: id, Transfer: locked, Type: ledger.MessageReverse, Amount: 1, Reference: "refund", By: ledger.By{Message: id, Principal: "test"}})
			done <- err
		}()
		synctest.Wait()
		began := time.Now()
		for i := range 30 { // a minute of orders
			at := time.Now()
			ctx, cancel := context.WithTimeout(w.Context(), 10*time.Second)
			_, err := w.node.system.Create(ctx, []ledger.Order{order(100 + i)}, ledger.By{})
			cancel()
			if err != nil {
				w.Fatalf("%s after the row was locked: %v", time.Since(began), err)
			}
			if took := time.Since(at); took >= time.Second {
				w.Errorf("an order took %s, %s after the row was locked", took, at.Sub(began))
			}
			w.passes(2 * time.Second)
		}
		if err := w.node.system.Ready(w.Context()); err != nil {
			w.Errorf("ready: %v", err)
		}
		select {
		case err := <-done:
			w.Errorf("the locked transfer was changed: %v", err)
		default:
		}
		unlock()
		if err := <-done; err != nil {
			w.Errorf("after the lock: %v", err)
		}
		w.becomes(locked, ledger.PartiallyReversed)
		w.alarms(nil)
	})
}

func TestOfAGroupWithALockedRowTheRestIsCommitted(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		unlock := lockRows(w.node.store, func(c ledger.Change) bool { return c.After.Reference == "order-5" })
		results := make([]chan error, 64)
		for i := range results {
			results[i] = make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				_, err := w.node.system.Create(ctx, []ledger.Order{order(i)}, ledger.By{})
				results[i] <- err
			}()
		}
		began := time.Now()
		for i, r := range results {
			if i == 5 {
				continue
			}
			if err := <-r; err != nil {
				w.Errorf("order %d: %v", i, err)
			}
		}
		if took := time.Since(began); took > 10*time.Second {
			w.Errorf("the last one came through after %s", took)
		}
		unlock()
		if err := <-results[5]; err != nil {
			w.Errorf("the one that was locked: %v", err)
		}
	})
}

// More rows are locked, each just before its transfer is sent, than calls may be under way.
func TestLockedRowsHoldNoPermits(t *testing.T) {
	limit := func(c *actors.Config) { c.Limits.Concurrency = 4 }
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		unlock := lockRows(w.node.store, func(c ledger.Change) bool {
			return c.History.Event == ledger.EventSend && c.After.Money.Amount == 4200
		})
		var stuck, free []ledger.ID
		for i := range 12 {
			o := order(i)
			if i < 8 {
				o.Money.Amount = 4200
				stuck = append(stuck, w.orders(o)...)
			} else {
				free = append(free, w.orders(o)...)
			}
		}
		w.passes(time.Minute)
		for _, id := range free {
			if s := w.transfer(id).Status(); s != ledger.Completed {
				w.Errorf("a minute later a transfer that nobody holds is %s", s)
			}
		}
		for _, id := range stuck {
			if s := w.transfer(id).Status(); s != ledger.Pending {
				w.Errorf("a locked transfer is %s", s)
			}
		}
		unlock()
		w.passes(time.Minute)
		for _, id := range stuck {
			if s := w.transfer(id).Status(); s != ledger.Completed {
				w.Errorf("a minute after its lock a transfer is %s", s)
			}
			w.tells(id, "accept, send, confirm T1")
		}
		w.alarms(nil)
	}, limit)
}

func TestALockedRowHoldsUpNoStop(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		unlock := lockRows(w.node.store, func(c ledger.Change) bool { return c.History.Event == ledger.EventSend })
		id := w.one()
		w.passes(5 * time.Second)
		began := time.Now()
		w.node.stop()
		if took := time.Since(began); took > 5*time.Second {
			w.Errorf("the stop took %s", took)
		}
		unlock()
		w.restart()
		w.becomes(id, ledger.Completed)
		w.tells(id, "accept, send, confirm T1")
	})
}

func TestADelayedIntentThatGetsNoPermitBeforeTheStopSendsNothing(t *testing.T) {
	limit := func(c *actors.Config) { c.Limits.Concurrency = 1 }
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(stripesim.Rule{Kind: stripesim.KindSlow, Delay: 15 * time.Second})
		unlock := lockRows(w.node.store, func(c ledger.Change) bool {
			return c.History.Event == ledger.EventSend && c.After.Reference == "order-0"
		})
		delayed := w.orders(order(0))[0]
		w.passes(3 * time.Second)
		slow := w.orders(order(1))[0] // has the only permit for 15 s
		w.passes(3 * time.Second)
		unlock()
		w.passes(5 * time.Second)
		if s := w.transfer(delayed).Status(); s != ledger.Sending {
			w.Fatalf("its intent is not written: it is %s", s)
		}
		w.node.stop()
		w.tells(delayed, "accept, send, not_executed T26")
		w.tells(slow, "accept, send, confirm T1")
		if w.sent() != 1 {
			w.Errorf("%d calls were made", w.sent())
		}
		w.restart()
		w.becomes(delayed, ledger.Completed)
	}, limit)
}
