package db

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/ledger"
)

// heldLater is an order for a later date that an operator held until a moment before it.
func heldLater(t testing.TB, d *DB) ledger.Transfer {
	t.Helper()
	o := anOrder()
	o.NotBefore = time.Now().Add(24 * time.Hour).UTC().Truncate(time.Microsecond)
	x := commit(t, d, accept(o), nil)
	c, err := x.Hold(ledger.HeldByOperator, time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond), ledger.By{Principal: "anna", Reason: "stocktaking"})
	return commit(t, d, c, err)
}

func loaded(t testing.TB, d *DB, id ledger.ID) ledger.Transfer {
	t.Helper()
	r, err := d.Load(t.Context(), []ledger.ID{id})
	if err != nil || len(r) != 1 {
		t.Fatalf("%d, %v", len(r), err)
	}
	return r[0].Transfer
}

func TestHoldsAreReadAsTheyWereSetUntilTheyEnd(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		x := heldLater(t, d)
		if diff := cmp.Diff(x.Holds, loaded(t, d, x.ID).Holds); diff != "" || len(x.Holds) != 2 {
			t.Errorf("(-, +):\n%s", diff)
		}
		c, err := x.Release(ledger.By{Principal: "bob", Reason: "counted"})
		x = commit(t, d, c, err)
		if diff := cmp.Diff(x.Holds, loaded(t, d, x.ID).Holds); diff != "" || len(x.Holds) != 1 || x.Status() != ledger.Held {
			t.Errorf("%s (-, +):\n%s", x.Status(), diff)
		}
		dossier, err := d.Dossier(t.Context(), x.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		var steps []int
		for _, h := range dossier.History {
			steps = append(steps, len(h.Holds))
		}
		if diff := cmp.Diff([]int{1, 1, 1}, steps); diff != "" {
			t.Errorf("holds of each step (-, +):\n%s", diff)
		}
		if err := broken(t, d, x.ID); err != nil {
			t.Error(err)
		}

		y := completed(t, d)
		c, err = y.Reverse(newID(), "re_held", 400, 1, ledger.By{Reason: "refund"})
		y = commit(t, d, c, err)
		c, err = y.HoldReversal(y.Reversals[0].ID, ledger.HeldByDispute, time.Time{}, ledger.By{Reason: "wait"})
		y = commit(t, d, c, err)
		if diff := cmp.Diff(y.Holds, loaded(t, d, y.ID).Holds); diff != "" || len(y.Holds) != 1 {
			t.Errorf("(-, +):\n%s", diff)
		}
	})
}

func TestAHoldThatWasTamperedWithIsFound(t *testing.T) {
	for name, statement := range map[string]string{
		"another end":         "UPDATE holds SET until = since WHERE transfer_id = ? AND source = 'schedule'",
		"no end":              "UPDATE holds SET until = NULL WHERE transfer_id = ? AND source = 'schedule'",
		"another source":      "UPDATE holds SET source = 'dispute' WHERE transfer_id = ? AND source = 'operator'",
		"another's reason":    "UPDATE holds SET reason = 'x' WHERE transfer_id = ? AND source = 'operator'",
		"another person":      "UPDATE holds SET principal = 'eve' WHERE transfer_id = ? AND source = 'operator'",
		"ended by no step":    "UPDATE holds SET ended = 9, ended_at = since WHERE transfer_id = ? AND source = 'schedule'",
		"ended by another":    "UPDATE holds SET ended = 2, ended_at = since WHERE transfer_id = ? AND source = 'schedule'",
		"as if it stood":      "UPDATE holds SET ended = NULL, ended_at = NULL WHERE transfer_id = ? AND source = 'operator'",
		"taken out":           "DELETE FROM holds WHERE transfer_id = ? AND source = 'schedule'",
		"of another transfer": "UPDATE holds SET transfer_id = (SELECT id FROM transfers WHERE status = 'completed') WHERE transfer_id = ? AND source = 'schedule'",
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, d *DB) {
				completed(t, d)
				x := heldLater(t, d)
				c, err := x.Release(ledger.By{Principal: "bob", Reason: "counted"})
				x = commit(t, d, c, err)
				if err := exec(t.Context(), d, statement, x.ID); err == nil && name != "ended by no step" && name != "ended by another" {
					t.Error("the database lets it happen")
				}
				off := []string{"ALTER TABLE holds DISABLE TRIGGER USER"}
				if d.Dialect() == "sqlite" {
					off = []string{"DROP TRIGGER holds_guard", "DROP TRIGGER holds_keep"}
				}
				for _, s := range off {
					if err := exec(t.Context(), d, s); err != nil {
						t.Fatal(err)
					}
				}
				byForce(t, d, statement, x.ID)
				if broken(t, d, x.ID) == nil {
					t.Error("it was not found")
				}
			})
		})
	}
}

