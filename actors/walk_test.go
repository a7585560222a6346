package actors_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// reads watches the reads that a daemon makes, by their time.
type reads struct {
	mu  sync.Mutex
	at  []time.Time
	url []string
}

func (n *node) watch() *reads {
	var r reads
	see := func(req *http.Request, _ string) {
		if req.Method == http.MethodGet {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.at, r.url = append(r.at, time.Now()), append(r.url, req.URL.String())
		}
	}
	n.calls.Store(&see)
	return &r
}

func (r *reads) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.at)
}

// most is how many reads were made within any second.
func (r *reads) most() (most int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.at {
		n := 0
		for j := i; j < len(r.at) && r.at[j].Sub(r.at[i]) < 999*time.Millisecond; j++ {
			n++
		}
		most = max(most, n)
	}
	return most
}

func TestAWalkKeepsItsBudget(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		ids := w.paid(0, 40)
		for range 12 { // more than come embedded: these are read by themselves, page by page
			w.says(ids[0], ledger.Message{Type: ledger.MessageReverse, Amount: 10})
			w.becomes(ids[0], ledger.PartiallyReversed)
		}
		for i := range 30 {
			w.pretend(order(100+i), fmt.Sprintf("tr_gone%d", i)) // each is read by its ID
		}
		w.passes(time.Hour)
		r := w.node.watch()
		walk := w.node.walk()
		if most := r.most(); most > 3 {
			w.Errorf("%d reads within a second", most)
		}
		if int64(r.count()) != walk.Reads || walk.Reads != 1+2+30 || walk.AtStripe != 40 || walk.InLedger != 70 || len(w.drift()) != 30 {
			w.Errorf("%d reads, %d findings, %+v", r.count(), len(w.drift()), walk)
		}
		if n := w.count("reconcile_reads_total"); n != float64(walk.Reads) {
			w.Errorf("the metric says %v reads", n)
		}
	}, walks(reports, func(r *actors.Reconcile) { r.Rate = 3 }))
}

func TestSendsGoBeforeAWalk(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.paid(0, 5)
		w.passes(time.Hour)
		w.script(stripesim.Rule{Kind: stripesim.KindSlow, Delay: 10 * time.Second, Times: 8})
		r := w.node.watch()
		began := time.Now()
		for i := range 8 { // one call at a time, 80 s of them
			w.orders(order(10 + i))
		}
		synctest.Wait() // the sends have asked for their permits
		if _, err := w.node.system.Reconcile(w.Context(), ledger.By{Message: uuid.Must(uuid.NewV7())}); err != nil {
			w.Fatal(err)
		}
		w.node.walked(began)
		if first := r.at[0]; first.Sub(began) < 80*time.Second {
			w.Errorf("the walk read %s after it was told to, while sends waited", first.Sub(began))
		}
	}, walks(), func(c *actors.Config) { c.Limits.Concurrency = 1 })
}

func TestAWalkThatDiesGoesOnWhereItWas(t *testing.T) {
	for name, die := range map[string]func(*world){
		"killed":  func(w *world) { w.node.crash() },
		"stopped": func(w *world) { w.node.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			small := walks(func(r *actors.Reconcile) { r.Window, r.Rate = 100, 1 })
			inWorld(t, stripesim.Config{}, func(w *world) {
				w.deaf()
				for i := range 50 {
					w.paid(10*i, 10)
					w.passes(time.Minute)
				}
				w.passes(time.Hour)
				oldest := w.dashboard("", 700, "eur", "acct_seller1") // not the oldest at Stripe, but new: found at once
				r := w.node.watch()
				if _, err := w.node.system.Reconcile(w.Context(), ledger.By{Message: uuid.Must(uuid.NewV7())}); err != nil {
					w.Fatal(err)
				}
				w.passes(2500 * time.Millisecond)
				w.finds(audit.Foreign, ledger.ID{}, oldest)
				before := r.count()
				die(w)
				newest, _, err := w.db.Walks(w.Context())
				if err != nil || newest.Ended() || before < 2 || before > 3 {
					w.Fatalf("after %d reads: %+v, %v", before, newest, err)
				}
				began := time.Now()
				w.node = w.start(small)
				r = w.node.watch()
				if _, err := w.node.system.Reconcile(w.Context(), ledger.By{Message: uuid.Must(uuid.NewV7())}); err != nil {
					w.Fatal(err)
				}
				for {
					w.passes(time.Second)
					if _, ended, _ := w.db.Walks(w.Context()); ended.No == newest.No {
						break
					}
					if time.Since(began) > 10*time.Minute {
						w.Fatal("nobody went on with it")
					}
				}
				if n := r.count(); n > 6-before+2 {
					w.Errorf("%d reads after %d: it began anew", n, before)
				}
				if took := time.Since(began); name == "stopped" && took > 10*time.Second {
					w.Errorf("taken up after %s", took)
				}
				w.finds(audit.Foreign, ledger.ID{}, oldest)
			}, small)
		})
	}
}

