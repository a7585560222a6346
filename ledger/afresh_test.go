package ledger_test

import (
	"testing"
	"time"

	. "github.com/settled/settled/ledger"
)

// A generation whose first send was stamped by a wrong clock seems young for as long as that clock was
// ahead: its key is not used again, although nothing of it is open.
func TestAKeyOfUnknownAgeIsNotUsedAgain(t *testing.T) {
	policy := Policy{Windows: DefaultWindows(), Epoch: 1, EpochSince: time.Time{}}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	apply := func(c Change, err error) Transfer {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		c.Stamp(now)
		return c.After
	}
	x := apply(Accept(Order{Reference: "r", Seller: "s", Destination: "acct_1", Money: Money{Amount: 100, Currency: "eur"}}, ID{1}, 1, now, By{}), nil)
	now = now.Add(9 * time.Hour) // the database's clock is ahead
	x = apply(x.Begin(policy, now))
	c, _, err := x.Conclude(x.ID, x.Operation.Epoch, x.Operation.Generation, Answer{Verdict: NotExecuted, HTTPStatus: 429})
	x = apply(c, err)
	now = now.Add(time.Hour) // and is right again, a day later
	if same := apply(x.Begin(policy, now)); same.Operation.Generation != x.Operation.Generation {
		t.Fatalf("a young key gave way to generation %d", same.Operation.Generation)
	}
	if next := apply(x.Afresh().Begin(policy, now)); next.Operation.Generation != x.Operation.Generation+1 || !next.Operation.FirstSentAt.Equal(now) {
		t.Errorf("generation %d, first sent at %s, follows %d", next.Operation.Generation, next.Operation.FirstSentAt, x.Operation.Generation)
	}
	x = apply(x.Begin(policy, now))
	if open := x.Afresh(); open.Operation.FirstSentAt != x.Operation.FirstSentAt {
		t.Error("what is open lost the moment of its first send")
	}
}
