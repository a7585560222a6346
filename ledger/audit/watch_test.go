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

// telling is the life of one transfer, paid and partly returned, as a watch is told of it. A
// test spoils one thing in it.
type telling struct {
	t      *testing.T
	w      *Watch
	policy ledger.Policy
	now    time.Time
	x      ledger.Transfer

	change func(*ledger.Change)                          // spoils what is committed
	post   func(key, path string, form url.Values)       // before it is sent
	age    time.Duration                                 // between the commit and the send
	wire   time.Duration                                 // between the send and its arrival
	effect func(op *ledger.ID, key *string, again *bool) // spoils what Stripe makes
}

func tell(t *testing.T, spoil func(*telling)) []Violation {
	y := &telling{t: t, policy: ledger.Policy{Windows: ledger.DefaultWindows(), Epoch: 1}, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	y.w = NewWatch(y.policy.Windows)
	spoil(y)
	order := ledger.Order{Reference: "r", Seller: "s", Destination: "acct_1", Money: ledger.Money{Amount: 1000, Currency: "eur"}}
	y.commit(ledger.Accept(order, id(1), 1, y.now, ledger.By{}), nil)
	y.make("tr_1", false)
	y.commit(y.x.Reverse(id(2), id(2).String(), 400, 1, ledger.By{Message: id(2), Principal: "ann"}))
	y.make("trr_1", true)
	return y.w.Violations()
}

func (y *telling) commit(c ledger.Change, err error) {
	y.t.Helper()
	if err != nil {
		y.t.Fatal(err)
	}
	y.now = y.now.Add(time.Second)
	c.Stamp(y.now)
	y.x = c.After
	y.x.Reversals = slices.Clone(c.After.Reversals)
	if y.change != nil {
		c.After.Reversals = slices.Clone(c.After.Reversals)
		y.change(&c)
	}
	y.w.Committed(c, y.now)
}

// make drives the transfer's operation through one send to its end.
func (y *telling) make(stripeID string, reversal bool) {
	y.t.Helper()
	y.commit(y.x.Begin(y.policy, y.now))
	op, _ := y.x.Current()
	r := y.x.Request(op)
	key := ledger.Key(op.Name, op.Epoch, op.Generation)
	path := "/v1/transfers"
	if reversal {
		path += "/" + y.x.Operation.StripeID + "/reversals"
	}
	form := url.Values{"amount": {strconv.FormatInt(r.Amount, 10)}, "metadata[settled_operation]": {op.Name.String()}}
	if !reversal {
		form.Set("destination", "acct_1")
		form.Set("currency", "eur")
	}
	sent := y.now.Add(y.age)
	if y.post != nil {
		y.post(key, path, form)
	}
	y.w.Sent(key, path, form.Encode(), sent)
	y.w.Arrived(key, sent.Add(y.wire))
	subject, again := op.Name, false
	if y.effect != nil {
		y.effect(&subject, &key, &again)
	}
	y.w.Effect(subject, key, reversal)
	if again {
		y.w.Effect(subject, key+"x", reversal)
	}
	c, _, err := y.x.Found(op.ID, stripeID, "an answer")
	y.commit(c, err)
}

// at spoils the n-th commit, from 1: accept, send, confirm, reverse, send, confirm.
func at(n int, spoil func(*ledger.Change)) func(*telling) {
	return func(y *telling) {
		y.change = func(c *ledger.Change) {
			if n--; n == 0 {
				spoil(c)
			}
		}
	}
}

func TestAWatchFindsNothingWhereNothingIs(t *testing.T) {
	if found := tell(t, func(*telling) {}); len(found) > 0 {
		t.Error(found)
	}
}

// A watch that is told one wrong thing finds it, by its number.
func TestAWatchFindsWhatBreaksAnInvariant(t *testing.T) {
	windows := ledger.DefaultWindows()
	for name, x := range map[string]struct {
		invariant int
		spoil     func(*telling)
	}{
		"a transfer is made twice": {1, func(y *telling) {
			y.effect = func(_ *ledger.ID, _ *string, again *bool) { *again = true }
		}},
		"a reversal is made twice": {13, func(y *telling) {
			n := 0
			y.effect = func(_ *ledger.ID, _ *string, again *bool) { n++; *again = n == 2 }
		}},
		"what is pending is made": {3, func(y *telling) {
			y.effect = func(op *ledger.ID, _ *string, _ *bool) { *op = ledger.TransferName("", "q") }
			y.w.Committed(ledger.Accept(ledger.Order{Reference: "q", Destination: "acct_1", Money: ledger.Money{Amount: 1, Currency: "eur"}}, id(9), 1, y.now, ledger.By{}), y.now)
		}},
		"what was made has failed": {3, at(3, func(c *ledger.Change) { c.After.Operation.State = ledger.FailedState })},
		"a call without an intent": {5, func(y *telling) { y.w.Sent("settled:none:1:1", "/v1/transfers", "", y.now) }},
		"another amount than the row's": {5, func(y *telling) {
			y.post = func(_, _ string, form url.Values) { form.Set("amount", "1001") }
		}},
		"another destination than the row's": {5, func(y *telling) {
			y.post = func(_, path string, form url.Values) {
				if path == "/v1/transfers" {
					form.Set("destination", "acct_2")
				}
			}
		}},
		"a key with other bytes": {6, func(y *telling) {
			y.post = func(key, path string, form url.Values) { y.w.Sent(key, path, form.Encode()+"&x=1", y.now) }
		}},
		"a key to another address": {6, func(y *telling) {
			y.post = func(key, path string, form url.Values) { y.w.Sent(key, path+"/x", form.Encode(), y.now) }
		}},
		"a generation that falls":                  {7, at(3, func(c *ledger.Change) { c.After.Operation.Generation = 0 })},
		"a generation that rises over an open one": {7, at(3, func(c *ledger.Change) { c.After.Operation.Generation = 2 })},
		"absence before its time": {7, at(3, func(c *ledger.Change) {
			c.After.Operation.State, c.History.Event = ledger.FailedState, ledger.EventProveAbsent
		})},
		"a refusal with others open": {7, func(y *telling) {
			y.change = func(c *ledger.Change) {
				if c.History.Event == ledger.EventSend {
					c.After.Operation.OpenSends = 2
				}
				if c.History.Event == ledger.EventConfirm {
					c.After.Operation.State, c.History.Event = ledger.FailedState, ledger.EventRefuse
				}
			}
		}},
		"a key that is sent too late":    {8, func(y *telling) { y.age = windows.Safe + windows.Skew + time.Second }},
		"a key that arrives too late":    {8, func(y *telling) { y.age, y.wire = windows.Safe, windows.Skew+windows.Wire+time.Second }},
		"a state that does not follow":   {9, at(2, func(c *ledger.Change) { c.After.Operation.State = ledger.Parked })},
		"a version that is left out":     {10, at(2, func(c *ledger.Change) { c.After.Version++ })},
		"a history that says otherwise":  {10, at(2, func(c *ledger.Change) { c.History.Status = ledger.Held })},
		"an entry that does not balance": {11, at(3, func(c *ledger.Change) { c.Postings = c.Postings[:1] })},
		"more comes back than was paid":  {12, at(6, func(c *ledger.Change) { c.After.AmountReversed = 1001 })},
		"more is asked for than is left": {12, at(4, func(c *ledger.Change) { c.After.Reversals[0].Amount = 1001 })},
		"a message that acts twice":      {16, at(6, func(c *ledger.Change) { c.History.By.Message = id(2) })},
		"a key that is executed twice": {20, func(y *telling) {
			n, first := 0, ""
			y.effect = func(_ *ledger.ID, key *string, _ *bool) {
				if n++; n == 1 {
					first = *key
				}
				*key = first
			}
		}},
		"a key that is sent in a loop": {23, func(y *telling) {
			y.post = func(key, path string, form url.Values) {
				for range 100 {
					y.w.Sent(key, path, form.Encode(), y.now)
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			found := tell(t, x.spoil)
			if !slices.ContainsFunc(found, func(v Violation) bool { return v.Invariant == x.invariant }) {
				t.Errorf("invariant %d is not among %v", x.invariant, found)
			}
		})
	}
}

// Every invariant says who checks it, and every difference which invariant it breaks.
func TestTheInvariantsAreNumberedAndChecked(t *testing.T) {
	for i, v := range Invariants {
		if v.Number != i+1 || v.Text == "" || v.Checked == "" {
			t.Errorf("place %d has invariant %d: %q, checked by %q", i+1, v.Number, v.Text, v.Checked)
		}
	}
	for _, c := range Classes {
		numbers := c.Invariants()
		if len(numbers) == 0 {
			t.Errorf("%s breaks no invariant", c)
		}
		for _, n := range numbers {
			if n < 1 || n > len(Invariants) {
				t.Errorf("%s breaks invariant %d, which is not there", c, n)
			}
		}
	}
}
