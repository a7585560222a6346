// Package audit recomputes the books from nothing and compares the ledger with Stripe. It is
// pure, and it shares no rule with what it checks: which state means what, and where the
// money lies in it, is written down here a second time.
//
//	a := audit.New()
//	for each transfer at Stripe  a.Stripe(t)     its truth first, in any order
//	for each row of the ledger   a.Ledger(r)     then ours
//	a.Unbalanced(sums)                           and the books as a whole
//	a.Report()                                   what differs, and what nobody claimed
//
// A row whose outcome is not known yet is no difference, whichever way Stripe has it; it is
// counted, so that whoever expects none can say so.
//
// That Stripe and the ledger agree on the totals of each currency is not compared by itself:
// it follows when every transfer and every reversal agrees and none is missing.
package audit

import (
	"cmp"
	"fmt"
	"slices"
	"unique"

	"github.com/settled/settled/ledger"
)

// Class is a kind of difference.
type Class string

// The classes.
const (
	MissingAtStripe Class = "missing_at_stripe" // the ledger says that Stripe holds it, and Stripe does not
	MissingHere     Class = "missing_here"      // Stripe holds what names us, and the ledger has no such operation
	PaidTwice       Class = "paid_twice"        // two transfers at Stripe name one of ours
	Amount          Class = "amount"            // of a transfer or a reversal
	Currency        Class = "currency"
	Destination     Class = "destination"
	Reversed        Class = "reversed"         // the sums of what came back differ
	ReversalMissing Class = "reversal_missing" // the ledger says that it came back, and Stripe does not
	ReversalTwice   Class = "reversal_twice"   // one reversal of ours was made twice
	ReversedOutside Class = "reversed_outside" // somebody else reversed it, and the ledger does not know
	FalseFailed     Class = "false_failed"     // the ledger says that no money moved, and it did
	State           Class = "state"            // the row contradicts itself
	Books           Class = "books"            // its postings do not add up to where its state says the money is
	History         Class = "history"          // its history does not lead to it
	Unbalanced      Class = "unbalanced"       // an entry, or all of a currency, does not sum to zero
)

// Classes lists every class.
var Classes = []Class{MissingAtStripe, MissingHere, PaidTwice, Amount, Currency, Destination, Reversed, ReversalMissing,
	ReversalTwice, ReversedOutside, FalseFailed, State, Books, History, Unbalanced}

// Difference is one thing that is not as it must be.
type Difference struct {
	Class    Class
	Transfer ledger.ID // zero: of no row
	StripeID string    // tr_… or trr_…, when one is meant
	Detail   string    // for people
}

// String tells the difference in one line.
func (d Difference) String() string {
	s := string(d.Class)
	if d.Transfer != (ledger.ID{}) {
		s += " " + d.Transfer.String()
	}
	if d.StripeID != "" {
		s += " " + trim(d.StripeID)
	}
	return s + ": " + d.Detail
}

// trim keeps what others wrote on one line.
func trim(s string) string {
	q := fmt.Sprintf("%+q", s)
	return q[1 : len(q)-1]
}

// Report is the outcome of an audit.
type Report struct {
	Transfers       int // rows of the ledger
	Reversals       int
	StripeTransfers int // at Stripe, foreign ones included
	StripeReversals int
	Foreign         int // transfers at Stripe that are not ours

	Open          int         // rows whose outcome is not known (sending, unresolved, parked), or that are unfinished
	Unfinished    int         // rows that the machine still has something to do with
	UnfinishedIDs []ledger.ID // the first of them, at most [SampleMax]

	Paid     map[ledger.Currency]int64 // minor units that the ledger says Stripe holds or held for sellers
	Returned map[ledger.Currency]int64 // minor units of them that came back

	Differences []Difference
}

// SampleMax bounds a report's samples.
const SampleMax = 10

// object is what is kept of one transfer at Stripe.
type object struct {
	id          string
	amount      int64
	reversed    int64
	currency    unique.Handle[string]
	destination unique.Handle[string]
	reversals   []reversal
}

