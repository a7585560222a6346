package actors_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/db"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// copied makes a copy of the ledger's file, to be put back later.
func (w *world) copied() string {
	w.Helper()
	path := w.TempDir() + "/copy.db"
	file, err := sql.Open("sqlite", "file:"+w.path)
	if err != nil {
		w.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Exec("VACUUM INTO '" + path + "'"); err != nil {
		w.Fatal(err)
	}
	return path
}

// putBack ends the daemon, and puts a copy in the place of its ledger.
func (w *world) putBack(path string) {
	w.Helper()
	w.node.stop()
	d, err := db.Open(context.Background(), "sqlite:"+path, db.Options{})
	if err != nil {
		w.Fatal(err)
	}
	w.closes = append(w.closes, d.Close)
	w.db, w.path = d, path
	w.watch, w.aside = audit.NewWatch(w.policy.Windows), true // it saw what the ledger has lost
	epoch, since, _, err := w.db.Epoch(context.Background())
	if err != nil {
		w.Fatal(err)
	}
	w.policy.Epoch, w.policy.EpochSince = epoch, since
}

func (w *world) paidOnce(want int) {
	w.Helper()
	if n := len(w.sim.Truth().Transfers); n != want {
		w.Errorf("Stripe made %d transfers, want %d", n, want)
	}
}

// The platform sends an order again that the database has lost with its payment: it is paid once,
// whether or not somebody said that the database was put back.
func TestAnOrderRepeatedAfterItsRowWasLostIsPaidOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		after time.Duration
		told  bool
	}{
		"at once, and nobody said so":              {0, false},
		"at once, by the book":                     {0, true},
		"after Stripe forgot the key, by the book": {30 * time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, stripesim.Config{}, func(w *world) {
				w.deaf()
				before := w.copied()
				w.becomes(w.one(), ledger.Completed)
				w.passes(tc.after)
				w.putBack(before)
				if tc.told {
					w.raises()
				}
				w.node = w.start()
				id := w.one()
				x := w.becomes(id, ledger.Completed)
				w.paidOnce(1)
				if x.Operation.StripeID != w.sim.Truth().Transfers[0].ID {
					t.Errorf("it is %s", x.Operation.StripeID)
				}
			})
		})
	}
}

// A reversal that the database has lost is asked for again, under its reference.
func TestAReversalRepeatedAfterItsRowWasLostIsMadeOnce(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		id := w.one()
		w.becomes(id, ledger.Completed)
		before := w.copied()
		refund := ledger.Message{Type: ledger.MessageReverse, Reference: "re_1", Amount: 300}
		w.says(id, refund)
		w.becomes(id, ledger.PartiallyReversed)
		w.passes(30 * time.Hour)
		w.putBack(before)
		w.raises()
		w.node = w.start()
		w.says(id, refund)
		w.becomes(id, ledger.PartiallyReversed)
		if back := w.sim.Truth().Transfers[0].AmountReversed; back != 300 {
			t.Errorf("%d came back, want 300", back)
		}
	})
}

// What Stripe holds and no row is of is proof: the epoch is raised, once, the row is made again,
// and the daemon ends. The order, repeated, is the row that was made again.
func TestARowThatWasLostIsMadeAgainFromStripe(t *testing.T) {
	walks := func(c *actors.Config) { c.Reconcile = actors.Reconcile{Interval: time.Hour} }
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		before := w.copied()
		id := w.one()
		other := w.orders(order(7))[0]
		w.becomes(id, ledger.Completed)
		w.becomes(other, ledger.Completed)
		w.says(id, ledger.Message{Type: ledger.MessageReverse, Reference: "re_1", Amount: 300})
		w.becomes(id, ledger.PartiallyReversed)
		w.passes(time.Hour)
		w.putBack(before)
		for range 3 {
			w.node = w.start(walks)
			w.passes(5 * time.Minute)
			select {
			case err := <-w.node.system.Failed():
				if !errors.Is(err, ledger.ErrNewEpoch) {
					t.Fatal(err)
				}
			default:
			}
			w.node.stop()
			w.putBack(w.path)
		}
		if w.policy.Epoch != 2 {
			t.Errorf("epoch %d, want one new epoch for one loss", w.policy.Epoch)
		}
		w.node = w.start(walks)
		for _, o := range []ledger.Order{order(0), order(7)} {
			accepted, err := w.node.system.Create(context.Background(), []ledger.Order{o}, ledger.By{Principal: "test"})
			if err != nil || accepted[0].Created || accepted[0].Conflict {
				t.Fatalf("%+v, %v", accepted, err)
			}
		}
		another := order(0)
		another.Seller = "another"
		if accepted, err := w.node.system.Create(context.Background(), []ledger.Order{another}, ledger.By{Principal: "test"}); err != nil || !accepted[0].Conflict {
			t.Errorf("another order of its reference: %+v, %v", accepted, err)
		}
		rows, err := w.db.ByReference(context.Background(), []string{order(0).Reference, order(7).Reference})
		if err != nil || len(rows) != 2 {
			t.Fatal(rows, err)
		}
		for _, r := range rows {
			want := ledger.Completed
			if r.Transfer.Reference == order(0).Reference {
				want = ledger.PartiallyReversed
				if v := r.Transfer.Reversals; len(v) != 1 || v[0].Reference != "re_1" || v[0].External || v[0].Amount != 300 {
					t.Errorf("its reversals are %+v", v)
				}
			}
			if h := w.history(r.Transfer.ID); r.Transfer.Status() != want || h[0].Event != ledger.EventRebuild {
				t.Errorf("%s is %s, after %s", r.Transfer.Reference, r.Transfer.Status(), h[0].Event)
			}
		}
		w.paidOnce(2)
	})
}

