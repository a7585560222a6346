package db

import (
	"testing"

	"github.com/settled/settled/ledger"
)

// byForce runs a statement past the triggers that keep history as it is.
func byForce(t testing.TB, d *DB, statement string, args ...any) {
	t.Helper()
	off := []string{"ALTER TABLE history DISABLE TRIGGER USER", "ALTER TABLE postings DISABLE TRIGGER USER", "ALTER TABLE transfers DISABLE TRIGGER USER"}
	if d.Dialect() == "sqlite" {
		off = []string{"DROP TRIGGER IF EXISTS history_keep_update", "DROP TRIGGER IF EXISTS history_keep", "DROP TRIGGER IF EXISTS postings_keep_update",
			"DROP TRIGGER IF EXISTS postings_keep", "DROP TRIGGER IF EXISTS transfers_guard"}
	}
	for _, s := range off {
		if err := exec(t.Context(), d, s); err != nil {
			t.Fatal(err)
		}
	}
	if err := exec(t.Context(), d, statement, args...); err != nil {
		t.Fatal(err)
	}
}

// broken is what an audit says of a transfer's chain.
func broken(t testing.TB, d *DB, id ledger.ID) error {
	t.Helper()
	page, err := d.AuditPage(t.Context(), ledger.ID{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range page {
		if r.Transfer.ID == id {
			return r.Broken
		}
	}
	t.Fatalf("%s is not in the page", id)
	return nil
}

func TestAHistoryThatWasTamperedWithIsFound(t *testing.T) {
	for name, statement := range map[string]string{
		"a row changed":               "UPDATE history SET reason = 'somebody else asked' WHERE transfer_id = ? AND version = 2",
		"an answer changed":           "UPDATE history SET answer_http_status = 201 WHERE transfer_id = ? AND version = 3",
		"a time changed":              "UPDATE history SET at = '2020-01-01T00:00:00.000000Z' WHERE transfer_id = ? AND version = 1",
		"the last row taken out":      "DELETE FROM history WHERE transfer_id = ? AND version = 3",
		"a row taken out":             "DELETE FROM history WHERE transfer_id = ? AND version = 2",
		"a hash taken out":            "UPDATE history SET chain = NULL WHERE transfer_id = ? AND version = 3",
		"a posting changed":           "UPDATE postings SET account = 'returning' WHERE transfer_id = ? AND version = 3 AND account = 'paid'",
		"both postings of an entry":   "UPDATE postings SET amount = amount * 2 WHERE transfer_id = ? AND version = 2",
		"an entry taken out":          "DELETE FROM postings WHERE transfer_id = ? AND version = 3",
		"the end of the chain":        "UPDATE transfers SET chain = 'another' WHERE id = ?",
		"a verdict that nobody knows": "UPDATE history SET answer_verdict = 'perhaps' WHERE transfer_id = ? AND version = 3",
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, d *DB) {
				x, other := completed(t, d), completed(t, d)
				if err := broken(t, d, x.ID); err != nil {
					t.Fatalf("before: %v", err)
				}
				byForce(t, d, statement, x.ID)
				if broken(t, d, x.ID) == nil {
					t.Error("it was not found")
				}
				if err := broken(t, d, other.ID); err != nil {
					t.Errorf("another is said to be broken: %v", err)
				}
			})
		})
	}
}
