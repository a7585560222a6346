package audit_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/settled/settled/ledger"
	. "github.com/settled/settled/ledger/audit"
)

// world is a ledger and a Stripe that agree, until something is injected.
type world struct {
	rows   []ledger.AuditRow
	stripe []ledger.StripeTransfer
	sums   map[ledger.Currency]int64
	strict bool
}

func id(n int) ledger.ID {
	var x ledger.ID
	binary.BigEndian.PutUint64(x[8:], uint64(n))
	return x
}

// called is what an operation is called at Stripe.
func called(op ledger.ID) ledger.ID { return ledger.TransferName("", op.String()) }

func names(op ledger.ID) map[string]string {
	return map[string]string{ledger.MetaOperation: called(op).String(), ledger.MetaGeneration: "1"}
}

// One row of each kind, and what Stripe holds for it. Books are written out by hand.
func kinds(n int, amount int64) map[string]func() (ledger.AuditRow, *ledger.StripeTransfer) {
	row := func(s ledger.State, stripeID string, books ledger.Books, reversals ...ledger.Reversal) ledger.AuditRow {
		own := s
		switch {
		case stripeID != "":
			own = ledger.Completed
		case s == ledger.Held:
			own = ledger.Pending
		}
		t := ledger.Transfer{ID: id(n), Operation: ledger.Operation{ID: id(n), Name: called(id(n)), State: own, StripeID: stripeID, Generation: 1}, Version: int64(3 + len(reversals)), Reversals: reversals,
			Order: ledger.Order{Destination: fmt.Sprintf("acct_%d", n%7), Money: ledger.Money{Amount: amount, Currency: []ledger.Currency{"eur", "usd", "jpy"}[n%3]}}}
		t.OrderHash = t.Order.Hash()
		for i := range t.Reversals {
			t.Reversals[i].OrderHash = t.ReversalHash(&t.Reversals[i])
		}
		switch s {
		case ledger.Sending, ledger.Unresolved, ledger.Parked:
			t.Operation.OpenSends = 1
		case ledger.Held:
			t.HeldBy = ledger.HeldByOperator
			t.Holds = []ledger.Hold{{ID: id(n), Operation: id(n), Source: ledger.HeldByOperator}}
		}
		for _, r := range reversals {
			if r.State == ledger.Completed {
				t.AmountReversed += r.Amount
			}
		}
		return ledger.AuditRow{Transfer: t, Books: books, Versions: t.Version, LastStatus: s, Listed: s}
	}
	reversal := func(i int, s ledger.State, part int64) ledger.Reversal {
		r := ledger.Reversal{Operation: ledger.Operation{ID: id(n*1000 + i), Name: called(id(n*1000 + i)), State: s}, Amount: part}
		if s == ledger.Completed {
			r.StripeID = fmt.Sprintf("trr_%d_%d", n, i)
		}
		if s.Open() {
			r.OpenSends = 1
		}
		return r
	}
	tr := fmt.Sprintf("tr_%d", n)
	held := func(r ledger.AuditRow, also ...ledger.StripeReversal) (ledger.AuditRow, *ledger.StripeTransfer) {
		t := &ledger.StripeTransfer{ID: tr, Amount: amount, Currency: r.Transfer.Money.Currency, Destination: r.Transfer.Destination, Metadata: names(id(n))}
		for _, v := range r.Transfer.Reversals {
			if v.State != ledger.Completed {
				continue
			}
			s := ledger.StripeReversal{ID: v.StripeID, Amount: v.Amount, Metadata: names(v.ID)}
			if v.External {
				s.Metadata = nil
			}
			t.Reversals = append(t.Reversals, s)
		}
		t.Reversals = append(t.Reversals, also...)
		for _, v := range t.Reversals {
			t.AmountReversed += v.Amount
		}
		return r, t
	}
	half := amount / 2
	owed := ledger.Books{"clearing": -amount, "owed": amount}
	flight := ledger.Books{"clearing": -amount, "in_flight": amount}
	paid := ledger.Books{"clearing": -amount, "paid": amount}
	partly := ledger.Books{"clearing": half - amount, "paid": amount - half}
	type out = func() (ledger.AuditRow, *ledger.StripeTransfer)
	alone := func(r ledger.AuditRow) out { return func() (ledger.AuditRow, *ledger.StripeTransfer) { return r, nil } }
	with := func(r ledger.AuditRow, also ...ledger.StripeReversal) out {
		return func() (ledger.AuditRow, *ledger.StripeTransfer) { return held(r, also...) }
	}
	external := reversal(1, ledger.Completed, half)
	external.External = true
	return map[string]out{
		"held":                        alone(row(ledger.Held, "", owed)),
		"pending":                     alone(row(ledger.Pending, "", owed)),
		"failed":                      alone(row(ledger.FailedState, "", owed)),
		"given up":                    alone(row(ledger.PermanentlyFailed, "", owed)),
		"canceled":                    alone(row(ledger.Canceled, "", ledger.Books{"clearing": 0, "owed": 0})),
		"sending, not there":          alone(row(ledger.Sending, "", flight)),
		"sending, there":              with(row(ledger.Sending, "", flight)),
		"unresolved, not there":       alone(row(ledger.Unresolved, "", flight)),
		"unresolved, there":           with(row(ledger.Unresolved, "", flight)),
		"parked, there":               with(row(ledger.Parked, "", flight)),
		"completed":                   with(row(ledger.Completed, tr, paid)),
		"completed, reversal dropped": with(row(ledger.Completed, tr, paid, reversal(1, ledger.Canceled, half))),
		"reversal pending":            with(row(ledger.ReversalPending, tr, paid, reversal(1, ledger.Pending, half))),
		"reversing, not there":        with(row(ledger.ReversalPending, tr, ledger.Books{"clearing": -amount, "paid": amount - half, "returning": half}, reversal(1, ledger.Sending, half))),
		"reversing, there": with(row(ledger.ReversalPending, tr, ledger.Books{"clearing": -amount, "paid": amount - half, "returning": half}, reversal(1, ledger.Parked, half)),
			ledger.StripeReversal{ID: fmt.Sprintf("trr_%d_1", n), Amount: half, Metadata: names(id(n*1000 + 1))}),
		"partially reversed":     with(row(ledger.PartiallyReversed, tr, partly, reversal(1, ledger.Completed, half))),
		"partially, by others":   with(row(ledger.PartiallyReversed, tr, partly, external)),
		"reversed":               with(row(ledger.Reversed, tr, ledger.Books{}, reversal(1, ledger.Completed, half), reversal(2, ledger.Completed, amount-half))),
		"reversed, one given up": with(row(ledger.Reversed, tr, ledger.Books{}, reversal(1, ledger.PermanentlyFailed, half), reversal(2, ledger.Completed, amount))),
		"reversal given up":      with(row(ledger.PermanentlyFailed, tr, partly, reversal(1, ledger.Completed, half), reversal(2, ledger.PermanentlyFailed, 1))),
	}
}

