package audit

import (
	"fmt"
	"slices"
	"strings"
	"unique"

	"github.com/settled/settled/ledger"
)

// Compare says in what a row and Stripe differ. held are the transfers at Stripe that name the
// row's operation or have its Stripe ID, each with all of its reversals. What is not known
// here yet is no difference, whichever way Stripe has it: see [Unsettled].
func Compare(t *ledger.Transfer, held []ledger.StripeTransfer) []Difference {
	var all []object
	for _, s := range held {
		o := objectOf(s)
		if !o.of(t) {
			continue
		}
		// Pages may overlap: what comes again counts once, as it came last.
		if i := slices.IndexFunc(all, func(k object) bool { return k.id == o.id }); i >= 0 {
			all[i] = o
		} else {
			all = append(all, o)
		}
	}
	return compare(t, all)
}

// Unclaimed says what a transfer at Stripe is that no row claims: [MissingHere] when it names
// us, else [Foreign].
func Unclaimed(s ledger.StripeTransfer) Difference { return unclaimed(objectOf(s)) }

// Named returns the operation that a transfer at Stripe names in its metadata. What carries
// our key with something unreadable is ours all the same: it names the zero ID, which no row has.
// One whose metadata was removed names the operation by a group of our own.
func Named(s ledger.StripeTransfer) (op ledger.ID, named bool) {
	o := objectOf(s)
	return o.op, o.named || o.grouped
}

// Evidence is an operation whose outcome is not known here, and that Stripe holds.
type Evidence struct {
	Operation ledger.ID
	State     ledger.State
	StripeID  string // tr_… or trr_…
	Amount    int64  // minor units
}

// Unsettled returns the operations of a row whose outcome is not known here and that Stripe is
// seen to hold.
func Unsettled(t *ledger.Transfer, held []ledger.StripeTransfer) []Evidence {
	var all []Evidence
	for _, s := range held {
		if o := objectOf(s); unknown(t.Operation.State) && (o.named || o.grouped) && o.op == t.Operation.Name && o.of(t) {
			all = append(all, Evidence{t.ID, t.Operation.State, s.ID, s.Amount})
		}
		if s.ID != t.Operation.StripeID {
			continue
		}
		for i := range t.Reversals {
			r := &t.Reversals[i]
			for _, k := range s.Reversals {
				if undecided(r.State) && ledger.Names(k.Metadata, r.Name) {
					all = append(all, Evidence{r.ID, r.State, k.ID, k.Amount})
				}
			}
		}
	}
	return all
}

// object is what is kept of one transfer at Stripe.
type object struct {
	id          string
	named       bool      // it carries our metadata
	grouped     bool      // it does not, and stands in a group that is one operation's own
	op          ledger.ID // which it names so; zero when it names none that can be read
	reference   string    // of the platform's
	amount      int64
	reversed    int64
	currency    unique.Handle[string]
	destination unique.Handle[string]
	reversals   []reversal
}

type reversal struct {
	id     string
	amount int64
	named  bool
	op     ledger.ID
}

func objectOf(t ledger.StripeTransfer) object {
	o := object{id: t.ID, amount: t.Amount, reversed: t.AmountReversed,
		currency: unique.Make(string(t.Currency)), destination: unique.Make(t.Destination)}
	if o.op, o.named = operation(t.Metadata); !o.named {
		o.op, o.grouped = owner(t.TransferGroup)
	}
	o.reference = t.Metadata[ledger.MetaReference]
	for _, r := range t.Reversals {
		if slices.ContainsFunc(o.reversals, func(k reversal) bool { return k.id == r.ID }) {
			continue
		}
		k := reversal{id: r.ID, amount: r.Amount}
		k.op, k.named = operation(r.Metadata)
		o.reversals = append(o.reversals, k)
	}
	return o
}

// operation reads which operation metadata names: see [Named].
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

// owner reads whose own group a transfer_group is.
func owner(group string) (ledger.ID, bool) {
	text, ours := strings.CutPrefix(group, "settled:")
	if !ours {
		return ledger.ID{}, false
	}
	op, err := ledger.ParseID(text)
	return op, err == nil
}

// of reports that an object is the row's, as far as it names one: what others put into the row's
// own group is of another amount, or to somebody else.
func (o object) of(t *ledger.Transfer) bool {
	return !o.grouped || o.id == t.Operation.StripeID || len(same(t, o)) == 0
}

func unclaimed(o object) Difference {
	if !o.named && !o.grouped {
		return differ(Foreign, ledger.ID{}, o.id, "%d %s to %s, made by others", o.amount, trim(o.currency.Value()), trim(o.destination.Value()))
	}
	return differ(MissingHere, o.op, o.id, "Stripe holds %d %s for it, and the ledger does not have it", o.amount, trim(o.currency.Value()))
}

