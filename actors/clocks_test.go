package actors_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// late lets the first send be under way for two hours, by when nobody waits for its answer.
func (w *world) late() {
	w.deaf()
	w.script(stripesim.Rule{Kind: stripesim.KindHang, Delay: 2 * time.Hour, Times: 1}, stripesim.Rule{Kind: stripesim.KindDrop, Times: -1})
}

// paysOnce wants that Stripe holds so many transfers.
func (w *world) paysOnce(n int) {
	w.Helper()
	if held := len(w.sim.Truth().Transfers); held != n {
		w.Errorf("Stripe holds %d transfers, and must hold %d", held, n)
	}
}

func TestADatabaseWhoseClockStepsForwardProvesNoAbsence(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.late()
		id := w.one()
		w.becomes(id, ledger.Unresolved)
		w.steps(11 * time.Hour)
		w.passes(90 * time.Minute)
		if x := w.transfer(id); x.Status() != ledger.Unresolved || x.Operation.Generation != 1 {
			t.Errorf("with a clock 11 h ahead it is %s, generation %d", x.Status(), x.Operation.Generation)
		}
		if n := w.count("alarms_total", "kind", "clocks"); n != 1 {
			t.Errorf("%v alarms, and not one for the episode", n)
		}
		if off := w.count("clock_offset_seconds", "clock", "database"); off < 39_000 || off > 40_000 {
			t.Errorf("the offset is shown as %v s", off)
		}
		w.passes(time.Hour) // the request arrives at last
		w.becomes(id, ledger.Completed)
		w.paysOnce(1)
	})
}

func TestADatabaseWhoseClockStepsBackMakesNoKeyYoungAgain(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(stripesim.Rule{Kind: stripesim.KindLoseAnswer})
		w.script(stripesim.Rule{Kind: stripesim.KindList500, Path: "GET /v1/transfers", Times: 20})
		id := w.one()
		w.becomes(id, ledger.Unresolved)
		w.node.stop()
		w.passes(25 * time.Hour) // Stripe has forgotten the key
		w.paysOnce(1)
		posts := len(w.posts)
		w.steps(-24 * time.Hour)
		w.node = w.start()
		w.passes(4 * time.Hour)
		if len(w.posts) != posts {
			t.Errorf("%d requests were sent by a clock that is 24 h behind", len(w.posts)-posts)
		}
		w.steps(0)
		w.becomes(id, ledger.Completed)
		w.paysOnce(1)
	})
}

func TestNothingIsSentWhileTheDatabasesClockIsOffAndAllIsOnceItIsRight(t *testing.T) {
	for _, off := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
		inWorld(t, stripesim.Config{}, func(w *world) {
			first := w.one()
			w.becomes(first, ledger.Completed)
			w.steps(off)
			ids := w.orders(order(1), order(2))
			w.passes(time.Hour)
			w.paysOnce(1)
			p := w.node.system.Policy()
			if x := w.transfer(ids[0]); x.Status() != ledger.Pending || !p.Clocks.Halt {
				t.Errorf("by a clock that is %s off: %s, %+v", off, x.Status(), p.Clocks)
			}
			r, _ := w.db.Load(context.Background(), ids[:1])
			if step := ledger.Plan(&r[0].Transfer, r[0].Digest, p, r[0].ReadAt, time.Time{}); step.Code != ledger.CodeClocks ||
				step.Mover != ledger.MoveOfPlatform || !strings.Contains(step.Why, "The database's clock is 3h0m0s") {
				t.Errorf("why: %+v", step)
			}
			if n := w.node.system.Notices(); len(n) != 1 || n[0].Code != ledger.CodeClocks {
				t.Errorf("notices: %v", n)
			}
			w.steps(0)
			w.passes(2 * time.Minute)
			for _, id := range ids {
				w.becomes(id, ledger.Completed)
			}
			if n := w.node.system.Notices(); len(n) != 0 || w.count("alarms_total", "kind", "clocks") != 1 {
				t.Errorf("once the clocks agree: %v", n)
			}
		})
	}
}