func (w *world) add(kind func() (ledger.AuditRow, *ledger.StripeTransfer)) {
	r, s := kind()
	w.rows = append(w.rows, r)
	if s != nil {
		w.stripe = append(w.stripe, *s)
	}
}

// consistent makes a random world in which everything agrees, foreign transfers included.
func consistent(draw func(n int) int) *world {
	w := &world{sums: map[ledger.Currency]int64{"eur": 0}}
	for n := 1; n <= 5+draw(30); n++ {
		all := kinds(n, 10+int64(draw(100_000)))
		names := slices.Sorted(maps.Keys(all))
		w.add(all[names[draw(len(names))]])
	}
	for i := range draw(5) {
		w.stripe = append(w.stripe, ledger.StripeTransfer{ID: fmt.Sprintf("tr_foreign_%d", i), Amount: 5, Currency: "eur", AmountReversed: 5,
			Reversals: []ledger.StripeReversal{{ID: fmt.Sprintf("trr_foreign_%d", i), Amount: 5}}, Metadata: map[string]string{"other": "x"}})
	}
	for i := len(w.stripe) - 1; i > 0; i-- {
		j := draw(i + 1)
		w.stripe[i], w.stripe[j] = w.stripe[j], w.stripe[i]
	}
	return w
}

func (w *world) audit() Report {
	a := New()
	if w.strict {
		a.Strict()
	}
	for _, s := range w.stripe {
		a.Stripe(s)
	}
	for _, r := range w.rows {
		a.Ledger(r)
	}
	a.Unbalanced(w.sums)
	return a.Report()
}

func TestAConsistentWorldHasNoDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := consistent(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "draw") })
		if r := w.audit(); len(r.Differences) > 0 {
			t.Fatalf("found %v", r.Differences)
		}
	})
}

// injection spoils a world in one way, where it can.
type injection struct {
	class Class
	spoil func(w *world, r *ledger.AuditRow, s *ledger.StripeTransfer) bool // false: not in this row
}

func completed(r *ledger.AuditRow) int {
	return slices.IndexFunc(r.Transfer.Reversals, func(v ledger.Reversal) bool { return v.State == ledger.Completed })
}

func (w *world) at(s *ledger.StripeTransfer) int {
	return slices.IndexFunc(w.stripe, func(k ledger.StripeTransfer) bool { return k.ID == s.ID })
}

var injections = map[string]injection{
	"Stripe lost a transfer": {MissingAtStripe, func(w *world, r *ledger.AuditRow, s *ledger.StripeTransfer) bool {
		if r.Transfer.Operation.StripeID == "" {
			return false
		}
		i := w.at(s)
		w.stripe = slices.Delete(w.stripe, i, i+1)
		return true
	}},
	"Stripe has it under another ID": {MissingAtStripe, func(_ *world, r *ledger.AuditRow, s *ledger.StripeTransfer) bool {
		if r.Transfer.Operation.StripeID != "" {
			s.ID = "tr_another"
		}
		return r.Transfer.Operation.StripeID != ""
	}},
	"Stripe's does not name ours": {Unnamed, func(_ *world, r *ledger.AuditRow, s *ledger.StripeTransfer) bool {
		if r.Transfer.Operation.StripeID != "" {
			s.Metadata = nil
		}
		return r.Transfer.Operation.StripeID != ""
	}},
	"somebody else paid": {Foreign, func(w *world, _ *ledger.AuditRow, _ *ledger.StripeTransfer) bool {
		w.strict = true
		w.stripe = slices.DeleteFunc(w.stripe, func(s ledger.StripeTransfer) bool { _, ours := Named(s); return !ours })
		w.stripe = append(w.stripe, ledger.StripeTransfer{ID: "tr_dashboard", Amount: 5, Currency: "eur", Destination: "acct_1"})
		return true
	}},
	"the ledger lost a row": {MissingHere, func(w *world, r *ledger.AuditRow, s *ledger.StripeTransfer) bool {
		w.rows = slices.DeleteFunc(w.rows, func(k ledger.AuditRow) bool { return s != nil && k.Transfer.ID == r.Transfer.ID })
		return s != nil
	}},
	"a transfer names an operation that never was": {MissingHere, func(w *world, _ *ledger.AuditRow, _ *ledger.StripeTransfer) bool {
		w.stripe = append(w.stripe, ledger.StripeTransfer{ID: "tr_stray", Amount: 5, Currency: "eur", Metadata: names(id(999_999))})
		return true
	}},
	"a transfer carries our key with something unreadable": {MissingHere, func(w *world, _ *ledger.AuditRow, _ *ledger.StripeTransfer) bool {
		w.stripe = append(w.stripe, ledger.StripeTransfer{ID: "tr_stray", Amount: 5, Currency: "eur", Metadata: map[string]string{ledger.MetaOperation: "x\ny"}})
		return true
	}},
	"a reversal names an operation that never was": {MissingHere, func(_ *world, r *ledger.AuditRow, s *ledger.StripeTransfer) bool {
		if r.Transfer.Operation.StripeID == "" {
			return false
		}
		s.Reversals = append(s.Reversals, ledger.StripeReversal{ID: "trr_stray", Amount: 1, Metadata: names(id(999_999))})
		s.AmountReversed++
		return true
	}},
	"it was paid twice": {PaidTwice, func(w *world, _ *ledger.AuditRow, s *ledger.StripeTransfer) bool {
		if s == nil {
			return false
		}
		again := *s
		again.ID, again.Reversals, again.AmountReversed = "tr_again", nil, 0
		w.stripe = append(w.stripe, again)
		return true
	}},
	"Stripe's amount": {Amount, func(_ *world, _ *ledger.AuditRow, s *ledger.StripeTransfer) bool {
		if s != nil {
			s.Amount++
		}
		return s != nil
	}},
	"Stripe's currency": {Currency, func(_ *world, _ *ledger.AuditRow, s *ledger.StripeTransfer) bool {
		if s != nil {
			s.Currency = "chf"
		}
		return s != nil
	}},
	"another destination in the row": {Order, func(_ *world, r *ledger.AuditRow, s *ledger.StripeTransfer) bool {
		if s != nil {
			return false
		}
		r.Transfer.Destination = "acct_thief"
		return true
	}},
	"Stripe's destination": {Destination, func(_ *world, _ *ledger.AuditRow, s *ledger.StripeTransfer) bool {
		if s != nil {
			s.Destination = "acct_thief"
		}
		return s != nil
	}},
	"a reversal's amount": {Amount, func(_ *world, r *ledger.AuditRow, s *ledger.StripeTransfer) bool {
		if s == nil || len(s.Reversals) == 0 {
			return false
		}
		s.Reversals[0].Amount--
		s.AmountReversed--
		return true
	}},
	"Stripe's sum of what came back": {Reversed, func(_ *world, r *ledger.AuditRow, s *ledger.StripeTransfer) bool {
		if r.Transfer.Operation.StripeID == "" {
			return false
		}
		s.AmountReversed++
		return true
	}},
	"the row's sum of what came back": {Reversed, func(_ *world, r *ledger.AuditRow, _ *ledger.StripeTransfer) bool {
		r.Transfer.AmountReversed++
		return true
	}},
	"Stripe lost a reversal": {ReversalMissing, func(_ *world, r *ledger.AuditRow, s *ledger.StripeTransfer) bool {
		i := completed(r)
		if i < 0 {
			return false
		}
		s.AmountReversed -= r.Transfer.Reversals[i].Amount
		s.Reversals = slices.DeleteFunc(s.Reversals, func(v ledger.StripeReversal) bool { return v.ID == r.Transfer.Reversals[i].StripeID })
		return true
	}},
	"a reversal was made twice": {ReversalTwice, func(_ *world, r *ledger.AuditRow, s *ledger.StripeTransfer) bool {
		i := completed(r)
		if i < 0 || r.Transfer.Reversals[i].External {
			return false
		}
		s.Reversals = append(s.Reversals, ledger.StripeReversal{ID: "trr_again", Amount: 1, Metadata: names(r.Transfer.Reversals[i].ID)})
		s.AmountReversed++
		return true
	}},
	"another's stood for it, and ours was made after all": {ReversalTwice, func(_ *world, r *ledger.AuditRow, s *ledger.StripeTransfer) bool {
		i := completed(r)
		if i < 0 || !r.Transfer.Reversals[i].External {
			return false
		}
		s.Reversals = append(s.Reversals, ledger.StripeReversal{ID: "trr_late", Amount: 1, Metadata: names(r.Transfer.Reversals[i].ID)})
		s.AmountReversed++
		return true
	}},
	"others reversed": {ReversedOutside, func(_ *world, r *ledger.AuditRow, s *ledger.StripeTransfer) bool {
		if r.Transfer.Operation.StripeID == "" {
			return false
		}
		s.Reversals = append(s.Reversals, ledger.StripeReversal{ID: "trr_dashboard", Amount: 1})
		s.AmountReversed++
		return true
	}},
	"what is said to have moved no money was paid": {FalseFailed, func(w *world, r *ledger.AuditRow, s *ledger.StripeTransfer) bool {
		if s != nil || r.Transfer.Status().Open() {
			return false
		}
		w.stripe = append(w.stripe, ledger.StripeTransfer{ID: "tr_false", Amount: 1, Currency: "chf", Metadata: names(r.Transfer.ID)})
		return true
	}},
	"a reversal said to have moved no money was made": {FalseFailed, func(_ *world, r *ledger.AuditRow, s *ledger.StripeTransfer) bool {
		for _, v := range r.Transfer.Reversals {
			if v.State == ledger.Canceled || v.State == ledger.PermanentlyFailed || v.State == ledger.Pending {
				s.Reversals = append(s.Reversals, ledger.StripeReversal{ID: "trr_false", Amount: v.Amount, Metadata: names(v.ID)})
				s.AmountReversed += v.Amount
				return true
			}
		}
		return false
	}},
	"listed as completed, and some of it came back": {State, func(_ *world, r *ledger.AuditRow, _ *ledger.StripeTransfer) bool {
		ok := r.Transfer.Status() == ledger.PartiallyReversed || r.Transfer.Status() == ledger.Reversed
		if ok {
			r.Listed = ledger.Completed
		}
		return ok
	}},
	"listed as reversal pending, and nobody drives one": {State, func(_ *world, r *ledger.AuditRow, _ *ledger.StripeTransfer) bool {
		ok := r.Transfer.Status() == ledger.Completed
		if ok {
			r.Listed = ledger.ReversalPending
		}
		return ok
	}},
	"an open send of what was settled": {State, func(_ *world, r *ledger.AuditRow, _ *ledger.StripeTransfer) bool {
		ok := !r.Transfer.Status().Open()
		if ok {
			r.Transfer.Operation.OpenSends = 1
		}
		return ok
	}},
	"held by nothing": {State, func(_ *world, r *ledger.AuditRow, _ *ledger.StripeTransfer) bool {
		ok := r.Transfer.Status() == ledger.Held
		if ok {
			r.Transfer.HeldBy, r.LastStatus, r.Listed = "", ledger.Pending, ledger.Pending
		}
		return ok
	}},
	"held, and no hold stands": {State, func(_ *world, r *ledger.AuditRow, _ *ledger.StripeTransfer) bool {
		r.Transfer.Holds = nil
		return r.Transfer.Status() == ledger.Held
	}},
	"owed, and a hold stands": {State, func(_ *world, r *ledger.AuditRow, _ *ledger.StripeTransfer) bool {
		ok := r.Transfer.Status() == ledger.Pending || r.Transfer.Status() == ledger.FailedState
		if ok {
			r.Transfer.Holds = []ledger.Hold{{Operation: r.Transfer.ID, Source: ledger.HeldByDispute}}
		}
		return ok
	}},
	"held longest by another": {State, func(_ *world, r *ledger.AuditRow, _ *ledger.StripeTransfer) bool {
		ok := r.Transfer.Status() == ledger.Held
		if ok {
			r.Transfer.Holds = append(r.Transfer.Holds, ledger.Hold{Operation: r.Transfer.ID, Source: ledger.HeldByDispute, Until: time.Unix(9, 0)})
			r.Transfer.Holds[0].Until = time.Unix(8, 0)
			r.Transfer.HoldEndsAt = time.Unix(8, 0)
		}
		return ok
	}},
	"a hold at a reversal that was made": {State, func(_ *world, r *ledger.AuditRow, _ *ledger.StripeTransfer) bool {
		if len(r.Transfer.Reversals) == 0 || r.Transfer.Reversals[0].State != ledger.Completed {
			return false
		}
		r.Transfer.Holds = []ledger.Hold{{Operation: r.Transfer.Reversals[0].ID, Source: ledger.HeldByOperator}}
		return true
	}},
	"a state that is none": {State, func(_ *world, r *ledger.AuditRow, _ *ledger.StripeTransfer) bool {
		ok := r.Transfer.Status() == ledger.Pending || r.Transfer.Status() == ledger.Completed
		if ok {
			r.Transfer.Operation.State = "paid"
			r.LastStatus, r.Listed = "paid", "paid"
		}
		return ok
	}},
	"a reversal completed without an ID": {State, func(_ *world, r *ledger.AuditRow, _ *ledger.StripeTransfer) bool {
		i := completed(r)
		if i < 0 || r.Transfer.Reversals[i].External {
			return false
		}
		v := &r.Transfer.Reversals[i]
		v.StripeID, v.State, v.OpenSends = "", ledger.Unresolved, 0 // and not under way either
		r.Books = maps.Clone(r.Books)
		r.Books["clearing"] -= v.Amount
		r.Books["returning"] += v.Amount
		r.Transfer.AmountReversed -= v.Amount
		r.LastStatus, r.Listed = ledger.ReversalPending, ledger.ReversalPending
		return true
	}},
	"a posting is missing": {Books, func(_ *world, r *ledger.AuditRow, _ *ledger.StripeTransfer) bool {
		ok := r.Transfer.Status() == ledger.Completed
		if ok {
			r.Books = ledger.Books{"clearing": -r.Transfer.Money.Amount, "in_flight": r.Transfer.Money.Amount}
		}
		return ok
	}},
	"an account that is none": {Books, func(_ *world, r *ledger.AuditRow, _ *ledger.StripeTransfer) bool {
		r.Books = maps.Clone(r.Books)
		r.Books["pocket"] = 1
		return true
	}},
	"a history row is missing": {History, func(_ *world, r *ledger.AuditRow, _ *ledger.StripeTransfer) bool { r.Versions--; return true }},
	"the history ends elsewhere": {History, func(_ *world, r *ledger.AuditRow, _ *ledger.StripeTransfer) bool {
		r.LastStatus = ledger.State("x")
		return true
	}},
	"an entry does not balance":   {Unbalanced, func(_ *world, r *ledger.AuditRow, _ *ledger.StripeTransfer) bool { r.Unbalanced = 1; return true }},
	"a currency does not balance": {Unbalanced, func(w *world, _ *ledger.AuditRow, _ *ledger.StripeTransfer) bool { w.sums["usd"] = -1; return true }},
}

