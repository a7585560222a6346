package actors_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// hasty is a daemon that sends a key for ten minutes only, and asks again after seconds.
func hasty(c *actors.Config) {
	c.Policy.Windows.Safe = 10 * time.Minute
	c.Policy.Transfers.Backoff = ledger.Backoff{Base: time.Second, Max: 5 * time.Second}
	c.Policy.Reversals.Backoff = c.Policy.Transfers.Backoff
}

// fresh orders n transfers of names of their own.
func (w *world) fresh(name string, n int) []ledger.ID {
	w.Helper()
	orders := make([]ledger.Order, n)
	for i := range orders {
		orders[i] = order(i)
		orders[i].Reference = fmt.Sprintf("%s-%d", name, i)
	}
	return w.orders(orders...)
}

// doubts orders n transfers whose answers are lost while lists fail, and lets their keys grow too old to be sent again:
// only a list can tell what became of them. The breaker, which closes after some lost answers, decides when each is first sent.
func (w *world) doubts(n int, failing stripesim.Rule) []ledger.ID {
	w.Helper()
	w.script(stripesim.Rule{Kind: stripesim.KindLoseAnswer, Times: -1}, failing)
	ids := w.create(n)
	old := func(id ledger.ID) bool {
		op := w.transfer(id).Operation
		return !op.FirstSentAt.IsZero() && time.Since(op.FirstSentAt) > 11*time.Minute
	}
	for range 24 * 60 {
		w.passes(time.Minute)
		if !slices.ContainsFunc(ids, func(id ledger.ID) bool { return !old(id) }) {
			w.sim.ClearRules()
			w.script(failing)
			return ids
		}
	}
	w.Fatalf("after a day not every order was sent: %v", w.states(ids))
	return nil
}

func TestWhileListsFailOrdersGoOn(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		failing := stripesim.Rule{Kind: stripesim.KindList500, Path: listing, Times: -1}
		lost := w.doubts(40, failing)
		w.passes(time.Minute)
		if n, there := w.notice("stripe_down_lists"); !there || n.Hinders(ledger.CreateTransfer) || !n.HindersRead(ledger.CreateTransfer) || n.HindersRead(ledger.MakeReversal) {
			w.Errorf("people are told %v: %+v", there, n)
		}
		if all := w.states(lost); all[ledger.Unresolved] != len(lost) {
			w.Fatalf("what only a list can tell is %v", all)
		}
		for i := range 2 {
			ids := w.fresh(fmt.Sprintf("meanwhile-%d", i), 20)
			w.passes(time.Minute)
			if all := w.states(ids); all[ledger.Completed] != len(ids) {
				w.Errorf("a minute after they were ordered: %v", all)
			}
		}
		w.sim.ClearRules()
		w.passes(2 * time.Minute)
		if all := w.states(lost); all[ledger.Completed] != len(lost) || w.count("gate_down", "endpoint", "lists") != 0 {
			w.Errorf("once lists are back: %v", all)
		}
		if _, there := w.notice("stripe_down_lists"); there {
			w.Error("people are still told that lists are down")
		}
	}, hasty)
}

func TestWhileTransfersFailReadsAndReversalsGoOn(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		paid := w.fresh("paid", 5)
		w.passes(time.Minute)
		failing := stripesim.Rule{Kind: stripesim.KindList500, Path: listing, Times: -1}
		lost := w.doubts(20, failing)
		w.sim.ClearRules()
		w.script(stripesim.Rule{Kind: stripesim.KindBadGateway, Path: creating, Times: -1})
		waiting := w.fresh("waiting", 40)
		w.passes(time.Minute)
		if n, there := w.notice("stripe_down_transfers"); !there || !n.Hinders(ledger.CreateTransfer) || n.Hinders(ledger.MakeReversal) || n.HindersRead(ledger.CreateTransfer) {
			w.Errorf("people are told %v: %+v", there, n)
		}
		for _, id := range paid {
			w.reverses(id, 100)
		}
		w.passes(2 * time.Minute)
		if all := w.states(lost); all[ledger.Completed] != len(lost) {
			w.Errorf("what reads can tell: %v", all)
		}
		if all := w.states(paid); all[ledger.PartiallyReversed] != len(paid) {
			w.Errorf("what is to come back: %v", all)
		}
		w.sim.ClearRules()
		w.passes(2 * time.Minute)
		if all := w.states(waiting); all[ledger.Completed] != len(waiting) {
			w.Errorf("once transfers are back: %v", all)
		}
	}, hasty)
}

func TestARefusedKeyIsToldUntilStripeTakesIt(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.script(stripesim.Rule{Kind: stripesim.KindAuth, Path: creating, Times: -1, Message: "Expired API Key provided: sk_test_*****6789"})
		ids := w.create(5)
		w.passes(time.Second)
		n, there := w.notice("key_refused")
		if !there || !n.Hinders(ledger.CreateTransfer) || !n.HindersRead(ledger.MakeReversal) || n.Mover != ledger.MoveOfPlatform ||
			!n.Until.After(time.Now()) || !strings.HasPrefix(n.Detail, "Stripe says: Expired API Key provided") {
			w.Errorf("people are told %v: %+v", there, n)
		}
		w.sim.ClearRules()
		w.passes(time.Hour)
		if _, there := w.notice("key_refused"); there || w.states(ids)[ledger.Completed] != len(ids) {
			w.Errorf("once it is taken: %v, told %v", w.states(ids), there)
		}
	})
}