func TestAnIntentStampedByAWrongClockIsNotCalled(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.becomes(w.one(), ledger.Completed)
		var once atomic.Bool
		w.node.store.onBefore(func(call string, changes []ledger.Change) error {
			if call == "commit" && changes[0].History.Event == ledger.EventSend && !once.Swap(true) {
				w.steps(-5 * time.Hour)
			}
			return nil
		})
		id := w.orders(order(1))[0]
		w.passes(time.Hour)
		w.tells(id, "accept, send, not_executed T26")
		if h := w.history(id); h[2].Answer.Code != ledger.CodeClocks {
			t.Errorf("taken off for %+v", h[2].Answer)
		}
		w.paysOnce(1)
		w.steps(0)
		w.becomes(id, ledger.Completed)
	})
}

func TestSuspendedMachinesAndSteppedOnesSendAgainOnceTheClocksWereHeard(t *testing.T) {
	var off atomic.Int64
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.becomes(w.one(), ledger.Completed)
		// By the wall clock nine hours have passed, and by the monotonic one none. Which of them is
		// right only the others can say.
		off.Store(int64(9 * time.Hour))
		ids := w.orders(order(1))
		w.passes(time.Hour)
		w.paysOnce(1)
		if c := w.node.system.Policy().Clocks; !strings.Contains(c.Trouble, "This machine's clock is 9h0m0s ahead of the database's and Stripe's") {
			t.Errorf("%+v", c)
		}
		if n := w.count("clock_offset_seconds", "clock", "database"); n > -32_000 {
			t.Errorf("the database's offset to this machine's clock is shown as %v", n)
		}
		off.Store(0)
		w.becomes(ids[0], ledger.Completed)
	}, func(c *actors.Config) { c.Wall = func() time.Time { return time.Now().Add(time.Duration(off.Load())) } })
}

func TestAClockWithinTheSkewChangesNothing(t *testing.T) {
	for _, off := range []time.Duration{-14 * time.Minute, 14 * time.Minute} {
		inWorld(t, stripesim.Config{}, func(w *world) {
			w.steps(off)
			w.becomes(w.one(), ledger.Completed)
			w.steps(0)
			w.becomes(w.orders(order(1))[0], ledger.Completed)
			if w.count("alarms_total") != 0 {
				t.Error("an alarm")
			}
		})
	}
}

// TestBothOurClocksAreWrongByStripes: the database runs on the same machine, an hour ahead or
// behind. A new key may go out, once; what became of it only evidence says.
func TestBothOurClocksAreWrongByStripes(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, time.Hour, 30 * 24 * time.Hour} {
		for name, made := range map[string]bool{"made": true, "not made": false} {
			var wall atomic.Int64
			inEmptyWorld(t, stripesim.Config{}, func(w *world) {
				w.deaf()
				set := func(d time.Duration) { wall.Store(int64(d)); w.steps(d) }
				set(off)
				w.node = w.start(func(c *actors.Config) { c.Wall = w.clock })
				w.becomes(w.one(), ledger.Completed) // from its answer on Stripe's time is known
				kind := stripesim.KindDrop
				if made {
					kind = stripesim.KindLoseAnswer
				}
				w.script(stripesim.Rule{Kind: kind, Times: 1})
				id := w.orders(order(1))[0]
				if made {
					w.becomes(id, ledger.Completed)
					w.paysOnce(2)
					return
				}
				w.passes(20 * time.Hour)
				w.paysOnce(1)
				if x := w.transfer(id); x.Status() != ledger.Unresolved || x.Operation.Generation != 1 || x.Operation.OpenSends != 1 {
					t.Errorf("%s, %s off: %s, generation %d, %d sends", name, off, x.Status(), x.Operation.Generation, x.Operation.OpenSends)
				}
				set(0)
				w.becomes(id, ledger.Parked, ledger.Unresolved)
				w.passes(20 * time.Hour)
				if x := w.transfer(id); off < 24*time.Hour && x.Status() != ledger.Parked || x.Operation.Generation != 1 {
					t.Errorf("%s, %s off, and then right: %s, generation %d", name, off, x.Status(), x.Operation.Generation)
				}
				w.paysOnce(1)
			})
		}
	}
}

func TestAbsenceIsNotProvedBeforeStripeSaidWhatTimeItIs(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.dumb.Store(true)
		w.script(stripesim.Rule{Kind: stripesim.KindDrop, Times: -1, Match: func(stripesim.RequestInfo) bool { return w.dumb.Load() }})
		id := w.one()
		w.passes(14 * time.Hour)
		if x := w.transfer(id); x.Status() != ledger.Unresolved {
			t.Errorf("without Stripe's time it is %s", x.Status())
		}
		w.dumb.Store(false)
		w.becomes(id, ledger.Completed)
		w.paysOnce(1)
	})
}
