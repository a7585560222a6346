package db

import (
	"testing"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// older makes the ledger as one of a time before the seals.
func older(t testing.TB, d *DB) {
	t.Helper()
	for _, s := range []string{
		"UPDATE history SET content = NULL, chain = NULL", "UPDATE transfers SET chain = NULL", "DELETE FROM seals", "DELETE FROM seal_chains",
		"DELETE FROM censuses", "UPDATE messages SET seal = NULL, receipt_seal = NULL", "UPDATE events SET seal = NULL", "UPDATE drift SET seal = NULL",
		"UPDATE reversals SET order_hash = ''", "INSERT INTO meta (key, value) VALUES ('unsealed', 'yes')",
	} {
		if err := exec(t.Context(), d, s); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.changing(t.Context(), "censuses", func(bun.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	d.seals.head = ledger.Seal{} // another process
	d.newest.Store(nil)
}

// What is older than the seals is brought into them once, and then nothing of it may change either.
func TestWhatIsOlderThanTheSealsIsSealed(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		wholeLedger(t, d)
		y := completed(t, d)
		c, err := y.Reverse(newID(), "all", 0, 1, reverse(t, d, y.ID, 0))
		y = commit(t, d, c, err)
		unguarded(t, d)
		older(t, d)
		if found := audited(t, d); len(found) == 0 {
			t.Fatal("what has no hash is taken as it is")
		}
		for range 2 {
			if _, err := d.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if found := audited(t, d); len(found) > 0 {
			t.Fatalf("sealed: %v", found)
		}
		y = load(t, d, y.ID).Transfer
		if op, _ := y.Current(); op == nil || y.Altered(op) {
			t.Errorf("a reversal that waits since before its hash: %+v", y.Reversals)
		}
		c, err = y.Begin(policy(), y.Operation.Since)
		y = commit(t, d, c, err)
		if found := audited(t, d); len(found) > 0 {
			t.Fatalf("it went on: %v", found)
		}
		for _, s := range []string{"UPDATE history SET principal = 'eve' WHERE version = 1", "UPDATE transfers SET seller = 'eve'"} {
			if err := exec(t.Context(), d, s); err != nil {
				t.Fatal(err)
			}
			told(t, audited(t, d), s, y.ID)
		}
	})
}

// A reversal of before its hash that is not as it was asked for keeps none: nothing of it is sent.
func TestAnOldReversalThatIsNotAsItWasAskedForIsNotGivenItsHash(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		for _, s := range []string{"UPDATE reversals SET amount = 900", "UPDATE reversals SET cause = 'another'", "DELETE FROM messages"} {
			x := completed(t, d)
			c, err := x.Reverse(newID(), "refund", 400, 1, reverse(t, d, x.ID, 400))
			x = commit(t, d, c, err)
			unguarded(t, d)
			older(t, d)
			for _, s := range []string{s, "DELETE FROM transfers WHERE id <> '" + x.ID.String() + "'", "DELETE FROM reversals WHERE transfer_id <> '" + x.ID.String() + "'"} {
				if err := exec(t.Context(), d, s); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := d.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			x = load(t, d, x.ID).Transfer
			if op, _ := x.Current(); !x.Altered(op) {
				t.Errorf("%s: it may be sent", s)
			}
		}
	})
}

// What has a hash that does not fit gets no other one: the audit goes on to tell of it.
func TestWhatWasChangedBeforeTheSealsIsStillTold(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		x, other := completed(t, d), completed(t, d)
		unguarded(t, d)
		for _, s := range []string{"DELETE FROM seals", "DELETE FROM seal_chains", "INSERT INTO meta (key, value) VALUES ('unsealed', 'yes')",
			"UPDATE history SET reason = 'another' WHERE transfer_id = '" + x.ID.String() + "' AND version = 2"} {
			if err := exec(t.Context(), d, s); err != nil {
				t.Fatal(err)
			}
		}
		d.seals.head = ledger.Seal{}
		if _, err := d.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		found := audited(t, d)
		told(t, found, "a reason that was changed before", x.ID)
		for _, f := range found {
			if f.Transfer != x.ID {
				t.Errorf("%s is told too, of %s", f, other.ID)
			}
		}
	})
}

// reverse stores the message that asks for a reversal.
func reverse(t testing.TB, d *DB, of ledger.ID, amount int64) ledger.By {
	t.Helper()
	m := ledger.Message{ID: newID(), Transfer: of, Type: ledger.MessageReverse, Amount: amount, Reference: "asked"}
	m.By = ledger.By{Message: m.ID, Principal: "ann", Reason: "refund"}
	if fresh, err := d.StoreMessage(t.Context(), m, ledger.Completed); err != nil || !fresh {
		t.Fatal(fresh, err)
	}
	return m.By
}