type reversal struct {
	id     string
	amount int64
	named  bool      // it carries our metadata
	op     ledger.ID // which it names; zero when it names none that can be read
}

// Auditor compares. It is not safe for use by several goroutines.
type Auditor struct {
	held   map[ledger.ID][]object // transfers at Stripe that name an operation, until a row claims them
	report Report
}

// New returns an auditor that has seen nothing.
func New() *Auditor {
	return &Auditor{held: map[ledger.ID][]object{}, report: Report{Paid: map[ledger.Currency]int64{}, Returned: map[ledger.Currency]int64{}}}
}

// Stripe takes in one transfer as Stripe holds it, with all of its reversals. Pages may
// overlap: one of ours that comes again counts once, as it came last. (Foreign ones are not
// kept, so of them an overlap counts twice.)
func (a *Auditor) Stripe(t ledger.StripeTransfer) {
	op, named := operation(t.Metadata)
	if !named {
		a.report.StripeTransfers++
		a.report.StripeReversals += len(t.Reversals)
		a.report.Foreign++
		return
	}
	o := object{id: t.ID, amount: t.Amount, reversed: t.AmountReversed,
		currency: unique.Make(string(t.Currency)), destination: unique.Make(t.Destination)}
	for _, r := range t.Reversals {
		if slices.ContainsFunc(o.reversals, func(k reversal) bool { return k.id == r.ID }) {
			continue
		}
		k := reversal{id: r.ID, amount: r.Amount}
		k.op, k.named = operation(r.Metadata)
		o.reversals = append(o.reversals, k)
	}
	all := a.held[op]
	if i := slices.IndexFunc(all, func(k object) bool { return k.id == t.ID }); i >= 0 {
		a.report.StripeReversals += len(o.reversals) - len(all[i].reversals)
		all[i] = o
		return
	}
	a.report.StripeTransfers++
	a.report.StripeReversals += len(o.reversals)
	a.held[op] = append(all, o)
}

// operation reads which operation metadata names. What carries our key with something
// unreadable is ours all the same: it names the zero ID, which no row has.
func operation(metadata map[string]string) (ledger.ID, bool) {
	text, named := metadata[ledger.MetaOperation]
	if !named || text == "" {
		return ledger.ID{}, false
	}
	op, err := ledger.ParseID(text)
	if err != nil || op.String() != text {
		return ledger.ID{}, true
	}
	return op, true
}

// Ledger takes in one row. Each row comes once, and after all of Stripe.
func (a *Auditor) Ledger(r ledger.AuditRow) {
	t := &r.Transfer
	a.report.Transfers++
	a.report.Reversals += len(t.Reversals)
	a.tally(t)
	a.consistent(t)
	a.books(r)
	a.history(r)

	all := a.held[t.ID]
	delete(a.held, t.ID)
	if t.StripeID == "" {
		a.unheld(t, all)
		return
	}
	at := slices.IndexFunc(all, func(o object) bool { return o.id == t.StripeID })
	if at < 0 {
		detail := "Stripe does not hold it"
		if len(all) > 0 {
			detail = fmt.Sprintf("Stripe holds %s for it instead", trim(all[0].id))
		}
		a.differ(MissingAtStripe, t.ID, t.StripeID, "the ledger has it as %s, and %s", t.State, detail)
		return
	}
	for i, o := range all {
		if i != at {
			a.differ(PaidTwice, t.ID, o.id, "it names the transfer that was paid as %s", t.StripeID)
		}
	}
	a.same(t, all[at])
	a.reversals(t, all[at])
}

// unheld compares a row that the ledger does not say Stripe holds.
func (a *Auditor) unheld(t *ledger.Transfer, all []object) {
	for i, o := range all {
		switch {
		case i > 0:
			a.differ(PaidTwice, t.ID, o.id, "it names the transfer that was paid as %s", trim(all[0].id))
		case !unknown(t.State):
			a.differ(FalseFailed, t.ID, o.id, "the ledger has it as %s, and Stripe holds it", t.State)
		default:
			a.same(t, o)
		}
	}
}

