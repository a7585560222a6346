package actors_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// within starts the world's daemon anew, with other settings.
func (w *world) within(change func(*actors.Config)) {
	w.Helper()
	w.node.stop()
	w.node = w.start(change)
	w.passes(time.Minute)
}

// asks has a principal order amounts in euros, and tells which were taken.
func (w *world) asks(principal string, number int, amounts ...int64) (taken []bool) {
	w.Helper()
	var orders []ledger.Order
	for i, amount := range amounts {
		o := order(0)
		o.Reference, o.Money.Amount = fmt.Sprintf("%s-%d-%d", principal, number, i), amount
		orders = append(orders, o)
	}
	accepted, err := w.node.system.Create(w.Context(), orders, ledger.By{Principal: principal})
	if err != nil {
		w.Fatal(err)
	}
	for _, a := range accepted {
		if a.Refused != nil && !errors.Is(a.Refused, ledger.ErrCeiling) {
			w.Errorf("refused, but for no ceiling: %v", a.Refused)
		}
		taken = append(taken, a.Refused == nil)
	}
	return taken
}

func (w *world) wants(what string, got []bool, want ...bool) {
	w.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.Errorf("%s: taken %v, want %v", what, got, want)
	}
}

func TestAnOrderAboveTheCeilingOfATransferIsRefused(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.within(func(c *actors.Config) { c.Ceilings.Transfer = map[ledger.Currency]int64{"eur": 1000} })
		w.wants("up to it, and above", w.asks("a", 1, 1000, 1001, 1), true, false, true)
		o := order(9)
		o.Money = ledger.Money{Amount: 1, Currency: "usd"}
		accepted, err := w.node.system.Create(w.Context(), []ledger.Order{o}, ledger.By{Principal: "a"})
		if err != nil || !errors.Is(accepted[0].Refused, ledger.ErrCeiling) {
			t.Errorf("a currency without a ceiling: %v, %v", accepted, err)
		}
		w.within(func(*actors.Config) {})
		w.wants("without a ceiling", w.asks("a", 2, 1_000_000), true)
	})
}

func TestAPrincipalOrdersNoMoreInADayThanItsCeiling(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		daily := func(c *actors.Config) { c.Ceilings.Daily = map[ledger.Currency]int64{"eur": 1000} }
		w.within(daily)
		w.wants("one by one", w.asks("a", 1, 600), true)
		w.wants("in a batch", w.asks("a", 2, 300, 200, 100, 1), true, false, true, false)
		w.wants("again, what was taken before", w.asks("a", 1, 600), true)
		w.wants("another principal", w.asks("b", 1, 1000), true)
		w.within(daily)
		w.wants("after a restart", w.asks("a", 3, 1), false)
		w.passes(24 * time.Hour)
		w.wants("on the next day", w.asks("a", 4, 1000, 1), true, false)
	})
}

func TestManyOrdersAtOnceDoNotPassADaysCeiling(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.within(func(c *actors.Config) { c.Ceilings.Daily = map[ledger.Currency]int64{"eur": 1000} })
		var wg sync.WaitGroup
		var mu sync.Mutex
		n := 0
		for i := range 40 {
			wg.Go(func() {
				if w.asks("a", i, 100)[0] {
					mu.Lock()
					n++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if n != 10 {
			t.Errorf("%d orders of a tenth each were taken", n)
		}
	})
}

// The sum of one principal takes as long as the database takes for it; the orders of others wait for their own.
func TestASlowSumHoldsUpItsOwnPrincipalAlone(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.within(func(c *actors.Config) { c.Ceilings.Daily = map[ledger.Currency]int64{"eur": 1000} })
		asked, answer := make(chan struct{}, 1), make(chan struct{})
		slow := func(principal string) error {
			if principal == "a" {
				asked <- struct{}{}
				<-answer
			}
			return nil
		}
		w.node.store.sums.Store(&slow)
		var first []bool
		var wg sync.WaitGroup
		wg.Go(func() { first = w.asks("a", 1, 600) })
		<-asked
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		if _, err := w.node.system.Create(ctx, []ledger.Order{order(7)}, ledger.By{Principal: "a"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who waits for the same sum, and gives up: %v", err)
		}
		w.wants("another principal meanwhile", w.asks("b", 1, 1000), true)
		close(answer)
		wg.Wait()
		w.wants("once the sum is there", first, true)
		w.node.store.sums.Store(nil)
		w.wants("it counts", w.asks("a", 2, 500, 400), false, true)
	})
}

func TestANewDestinationOfASellerWaitsForARelease(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		old := w.one()
		w.becomes(old, ledger.Completed)
		w.within(func(c *actors.Config) { c.HoldNewDestination = true })
		to := func(n int, seller, destination string) ledger.ID {
			o := order(n)
			o.Seller, o.Destination = seller, destination
			return w.orders(o)[0]
		}
		seller, known := order(0).Seller, order(0).Destination
		w.becomes(to(10, seller, known), ledger.Completed)

		changed, another := to(11, seller, "acct_changed"), to(12, "another seller", known)
		w.passes(2 * time.Hour)
		for _, id := range []ledger.ID{changed, another} {
			x := w.transfer(id)
			if x.Status() != ledger.Held || x.HeldBy != ledger.HeldByOperator || len(x.Holds) != 1 || x.Holds[0].By != "settled" || x.Holds[0].Reason == "" {
				t.Errorf("to %s of %s: %s, held by %+v", x.Destination, x.Seller, x.Status(), x.Holds)
			}
		}
		if second := w.transfer(to(13, seller, "acct_changed")); second.Status() != ledger.Held {
			t.Errorf("the second to a destination that nobody released is %s", second.Status())
		}
		w.says(changed, ledger.Message{Type: ledger.MessageRelease})
		w.becomes(changed, ledger.Completed)
		w.becomes(to(14, seller, "acct_changed"), ledger.Completed)
		w.says(another, ledger.Message{Type: ledger.MessageCancel})
		w.passes(time.Minute)
		if x := w.transfer(to(15, "another seller", known)); x.Status() != ledger.Held {
			t.Errorf("after a cancel the next is %s", x.Status())
		}
	})
}
