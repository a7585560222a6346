package actors_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/db"
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
						switch x.Status() {
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
							w.Logf("%s %s: %s", id, w.transfer(id).Status(), w.story(id))
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
				w.alarmsOfABadDay()
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

// A daemon that runs while another learns that the database lost commits has planned by what
// was lost. It sends nothing more, and ends; after a new start what is open rests for QUIET.
func TestADaemonBehindTheEpochSendsNothingAndEnds(t *testing.T) {
	ctx := context.Background()
	inEmptyWorld(t, stripesim.Config{}, func(w *world) {
		// own is a daemon with a connection and an epoch of its own, as a process has.
		own := func() *node {
			d, err := db.Open(ctx, "sqlite:"+w.path, db.Options{})
			if err != nil {
				t.Fatal(err)
			}
			w.closes = append(w.closes, d.Close)
			epoch, since, _, err := d.Epoch(ctx)
			if err != nil {
				t.Fatal(err)
			}
			w.policy.Epoch, w.policy.EpochSince = epoch, since
			return w.start(func(c *actors.Config) { c.Store.(*faultyStore).Store = d })
		}
		a := own()
		w.node = a
		id := w.one()
		w.becomes(id, ledger.Completed)
		late := held(w) // ordered under the old epoch, due after the new one began
		if _, err := w.db.RaiseEpoch(ctx); err != nil {
			t.Fatal(err)
		}
		b := own()
		w.passes(time.Minute)
		posts := len(w.posts)

		m := ledger.Message{Type: ledger.MessageRelease, Override: "schedule"}
		if _, err := a.inject(late, m); !errors.Is(err, ledger.ErrUnavailable) {
			t.Errorf("a message to the daemon that is behind: %v", err)
		}
		select {
		case err := <-a.system.Failed():
			if !errors.Is(err, ledger.ErrNewEpoch) {
				t.Errorf("it ended because of %v", err)
			}
		default:
			t.Error("it goes on")
		}
		if err := a.system.Ready(ctx); err == nil {
			t.Error("it is ready")
		}
		a.stop()
		if len(w.posts) != posts || w.transfer(late).Status() != ledger.Held {
			t.Errorf("%d calls were made, and it is %s", len(w.posts)-posts, w.transfer(late).Status())
		}

		// The other goes on: what was ordered before rests, is looked up, and is sent by new keys.
		w.node = b
		raised := w.policy.EpochSince
		w.says(late, m)
		w.becomes(late, ledger.Completed)
		if last := w.posts[len(w.posts)-1]; len(w.posts) != posts+1 || last.at.Before(raised.Add(w.policy.Windows.Quiet)) || last.key != ledger.Key(w.name(late), 2, 1) {
			t.Errorf("%d calls; the last %s after the epoch began, under %s", len(w.posts)-posts, last.at.Sub(raised), last.key)
		}
	})
}