// A hold by another took the place of the order's own date, before holds had a table.
func TestHoldsOfATimeBeforeTheirTable(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		ctx := t.Context()
		d, err := Open(ctx, url, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		list, err := scripts(d.Dialect())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			if s.name == "0011_holds" {
				break
			}
			if _, err := d.apply(ctx, list, s); err != nil {
				t.Fatal(err)
			}
		}
		now := time.Now().UTC().Truncate(time.Microsecond)
		date := now.Add(48 * time.Hour)
		add := func(by string, until any) ledger.ID {
			t.Helper()
			id := newID()
			err := exec(ctx, d, `INSERT INTO transfers (id, version, state, since, epoch, generation, request_hash, open_sends, error_code, error_message,
				held_by, held_until, amount_reversed, reference, order_hash, seller, destination, amount, currency, source_transaction,
				transfer_group, description, not_before, metadata, created_at)
				VALUES (?, 2, 'held', ?, 1, 0, '', 0, '', '', ?, ?, 0, ?, '', 's', 'acct_1', 100, 'eur', '', '', '', ?, '', ?)`,
				id, toInstant(now), by, until, "r-"+id.String(), toInstant(date), toInstant(now))
			if err != nil {
				t.Fatal(err)
			}
			err = exec(ctx, d, `INSERT INTO history (transfer_id, version, subject, kind, at, event, from_state, to_state, status, epoch, generation, open_sends,
				principal, reason) VALUES (?, 2, ?, 'transfer', ?, 'hold', 'pending', 'held', 'held', 1, 0, 0, 'anna', 'stocktaking')`, id, id, toInstant(now))
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		bySchedule := add("schedule", toInstant(date))
		byOperator := add("operator", nil)
		forAnHour := add("operator", toInstant(now.Add(time.Hour)))
		if _, err := d.Migrate(ctx); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[ledger.ID]struct {
			by   ledger.HoldSource
			next time.Time
			n    int
		}{
			bySchedule: {ledger.HeldBySchedule, date, 1},
			byOperator: {ledger.HeldByOperator, date, 2},
			forAnHour:  {ledger.HeldBySchedule, now.Add(time.Hour), 2},
		} {
			x := loaded(t, d, id)
			longest, _ := x.HeldLongest(id)
			if x.HeldBy != want.by || longest.Source != want.by || !x.HoldEndsAt.Equal(want.next) || !x.NextHoldEnd().Equal(want.next) || len(x.Holds) != want.n {
				t.Errorf("held by %s, next until %s, by %+v", x.HeldBy, x.HoldEndsAt, x.Holds)
			}
			for _, h := range x.Holds {
				if h.Source == ledger.HeldByOperator && (h.By != "anna" || h.Reason != "stocktaking") {
					t.Errorf("%+v", h)
				}
			}
		}
		x := loaded(t, d, byOperator)
		c, err := x.Release(ledger.By{Principal: "anna"})
		if x = commit(t, d, c, err); x.Status() != ledger.Held {
			t.Errorf("released, it is %s before its date", x.Status())
		}
	})
}

// The stored status is for lists. A hold stands whatever it says, and keeps its reversal from being sent.
func TestAHoldStandsWhateverTheStoredStatusSays(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		x := completed(t, d)
		id := newID()
		c, err := x.Reverse(id, "re_1", 1, 1, ledger.By{Principal: "ann", Reason: "it is returned"})
		x = commit(t, d, c, err)
		c, err = x.HoldReversal(id, ledger.HeldByOperator, time.Time{}, ledger.By{Principal: "ann", Reason: "stocktaking"})
		x = commit(t, d, c, err)
		unguarded(t, d)
		byForce(t, d, "UPDATE transfers SET status = 'completed' WHERE id = ?", x.ID)
		x = loaded(t, d, x.ID)
		if op, _ := x.Current(); op != nil || len(x.HoldsOf(id)) != 1 {
			t.Errorf("%v is driven, with %d holds", op, len(x.HoldsOf(id)))
		}
	})
}
