package stripe

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/settled/settled/ledger"
)

// sayings has, for each pattern of the table, a sentence that it is meant for.
var sayings = map[string]string{
	"T2":  "You have insufficient funds in your Stripe account. One likely reason you have insufficient funds is that your funds are automatically being paid out.",
	"T3":  "Your destination account needs to have at least one of the following capabilities enabled: transfers, crypto_transfers, legacy_payments",
	"T6":  "Funds can't be sent to accounts located in MX because it's restricted outside of your platform's region.",
	"R4":  "The associated account does not have a sufficient balance.",
	"T7":  "Transfers using this transaction as a source must not exceed the source amount of €70.00.",
	"T8":  "The currency of source_transaction's balance transaction (usd) must be the same as the transfer currency (eur)",
	"R2":  reversed,
	"R3":  "Reversal amount (€7.00) is greater than unreversed amount on transfer (€5.00)",
	"R5":  "Converting this reversal would round its amount to zero.",
	"R7":  "The destination account has been rejected.",
	"T15": "Cannot create live transfers: your account is restricted.",
	"R2b": strings.TrimSuffix(reversed, "."),
}

func TestNoRowHidesAnother(t *testing.T) {
	for i := range table {
		r := &table[i]
		o := outcome{shape: r.shape, typ: r.typ, param: r.param, limit: r.limit + "rate", code: "unheard_of"}
		if r.on != nil {
			o.kind = r.on[0]
		}
		if r.status != nil {
			o.status = r.status[0]
			if r.name == "T21" && len(r.status) > 90 { // all of 5xx that no row before it has
				o.status = 599
			}
			if r.name == "T18" {
				o.status = 499
			}
		}
		if r.code != nil {
			o.code = strings.TrimSuffix(r.code[0], "*")
		}
		if r.says != nil {
			o.message = sayings[r.name]
			if !r.says.MatchString(o.message) {
				t.Errorf("row %d, %s: its saying does not match %s", i, r.name, r.says)
			}
		}
		if got := find(&o); got != i {
			t.Errorf("row %d, %s, is hidden by row %d, %s", i, r.name, got, table[max(got, 0)].name)
		}
	}
}

// TestTheTableIsTotal tries every shape with every status: none falls through, and the
// verdicts keep to what a status can prove at all.
func TestTheTableIsTotal(t *testing.T) {
	for _, kind := range []ledger.Kind{transfer, reversal} {
		for shape := lost; shape <= refused; shape++ {
			for status := range 700 {
				if shape == refused && (status < 400 || status > 599) || shape != foreign && shape != refused && status > 0 {
					continue
				}
				for _, code := range []string{"", "rate_limit", "resource_missing", "never_heard_of"} {
					for _, again := range []bool{false, true} {
						o := outcome{shape: shape, kind: kind, status: status, code: code, replayed: again, id: "tr_1"}
						where := fmt.Sprintf("%s, shape %d, status %d, code %q, replayed %t", kind, shape, status, code, again)
						if find(&o) < 0 {
							t.Fatalf("%s: no row fits", where)
						}
						a := classify(&o)
						if a.Row == "" {
							t.Errorf("%s: the answer has no row", where)
						}
						if (a.Verdict == ledger.Done) != (shape == believed) || (a.StripeID != "") != (shape == believed || shape == waiting) || (a.Verdict == ledger.Kept) != (shape == waiting) {
							t.Errorf("%s: %s", where, a.Verdict)
						}
						if a.Verdict == ledger.Failed && (shape != refused || status >= 500) {
							t.Errorf("%s: failed", where)
						}
						if a.Verdict == ledger.NotExecuted && (status != 0 && (shape != refused || status >= 500 || again)) {
							t.Errorf("%s: not executed", where)
						}
						if again && a.Verdict == ledger.Failed && slices.Contains([]int{401, 403, 404, 409, 429}, status) {
							t.Errorf("%s: an answer that is never stored is taken for a stored one", where)
						}
						if a.Replayed && a.Scope != ledger.ScopeNone {
							t.Errorf("%s: a replay says something about Stripe's health", where)
						}
					}
				}
			}
		}
	}
}

func TestOnlyTheReversalSaysAlreadyFullyReversed(t *testing.T) {
	for message, want := range map[string]string{
		reversed:                                 "R2",
		sayings["R2b"]:                           "R2",
		reversed + "\n":                          "R2",
		"Nothing is already fully reversed here": "T18",
		"":                                       "T18",
	} {
		a := classify(&outcome{shape: refused, kind: reversal, status: 400, message: message})
		if a.Row != want {
			t.Errorf("%q comes to %s, not %s", message, a.Row, want)
		}
	}
	if a := classify(&outcome{shape: refused, kind: transfer, status: 400, message: reversed}); a.Row != "T18" {
		t.Errorf("said of a transfer it comes to %s", a.Row)
	}
}
