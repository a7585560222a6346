package actors_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// TestTwoDaemonsOverOneLedgerPayOnce lets two daemons own the same transfers at once, against
// a Stripe on a very bad day, while one or the other dies now and then. What holds every world
// is checked at its end: nothing was paid or reversed twice, the books add up, no key was used
// against the rules.
func TestTwoDaemonsOverOneLedgerPayOnce(t *testing.T) {
	seeds, transfers := 12, 40
	if testing.Short() || racing {
		seeds, transfers = 3, 15
	}
	for n := range seeds {
		seed := uint64(n) + 1
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			inWorld(t, stripesim.Config{Seed: seed, Faults: stripesim.Heavy}, func(w *world) {
				dice := rand.New(rand.NewPCG(seed, 0))
				other := w.start()
				ids := w.create(transfers)
				// Both own all of them: the second hears of each by a message.
				for _, id := range ids {
					other.inject(id, ledger.Message{Type: ledger.MessageRestart})
				}
				asked := map[ledger.ID]int64{}
				settled := func() int {
					done := 0
					for _, id := range ids {
						x := w.transfer(id)
						switch x.State {
						case ledger.Completed:
							if asked[id] > 0 {
								done++ // a reversal that was asked for came to nothing
							} else if a := dice.Int64N(3) * 300; a > 0 {
								asked[id] = a
								n := []*node{w.node, other}[dice.IntN(2)]
								n.inject(id, ledger.Message{Type: ledger.MessageReverse, Amount: a})
							} else {
								asked[id] = 1
								done++
							}
						case ledger.Parked, ledger.PermanentlyFailed, ledger.PartiallyReversed, ledger.Reversed:
							done++
						case ledger.ReversalPending:
							if op, _ := x.Current(); op.State == ledger.Parked {
								done++
							}
						}
					}
					return done
				}
				for began := time.Now(); settled() < len(ids); {
					if time.Since(began) > 10*24*time.Hour {
						for _, id := range ids {
							w.Logf("%s %s: %s", id, w.transfer(id).State, w.story(id))
						}
						w.Fatal("not everything settled")
					}
					if dice.IntN(10) == 0 {
						w.node.crash()
						w.node = w.start()
					}
					if dice.IntN(10) == 0 {
						other.crash()
						other = w.start()
					}
					w.passes(time.Duration(dice.Int64N(int64(20 * time.Minute))))
				}
				w.alarms(nil)
			})
		})
	}
}

// Found by the simulation: a daemon kept its actor of what a person had settled at another.
func TestAnActorThatWaitsForAPersonHearsOfItThoughTheyToldAnotherDaemon(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		id := w.one()
		w.becomes(id, ledger.Completed)
		w.script(stripesim.Rule{Kind: stripesim.KindRolledBack500, Path: reversing, Times: -1})
		w.says(id, ledger.Message{Type: ledger.MessageReverse, Amount: 300})
		w.until(id, "parked", func(x ledger.Transfer) bool {
			op, _ := x.Current()
			return op != nil && op.State == ledger.Parked
		})
		other := w.start()
		w.passes(time.Minute)
		if alive := w.count("actors_alive"); alive != 2 {
			w.Fatalf("%v actors wait for a person", alive)
		}
		w.sim.ClearRules()
		w.says(id, ledger.Message{Type: ledger.MessageResolve, Outcome: ledger.OutcomeFailed})
		w.becomes(id, ledger.PartiallyReversed)
		w.passes(2*w.policy.Windows.Quiet + time.Minute)
		if alive := w.count("actors_alive"); alive != 0 || other.system.Live(w.Context(), id).Alive {
			w.Errorf("%v actors are left", alive)
		}
	})
}
