package actors_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

func TestAnOutageThatEveryCallerGaveUpOnEndsByItself(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.node.store.onBefore(func(call string, _ []ledger.Change) error {
			if call == "commit" {
				return errOutage
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(w.Context(), 3*time.Second)
		defer cancel()
		if _, err := w.node.system.Create(ctx, []ledger.Order{order(1)}, ledger.By{}); !errors.Is(err, ledger.ErrUnavailable) {
			w.Errorf("create: %v", err)
		}
		w.passes(30 * time.Second)
		if err := w.node.system.Ready(w.Context()); !errors.Is(err, errOutage) {
			w.Errorf("during the outage it is ready: %v", err)
		}
		w.node.store.mend()
		w.passes(5 * time.Second)
		if err := w.node.system.Ready(w.Context()); err != nil {
			w.Errorf("5 s after the outage, without an order: %v", err)
		}
		if r, err := w.db.ByReference(w.Context(), []string{"order-1"}); err != nil || len(r) != 0 {
			w.Errorf("what its caller gave up was registered: %v, %v", r, err)
		}
	})
}

// A full disk takes a commit of nothing and refuses every other: it is no row that somebody holds.
func TestALedgerWithoutRoomIsAnOutage(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		full := &pgconn.PgError{Code: "53100", Message: "could not extend file: No space left on device"}
		w.node.store.onBefore(func(call string, changes []ledger.Change) error {
			if call == "commit" && len(changes) > 0 {
				return full
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(w.Context(), 10*time.Second)
		defer cancel()
		ordered := make(chan error, 1)
		go func() {
			_, err := w.node.system.Create(ctx, []ledger.Order{order(1)}, ledger.By{})
			ordered <- err
		}()
		w.passes(8 * time.Second)
		if err := w.node.system.Ready(w.Context()); !errors.Is(err, full) {
			w.Errorf("while an order finds no room it is ready: %v", err)
		}
		w.node.store.mend()
		if err := <-ordered; err != nil {
			w.Errorf("there is room again, and the order: %v", err)
		}
		if err := w.node.system.Ready(w.Context()); err != nil {
			w.Errorf("there is room again: %v", err)
		}
	})
}

// The acknowledgement of a group is lost, and when it is tried again it is split: both halves
// lose to themselves, and both know that they may have.
func TestTheSecondHalfOfASplitGroupWasTriedBeforeToo(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		began := make(chan struct{})
		tries := 0
		// both says that two orders are in a group, be a step of the first one, which is paid meanwhile, in it or not.
		both := func(changes []ledger.Change) bool {
			orders := 0
			for i := range changes {
				if changes[i].History.Event == ledger.EventAccept {
					orders++
				}
			}
			return orders == 2
		}
		w.node.store.onBefore(func(call string, changes []ledger.Change) error {
			if call == "commit" {
				<-began // what follows queues up behind the first
			}
			if call == "commit" && both(changes) && tries > 0 {
				return errors.New("violates a constraint")
			}
			return nil
		})
		w.node.store.onAfter(func(call string, changes []ledger.Change) error {
			if call == "commit" && both(changes) {
				tries++
				return errOutage
			}
			return nil
		})
		var results [3]chan error
		for i := range results {
			results[i] = make(chan error, 1)
			go func() {
				accepted, err := w.node.system.Create(context.Background(), []ledger.Order{order(i)}, ledger.By{})
				if err == nil && !accepted[0].Created {
					err = errors.New("it is told that it was there before")
				}
				results[i] <- err
			}()
			synctest.Wait()
		}
		close(began)
		for i, r := range results {
			if err := <-r; err != nil {
				w.Errorf("order %d: %v", i, err)
			}
		}
		if tries != 1 {
			w.Fatalf("the two were committed together %d times", tries)
		}
		w.passes(time.Minute) // the sweep comes later
		for i := range results {
			records, err := w.db.ByReference(w.Context(), []string{order(i).Reference})
			if err != nil || len(records) != 1 || records[0].Transfer.Status() != ledger.Completed {
				w.Errorf("order %d, a minute later: %+v, %v", i, records, err)
			}
		}
	})
}
