package actors_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// dry is a platform without money in euros.
var dry = stripesim.Config{PlatformBalance: map[string]int64{"eur": 0}}

// waits orders n transfers of 1,000, each to another seller, and lets them be refused.
func (w *world) waits(n int) []ledger.ID {
	w.Helper()
	orders := make([]ledger.Order, n)
	for i := range orders {
		orders[i] = order(i)
		orders[i].Destination = fmt.Sprintf("acct_waits%03d", i)
		orders[i].Reference = fmt.Sprintf("waits-%d", i)
		orders[i].Money.Amount = 1000
	}
	ids := w.orders(orders...)
	w.passes(time.Minute)
	return ids
}

// holds sets what an account has available; empty: the platform. What it gains it is told by an event.
func (w *world) holds(account, currency string, available int64) {
	w.Helper()
	w.control("balance", fmt.Sprintf(`{"account": %q, "currency": %q, "available": %d}`, account, currency, available))
}

// event has the daemon hear of an account.
func (w *world) event(kind, account string) {
	w.Helper()
	e := ledger.StripeEvent{ID: fmt.Sprintf("evt_%d", time.Now().UnixNano()), Type: kind, Account: account, Payload: []byte("{}"), Created: time.Now()}
	if err := w.node.system.Receive(w.Context(), []ledger.StripeEvent{e}); err != nil {
		w.Fatal(err)
	}
}

// calls counts the POSTs that are made while something happens.
func (w *world) calls(do func()) int {
	before := w.sent()
	do()
	return w.sent() - before
}

func (w *world) states(ids []ledger.ID) map[ledger.State]int {
	w.Helper()
	n := map[ledger.State]int{}
	for _, id := range ids {
		n[w.transfer(id).Status()]++
	}
	return n
}

func TestATopUpThatPaysForThreeIsFourCallsAndTheOldestArePaid(t *testing.T) {
	inWorld(t, dry, func(w *world) {
		ids := w.waits(100)
		for evening := range 3 {
			w.passes(10 * time.Minute)
			if n := w.calls(func() { w.holds("", "eur", 3000); w.passes(9 * time.Minute) }); n != 4 {
				w.Errorf("evening %d: %d calls", evening, n)
			}
			paid := ids[:3*(evening+1)]
			if w.states(paid)[ledger.Completed] != len(paid) {
				w.Errorf("evening %d: the oldest are %v", evening, w.states(paid))
			}
		}
		w.holds("", "eur", 1_000_000)
		w.passes(time.Minute)
		if n := w.states(ids); n[ledger.Completed] != 100 {
			w.Errorf("with money for all: %v", n)
		}
	})
}

func TestMoneyInAnotherCurrencyWakesNobody(t *testing.T) {
	inWorld(t, dry, func(w *world) {
		w.waits(5)
		if n := w.calls(func() { w.holds("", "usd", 100_000); w.passes(10 * time.Minute) }); n != 0 {
			w.Errorf("%d calls", n)
		}
		if n := w.calls(func() { w.holds("", "eur", 2000); w.passes(10 * time.Minute) }); n != 3 {
			w.Errorf("%d calls for what pays for two", n)
		}
	})
}

func TestTheSlowTimerIsTheConditionsNotEachTransfers(t *testing.T) {
	inWorld(t, dry, func(w *world) {
		w.deaf()
		ids := w.waits(50)
		if n := w.calls(func() { w.passes(10*time.Hour + 30*time.Minute) }); n != 10 {
			w.Errorf("%d calls in ten and a half hours", n)
		}
		w.holds("", "eur", 1_000_000) // and no event tells
		w.passes(time.Hour)
		if n := w.states(ids); n[ledger.Completed] != 50 {
			w.Errorf("an hour later: %v", n)
		}
	})
}

func TestAStartWithManyWaitingIsOneCall(t *testing.T) {
	inWorld(t, dry, func(w *world) {
		ids := w.waits(300)
		w.node.stop()
		w.passes(5 * time.Hour)
		w.node = w.start()
		if n := w.calls(func() { w.passes(30 * time.Minute) }); n != 1 {
			w.Errorf("%d calls", n)
		}
		w.node.crash()
		w.node = w.start()
		w.passes(time.Minute)
		w.holds("", "eur", 1_000_000)
		w.passes(5 * time.Minute)
		if n := w.states(ids); n[ledger.Completed] != 300 {
			w.Errorf("with money for all: %v", n)
		}
	})
}