func TestEachDifferenceIsFoundAndNothingElse(t *testing.T) {
	found := map[Class]bool{}
	for name, in := range injections {
		t.Run(name, func(t *testing.T) {
			injected := 0
			for seed := range uint64(60) {
				r := rand.New(rand.NewPCG(seed, 1))
				w := consistent(r.IntN)
				for _, i := range r.Perm(len(w.rows)) {
					row := &w.rows[i]
					var s *ledger.StripeTransfer
					for j := range w.stripe {
						if w.stripe[j].Metadata[ledger.MetaOperation] == row.Transfer.Operation.Name.String() {
							s = &w.stripe[j]
						}
					}
					if !in.spoil(w, row, s) {
						continue
					}
					injected++
					got := w.audit().Differences
					if len(got) != 1 || got[0].Class != in.class {
						t.Fatalf("seed %d: found %v, want one of class %s", seed, got, in.class)
					}
					if line := got[0].String(); strings.ContainsAny(line, "\n\r") || !strings.HasPrefix(line, string(in.class)) {
						t.Fatalf("no line for people: %q", line)
					}
					break
				}
			}
			if injected < 10 {
				t.Errorf("injected %d times only", injected)
			}
		})
		found[in.class] = true
	}
	for _, c := range Classes {
		if !found[c] && c != Parked && c != Chain && c != Record { // no difference to the auditor; the last two the database finds
			t.Errorf("nothing injects %s", c)
		}
	}
}