func TestAStopDoesNotWaitForAWalk(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.paid(0, 5)
		w.script(stripesim.Rule{Kind: stripesim.KindSlow, Path: listing, Delay: 50 * time.Second, Times: -1})
		if _, err := w.node.system.Reconcile(w.Context(), ledger.By{Message: uuid.Must(uuid.NewV7())}); err != nil {
			w.Fatal(err)
		}
		w.passes(2 * time.Second)
		began := time.Now()
		if err := <-w.node.stopping(30 * time.Second); err != nil {
			w.Error(err)
		}
		if took := time.Since(began); took > time.Second {
			w.Errorf("it took %s", took)
		}
	}, walks())
}

func TestAWalkOutlastsAStripeThatFails(t *testing.T) {
	for name, rules := range map[string][]stripesim.Rule{
		"limits the rate":    {{Kind: stripesim.KindRateLimit, Path: listing, Times: 5}, {Kind: stripesim.KindRateLimit, Path: reading, Times: 2}},
		"is down":            {{Kind: stripesim.KindUnavailable, Path: listing, Times: 9}, {Kind: stripesim.KindUnavailable, Path: reading, Times: 2}},
		"loses the answer":   {{Kind: stripesim.KindTruncated, Path: listing, Times: 3}, {Kind: stripesim.KindDrop, Path: reading, Times: 2}},
		"is down for longer": {{Kind: stripesim.KindUnavailable, Path: listing, Times: 25}},
		"refuses the key":    {{Kind: stripesim.KindAuth, Path: listing, Times: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, stripesim.Config{}, func(w *world) {
				w.deaf()
				ids := w.paid(0, 150)
				id := w.pretend(order(900), "tr_gone")
				w.passes(time.Hour)
				w.reverseByHand(w.transfer(ids[3]).Operation.StripeID, 100)
				w.script(rules...)
				walk := w.node.walk()
				list := w.drift()
				if len(list) != 2 || list[0].Class != audit.ReversedOutside && list[1].Class != audit.ReversedOutside || list[0].Transfer != id && list[1].Transfer != id {
					w.Errorf("found %+v", list)
				}
				if walk.AtStripe < 150 || walk.InLedger != 151 {
					w.Errorf("%+v", walk)
				}
			}, walks(reports, func(r *actors.Reconcile) { r.Rate = 20 }))
		})
	}
}

func TestAWalkOutlastsADatabaseThatFails(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.paid(0, 150)
		foreign := w.dashboard("", 700, "eur", "acct_seller1")
		calls := 0
		w.node.store.onDrift(func() error {
			if calls++; calls%3 != 0 {
				return errOutage
			}
			return nil
		})
		w.node.walk()
		w.finds(audit.Foreign, ledger.ID{}, foreign)
		w.node.store.onDrift(func() error { return errors.New("no such column") })
		w.passes(time.Second)
		if _, err := w.node.system.Reconcile(w.Context(), ledger.By{Message: uuid.Must(uuid.NewV7())}); err != nil {
			w.Fatal(err)
		}
		w.passes(time.Minute)
		if w.count("reconcile_walks_total", "result", "failed") == 0 || w.count("reconcile_walks_total", "result", "done") != 1 {
			w.Error("a ledger that refuses does not fail the walk")
		}
		began := time.Now()
		w.node.store.onDrift(nil)
		w.node.walked(began.Add(-10 * time.Minute)) // it is taken up by itself
	}, walks())
}

