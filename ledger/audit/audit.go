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
// An auditor holds all of Stripe at once. Who walks the two sides in pieces uses what it is
// made of: [Compare] for a row and what Stripe holds for it, [Unclaimed] for what no row
// claims, [Unsettled] for what is not known here and held there; and keeps a [Finding].
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

	"github.com/settled/settled/ledger"
)

// Class is a kind of difference.
type Class string

// The classes.
const (
	MissingAtStripe Class = "missing_at_stripe" // the ledger says that Stripe holds it, and Stripe does not
	MissingHere     Class = "missing_here"      // Stripe holds what names us, and the ledger has no such operation
	Foreign         Class = "foreign"           // Stripe holds what does not name us: somebody else made it
	Unnamed         Class = "unnamed"           // Stripe holds ours, and its metadata does not name us any more
	PaidTwice       Class = "paid_twice"        // two transfers at Stripe name one of ours
	Amount          Class = "amount"            // of a transfer or a reversal
	Currency        Class = "currency"
	Destination     Class = "destination"
	Reversed        Class = "reversed"         // the sums of what came back differ
	ReversalMissing Class = "reversal_missing" // the ledger says that it came back, and Stripe does not
	ReversalTwice   Class = "reversal_twice"   // one reversal of ours was made twice
	ReversedOutside Class = "reversed_outside" // somebody else reversed it, and the ledger does not know
	FalseFailed     Class = "false_failed"     // the ledger says that no money moved, and it did
	Parked          Class = "parked"           // Stripe holds what is parked here: no difference to the auditor, for it is not known here
	State           Class = "state"            // the row contradicts itself
	Books           Class = "books"            // its postings do not add up to where its state says the money is
	Order           Class = "order"            // it is not as it was ordered
	History         Class = "history"          // its history does not lead to it
	Unbalanced      Class = "unbalanced"       // an entry, or all of a currency, does not sum to zero
	Chain           Class = "chain"            // the chain across all of the history does not hang together
	Record          Class = "record"           // what is kept beside the transfers is not as it was written
)

// Classes lists every class.
var Classes = []Class{MissingAtStripe, MissingHere, Foreign, Unnamed, PaidTwice, Amount, Currency, Destination, Reversed, ReversalMissing,
	ReversalTwice, ReversedOutside, FalseFailed, Parked, State, Books, Order, History, Unbalanced, Chain, Record}

// Drifts lists the classes of what the two sides say of each other. The rest are about the
// ledger alone.
var Drifts = Classes[:len(Classes)-7]

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
	Foreign         int // transfers at Stripe that are not ours; differences only to a strict auditor

	Open          int         // rows whose outcome is not known (sending, unresolved, parked), or that are unfinished
	Unfinished    int         // rows that the machine still has something to do with
	UnfinishedIDs []ledger.ID // the first of them, at most [SampleMax]

	Paid     map[ledger.Currency]int64 // minor units that the ledger says Stripe holds or held for sellers
	Returned map[ledger.Currency]int64 // minor units of them that came back

	Differences []Difference
}

// SampleMax bounds a report's samples.
const SampleMax = 10

// Auditor compares. It is not safe for use by several goroutines.
type Auditor struct {
	held    map[ledger.ID][]object // transfers at Stripe that name an operation, until a row claims them
	called  map[string]ledger.ID   // the names in held, by the reference that goes with them
	foreign map[string]object      // those that name none, by their ID, until a row claims them
	strict  bool                   // what is foreign is a difference
	report  Report
}

// New returns an auditor that has seen nothing.
func New() *Auditor {
	return &Auditor{held: map[ledger.ID][]object{}, called: map[string]ledger.ID{}, foreign: map[string]object{},
		report: Report{Paid: map[ledger.Currency]int64{}, Returned: map[ledger.Currency]int64{}}}
}

// Strict makes every transfer at Stripe that is not ours a difference as well. Without it they
// are counted: an account may pay sellers by other ways too.
func (a *Auditor) Strict() { a.strict = true }

// Stripe takes in one transfer as Stripe holds it, with all of its reversals. Pages may
// overlap: what comes again counts once, as it came last.
func (a *Auditor) Stripe(t ledger.StripeTransfer) {
	o := objectOf(t)
	if !o.named && !o.grouped {
		before, again := a.foreign[o.id]
		a.foreign[o.id] = o
		a.count(before, o, again)
		return
	}
	all := a.held[o.op]
	if i := slices.IndexFunc(all, func(k object) bool { return k.id == t.ID }); i >= 0 {
		a.count(all[i], o, true)
		all[i] = o
		return
	}
	a.count(object{}, o, false)
	a.held[o.op] = append(all, o)
	if o.reference != "" {
		a.called[o.reference] = o.op
	}
}

func (a *Auditor) count(before, o object, again bool) {
	if !again {
		a.report.StripeTransfers++
	}
	a.report.StripeReversals += len(o.reversals) - len(before.reversals)
}

// Ledger takes in one row. Each row comes once, and after all of Stripe.
func (a *Auditor) Ledger(r ledger.AuditRow) {
	t := &r.Transfer
	a.report.Transfers++
	a.report.Reversals += len(t.Reversals)
	a.tally(t)
	a.consistent(t, r.Listed)
	a.books(r)
	a.history(r)
	a.ordered(t)

	name := t.Operation.Name
	if name == (ledger.ID{}) { // nothing of it was ever sent, unless the database lost that
		name = a.called[t.Reference]
	}
	all := a.held[name]
	delete(a.held, name)
	all = slices.DeleteFunc(all, func(o object) bool {
		others := !o.of(t)
		if others {
			o.grouped = false
			a.foreign[o.id] = o
		}
		return others
	})
	if o, lost := a.foreign[t.Operation.StripeID]; lost && t.Operation.StripeID != "" {
		delete(a.foreign, t.Operation.StripeID)
		all = append(all, o)
	}
	a.report.Differences = append(a.report.Differences, compare(t, all)...)
}

// Unbalanced takes in what all postings of each currency sum to: nothing, if all is well.
func (a *Auditor) Unbalanced(sums map[ledger.Currency]int64) {
	for c, off := range sums {
		if off != 0 {
			a.differ(Unbalanced, ledger.ID{}, "", "all postings in %s are off by %d", c, off)
		}
	}
}

// Add takes in differences that others found.
func (a *Auditor) Add(found []Difference) {
	a.report.Differences = append(a.report.Differences, found...)
}

// Report returns what was found so far. What Stripe holds and no row claimed is missing here,
// or foreign.
func (a *Auditor) Report() Report {
	r := a.report
	r.Foreign = len(a.foreign)
	r.Differences = slices.Clone(r.Differences)
	for _, all := range a.held {
		for _, o := range all {
			r.Differences = append(r.Differences, unclaimed(o))
		}
	}
	if a.strict {
		for _, o := range a.foreign {
			r.Differences = append(r.Differences, unclaimed(o))
		}
	}
	slices.SortStableFunc(r.Differences, func(x, y Difference) int {
		return cmp.Or(cmp.Compare(slices.Index(Classes, x.Class), slices.Index(Classes, y.Class)),
			slices.Compare(x.Transfer[:], y.Transfer[:]), cmp.Compare(x.StripeID, y.StripeID), cmp.Compare(x.Detail, y.Detail))
	})
	return r
}

func (a *Auditor) differ(c Class, t ledger.ID, stripeID, format string, args ...any) {
	a.report.Differences = append(a.report.Differences, differ(c, t, stripeID, format, args...))
}
