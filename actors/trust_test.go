package actors_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// trusts says to a daemon which clock is right.
func (w *world) trusts(n *node, clock ledger.Clock) (ledger.ClockStanding, error) {
	w.Helper()
	return n.system.Trust(w.Context(), clock, ledger.By{Message: uuid.Must(uuid.NewV7()), Principal: "ann", Reason: "I looked at my watch"})
}

// believes wants that the word counts.
func (w *world) believes(clock ledger.Clock) {
	w.Helper()
	if s, err := w.trusts(w.node, clock); err != nil || s.State != "trusted" || s.Trust.Clock != clock {
		w.Fatalf("%+v, %v", s, err)
	}
}

// stands wants the clocks to stand so at every daemon that runs, and (word) a person's word in the ledger.
func (w *world) stands(state string, word bool) {
	w.Helper()
	for i, n := range w.nodes {
		if s := n.system.Clocks(); !n.stopped && s.State != state {
			w.Errorf("at daemon %d they %s, and must %s: %s", i, s.State, state, s.Trouble)
		}
	}
	if t, _, err := w.db.Trust(w.Context()); err != nil || (t != nil) != word {
		w.Errorf("in the ledger stands %+v, %v", t, err)
	}
}

// wallOff has the machine's clock be off by what the test says.
func wallOff(off *atomic.Int64) settings {
	return func(c *actors.Config) { c.Wall = func() time.Time { return time.Now().Add(time.Duration(off.Load())) } }
}

func TestAMachinesWrongClockIsLeftOutByAPersonsWordUntilItStepsOnceMore(t *testing.T) {
	for _, right := range []ledger.Clock{ledger.ClockDatabase, ledger.ClockStripe} {
		var off atomic.Int64
		inWorld(t, stripesim.Config{}, func(w *world) {
			w.becomes(w.one(), ledger.Completed)
			off.Store(int64(9 * time.Hour))
			ids := w.orders(order(1), order(2))
			w.passes(time.Hour)
			w.paysOnce(1)
			w.believes(right)
			w.passes(2 * time.Minute)
			w.becomes(ids[0], ledger.Completed)
			w.becomes(ids[1], ledger.Completed)
			w.stands("trusted", true)
			n, there := w.notice(ledger.CodeClocks)
			if !there || !strings.Contains(n.Text, "This machine's clock is 9h0m0s ahead") || !strings.Contains(n.Text, "A person says that") ||
				strings.Contains(n.Text, "ann") || !strings.Contains(n.Detail, "ann") || !strings.Contains(n.Detail, "my watch") {
				t.Errorf("notice: %+v", n)
			}
			if w.count("clock_trusted", "clock", string(right)) != 1 || w.count("clock_trusted") != 1 || w.count("clocks_disagree") != 1 || w.count("alarms_total", "kind", "clocks") != 1 {
				t.Error("the metrics do not show the word, or there was an alarm for it")
			}
			if p := w.node.system.Policy(); p.Clocks.Trouble != "" || p.Clocks.Ahead > time.Minute {
				t.Errorf("%+v", p.Clocks)
			}
			off.Add(int64(-2 * time.Hour))
			ids = w.orders(order(3))
			w.passes(10 * time.Minute)
			w.stands("disagree", false)
			if w.count("alarms_total", "kind", "clocks") != 2 {
				t.Error("a word that is void is no alarm")
			}
			off.Store(int64(9 * time.Hour)) // as the word was, which has ended all the same
			w.passes(10 * time.Minute)
			w.stands("disagree", false)
			w.paysOnce(3)
			off.Store(0)
			w.becomes(ids[0], ledger.Completed)
			w.stands("agree", false)
			if _, there := w.notice(ledger.CodeClocks); there {
				t.Error("a notice of clocks that agree")
			}
		}, wallOff(&off))
	}
}