// compare is [Compare].
func compare(t *ledger.Transfer, all []object) []Difference {
	if t.Operation.StripeID == "" {
		return unheld(t, all)
	}
	at := slices.IndexFunc(all, func(o object) bool { return o.id == t.Operation.StripeID })
	if at < 0 {
		detail := "Stripe does not hold it"
		if len(all) > 0 {
			detail = fmt.Sprintf("Stripe holds %s for it instead", trim(all[0].id))
		}
		return []Difference{differ(MissingAtStripe, t.ID, t.Operation.StripeID, "the ledger has it as %s, and %s", status(t), detail)}
	}
	var found []Difference
	for i, o := range all {
		if i != at {
			found = append(found, differ(PaidTwice, t.ID, o.id, "it names the transfer that was paid as %s", t.Operation.StripeID))
		}
	}
	o := all[at]
	switch {
	case !o.named:
		found = append(found, differ(Unnamed, t.ID, o.id, "its metadata at Stripe does not name it any more"))
	case o.op != t.Operation.Name:
		found = append(found, differ(Unnamed, t.ID, o.id, "its metadata at Stripe names %s", o.op))
	}
	found = append(found, same(t, o)...)
	return append(found, returned(t, o)...)
}

// unheld compares a row that the ledger does not say Stripe holds.
func unheld(t *ledger.Transfer, all []object) (found []Difference) {
	for i, o := range all {
		switch {
		case i > 0:
			found = append(found, differ(PaidTwice, t.ID, o.id, "it names the transfer that was paid as %s", trim(all[0].id)))
		case !unknown(t.Operation.State):
			found = append(found, differ(FalseFailed, t.ID, o.id, "the ledger has it as %s, and Stripe holds it", status(t)))
		default:
			found = append(found, same(t, o)...)
		}
	}
	return found
}

func same(t *ledger.Transfer, o object) (found []Difference) {
	if o.amount != t.Money.Amount {
		found = append(found, differ(Amount, t.ID, o.id, "it is of %d at Stripe, and of %d here", o.amount, t.Money.Amount))
	}
	if o.currency.Value() != string(t.Money.Currency) {
		found = append(found, differ(Currency, t.ID, o.id, "it is in %s at Stripe, and in %s here", trim(o.currency.Value()), t.Money.Currency))
	}
	if o.destination.Value() != t.Destination {
		found = append(found, differ(Destination, t.ID, o.id, "it went to %s at Stripe, and to %s here", trim(o.destination.Value()), trim(t.Destination)))
	}
	return found
}

// returned compares what came back, reversal by reversal, and then as sums when nothing finer
// explains a difference of those.
func returned(t *ledger.Transfer, o object) (found []Difference) {
	claimed := make([]bool, len(o.reversals))
	var explained int64 // what at Stripe the ledger accounts for
	for i := range t.Reversals {
		r := &t.Reversals[i]
		count := 0
		for j, k := range o.reversals {
			if k.id != r.StripeID && (!k.named || k.op != r.Name) {
				continue
			}
			claimed[j] = true
			count++
			switch {
			case count > 1:
				found = append(found, differ(ReversalTwice, t.ID, k.id, "it is reversal %s, made a second time", r.ID))
			case r.StripeID == "" && !undecided(r.State):
				found = append(found, differ(FalseFailed, t.ID, k.id, "reversal %s is %s in the ledger, and Stripe holds it", r.ID, r.State))
			case k.amount != r.Amount:
				found = append(found, differ(Amount, t.ID, k.id, "the reversal is of %d at Stripe, and of %d here", k.amount, r.Amount))
			}
			explained += k.amount
		}
		if r.StripeID != "" && !slices.ContainsFunc(o.reversals, func(k reversal) bool { return k.id == r.StripeID }) {
			found = append(found, differ(ReversalMissing, t.ID, r.StripeID, "reversal %s is %s in the ledger, and Stripe does not hold it", r.ID, r.State))
		}
	}
	for j, k := range o.reversals {
		if claimed[j] {
			continue
		}
		if k.named {
			found = append(found, differ(MissingHere, t.ID, k.id, "a reversal of %d names %s, which the ledger does not have", k.amount, k.op))
		} else {
			found = append(found, differ(ReversedOutside, t.ID, k.id, "%d was reversed by others, and the ledger does not know", k.amount))
		}
	}
	if len(found) == 0 && explained != o.reversed {
		found = append(found, differ(Reversed, t.ID, o.id, "%d came back at Stripe, and %d here", o.reversed, explained))
	}
	return found
}

func differ(c Class, t ledger.ID, stripeID, format string, args ...any) Difference {
	return Difference{c, t, stripeID, fmt.Sprintf(format, args...)}
}
