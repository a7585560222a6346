package audit

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/settled/settled/ledger"
)

// Finding is a difference that is kept: when it was first seen, whether it is still there, and
// what was done about it. It is never deleted; one that is seen no more is cleared, and opened
// again should it come back.
type Finding struct {
	ID ledger.ID
	Difference
	Object   string          // tr_…: the transfer at Stripe that it is about
	Amount   int64           // minor units that are in question
	Currency ledger.Currency // of Amount

	FirstSeen time.Time
	LastSeen  time.Time
	OpenedAt  time.Time // the last time that it came, or came back
	ClearedAt time.Time // zero: it is there

	Repair     Repair    // what is proposed
	AppliedAt  time.Time // zero: it was not
	AppliedBy  ledger.By
	AcceptedAt time.Time // zero: nobody said that it is as it should be
	AcceptedBy ledger.By
	// AcceptedUntil is when it is open again.
	AcceptedUntil time.Time
	// SecondedAt is when a second person said so too; what is about money is accepted only then.
	SecondedAt time.Time
	SecondedBy ledger.By
}

// AcceptFor is how long a finding is accepted for, and AcceptMax the longest that can be asked for.
const (
	AcceptFor = 90 * 24 * time.Hour
	AcceptMax = 366 * 24 * time.Hour
)

// ErrNotFound reports a finding that is not there.
var ErrNotFound = errors.New("no such finding")

// Key names what the finding is: the same difference has the same key in every walk.
func (d Difference) Key() string {
	return string(d.Class) + " " + d.Transfer.String() + " " + d.StripeID
}

// Seconded lists the classes that are about money: one person alone cannot accept them, because the
// same person may have moved it.
var Seconded = slices.DeleteFunc(slices.Clone(Drifts), func(c Class) bool { return c == Unnamed || c == Parked })

// AboutMoney reports a finding that a second person must accept too.
func (f *Finding) AboutMoney() bool { return slices.Contains(Seconded, f.Class) }

// Accepted reports that whoever must has said that it is as it should be, and that this still holds.
func (f *Finding) Accepted(now time.Time) bool {
	return !f.AcceptedAt.IsZero() && now.Before(f.AcceptedUntil) && (!f.AboutMoney() || !f.SecondedAt.IsZero())
}

// Open reports a finding that is there, and that is not accepted.
func (f *Finding) Open(now time.Time) bool { return f.ClearedAt.IsZero() && !f.Accepted(now) }

// Accept takes in that a person says that it is as it should be, until a moment (zero: for
// [AcceptFor]). It changes nothing when it is accepted already, or the same word comes again.
func (f *Finding) Accept(by ledger.By, until, now time.Time) error {
	switch {
	case f.Accepted(now) || f.AcceptedBy.Message == by.Message && !f.AcceptedAt.IsZero():
		return nil
	case until.IsZero():
		until = now.Add(AcceptFor)
	case !until.After(now) || until.After(now.Add(AcceptMax)):
		return ledger.FieldErrors{{Field: "until", Detail: "must be in the future, and within 366 days"}}
	}
	if f.AcceptedAt.IsZero() || !now.Before(f.AcceptedUntil) {
		f.AcceptedAt, f.AcceptedBy, f.AcceptedUntil = now, by, until
		f.SecondedAt, f.SecondedBy = time.Time{}, ledger.By{}
		return nil
	}
	if f.AcceptedBy.Principal == by.Principal {
		return fmt.Errorf("%w: it is about money, and %s accepted it already: a second person must too", ledger.ErrIllegalMove, by.Principal)
	}
	f.SecondedAt, f.SecondedBy = now, by
	if until.Before(f.AcceptedUntil) {
		f.AcceptedUntil = until
	}
	return nil
}

