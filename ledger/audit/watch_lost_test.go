package audit_test

import (
	"slices"
	"testing"
	"time"

	"github.com/settled/settled/ledger"
	. "github.com/settled/settled/ledger/audit"
)

// A row may deny a payment that its database lost, until it is looked up. That the payment is made
// again is a violation all the same.
func TestAWatchForgivesWhatTheDatabaseLostAndNotASecondPayment(t *testing.T) {
	y := &telling{t: t, policy: ledger.Policy{Windows: ledger.DefaultWindows(), Epoch: 1}, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	y.w = NewWatch(y.policy.Windows)
	order := ledger.Order{Reference: "r", Seller: "s", Destination: "acct_1", Money: ledger.Money{Amount: 1000, Currency: "eur"}}
	y.commit(ledger.Accept(order, id(1), 1, y.now, ledger.By{}), nil)
	past, before := y.w.Past(), y.x
	y.make("tr_1", false)
	name := y.x.Name
	y.w.PutBack(past)
	y.x = before.Named(y.policy.Account)
	y.commit(y.x.Cancel(ledger.By{Message: id(3), Principal: "ann", Reason: "not wanted"}))
	if found := y.w.Violations(); len(found) > 0 {
		t.Errorf("a row that was lost denies its payment: %v", found)
	}
	y.w.Effect(name, "another key", false)
	if found := y.w.Violations(); !slices.ContainsFunc(found, func(v Violation) bool { return v.Invariant == 1 }) {
		t.Errorf("it was paid again: %v", found)
	}
}
