package audit_test

import (
	"net/url"
	"slices"
	"strconv"
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
	name := y.x.Operation.Name
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

// What the database lost may be asked for again, of another amount, under the key that it had: Stripe knows whether that key
// was used. If it was, and money moved, no other bytes may go with it.
func TestAWatchLetsAKeyHaveOtherBytesOnlyIfNothingMovedUnderIt(t *testing.T) {
	for name, moved := range map[string]bool{"nothing moved": false, "money moved": true} {
		y := &telling{t: t, policy: ledger.Policy{Windows: ledger.DefaultWindows(), Epoch: 1}, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
		y.w = NewWatch(y.policy.Windows)
		order := ledger.Order{Reference: "r", Seller: "s", Destination: "acct_1", Money: ledger.Money{Amount: 1000, Currency: "eur"}}
		y.commit(ledger.Accept(order, id(1), 1, y.now, ledger.By{}), nil)
		y.make("tr_1", false)
		past, before := y.w.Past(), y.x
		send := func(amount int64) {
			y.commit(y.x.Reverse(id(7), "re_1", amount, 1, ledger.By{Message: id(int(amount)), Principal: "ann"}))
			y.commit(y.x.Begin(y.policy, y.now))
			op, _ := y.x.Current()
			form := url.Values{"amount": {strconv.FormatInt(amount, 10)}, "metadata[settled_operation]": {op.Name.String()}}
			y.w.Sent(ledger.Key(op.Name, op.Epoch, op.Generation), "/v1/transfers/tr_1/reversals", form.Encode(), y.now)
			if moved {
				moved = false
				y.w.Effect(op.Name, ledger.Key(op.Name, op.Epoch, op.Generation), true)
			}
		}
		wants := moved
		send(1000)
		y.w.PutBack(past)
		y.x = before
		send(700)
		broken := slices.ContainsFunc(y.w.Violations(), func(v Violation) bool { return v.Invariant == 6 })
		if broken != wants {
			t.Errorf("%s: the watch finds %v", name, y.w.Violations())
		}
	}
}