func TestWhatIsNotSettledIsCountedAndNoDifference(t *testing.T) {
	for name, tc := range map[string]struct{ open, unfinished int }{
		"held":                  {0, 0},
		"pending":               {1, 1},
		"failed":                {1, 1},
		"given up":              {0, 0},
		"canceled":              {0, 0},
		"sending, there":        {1, 1},
		"unresolved, not there": {1, 1},
		"parked, there":         {1, 0},
		"completed":             {0, 0},
		"reversal pending":      {1, 1},
		"reversing, there":      {1, 1},
		"partially reversed":    {0, 0},
		"reversed":              {0, 0},
		"reversal given up":     {0, 0},
	} {
		w := &world{}
		w.add(kinds(1, 1000)[name])
		r := w.audit()
		if len(r.Differences) > 0 || r.Open != tc.open || r.Unfinished != tc.unfinished || len(r.UnfinishedIDs) != tc.unfinished {
			t.Errorf("%s: %+v, want %+v", name, r, tc)
		}
	}
	row, _ := kinds(1, 1000)["held"]()
	row.Transfer.HoldEndsAt = time.Unix(1, 0)
	row.Transfer.Holds[0].Until = time.Unix(1, 0)
	a := New()
	a.Ledger(row)
	if r := a.Report(); r.Unfinished != 1 {
		t.Errorf("what is released by itself: %+v", r)
	}
}

