package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	. "github.com/settled/settled/ledger"
)

// sentOnce is a transfer of 1,000 that was sent for the first time, and when.
func sentOnce(t *testing.T) (Transfer, time.Time) {
	t.Helper()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	x := Accept(Order{Reference: "r", Seller: "s", Destination: "acct_1", Money: Money{Amount: 1000, Currency: "eur"}}, uuid.Must(uuid.NewV7()), 1, now, By{}).After
	c, err := x.Begin(Policy{Windows: DefaultWindows(), Epoch: 1}, now)
	if err != nil {
		t.Fatal(err)
	}
	c.Stamp(now)
	return c.After, now
}

// paidTransfer is a transfer of 1,000 that Stripe holds as tr_1.
func paidTransfer(t *testing.T) Transfer {
	t.Helper()
	x, _ := sentOnce(t)
	c, _, err := x.Conclude(x.ID, 1, 1, Answer{Row: "T1", Verdict: Done, StripeID: "tr_1"})
	if err != nil {
		t.Fatal(err)
	}
	return c.After
}

func reversedBy(amounts ...int64) StripeTransfer {
	s := StripeTransfer{ID: "tr_1", Amount: 1000, Currency: "eur"}
	for i, a := range amounts {
		s.Reversals = append([]StripeReversal{{ID: "trr_" + string(rune('a'+i)), Amount: a}}, s.Reversals...)
		s.AmountReversed += a
	}
	return s
}

func TestReversalsMadeOutsideAreBookedOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		amounts []int64
		state   State
	}{
		"a part":                     {[]int64{300}, PartiallyReversed},
		"two parts":                  {[]int64{300, 200}, PartiallyReversed},
		"all of it":                  {[]int64{1000}, Reversed},
		"all of it, in three pieces": {[]int64{300, 200, 500}, Reversed},
	} {
		x, s := paidTransfer(t), reversedBy(tc.amounts...)
		c, changed, err := x.AdoptOutside(s, By{Principal: "ann"})
		if err != nil || !changed {
			t.Fatalf("%s: %v, %v", name, changed, err)
		}
		c.Stamp(time.Now())
		a := c.After
		if a.Status() != tc.state || a.AmountReversed != s.AmountReversed || len(a.Reversals) != len(tc.amounts) || a.Version != x.Version+1 {
			t.Errorf("%s: %+v", name, a)
		}
		books := x.Books()
		for _, p := range c.Postings {
			books[p.Account] += p.Amount
		}
		for account, want := range a.Books() {
			if books[account] != want {
				t.Errorf("%s: %s holds %d, not %d", name, account, books[account], want)
			}
		}
		for i, r := range a.Reversals { // oldest first
			if !r.External || r.Amount != tc.amounts[i] || r.State != Completed || r.Since.IsZero() || r.ID != ExternalID(r.StripeID) {
				t.Errorf("%s: %+v", name, r)
			}
		}
		if h := c.History; h.Event != EventAdopt || h.Status != tc.state || h.By.Principal != "ann" || h.Detail == "" {
			t.Errorf("%s: %+v", name, h)
		}
		if _, changed, err := a.AdoptOutside(s, By{}); err != nil || changed {
			t.Errorf("%s, again: %v, %v", name, changed, err)
		}
	}
}

func TestWhatIsNotOthersReversalIsNotBooked(t *testing.T) {
	x := paidTransfer(t)
	driven, err := x.Reverse(uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7()).String(), 100, 1, By{})
	if err != nil {
		t.Fatal(err)
	}
	named := reversedBy(300)
	named.Reversals[0].Metadata = map[string]string{MetaOperation: uuid.Must(uuid.NewV7()).String()}
	lagging, other := reversedBy(300), reversedBy(300)
	lagging.AmountReversed += 200
	other.ID = "tr_2"
	all, _, err := x.AdoptOutside(reversedBy(900), By{})
	if err != nil {
		t.Fatal(err)
	}
	late := reversedBy(900)
	late.Reversals[0].ID = "trr_z" // the ledger's own is not there, and there is no room for both
	for name, tc := range map[string]struct {
		x    Transfer
		s    StripeTransfer
		want error
	}{
		"none":                              {x, reversedBy(), nil},
		"what names an operation":           {x, named, nil},
		"a list that lags behind":           {x, lagging, ErrTooEarly},
		"another transfer's":                {x, other, ErrConflict},
		"while one of ours is being driven": {driven.After, reversedBy(300), ErrIllegalMove},
		"more than the transfer is of":      {all.After, late, ErrConflict},
		"of what was never paid":            {Accept(x.Order, x.ID, 1, time.Now(), By{}).After, reversedBy(300), ErrConflict},
	} {
		if _, changed, err := tc.x.AdoptOutside(tc.s, By{}); changed || !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, %v", name, changed, err)
		}
	}
}