// Reopen takes back that it was accepted.
func (f *Finding) Reopen() error {
	if f.AcceptedAt.IsZero() {
		return fmt.Errorf("%w: nobody has accepted it", ledger.ErrIllegalMove)
	}
	f.AcceptedAt, f.AcceptedBy, f.AcceptedUntil = time.Time{}, ledger.By{}, time.Time{}
	f.SecondedAt, f.SecondedBy = time.Time{}, ledger.By{}
	return nil
}

// Repair is a proposal: which message to the transfer would mend a difference. A message moves
// no money: it only has the ledger take in what Stripe holds. What needs money to move has no
// repair here.
type Repair string

// The repairs.
const (
	RepairNone    Repair = ""        // a person must find out, and act at Stripe or accept it
	RepairResolve Repair = "resolve" // settle what is parked by what Stripe holds
	RepairAdopt   Repair = "adopt"   // book what Stripe holds and the ledger denies or does not know
)

// Message is the repair as a message to the transfer; false when there is none.
func (f *Finding) Message() (m ledger.Message, proposed bool) {
	switch f.Repair {
	case RepairResolve:
		return ledger.Message{Transfer: f.Transfer, Type: ledger.MessageResolve, Outcome: ledger.OutcomeCompleted, StripeID: f.StripeID}, true
	case RepairAdopt:
		return ledger.Message{Transfer: f.Transfer, Type: ledger.MessageAdopt, StripeID: f.Object}, true
	}
	return m, false
}

// Propose decides on the repair of a difference of a row; t is nil when there is no row. held are the transfers at
// Stripe that were compared.
func Propose(d Difference, t *ledger.Transfer, held []ledger.StripeTransfer) Repair {
	if t == nil {
		return RepairNone
	}
	op, _ := t.Current()
	switch {
	case d.Class == Parked:
		return RepairResolve
	case (d.Class == ReversedOutside || d.Class == MissingHere) && op == nil && t.Unended() == nil:
		// While one of ours is being driven, what others made may stand for it: its own actor
		// finds out. See [ledger.Transfer.Reconcile].
		return RepairAdopt
	case d.Class == FalseFailed && op != nil && (op.State == "held" || op.State == "pending" || op.State == "failed"):
		return RepairAdopt // what is at its end is not taken back
	case d.Class == FalseFailed:
		for _, s := range held { // unless the row cannot know that it is one
			if t.OutdoneBy(s) == d.StripeID {
				return RepairAdopt
			}
		}
	}
	return RepairNone
}

// Filter selects findings for a list; zero fields select all.
type Filter struct {
	Class    Class
	Open     bool      // only those that are there and not accepted
	Cleared  bool      // only those that are there no more
	Accepted bool      // only those that are there and accepted
	Before   ledger.ID // the cursor: only findings that sort before it (newest first)
	Limit    int
}

// Walk is one walk over both sides: all that Stripe ever held, newest first, window by window,
// and all that the ledger says Stripe holds. It goes on where it was when its process dies.
type Walk struct {
	No      int64     // from 1
	Owner   ledger.ID // the process that makes it
	Step    int64     // guards every write
	BeganAt time.Time
	Touched time.Time // when its owner was last seen to be at it
	Until   time.Time // what Stripe created before is still to be compared
	EndedAt time.Time // zero: it goes on

	Reads     int64 // of Stripe
	AtStripe  int64 // transfers compared, as Stripe holds them
	InLedger  int64 // transfers compared, as the ledger has them
	Different int64 // differences that it saw
}

// Ended reports a walk that has compared everything.
func (w *Walk) Ended() bool { return !w.EndedAt.IsZero() }

// Sent is a transfer that the ledger says Stripe holds.
type Sent struct {
	ID       ledger.ID
	StripeID string
	At       time.Time // when its generation was first sent, or else when it was ordered
}

// Status is what the reconciler is doing.
type Status struct {
	Doing  string    // waiting, walking, looking, off
	NextAt time.Time // of the next walk that begins by itself; zero: none does
	Newest Walk      // the newest walk, of any process; it may go on
	Ended  Walk      // the newest that came to its end
}

