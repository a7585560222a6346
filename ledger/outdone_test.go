package ledger_test

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	. "github.com/settled/settled/ledger"
)

// givenUp is a transfer of 1,000 that Stripe refused, and that was given up.
func givenUp(t *testing.T, refusal Answer) Transfer {
	t.Helper()
	x, now := sentOnce(t)
	c, _, err := x.Conclude(x.ID, 1, 1, refusal)
	if err != nil {
		t.Fatal(err)
	}
	c.Stamp(now)
	c, err = c.After.GiveUp("", "refused")
	if err != nil {
		t.Fatal(err)
	}
	c.Stamp(now)
	return c.After
}

var (
	understood = Answer{Row: "T4", Verdict: Failed, Reaction: AskOperator, Code: "account_invalid"}
	odd        = Answer{Row: "T99", Verdict: Failed, Reaction: AskOperator, Code: "odd", Alert: true}
)

// heldAs is x at Stripe, made under a key.
func heldAs(x Transfer, epoch, generation int) StripeTransfer {
	r := x.Request(&x.Operation)
	r.Metadata[MetaEpoch], r.Metadata[MetaGeneration] = strconv.Itoa(epoch), strconv.Itoa(generation)
	return StripeTransfer{ID: "tr_1", Amount: r.Amount, Currency: r.Currency, Destination: r.Destination, Metadata: r.Metadata,
		Created: time.Date(2026, 1, 1, 0, 30, 0, 0, time.UTC)}
}

// A transfer that was given up, retried, paid and then lost is taken in from Stripe: the key there tells.
func TestWhatWasGivenUpIsTakenInWhenTheRowCannotKnow(t *testing.T) {
	for name, tc := range map[string]struct {
		refusal           Answer
		epoch, generation int
		taken             bool
	}{
		"under a later generation":                             {understood, 1, 2, true},
		"under a later epoch":                                  {understood, 2, 1, true},
		"under the key whose refusal nobody understood":        {odd, 1, 1, true},
		"under the key that was refused: a person must decide": {understood, 1, 1, false},
		"under an earlier epoch":                               {odd, 0, 7, false},
	} {
		x := givenUp(t, tc.refusal)
		c, taken, err := x.TakeIn(heldAs(x, tc.epoch, tc.generation), By{Principal: "ann"})
		if err != nil || taken != tc.taken {
			t.Errorf("%s: taken in: %v, %v", name, taken, err)
		}
		if !taken {
			continue
		}
		c.Stamp(time.Now())
		a := c.After
		if a.Status() != Completed || a.Operation.StripeID != "tr_1" || a.Operation.Epoch != tc.epoch || a.Operation.Generation != tc.generation || a.Operation.RequestHash != a.Request(&a.Operation).Hash() {
			t.Errorf("%s: %+v", name, a)
		}
		if c.Was() != PermanentlyFailed || c.History.From != PermanentlyFailed || c.History.To != Completed || c.History.By.Principal != "ann" {
			t.Errorf("%s: was %s, %+v", name, c.Was(), c.History)
		}
		booked(t, x, c)
	}
}

// booked compares a change's postings with the books before and after.
func booked(t *testing.T, before Transfer, c Change) {
	t.Helper()
	want, got := c.After.Books(), before.Books()
	for _, p := range c.Postings {
		got[p.Account] += p.Amount
	}
	for account := range want {
		if got[account] != want[account] {
			t.Errorf("%s holds %d, want %d", account, got[account], want[account])
		}
	}
}

func TestWhatIsNotTheOrderAsItWasIsNotTakenIn(t *testing.T) {
	for name, edit := range map[string]func(*StripeTransfer){
		"another amount":      func(s *StripeTransfer) { s.Amount++ },
		"another currency":    func(s *StripeTransfer) { s.Currency = "usd" },
		"another destination": func(s *StripeTransfer) { s.Destination = "acct_2" },
		"another operation":   func(s *StripeTransfer) { s.Metadata[MetaOperation] = uuid.NewString() },
		"no generation":       func(s *StripeTransfer) { delete(s.Metadata, MetaGeneration) },
	} {
		x := givenUp(t, understood)
		s := heldAs(x, 1, 2)
		edit(&s)
		if _, taken, err := x.TakeIn(s, By{}); taken || err != nil {
			t.Errorf("%s: taken in: %v, %v", name, taken, err)
		}
	}
}

// A reversal is taken in likewise, once no other is under way, and if so much was left.
func TestAReversalThatWasGivenUpIsTakenInWhenTheRowCannotKnow(t *testing.T) {
	refused := func() Transfer {
		x := paidTransfer(t)
		c, err := x.Reverse(uuid.Must(uuid.NewV7()), "re_1", 300, 1, By{Principal: "ann"})
		for _, step := range []func(Transfer) (Change, error){
			func(x Transfer) (Change, error) {
				return x.Begin(Policy{Windows: DefaultWindows(), Epoch: 1}, time.Now())
			},
			func(x Transfer) (Change, error) {
				c, _, err := x.Conclude(x.Reversals[0].ID, 1, 1, understood)
				return c, err
			},
			func(x Transfer) (Change, error) { return x.GiveUp("", "refused") },
		} {
			if err != nil {
				t.Fatal(err)
			}
			c.Stamp(time.Now())
			c, err = step(c.After)
		}
		if err != nil {
			t.Fatal(err)
		}
		c.Stamp(time.Now())
		return c.After
	}
	at := func(x Transfer, others ...int64) StripeTransfer {
		s := reversedBy(others...)
		meta := maps.Clone(x.Request(&x.Reversals[0].Operation).Metadata)
		meta[MetaGeneration] = "2"
		s.Reversals = append(s.Reversals, StripeReversal{ID: "trr_ours", Amount: 300, Metadata: meta})
		s.AmountReversed += 300
		return s
	}
	x := refused()
	c, taken, err := x.TakeIn(at(x), By{})
	if err != nil || !taken {
		t.Fatalf("taken in: %v, %v", taken, err)
	}
	c.Stamp(time.Now())
	r := c.After.Reversals[0]
	if c.After.Status() != PartiallyReversed || c.After.AmountReversed != 300 || r.State != Completed || r.StripeID != "trr_ours" || r.Generation != 2 || c.Was() != PermanentlyFailed {
		t.Errorf("%+v", c.After)
	}
	booked(t, x, c)

	busy, err := x.Reverse(uuid.Must(uuid.NewV7()), "re_2", 100, 1, By{})
	if err != nil {
		t.Fatal(err)
	}
	if _, taken, _ := busy.After.TakeIn(at(busy.After), By{}); taken {
		t.Error("it is taken in while another is to be made")
	}
	all, _, err := x.AdoptOutside(reversedBy(800), By{})
	if err != nil {
		t.Fatal(err)
	}
	if _, taken, err := all.After.TakeIn(at(all.After, 800), By{}); taken || !errors.Is(err, ErrConflict) {
		t.Errorf("more comes back than was paid: %v, %v", taken, fmt.Sprint(err))
	}
}
