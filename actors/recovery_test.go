package actors_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// moment is when a process dies.
type moment struct {
	event  ledger.Event // at the commit of this step, of
	kind   ledger.Kind
	after  bool // it was durable, and nobody heard of it
	call   int  // or during the so-manieth POST, from 1
	landed bool // which reached Stripe
}

func (m moment) String() string {
	when := map[bool]string{false: "before", true: "after"}
	if m.call > 0 {
		return fmt.Sprintf("%s POST %d reached Stripe", when[m.landed], m.call)
	}
	return fmt.Sprintf("%s a %s's %s was durable", when[m.after], m.kind, m.event)
}

// strike lets the process die at the moment. It closes the channel then.
func (n *node) strike(m moment) <-chan struct{} {
	died := make(chan struct{})
	die := func() error {
		if n.dead.CompareAndSwap(false, true) {
			close(died)
		}
		return errOutage
	}
	at := func(call string, changes []ledger.Change) error {
		if call == "commit" {
			for _, c := range changes {
				if c.History.Event == m.event && c.History.Kind == m.kind {
					return die()
				}
			}
		}
		return nil
	}
	posts := 0
	see := func(r *http.Request, _ string) {
		if r.Method != http.MethodPost {
			return
		}
		if posts++; posts == m.call && !m.landed {
			die()
		} else if posts == m.call {
			n.w.sim.Inject(stripesim.Rule{Kind: stripesim.KindLoseAnswer, Path: r.Method + " " + r.URL.Path})
			die()
			n.dead.Store(false) // the request is on its way out
			go func() {
				time.Sleep(time.Millisecond)
				n.dead.Store(true)
			}()
		}
	}
	switch {
	case m.call > 0:
		n.calls.Store(&see)
	case m.after:
		n.store.onAfter(at)
	default:
		n.store.onBefore(at)
	}
	return died
}

// TestAProcessThatDiesAnywhereSettlesOnceAfterItsRestart kills the process at every step of a
// transfer's and a reversal's life, on a good day and on one with lost answers and refusals.
func TestAProcessThatDiesAnywhereSettlesOnceAfterItsRestart(t *testing.T) {
	days := []struct {
		name   string
		rules  func(path string) []stripesim.Rule
		events []ledger.Event // that such a day has, of either operation
		calls  int
	}{
		{"a good day", func(string) []stripesim.Rule { return nil },
			[]ledger.Event{ledger.EventAccept, ledger.EventReverse, ledger.EventSend, ledger.EventConfirm}, 2},
		{"a bad day", func(path string) []stripesim.Rule {
			return []stripesim.Rule{{Kind: stripesim.KindRateLimit, Path: path}, {Kind: stripesim.KindDrop, Path: path},
				refusal(path, "balance_insufficient", 1), {Kind: stripesim.KindStored500, Path: path}}
		}, []ledger.Event{ledger.EventNotExecuted, ledger.EventLose, ledger.EventRefuse, ledger.EventConfirm}, 10},
		{"a day of silence", func(path string) []stripesim.Rule {
			return []stripesim.Rule{{Kind: stripesim.KindDrop, Path: path, Match: generation("1"), Times: -1}}
		}, []ledger.Event{ledger.EventLose, ledger.EventProveAbsent}, 0},
	}
	for _, day := range days {
		if racing && day.name != "a bad day" {
			continue
		}
		var moments []moment
		for _, kind := range []ledger.Kind{ledger.CreateTransfer, ledger.MakeReversal} {
			for _, e := range day.events {
				if kind == ledger.CreateTransfer && e == ledger.EventReverse || kind == ledger.MakeReversal && e == ledger.EventAccept {
					continue
				}
				moments = append(moments, moment{event: e, kind: kind}, moment{event: e, kind: kind, after: true})
			}
		}
		for call := range day.calls {
			moments = append(moments, moment{call: call + 1}, moment{call: call + 1, landed: true})
		}
		for _, m := range moments {
			t.Run(day.name+", "+m.String(), func(t *testing.T) {
				t.Parallel()
				inWorld(t, stripesim.Config{}, func(w *world) {
					w.deaf()
					w.script(day.rules(creating)...)
					w.script(day.rules(reversing)...)
					died := w.node.strike(m)
					struck := false
					survives := func() bool {
						select {
						case <-died:
							w.node.crash()
							w.node = w.start()
							died, struck = nil, true
							return false
						default:
							return true
						}
					}
					// The caller asks again until it is told, as whoever has a deadline does.
					ctx, cancel := context.WithTimeout(context.Background(), time.Second)
					defer cancel()
					a, err := w.node.system.Create(ctx, []ledger.Order{order(0)}, ledger.By{Principal: "test"})
					if err != nil {
						survives()
						if a, err = w.node.system.Create(context.Background(), []ledger.Order{order(0)}, ledger.By{Principal: "test"}); err != nil {
							w.Fatal(err)
						}
					}
					id := a[0].Transfer.ID
					drive := func(state ledger.State) {
						w.until(id, string(state), func(x ledger.Transfer) bool {
							survives()
							return x.Status() == state
						})
					}
					drive(ledger.Completed)
					reverse := ledger.Message{ID: id, Type: ledger.MessageReverse, Amount: 300}
					reverse.ID[0] ^= 0xff
					if _, err := w.inject(id, reverse); err != nil {
						survives()
						w.says(id, reverse)
					}
					drive(ledger.PartiallyReversed)
					if x := w.transfer(id); len(x.Reversals) != 1 || x.AmountReversed != 300 {
						w.Errorf("%d reversals, of %d in all", len(x.Reversals), x.AmountReversed)
					}
					if !struck {
						w.Error("the process never died: this tests nothing")
					}
					w.alarms(nil)
				})
			})
		}
	}
}