func TestARateLimitIsToldOnlyWhileItLasts(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.script(stripesim.Rule{Kind: stripesim.KindRateLimit, Path: creating, Times: 1})
		w.one()
		w.passes(200 * time.Millisecond)
		if n := w.node.system.Notices(); len(n) != 1 || !strings.HasPrefix(n[0].Code, "rate_limited") || !n[0].Hinders(ledger.CreateTransfer) {
			w.Errorf("people are told %+v", n)
		}
		w.passes(20 * time.Second)
		if n := w.node.system.Notices(); len(n) != 0 {
			w.Errorf("nothing pauses, and people are told %+v", n)
		}
	})
}

func TestALedgerThatCannotBeWrittenIsTold(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.node.store.onBefore(func(call string, _ []ledger.Change) error {
			if call == "commit" {
				return errOutage
			}
			return nil
		})
		go w.node.system.Create(w.Context(), []ledger.Order{order(0)}, ledger.By{Principal: "test"})
		w.passes(5 * time.Second)
		if n, there := w.notice("ledger_unwritable"); !there || !n.Hinders(ledger.CreateTransfer) || n.Mover != ledger.MoveOfPlatform {
			w.Errorf("people are told %v: %+v", there, n)
		}
		w.node.store.mend()
		w.passes(5 * time.Second)
		if _, there := w.notice("ledger_unwritable"); there {
			w.Error("people are still told")
		}
	})
}

func TestWhoWaitsForFundsSaysHowManyDoAndWhenOneAsks(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.holds("", "eur", 0)
		ids := w.waits(20)
		w.passes(time.Minute)
		for _, id := range ids {
			l := w.node.system.Live(w.Context(), id)
			if l.Asleep != len(ids) || l.ProbeAt.Before(time.Now()) || l.ProbeAt.After(time.Now().Add(w.policy.Transfers.Backoff.Max)) {
				w.Fatalf("%+v", l)
			}
		}
		calls := w.sent()
		w.passes(time.Until(w.node.system.Live(w.Context(), ids[0]).ProbeAt) - time.Second)
		if n := w.sent() - calls; n != 0 {
			w.Errorf("%d calls before", n)
		}
		w.passes(2 * time.Second)
		if n := w.sent() - calls; n != 1 {
			w.Errorf("%d calls then", n)
		}
	})
}

func TestWhatIsGivenUpRaisesAnAlarmWithItsSentence(t *testing.T) {
	var log lines
	inWorld(t, stripesim.Config{}, func(w *world) {
		if n := w.count("alarms_total", "kind", "gave_up"); n != 0 {
			w.Errorf("%v before anything was", n)
		}
		w.script(stripesim.Rule{Kind: stripesim.KindAnswer, Path: creating, Status: 400, Type: "invalid_request_error", Code: "resource_missing", Param: "destination", Message: "No such destination: 'acct_a4'", Store: true})
		id := w.one()
		w.becomes(id, ledger.PermanentlyFailed)
		w.passes(0)
		if n := w.count("alarms_total", "kind", "gave_up"); n != 1 {
			w.Errorf("%v alarms", n)
		}
		if text := log.String(); !strings.Contains(text, `"msg":"alarm: gave_up"`) || !strings.Contains(text, `"code":"resource_missing"`) || !strings.Contains(text, `"kind":"transfer"`) ||
			!strings.Contains(text, "settled gave up: No such destination: 'acct_a4'. Mend it and `retry`, or `cancel`.") {
			w.Errorf("the log says %s", text)
		}
	}, func(c *actors.Config) { c.Log = slog.New(slog.NewJSONHandler(&log, nil)) })
}

func TestWhatIsParkedRaisesAnAlarm(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(stripesim.Rule{Kind: stripesim.KindRolledBack500})
		w.becomes(w.one(), ledger.Parked)
		w.passes(0)
		w.alarms(map[string]int{"parked": 1})
	})
}

func TestAdoptSaysThatItIsStripeThatFails(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		id := w.one()
		x := w.becomes(id, ledger.Completed)
		w.script(stripesim.Rule{Kind: stripesim.KindAnswer, Path: reading, Status: 500, Times: -1})
		_, err := w.node.system.Inject(w.Context(), ledger.Message{ID: ledger.ID{9}, Transfer: id, Type: ledger.MessageAdopt, StripeID: x.Operation.StripeID, By: ledger.By{Principal: "ann", Reason: "why not"}})
		if !errors.Is(err, ledger.ErrStripeAway) || !errors.Is(err, ledger.ErrUnavailable) {
			w.Errorf("adopt: %v", err)
		}
	})
}

func TestAnEventWhoseRowIsLockedKeepsNoOtherFromBeingMarked(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.node.store.onHandle(func(ids []string) error {
			if slices.Contains(ids, "evt_locked") {
				return errOutage
			}
			return nil
		})
		var events []ledger.StripeEvent
		for _, id := range []string{"evt_a", "evt_b", "evt_locked", "evt_c", "evt_d"} {
			events = append(events, ledger.StripeEvent{ID: id, Type: "payout.paid", Payload: []byte("{}"), Created: time.Now()})
		}
		if err := w.node.system.Receive(w.Context(), events); err != nil {
			w.Fatal(err)
		}
		w.passes(10 * time.Second)
		open, err := w.db.UnhandledEvents(w.Context(), "", 10)
		if err != nil || len(open) != 1 || open[0].ID != "evt_locked" {
			w.Errorf("not marked: %v, %v", open, err)
		}
		w.node.store.onHandle(nil)
		w.passes(time.Hour)
		if open, err = w.db.UnhandledEvents(w.Context(), "", 10); err != nil || len(open) != 0 {
			w.Errorf("once its row is free: %v, %v", open, err)
		}
	})
}