func TestTheReportCounts(t *testing.T) {
	w := &world{}
	for n, kind := range []string{"completed", "partially reversed", "reversed", "pending", "canceled"} {
		w.add(kinds(3*(n+1), 1000)[kind]) // all in one currency
	}
	w.stripe = append(w.stripe, ledger.StripeTransfer{ID: "tr_f", Reversals: []ledger.StripeReversal{{ID: "trr_f"}}})
	w.stripe = append(w.stripe, w.stripe[0], w.stripe[2]) // pages overlap
	r := w.audit()
	if r.Transfers != 5 || r.Reversals != 3 || r.StripeTransfers != 4 || r.StripeReversals != 4 || r.Foreign != 1 || len(r.Differences) != 0 {
		t.Errorf("%+v", r)
	}
	if !maps.Equal(r.Paid, map[ledger.Currency]int64{"eur": 3000}) || !maps.Equal(r.Returned, map[ledger.Currency]int64{"eur": 1500}) {
		t.Errorf("paid %v, returned %v", r.Paid, r.Returned)
	}
}

func TestTheSampleIsBounded(t *testing.T) {
	a := New()
	for n := range 100 {
		row, _ := kinds(n+1, 10)["pending"]()
		a.Ledger(row)
	}
	if r := a.Report(); r.Unfinished != 100 || len(r.UnfinishedIDs) != SampleMax {
		t.Errorf("%d unfinished, %d named", r.Unfinished, len(r.UnfinishedIDs))
	}
}

