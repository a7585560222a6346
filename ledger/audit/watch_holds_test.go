package audit_test

import (
	"slices"
	"testing"
	"time"

	"github.com/settled/settled/ledger"
	. "github.com/settled/settled/ledger/audit"
)

// heldLife is the life of an order for tomorrow that two people hold, and one releases, as a
// watch is told of it. spoil changes what is committed by the step of a name.
func heldLife(t *testing.T, step string, spoil func(*ledger.Change)) []Violation {
	policy := ledger.Policy{Windows: ledger.DefaultWindows(), Epoch: 1}
	w, now := NewWatch(policy.Windows), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var x ledger.Transfer
	commit := func(name string, c ledger.Change, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c.Stamp(now)
		x = c.After
		if name == step {
			c.After.Holds = slices.Clone(c.After.Holds)
			spoil(&c)
		}
		w.Committed(c, now)
	}
	say := func(n int, m ledger.Message) {
		t.Helper()
		m.ID, m.Transfer = id(n), x.ID
		m.By = ledger.By{Message: m.ID, Principal: "ann", Reason: "because"}
		w.Told(m)
		c, err := x.Command(m)
		commit(string(m.Type), c, err)
	}
	o := ledger.Order{Reference: "r", Seller: "s", Destination: "acct_1", Money: ledger.Money{Amount: 1000, Currency: "eur"}, NotBefore: now.Add(24 * time.Hour)}
	commit("accept", ledger.Accept(o, id(1), 1, now, ledger.By{}), nil)
	say(5, ledger.Message{Type: ledger.MessageHold, Until: now.Add(30 * time.Hour)})
	say(6, ledger.Message{Type: ledger.MessageRelease})
	now = now.Add(24 * time.Hour)
	c, err := x.Lapse(now)
	commit("lapse", c, err)
	if x.Status() == ledger.Pending {
		c, err := x.Begin(policy, now)
		commit("send", c, err)
	}
	return w.Violations()
}

func TestTheWatchHoldsEachHold(t *testing.T) {
	if v := heldLife(t, "", nil); len(v) > 0 {
		t.Fatalf("a life as it should be: %v", v)
	}
	endAll := func(c *ledger.Change) {
		for _, h := range c.After.Holds {
			h.Ended = c.After.Version
			c.History.Holds = append(c.History.Holds, h)
		}
		c.After.Holds = nil
	}
	for name, tc := range map[string]struct {
		step  string
		spoil func(*ledger.Change)
	}{
		"an order for tomorrow that nothing holds": {"accept", func(c *ledger.Change) { c.After.Holds, c.History.Holds = nil, nil }},
		"a hold ends another":                      {"hold", func(c *ledger.Change) { h := c.After.Holds; endAll(c); c.After.Holds = h[1:] }},
		"a hold shortens another":                  {"hold", func(c *ledger.Change) { c.After.Holds[0].Until = c.History.At }},
		"a hold takes the place of another":        {"hold", func(c *ledger.Change) { c.After.Holds = c.After.Holds[1:] }},
		"a release ends every hold":                {"release", endAll},
		"what is sent is held": {"send", func(c *ledger.Change) {
			c.After.Holds = []ledger.Hold{{ID: id(9), Operation: id(1), Source: "dispute", Begun: c.After.Version}}
			c.History.Holds = c.After.Holds
		}},
	} {
		found := 0
		for _, v := range heldLife(t, tc.step, tc.spoil) {
			if v.Invariant == 27 {
				found++
			}
		}
		if found == 0 {
			t.Errorf("%s: it is not found", name)
		}
	}
}