// Whichever word is given, and whether or not it is true: a call from before it is denied only QUIET after it.
func TestAWordOnADatabasesWrongClockDeniesNothingThatMayBeUnderWay(t *testing.T) {
	for _, says := range ledger.ClockNames {
		for _, off := range []time.Duration{11 * time.Hour, -11 * time.Hour} {
			inWorld(t, stripesim.Config{}, func(w *world) {
				w.late()
				id := w.one()
				w.becomes(id, ledger.Unresolved)
				w.steps(off)
				w.believes(says)
				w.passes(90 * time.Minute)
				if x := w.transfer(id); x.Status() != ledger.Unresolved || x.Operation.Generation != 1 {
					t.Errorf("by the word that %s is right it is %s, generation %d", says, x.Status(), x.Operation.Generation)
				}
				w.passes(time.Hour) // the request arrives at last
				w.becomes(id, ledger.Completed)
				w.steps(0)
				w.passes(time.Hour)
				w.stands("agree", false)
				w.paysOnce(1)
			})
		}
	}
}

// The database's clock is a day behind, and then half a day: by it half a day passes at once.
func TestAWordDoesNotOutliveAnotherStep(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.late()
		id := w.one()
		w.becomes(id, ledger.Unresolved)
		w.steps(-24 * time.Hour)
		w.believes(ledger.ClockStripe)
		w.passes(20 * time.Minute)
		w.steps(-12 * time.Hour)
		w.passes(90 * time.Minute)
		w.stands("disagree", false)
		if x := w.transfer(id); x.Status() != ledger.Unresolved || x.Operation.Generation != 1 {
			t.Errorf("by half a day that did not pass it is %s, generation %d", x.Status(), x.Operation.Generation)
		}
		w.steps(0)
		w.becomes(id, ledger.Completed)
		w.passes(time.Hour)
		w.paysOnce(1)
	})
}

func TestQuietAfterAWordAbsenceIsProved(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(stripesim.Rule{Kind: stripesim.KindDrop, Times: 1})
		id := w.one()
		w.becomes(id, ledger.Unresolved)
		w.steps(-3 * time.Hour)
		w.passes(20 * time.Hour)
		w.paysOnce(0)
		w.believes(ledger.ClockStripe)
		w.passes(10 * time.Hour)
		r, err := w.db.Load(w.Context(), []ledger.ID{id})
		if err != nil {
			t.Fatal(err)
		}
		step := ledger.Plan(&r[0].Transfer, r[0].Digest, w.node.system.Policy(), r[0].ReadAt, time.Time{})
		if step.Code != ledger.CodeClocks || step.Mover != ledger.MoveOfPlatform || !strings.Contains(step.Why, "A person says that Stripe's is right") ||
			!strings.Contains(step.Why, "absence of what was sent before is proof 10h30m0s after 20") {
			t.Errorf("why: %+v", step)
		}
		w.paysOnce(0)
		w.passes(2 * time.Hour)
		if x := w.becomes(id, ledger.Completed); x.Operation.Generation != 2 {
			t.Errorf("generation %d", x.Operation.Generation)
		}
		w.paysOnce(1)
		w.steps(0)
	})
}

// What was first sent while the word stood keeps its mark once it is over: the clock that stamped it was wrong.
func TestAGenerationBegunByAWordIsNotDeniedOnceTheClocksAgree(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.becomes(w.one(), ledger.Completed)
		w.steps(-11 * time.Hour)
		w.late()
		id := w.orders(order(1))[0]
		w.passes(10 * time.Minute)
		w.believes(ledger.ClockStripe)
		w.passes(10 * time.Minute)
		if x := w.transfer(id); x.Status() != ledger.Unresolved || x.Operation.OpenSends != 1 {
			t.Fatalf("%s, %d sends", x.Status(), x.Operation.OpenSends)
		}
		w.steps(0) // by its time it was first sent 11 h ago
		w.passes(time.Hour)
		if x := w.transfer(id); x.Operation.Generation != 1 {
			t.Errorf("%s, generation %d", x.Status(), x.Operation.Generation)
		}
		w.passes(time.Hour) // the request arrives
		w.node.system.Reconcile(w.Context(), ledger.By{Message: uuid.Must(uuid.NewV7())})
		w.passes(time.Hour)
		w.becomes(id, ledger.Completed, ledger.Parked)
		w.paysOnce(2)
	})
}