func TestAProbeThatEndsOtherwiseKeepsNobodyAsleep(t *testing.T) {
	for name, upset := range map[string]func(*world, ledger.ID){
		"it was canceled": func(w *world, id ledger.ID) { w.says(id, ledger.Message{Type: ledger.MessageCancel}) },
		"it is held":      func(w *world, id ledger.ID) { w.says(id, ledger.Message{Type: ledger.MessageHold}) },
		"it is restarted": func(w *world, id ledger.ID) { w.says(id, ledger.Message{Type: ledger.MessageRestart}) },
		"its answer is lost": func(w *world, _ ledger.ID) {
			w.script(stripesim.Rule{Kind: stripesim.KindLoseAnswer, Times: 1})
		},
		"it never arrives": func(w *world, _ ledger.ID) { w.script(stripesim.Rule{Kind: stripesim.KindDrop, Times: 1}) },
		"its seller is not ready": func(w *world, _ ledger.ID) {
			w.control("accounts", `{"id": "acct_waits000", "capabilities": {"transfers": "inactive"}}`)
		},
		"it is refused for good": func(w *world, _ ledger.ID) { w.script(refusal(creating, "transfers_not_allowed", 1)) },
		"the daemon dies with it": func(w *world, _ ledger.ID) {
			w.node.store.onBefore(func(call string, changes []ledger.Change) error {
				if call == "commit" && changes[0].History.Event == ledger.EventSend {
					w.node.dead.Store(true)
				}
				return nil
			})
			w.holds("", "eur", 1_000_000)
			w.passes(time.Second)
			w.node.crash()
			w.node = w.start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, dry, func(w *world) {
				ids := w.waits(5)
				upset(w, ids[0])
				w.holds("", "eur", 1_000_000)
				w.passes(3 * time.Hour)
				if n := w.states(ids[1:]); n[ledger.Completed] != 4 {
					w.Errorf("the others are %v", n)
				}
			})
		})
	}
}

func TestTwoDaemonsOverOneLedgerProbeOnceEach(t *testing.T) {
	inWorld(t, dry, func(w *world) {
		ids := w.waits(20)
		w.start()
		if n := w.calls(func() { w.passes(59*time.Minute + 10*time.Hour) }); n > 22 {
			w.Errorf("%d calls in eleven hours", n)
		}
		w.holds("", "eur", 1_000_000)
		w.passes(2 * time.Hour)
		if n := w.states(ids); n[ledger.Completed] != 20 {
			w.Errorf("with money for all: %v", n)
		}
	})
}

func TestABurstOfEventsIsNoBurstOfCallsAndGivesNothingUp(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.control("accounts", `{"id": "acct_seller0", "capabilities": {"transfers": "inactive"}}`)
		id := w.one()
		w.passes(10 * time.Minute)
		n := w.calls(func() {
			for range 50 {
				w.event("account.updated", "acct_seller0")
				w.passes(100 * time.Millisecond)
			}
			w.passes(5 * time.Minute)
		})
		if n > 6 {
			w.Errorf("%d calls for fifty events within five seconds", n)
		}
		if x := w.transfer(id); x.Status() != ledger.FailedState {
			w.Errorf("it is %s", x.Status())
		}
		w.control("accounts", `{"id": "acct_seller0", "capabilities": {"transfers": "active"}}`)
		w.passes(2 * time.Minute)
		if x := w.transfer(id); x.Status() != ledger.Completed {
			w.Errorf("with the capability it is %s", x.Status())
		}
	})
}

func TestAReversalWaitsForTheSellersMoneyForWeeks(t *testing.T) {
	long(t)
	inWorld(t, stripesim.Config{}, func(w *world) {
		id := w.one()
		w.becomes(id, ledger.Completed)
		w.holds("acct_seller0", "eur", 0)
		w.says(id, ledger.Message{Type: ledger.MessageReverse})
		for day := range 20 {
			w.holds("acct_seller0", "eur", int64(day))
			w.passes(24 * time.Hour)
		}
		if x := w.transfer(id); x.Status() != ledger.ReversalPending {
			w.Fatalf("after three weeks it is %s", x.Status())
		}
		w.holds("acct_seller0", "eur", 1000)
		w.passes(time.Minute)
		if x := w.transfer(id); x.Status() != ledger.Reversed {
			w.Errorf("with the money there it is %s", x.Status())
		}
	})
}

func TestAWeekendWithoutFundsGivesNothingUpButTheConditionsAgeDoes(t *testing.T) {
	long(t)
	inWorld(t, dry, func(w *world) {
		ids := w.waits(3)
		w.passes(72 * time.Hour)
		if n := w.states(ids); n[ledger.FailedState] != 3 {
			w.Errorf("after the weekend: %v", n)
		}
		if n := w.count("alarms_total", "kind", "platform_funds"); n < 1 || n > 3 {
			w.Errorf("%v alarms in three days", n)
		}
		w.passes(23 * 24 * time.Hour)
		if n := w.count("alarms_total", "kind", "waits_for_platform"); n != 0 {
			w.Errorf("%v were told early", n)
		}
		w.passes(5 * 24 * time.Hour)
		for _, id := range ids {
			h := w.history(id)
			last := h[len(h)-1]
			if last.Event != ledger.EventGiveUp || !strings.Contains(last.Detail, "Waited since") || !strings.Contains(w.story(id), "tell") {
				w.Errorf("%s: %q", w.story(id), last.Detail)
			}
		}
		if n := w.count("alarms_total", "kind", "waits_for_platform"); n != 3 {
			w.Errorf("%v of three were told of", n)
		}
	})
}
