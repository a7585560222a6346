package audit

import (
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
}

// Key names what the finding is: the same difference has the same key in every walk.
func (d Difference) Key() string {
	return string(d.Class) + " " + d.Transfer.String() + " " + d.StripeID
}

// Open reports a finding that is there, and that nobody has accepted.
func (f *Finding) Open() bool { return f.ClearedAt.IsZero() && f.AcceptedAt.IsZero() }

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

// Propose decides on the repair of a difference of a row; t is nil when there is no row.
func Propose(d Difference, t *ledger.Transfer) Repair {
	if t == nil {
		return RepairNone
	}
	op, _ := t.Current()
	switch {
	case d.Class == Parked:
		return RepairResolve
	case d.Class == ReversedOutside && op == nil:
		// While one of ours is being driven, what others made may stand for it: its own actor
		// finds out. See [ledger.Transfer.Reconcile].
		return RepairAdopt
	case d.Class == FalseFailed && op != nil && (op.State == "held" || op.State == "pending" || op.State == "failed"):
		return RepairAdopt // what is at its end is not taken back
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
