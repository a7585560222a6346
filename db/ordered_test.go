package db

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/settled/settled/ledger"
)

func TestWhatAPrincipalOrderedIsSummed(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		began := time.Now().Add(-time.Hour)
		add := func(reference, principal, seller, destination string, m ledger.Money, held ...string) ledger.Transfer {
			o := ledger.Order{Reference: reference, Seller: seller, Destination: destination, Money: m}
			c := []ledger.Change{ledger.Accept(o, uuid.Must(uuid.NewV7()), 1, time.Now(), ledger.By{Principal: principal}, held...)}
			if _, won, err := d.Commit(t.Context(), c); err != nil || !won[0] {
				t.Fatal(won, err)
			}
			return c[0].After
		}
		add("r-1", "anna", "s-1", "acct_1", ledger.Money{Amount: 300, Currency: "eur"})
		add("r-2", "anna", "s-1", "acct_1", ledger.Money{Amount: 40, Currency: "eur"})
		add("r-3", "anna", "s-1", "acct_1", ledger.Money{Amount: 7, Currency: "usd"})
		add("r-4", "ben", "s-1", "acct_1", ledger.Money{Amount: 5, Currency: "eur"})
		waits := add("r-5", "ben", "s-2", "acct_2", ledger.Money{Amount: 1, Currency: "eur"}, "new")
		for principal, want := range map[string]map[ledger.Currency]int64{"anna": {"eur": 340, "usd": 7}, "ben": {"eur": 6}, "carl": {}} {
			got, err := d.Ordered(t.Context(), principal, began)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-, +):\n%s", principal, diff)
			}
		}
		if got, err := d.Ordered(t.Context(), "anna", time.Now().Add(time.Hour)); err != nil || len(got) != 0 {
			t.Errorf("since later: %v, %v", got, err)
		}

		paid := func(seller, destination string, want bool) {
			t.Helper()
			if got, err := d.PaidBefore(t.Context(), seller, destination); err != nil || got != want {
				t.Errorf("%s to %s: %t, %v", seller, destination, got, err)
			}
		}
		paid("s-1", "acct_1", true)
		paid("s-1", "acct_2", false)
		paid("s-2", "acct_1", false)
		paid("s-2", "acct_2", false) // it is held
		c, err := waits.Release(ledger.By{Principal: "anna", Reason: "it is theirs"})
		if err != nil {
			t.Fatal(err)
		}
		if _, won, err := d.Commit(t.Context(), []ledger.Change{c}); err != nil || !won[0] {
			t.Fatal(won, err)
		}
		paid("s-2", "acct_2", true)
	})
}
