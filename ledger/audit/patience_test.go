package audit_test

import (
	"slices"
	"testing"
	"time"

	"github.com/settled/settled/ledger"
	. "github.com/settled/settled/ledger/audit"
)

// giving is a transfer that Stripe refuses, and that is given up in the end.
type giving struct {
	*telling
}

// refuse drives a generation to a refusal, of which the watch is told as Stripe told it.
func (g *giving) refuse(status int, typ, code string) {
	g.t.Helper()
	c, err := g.x.Begin(g.policy, g.now)
	g.commit(c, err)
	op, _ := g.x.Current()
	g.w.Refused(ledger.Key(op.Name, op.Epoch, op.Generation), status, typ, code, g.now)
	c, _, err = g.x.Conclude(op.ID, op.Epoch, op.Generation, ledger.Answer{Verdict: ledger.Failed, HTTPStatus: status, Code: code})
	g.commit(c, err)
}

func TestNothingIsGivenUpBeforeItsTime(t *testing.T) {
	const invalid, funds = "invalid_request_error", "balance_insufficient"
	times := func(n int, status int, typ, code string) func(*giving) {
		return func(g *giving) {
			for range n {
				g.refuse(status, typ, code)
			}
		}
	}
	wait := func(d time.Duration) func(*giving) { return func(g *giving) { g.now = g.now.Add(d) } }
	for name, tc := range map[string]struct {
		life []func(*giving)
		kept bool
	}{
		"what nobody refused":                     {nil, false},
		"what was refused for good":               {[]func(*giving){times(1, 400, invalid, "resource_missing")}, true},
		"what waits for funds, after one refusal": {[]func(*giving){times(1, 400, invalid, funds)}, false},
		"what waits for funds, after many":        {[]func(*giving){times(9, 400, invalid, funds)}, false},
		"what waits for funds, after an age":      {[]func(*giving){times(1, 400, invalid, funds), wait(31 * 24 * time.Hour)}, true},
		"what waits for funds, before it":         {[]func(*giving){times(1, 400, invalid, funds), wait(29 * 24 * time.Hour)}, false},
		"what was turned away":                    {[]func(*giving){times(9, 429, invalid, "rate_limit")}, false},
		"what the key may not do":                 {[]func(*giving){times(9, 403, invalid, "")}, false},
		"what was tried long enough":              {[]func(*giving){times(1, 429, invalid, "rate_limit"), wait(4 * 24 * time.Hour)}, true},
		"a refusal before a person's retry": {[]func(*giving){times(1, 400, invalid, "resource_missing"), func(g *giving) {
			c, err := g.x.Retry(ledger.By{Message: id(9), Principal: "ann"})
			g.commit(c, err)
		}}, false},
	} {
		y := &telling{t: t, policy: ledger.Policy{Windows: ledger.DefaultWindows(), Epoch: 1}, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
		y.w = NewWatch(y.policy.Windows)
		p := Patience{Attempts: 5, Age: 72 * time.Hour, ConditionAge: 30 * 24 * time.Hour}
		y.w.Patient(p, p)
		y.commit(ledger.Accept(ledger.Order{Reference: "r", Seller: "s", Destination: "acct_1", Money: ledger.Money{Amount: 1000, Currency: "eur"}}, id(1), 1, y.now, ledger.By{}), nil)
		g := &giving{telling: y}
		for _, do := range tc.life {
			do(g)
		}
		c, err := y.x.GiveUp("x", "enough")
		y.commit(c, err)
		broken := slices.ContainsFunc(y.w.Violations(), func(v Violation) bool { return v.Invariant == 28 })
		if broken == tc.kept {
			t.Errorf("%s: %v", name, y.w.Violations())
		}
	}
}