// A row whose order was changed past the triggers is not sent, and people hear of it.
func TestWhatIsNotAsItWasOrderedIsNotSent(t *testing.T) {
	for name, set := range map[string]string{
		"to another account": "destination = 'acct_thief'",
		"another amount":     "amount = 999999",
		"other metadata":     `metadata = '{"a":"b"}'`,
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, stripesim.Config{}, func(w *world) {
				id := w.one()
				synctest.Wait()
				w.node.stop()
				w.spoil(id, set)
				w.node = w.start()
				x := w.becomes(id, ledger.PermanentlyFailed)
				if x.Operation.ErrorCode != ledger.CodeAltered {
					t.Errorf("%s: %s", x.Operation.ErrorCode, x.Operation.ErrorMessage)
				}
				w.paidOnce(0)
				w.alarms(map[string]int{"altered": 1, "gave_up": 1})
				w.spoiled = true
				rows, err := w.db.AuditPage(context.Background(), ledger.ID{}, 10)
				if err != nil {
					t.Fatal(err)
				}
				a := audit.New()
				a.Ledger(rows[0])
				if found := a.Report().Differences; !slices.ContainsFunc(found, func(d audit.Difference) bool { return d.Class == audit.Order }) {
					t.Errorf("the audit finds %v", found)
				}
			}, shut())
		})
	}
}

// A reversal asked for twice, by two messages with one reference, is made once.
func TestOneReferenceIsOneReversal(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		id := w.one()
		w.becomes(id, ledger.Completed)
		refund := ledger.Message{Type: ledger.MessageReverse, Reference: "re_1", Amount: 300}
		w.says(id, refund)
		w.becomes(id, ledger.PartiallyReversed)
		w.says(id, refund) // another message: it has an ID of its own
		other := refund
		other.Amount = 200
		w.refuses(id, other, ledger.ErrIllegalMove)
		if x := w.transfer(id); len(x.Reversals) != 1 || x.AmountReversed != 300 {
			t.Errorf("%d reversals, %d came back", len(x.Reversals), x.AmountReversed)
		}
	})
}

// "All that remains" is what remained when it was first asked for: asked for again in a database that
// lost it, and another reversal, it is the reversal at Stripe, and not another one of the same name.
func TestAReversalOfAllThatRemainsIsTheOneThatWasLost(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		id := w.one()
		w.becomes(id, ledger.Completed)
		before := w.copied()
		part, rest := ledger.Message{Type: ledger.MessageReverse, Reference: "re_1", Amount: 300}, ledger.Message{Type: ledger.MessageReverse, Reference: "re_2"}
		w.says(id, part)
		w.becomes(id, ledger.PartiallyReversed)
		w.says(id, rest)
		w.becomes(id, ledger.Reversed)
		w.putBack(before)
		w.raises()
		w.node = w.start()
		w.refuses(id, rest, ledger.ErrTooEarly) // another may be under way
		w.passes(w.policy.Windows.Quiet + time.Minute)
		w.says(id, rest)
		x := w.becomes(id, ledger.Reversed)
		w.says(id, part)
		if len(x.Reversals) != 2 || x.Reversals[0].Reference != "re_1" || x.Reversals[1].Reference != "re_2" {
			t.Errorf("its reversals are %+v", x.Reversals)
		}
		if held := w.sim.Truth().Transfers[0]; len(held.Reversals) != 2 {
			t.Errorf("Stripe made %d reversals", len(held.Reversals))
		}
		w.alarms(map[string]int{"lost_reversals": 1})
	})
}

// An order that may repeat one that was lost is looked up before each send. One that waits for the
// platform's money is looked up when its turn comes to probe, and then sent.
func TestAProbeThatMayRepeatALostOrderIsLookedUpAndSent(t *testing.T) {
	inWorld(t, dry, func(w *world) {
		before := w.copied()
		w.putBack(before)
		w.raises()
		w.node = w.start()
		id := w.waits(1)[0]
		w.holds("", "eur", 1_000_000)
		w.passes(5 * time.Minute)
		if x := w.transfer(id); x.Status() != ledger.Completed {
			t.Errorf("with money for it, it is %s", x.Status())
		}
	})
}

// What was given up, retried by a person, paid, and then lost but for the giving up, is taken in by a walk: whether or
// not a new generation was begun for it. The first kind is proof that commits were lost.
func TestWhatWasGivenUpAndPaidInWhatWasLostIsTakenIn(t *testing.T) {
	for name, tc := range map[string]struct {
		code   string
		stored bool
		epoch  int
	}{
		"under a new key": {"transfers_not_allowed", true, 2},
		"under the key whose refusal nobody understood": {"account_invalid", false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			walks := func(c *actors.Config) { c.Reconcile = actors.Reconcile{Interval: time.Hour} }
			inWorld(t, stripesim.Config{}, func(w *world) {
				w.deaf()
				refused := refusal(creating, tc.code, 1)
				refused.Store = tc.stored
				w.script(refused)
				id := w.one()
				w.becomes(id, ledger.PermanentlyFailed)
				before := w.copied()
				w.passes(time.Hour)
				w.says(id, ledger.Message{Type: ledger.MessageRetry})
				w.becomes(id, ledger.Completed)
				w.passes(time.Hour)
				w.putBack(before)
				w.node = w.start(walks)
				w.passes(5 * time.Minute)
				x := w.becomes(id, ledger.Completed)
				w.paidOnce(1)
				if x.Operation.StripeID != w.sim.Truth().Transfers[0].ID {
					t.Errorf("it is %s", x.Operation.StripeID)
				}
				if epoch, _, _, err := w.db.Epoch(context.Background()); err != nil || epoch != tc.epoch {
					t.Errorf("epoch %d, want %d (%v)", epoch, tc.epoch, err)
				}
			}, walks)
		})
	}
}