func TestWhatAListLagsBehindIsNoDifference(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(stripesim.Rule{Kind: stripesim.KindListLag, Path: listing, Delay: 15 * time.Minute, Times: -1})
		for i := range 20 {
			id := w.paid(i, 1)[0]
			if i%4 == 0 {
				w.says(id, ledger.Message{Type: ledger.MessageReverse, Amount: 100})
			}
			w.node.walk()
			w.findsNothing()
			w.passes(time.Duration(i) * time.Minute)
		}
		w.alarms(nil)
	}, walks())
}

func TestWhatMovesIsNoDifference(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		ids := w.paid(0, 3)
		w.passes(time.Hour)
		// Its reversal comes about between the reading of its row and that of its object.
		stripeID := w.transfer(ids[1]).Operation.StripeID
		w.reverseByHand(stripeID, 50) // so that it is looked at twice
		moves := false
		see := func(r *http.Request, _ string) {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, stripeID) && !moves {
				moves = true
				w.says(ids[1], ledger.Message{Type: ledger.MessageReverse, Amount: 100})
			}
		}
		w.node.calls.Store(&see)
		w.node.walk()
		for _, f := range w.drift() { // what was done by hand may be found already; ours is no difference
			if f.Class != audit.ReversedOutside {
				w.Errorf("found %+v", f)
			}
		}
		w.becomes(ids[1], ledger.PartiallyReversed)
		w.node.walk()
		w.finds(audit.ReversedOutside, ids[1], w.held()[w.name(ids[1]).String()][0].Reversals[0].ID)
	}, walks(reports))
}

// Under heavy faults, with crashes and two daemons, whatever is in motion is never drift, and at
// rest nothing is.
func TestAFaultyWorldHasNoDrift(t *testing.T) {
	seeds, transfers := 4, 60
	if testing.Short() || racing {
		seeds, transfers = 2, 25
	}
	for n := range seeds {
		seed := uint64(n) + 1
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			quick := walks(hourly, func(r *actors.Reconcile) { r.Interval, r.Rate, r.Window = 30*time.Minute, 20, 100 })
			inWorld(t, stripesim.Config{Seed: seed, Faults: stripesim.Heavy}, func(w *world) {
				dice := rand.New(rand.NewPCG(seed, 0))
				other := w.start(quick)
				var ids []ledger.ID
				for range 10 {
					var orders []ledger.Order
					for range transfers / 10 {
						orders = append(orders, order(len(ids)+len(orders)))
					}
					ids = append(ids, w.orders(orders...)...)
					for range 6 {
						w.passes(time.Duration(dice.Int64N(int64(30 * time.Minute))))
						if id := ids[dice.IntN(len(ids))]; w.transfer(id).Status() == ledger.Completed {
							other.inject(id, ledger.Message{Type: ledger.MessageReverse, Amount: 1 + dice.Int64N(900)})
						}
						if dice.IntN(8) == 0 {
							w.node.crash()
							w.node = w.start(quick)
						}
					}
					if list := w.drift(); len(list) > 0 {
						w.Errorf("found in motion: %+v", list)
					}
				}
				w.passes(24 * time.Hour)
				w.sim.SetFaults(stripesim.None)
				w.passes(12 * time.Hour)
				w.findsNothing()
				w.alarmsOfABadDay()
				var all []audit.Finding
				all, err := w.db.Findings(w.Context(), audit.Filter{})
				if err != nil {
					w.Fatal(err)
				}
				for _, f := range all {
					if f.Class != audit.Parked {
						w.Errorf("was found: %+v", f)
					}
				}
				newest, _, _ := w.db.Walks(w.Context())
				w.Logf("%d walks, %d findings that were mended", newest.No, len(all))
			}, quick)
		})
	}
}