func TestTheReportIsTheSameTwice(t *testing.T) {
	w := consistent(rand.New(rand.NewPCG(1, 1)).IntN)
	w.rows = nil // everything is missing here
	a := New()
	for _, s := range w.stripe {
		a.Stripe(s)
	}
	first := a.Report()
	if again := a.Report(); !slices.Equal(first.Differences, again.Differences) || len(first.Differences) == 0 {
		t.Errorf("%v\n%v", first.Differences, again.Differences)
	}
}

func TestATransferInItsOwnGroupIsNoStrangerWithoutItsMetadata(t *testing.T) {
	for kind, class := range map[string]Class{"unresolved, there": "", "completed": Unnamed, "pending": FalseFailed, "canceled": FalseFailed} {
		w := &world{strict: true}
		w.add(kinds(1, 1000)[kind])
		row := &w.rows[0].Transfer
		if len(w.stripe) == 0 {
			w.stripe = []ledger.StripeTransfer{{ID: "tr_1", Amount: 1000, Currency: row.Money.Currency, Destination: row.Destination}}
		}
		s := &w.stripe[0]
		s.Metadata, s.TransferGroup = nil, row.Group()
		found := w.audit().Differences
		if class == "" && len(found) > 0 || class != "" && (len(found) != 1 || found[0].Class != class) {
			t.Errorf("%s: %v, want %q", kind, found, class)
		}
		if e := Unsettled(row, w.stripe); (kind == "unresolved, there") != (len(e) == 1) {
			t.Errorf("%s: evidence %v", kind, e)
		}
		if op, named := Named(*s); op != row.Operation.Name || !named {
			t.Errorf("it names %s, %v", op, named)
		}
		s.Amount++ // somebody else's, in our group
		if found = w.audit().Differences; kind == "pending" && (len(found) != 1 || found[0].Class != Foreign) {
			t.Errorf("%s, of another amount: %v", kind, found)
		}
	}
	orphan := ledger.StripeTransfer{ID: "tr_1", TransferGroup: "settled:" + id(9).String()}
	if d := Unclaimed(orphan); d.Class != MissingHere || d.Transfer != id(9) {
		t.Errorf("in the group of an operation without a row: %v", d)
	}
}

func TestATransferThatIsListedTwiceIsOne(t *testing.T) {
	for _, kind := range []string{"unresolved, there", "completed", "partially reversed"} {
		w := &world{}
		w.add(kinds(1, 1000)[kind])
		row := &w.rows[0].Transfer
		if found := Compare(row, append(w.stripe, w.stripe...)); len(found) != 0 {
			t.Errorf("%s: %v", kind, found)
		}
		w.stripe = append(w.stripe, w.stripe...)
		if found := w.audit().Differences; len(found) != 0 {
			t.Errorf("%s, to the auditor: %v", kind, found)
		}
	}
}