// recoveryPage is how many transfers recovery reads at once.
const recoveryPage = 1000

func TestRecoveryReadsPageAfterPageAndTheNewWorkMeanwhile(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		n := 2*recoveryPage + 300
		ids := w.create(n)
		synctest.Wait()
		w.restart()
		synctest.Wait()
		for w.count("actors_alive") > 0 {
			w.passes(time.Second)
		}
		records, err := w.db.Load(w.Context(), ids)
		if err != nil || len(records) != n {
			w.Fatal(len(records), err)
		}
		for _, r := range records {
			if r.Transfer.Status() != ledger.Completed {
				w.Fatalf("%s is %s", r.Transfer.ID, r.Transfer.Status())
			}
		}
		if got := w.count("actor_spawns_total"); got != float64(2*n) {
			w.Errorf("spawned %v actors", got)
		}
		if w.count("sweep_finds_total") != 0 {
			w.Error("the sweep found something")
		}
	}, shut())
}

func TestTheSweepFindsAnOrphan(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		synctest.Wait()       // recovery is over: it must not find the row
		w.passes(time.Second) // recovery has ended
		change := ledger.Accept(order(1), uuid.Must(uuid.NewV7()), 1, time.Now(), ledger.By{Principal: "test"})
		if _, won, err := w.db.Commit(w.Context(), []ledger.Change{change}); err != nil || !won[0] {
			w.Fatal(won, err) // behind the daemon's back
		}
		w.aside = true
		w.becomes(change.After.ID, ledger.Completed)
		if n := w.count("sweep_finds_total"); n != 1 {
			w.Errorf("the sweep found %v", n)
		}
	})
}

func TestALedgerThatIsAwayAtTheStartIsWaitedFor(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		id := w.one()
		w.node.stop()
		back := time.Now().Add(10 * time.Minute)
		w.node = w.start(func(c *actors.Config) {
			c.Store.(*faultyStore).onBefore(func(string, []ledger.Change) error {
				if time.Now().Before(back) {
					return errOutage
				}
				return nil
			})
		})
		w.passes(time.Minute)
		if w.node.system.Ready(w.Context()) == nil {
			w.Error("ready before recovery has begun")
		}
		w.becomes(id, ledger.Completed)
		if err := w.node.system.Ready(w.Context()); err != nil {
			w.Error(err)
		}
	}, shut())
}