func TestTwoDaemonsMakeOneWalk(t *testing.T) {
	both := walks(hourly)
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		other := w.start(both)
		w.paid(0, 250)
		foreign := w.dashboard("", 700, "eur", "acct_seller1")
		w.passes(90 * time.Minute)
		a, b := w.node.watch(), other.watch()
		before, _, _ := w.db.Walks(w.Context())
		w.passes(10 * time.Hour)
		after, _, err := w.db.Walks(w.Context())
		if n := after.No - before.No; err != nil || n < 9 || n > 12 {
			w.Errorf("%d walks in ten hours: %v", n, err)
		}
		if n := a.count() + b.count(); n > 12*4 {
			w.Errorf("%d reads", n)
		}
		w.finds(audit.Foreign, ledger.ID{}, foreign)
		other.crash()
		w.passes(3 * time.Hour)
		if last, _, _ := w.db.Walks(w.Context()); last.No < after.No+2 {
			w.Error("the one that is left does not walk")
		}
	}, both)
}

func TestItWalksAtStartAndEveryInterval(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.paid(0, 3)
		w.passes(time.Minute)
		if newest, ended, err := w.db.Walks(w.Context()); err != nil || newest.No != 1 || ended.No != 1 {
			w.Errorf("a minute after the start: %+v, %v", newest, err)
		}
		w.passes(5 * time.Hour)
		_, ended, err := w.db.Walks(w.Context())
		if err != nil || ended.No != 6 {
			w.Errorf("five hours later: %+v, %v", ended, err)
		}
		status, err := w.node.system.Reconciler(w.Context())
		if err != nil || status.Doing != "waiting" || status.NextAt.Sub(ended.BeganAt).Round(time.Second) != time.Hour || status.Ended.No != 6 {
			w.Errorf("%+v, %v", status, err)
		}
		if at := w.count("reconcile_last_success_timestamp_seconds"); at != float64(ended.EndedAt.Unix()) {
			w.Errorf("the metric says %v", at)
		}
		w.restart(walks(hourly))
		w.passes(time.Minute)
		if newest, _, _ := w.db.Walks(w.Context()); newest.No != 7 {
			w.Errorf("after a restart: %+v", newest)
		}
	}, walks(hourly))
}

func TestItDoesNotReadBeforeTheAccountIsVerified(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		r := w.node.watch()
		w.passes(3 * time.Hour)
		if r.count() > 0 {
			w.Errorf("read %q", r.url)
		}
	}, walks(hourly), shut())
}

func TestAWalkThatIsToldWhileOneGoesOnFollowsIt(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.paid(0, 250)
		run := ledger.By{Message: uuid.Must(uuid.NewV7()), Principal: "ann", Reason: "to be sure"}
		for i := range 3 { // the second and third repeat the first
			status, err := w.node.system.Reconcile(w.Context(), run)
			if err != nil || i == 0 && status.Doing != "walking" && status.Doing != "looking" {
				w.Errorf("%+v, %v", status, err)
			}
		}
		w.passes(time.Second)
		if _, err := w.node.system.Reconcile(w.Context(), ledger.By{Message: uuid.Must(uuid.NewV7())}); err != nil {
			w.Fatal(err)
		}
		w.passes(time.Hour)
		if newest, ended, _ := w.db.Walks(w.Context()); newest.No != 2 || ended.No != 2 {
			w.Errorf("%+v", newest)
		}
		if receipt, found, err := w.db.Receipt(w.Context(), run.Message); err != nil || !found || receipt.Refusal != "" {
			w.Errorf("%+v, %v, %v", receipt, found, err)
		}
		status, err := w.node.system.Reconciler(w.Context())
		if err != nil || status.Doing != "off" || !status.NextAt.IsZero() {
			w.Errorf("%+v, %v", status, err)
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(w.Context())
		cancel()
		if _, err := w.node.system.Reconciler(ctx); err == nil {
			w.Log("answered a caller that had gone")
		}
	}, walks(func(r *actors.Reconcile) { r.Rate = 1 }))
}