// Mending is what a person does about a finding.
type Mending string

// The ways to mend.
const (
	Apply  Mending = "apply"  // send the proposed message
	Accept Mending = "accept" // it is as it should be: do not tell of it again while it says the same
	Reopen Mending = "reopen" // it is not, after all
)

// Mendings lists every way.
var Mendings = []Mending{Apply, Accept, Reopen}

// Found makes the finding of a difference: t is the row, nil when there is none, and held the
// transfers at Stripe that were compared. Its ID and times are given when it is stored.
func Found(d Difference, t *ledger.Transfer, held []ledger.StripeTransfer) Finding {
	f := Finding{Difference: d, Object: d.StripeID, Repair: Propose(d, t, held)}
	if t != nil {
		f.Amount, f.Currency = t.Money.Amount, t.Money.Currency
	}
	for _, s := range held {
		if s.ID == d.StripeID {
			f.Currency = s.Currency
			switch {
			case d.Class == Amount && t != nil:
				f.Amount = distance(s.Amount, t.Money.Amount)
			case d.Class == Reversed && t != nil:
				f.Amount = distance(s.AmountReversed, t.AmountReversed)
			default:
				f.Amount = s.Amount
			}
		}
		for _, r := range s.Reversals {
			if r.ID == d.StripeID {
				f.Object, f.Amount, f.Currency = s.ID, r.Amount, s.Currency
			}
		}
	}
	if t == nil {
		return f
	}
	for i := range t.Reversals {
		r := &t.Reversals[i]
		switch {
		case r.StripeID != d.StripeID || r.StripeID == "":
		case d.Class == Amount:
			f.Amount = distance(f.Amount, r.Amount)
		default: // Stripe does not hold it
			f.Object, f.Amount, f.Currency = t.Operation.StripeID, r.Amount, t.Money.Currency
		}
	}
	return f
}

func distance(a, b int64) int64 { return max(a-b, b-a) }

// Count is how many findings are open of a class, in one currency.
type Count struct {
	Class    Class
	Currency ledger.Currency
	Number   int64
	Amount   int64 // minor units
}

// Advice tells a person what a class of drift means for the money, and what to do about it.
func (c Class) Advice() string { return advice[c] }

var advice = map[Class]string{
	MissingAtStripe: "The ledger counts it as paid, and Stripe does not know it: is this the right account? Do not pay it again before Stripe says why.",
	MissingHere:     "Stripe paid for an order that this ledger does not have: look for a ledger that was restored or replaced, then reverse it at Stripe or accept it.",
	Foreign:         "Somebody paid a seller past this ledger. If that is how it should be, accept it; if this account always does so, set RECONCILE_FOREIGN=ignore.",
	Unnamed:         "Somebody edited the metadata at Stripe, by which evidence is found: restore settled_operation there.",
	PaidTwice:       "The seller was paid twice for one order: reverse the one that the ledger does not have, at Stripe, then accept this.",
	Amount:          "The two sides name different amounts: neither ever changes, so one of them was written past settled.",
	Currency:        "The two sides name different currencies: neither ever changes, so one of them was written past settled.",
	Destination:     "The money went to another account than was ordered: neither ever changes, so one of them was written past settled.",
	Reversed:        "Stripe says that another sum came back than its reversals explain: ask Stripe.",
	ReversalMissing: "The ledger counts it as returned, and Stripe does not: ask Stripe.",
	ReversalTwice:   "It came back twice for one cause: pay the seller the difference by a new transfer.",
	ReversedOutside: "Somebody reversed it at Stripe. Apply the proposal to have the ledger know it; while a reversal of ours is being driven, that comes first.",
	FalseFailed:     "The ledger says that no money moved, and it did. Apply the proposal, if there is one; what is final here is reversed at Stripe, or accepted. Do not retry it.",
	Parked:          "Stripe holds what was not known here: apply the proposal.",
}