func (a *Auditor) same(t *ledger.Transfer, o object) {
	if o.amount != t.Money.Amount {
		a.differ(Amount, t.ID, o.id, "it is of %d at Stripe, and of %d here", o.amount, t.Money.Amount)
	}
	if o.currency.Value() != string(t.Money.Currency) {
		a.differ(Currency, t.ID, o.id, "it is in %s at Stripe, and in %s here", trim(o.currency.Value()), t.Money.Currency)
	}
	if o.destination.Value() != t.Destination {
		a.differ(Destination, t.ID, o.id, "it went to %s at Stripe, and to %s here", trim(o.destination.Value()), trim(t.Destination))
	}
}

// reversals compares what came back, reversal by reversal, and then as sums when nothing
// finer explains a difference of those.
func (a *Auditor) reversals(t *ledger.Transfer, o object) {
	before := len(a.report.Differences)
	claimed := make([]bool, len(o.reversals))
	var explained int64 // what at Stripe the ledger accounts for
	for i := range t.Reversals {
		r := &t.Reversals[i]
		count := 0
		for j, k := range o.reversals {
			if k.id != r.StripeID && (!k.named || k.op != r.ID) {
				continue
			}
			claimed[j] = true
			count++
			switch {
			case count > 1:
				a.differ(ReversalTwice, t.ID, k.id, "it is reversal %s, made a second time", r.ID)
			case r.StripeID == "" && !unknown(r.State):
				a.differ(FalseFailed, t.ID, k.id, "reversal %s is %s in the ledger, and Stripe holds it", r.ID, r.State)
			case k.amount != r.Amount:
				a.differ(Amount, t.ID, k.id, "the reversal is of %d at Stripe, and of %d here", k.amount, r.Amount)
			}
			explained += k.amount
		}
		if r.StripeID != "" && !slices.ContainsFunc(o.reversals, func(k reversal) bool { return k.id == r.StripeID }) {
			a.differ(ReversalMissing, t.ID, r.StripeID, "reversal %s is %s in the ledger, and Stripe does not hold it", r.ID, r.State)
		}
	}
	for j, k := range o.reversals {
		if claimed[j] {
			continue
		}
		if k.named {
			a.differ(MissingHere, t.ID, k.id, "a reversal of %d names %s, which the ledger does not have", k.amount, k.op)
		} else {
			a.differ(ReversedOutside, t.ID, k.id, "%d was reversed by others, and the ledger does not know", k.amount)
		}
	}
	if len(a.report.Differences) == before && explained != o.reversed {
		a.differ(Reversed, t.ID, o.id, "%d came back at Stripe, and %d here", o.reversed, explained)
	}
}

// Unbalanced takes in what all postings of each currency sum to: nothing, if all is well.
func (a *Auditor) Unbalanced(sums map[ledger.Currency]int64) {
	for c, off := range sums {
		if off != 0 {
			a.differ(Unbalanced, ledger.ID{}, "", "all postings in %s are off by %d", c, off)
		}
	}
}

// Report returns what was found so far. What Stripe holds and no row claimed is missing here.
func (a *Auditor) Report() Report {
	r := a.report
	r.Differences = slices.Clone(r.Differences)
	for op, all := range a.held {
		for _, o := range all {
			r.Differences = append(r.Differences, Difference{MissingHere, op, o.id,
				fmt.Sprintf("Stripe holds %d %s for it, and the ledger does not have it", o.amount, trim(o.currency.Value()))})
		}
	}
	slices.SortStableFunc(r.Differences, func(x, y Difference) int {
		return cmp.Or(cmp.Compare(slices.Index(Classes, x.Class), slices.Index(Classes, y.Class)),
			slices.Compare(x.Transfer[:], y.Transfer[:]), cmp.Compare(x.StripeID, y.StripeID), cmp.Compare(x.Detail, y.Detail))
	})
	return r
}

func (a *Auditor) differ(c Class, t ledger.ID, stripeID, format string, args ...any) {
	a.report.Differences = append(a.report.Differences, Difference{c, t, stripeID, fmt.Sprintf(format, args...)})
}