func TestAWordCountsAtEveryDaemonAndAfterItsRestart(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.becomes(w.one(), ledger.Completed)
		w.start()
		w.steps(5 * time.Hour)
		ids := w.orders(order(1))
		w.passes(25 * time.Minute) // two sweeps
		w.stands("disagree", false)
		w.paysOnce(1)
		w.believes(ledger.ClockMachine)
		w.passes(25 * time.Minute) // two sweeps
		w.becomes(ids[0], ledger.Completed)
		w.stands("trusted", true)
		w.restart()
		ids = w.orders(order(2))
		w.passes(25 * time.Minute) // two sweeps
		w.becomes(ids[0], ledger.Completed)
		w.stands("trusted", true)
		if _, err := w.node.system.Distrust(w.Context(), ledger.By{Message: uuid.Must(uuid.NewV7()), Principal: "bob", Reason: "who knows"}); err != nil {
			t.Fatal(err)
		}
		ids = w.orders(order(3))
		w.passes(25 * time.Minute) // two sweeps
		w.stands("disagree", false)
		w.paysOnce(3)
		w.steps(0)
		w.becomes(ids[0], ledger.Completed)
	})
}

// The word is about one machine's clock, and another machine's is right.
func TestAWordOnOneMachinesClockIsNotAnothersToEnd(t *testing.T) {
	var off atomic.Int64
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.becomes(w.one(), ledger.Completed)
		off.Store(int64(9 * time.Hour))
		w.start()
		w.believes(ledger.ClockDatabase)
		w.passes(time.Hour)
		if t, _, err := w.db.Trust(w.Context()); t == nil || err != nil {
			w.Errorf("in the ledger stands %+v, %v", t, err)
		}
		if s := w.node.system.Clocks(); s.State != "trusted" {
			t.Errorf("%+v", s)
		}
		off.Store(0)
		w.passes(time.Hour)
		w.stands("agree", false)
	}, wallOff(&off))
}

func TestAWordThatCannotCountIsRefused(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.becomes(w.one(), ledger.Completed)
		if _, err := w.trusts(w.node, ledger.ClockDatabase); !errors.Is(err, ledger.ErrIllegalMove) || !strings.Contains(err.Error(), "the clocks agree: there is nothing to trust") {
			t.Errorf("of clocks that agree: %v", err)
		}
		if _, err := w.node.system.Distrust(w.Context(), ledger.By{Message: uuid.Must(uuid.NewV7())}); !errors.Is(err, ledger.ErrIllegalMove) {
			t.Errorf("of no word: %v", err)
		}
		w.steps(5 * time.Hour)
		w.passes(time.Minute)
		w.dumb.Store(true)
		if _, err := w.trusts(w.node, ledger.ClockDatabase); !errors.Is(err, ledger.ErrStripeAway) || !errors.Is(err, ledger.ErrUnavailable) {
			t.Errorf("without Stripe's time: %v", err)
		}
		w.dumb.Store(false)
		by := ledger.By{Message: uuid.Must(uuid.NewV7()), Principal: "ann", Reason: "my watch"}
		for range 2 {
			if s, err := w.node.system.Trust(w.Context(), ledger.ClockStripe, by); err != nil || s.State != "trusted" {
				t.Errorf("%+v, %v", s, err)
			}
			w.passes(time.Minute)
		}
		w.steps(0)
		w.passes(10 * time.Minute)
		if s, err := w.node.system.Trust(w.Context(), ledger.ClockStripe, by); err != nil || s.State != "agree" || s.Trust != nil {
			t.Errorf("repeated once it is over: %+v, %v", s, err)
		}
	})
}
