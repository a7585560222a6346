package ledger

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Record is what an actor reads when it starts: the transfer, and what the history of the
// operation being driven says about waiting.
type Record struct {
	Transfer Transfer
	Digest   Digest
	ReadAt   time.Time // the database's clock at the read
}

// Dossier is all that is known of one transfer, for people.
type Dossier struct {
	Record
	Chapter
}

// Chapter is a part of a transfer's history, without a gap, and the postings of its entries.
type Chapter struct {
	History  []History // by version
	Postings []DatedPosting
}

// DatedPosting is a posting with the version of the transfer whose history row is its entry.
type DatedPosting struct {
	Version int64
	At      time.Time
	Posting
}

// StripeEvent is one verified webhook event as the inbox keeps it: claimed when received,
// handled when applied.
type StripeEvent struct {
	ID         string // evt_…; the key by which duplicates are dropped
	Type       string // transfer.created, …
	Account    string // acct_… of a seller's event; empty for the platform's own
	Livemode   bool
	APIVersion string
	Object     string    // the ID of data.object
	Created    time.Time // as Stripe says; never used for order
	Payload    []byte    // the raw body
}

// MessageType names what a person may inject.
type MessageType string

// The messages.
const (
	MessageRetry   MessageType = "retry"
	MessageHold    MessageType = "hold"
	MessageRelease MessageType = "release"
	MessageCancel  MessageType = "cancel"
	MessageReverse MessageType = "reverse"
	MessageResolve MessageType = "resolve"
	MessageRestart MessageType = "restart"
	MessageAdopt   MessageType = "adopt" // read Stripe, and book what it holds and the ledger denies or does not know
)

// MessageTypes lists every message.
var MessageTypes = []MessageType{MessageRetry, MessageHold, MessageRelease, MessageCancel, MessageReverse, MessageResolve, MessageRestart, MessageAdopt}

// ofReversals lists the messages that may be about one reversal.
var ofReversals = []MessageType{MessageRetry, MessageHold, MessageRelease, MessageCancel, MessageResolve}

// Outcome is what a person says became of a parked operation.
type Outcome string

// The outcomes.
const (
	OutcomeCompleted Outcome = "completed" // Stripe holds it, as StripeID
	OutcomeFailed    Outcome = "failed"    // Stripe does not
)

// Message is one injected message. It is stored before it acts.
type Message struct {
	ID       ID
	Transfer ID
	Reversal ID // of the transfer's; zero: the message is about the transfer itself
	Type     MessageType
	By       By     // Message is ID again
	Override string // of a release: the source, or the ID, of the holds that it ends instead of the operators'
	Amount   int64
	// Reference names the reversal that is asked for, or is empty.
	Reference string
	Until     time.Time
	Outcome   Outcome
	StripeID  string
}

// CheckReason reports why a text is no reason for an act. One that shows nothing tells nobody why.
func CheckReason(s string) error {
	shows := func(r rune) bool { return unicode.In(r, unicode.L, unicode.N, unicode.P, unicode.S) }
	if !strings.ContainsFunc(s, shows) {
		return errors.New("is required: say why, for those who read the history")
	}
	return CheckText(s, ReasonMax)
}

// Check reports every field that is wrong, or nil.
func (m Message) Check(now time.Time) error {
	var wrong FieldErrors
	add := func(field, detail string) { wrong = append(wrong, FieldError{field, detail}) }
	if !slices.Contains(MessageTypes, m.Type) {
		add("type", fmt.Sprintf("must be one of %s", join(MessageTypes)))
	}
	if err := CheckReason(m.By.Reason); err != nil {
		add("reason", err.Error())
	}
	only := func(field string, given bool, of MessageType) {
		if given && m.Type != of {
			add(field, fmt.Sprintf("goes with %s only", of))
		}
	}
	only("amount", m.Amount != 0, MessageReverse)
	only("reference", m.Reference != "", MessageReverse)
	if m.Type == MessageReverse && m.Reference == "" {
		add("reference", "is required: a name of yours for this reversal, unique for its transfer, so that a repetition does not reverse again; or send an Idempotency-Key")
	} else if err := CheckText(m.Reference, ReferenceMax); err != nil {
		add("reference", err.Error())
	}
	only("until", !m.Until.IsZero(), MessageHold)
	only("outcome", m.Outcome != "", MessageResolve)
	only("override", m.Override != "", MessageRelease)
	if m.Override != "" && !slices.Contains(HoldSources, HoldSource(m.Override)) {
		if _, err := ParseID(m.Override); err != nil {
			add("override", fmt.Sprintf("must be one of %s, or the ID of a hold", join(HoldSources)))
		}
	}
	if m.Reversal != (ID{}) && !slices.Contains(ofReversals, m.Type) {
		add("reversal", fmt.Sprintf("goes with %s only", join(ofReversals)))
	}
	if m.StripeID != "" && m.Type != MessageResolve && m.Type != MessageAdopt {
		add("stripe_id", fmt.Sprintf("goes with %s or %s only", MessageResolve, MessageAdopt))
	}
	if m.Type == MessageAdopt && m.StripeID != "" && !transferForm.MatchString(m.StripeID) {
		add("stripe_id", "must name the transfer at Stripe, such as tr_1Abc, or be left out")
	}
	if m.Amount < 0 {
		add("amount", fmt.Sprintf("%d is below 1, the smallest amount in minor units; leave it out to reverse all that remains", m.Amount))
	}
	if m.Type == MessageHold && !m.Until.IsZero() && !m.Until.After(now) {
		add("until", "is in the past: give a later moment, or leave it out to hold until released")
	}
	if m.Type == MessageResolve {
		switch m.Outcome {
		case OutcomeCompleted:
			if !transferForm.MatchString(m.StripeID) && !reversalForm.MatchString(m.StripeID) {
				add("stripe_id", "must name the object at Stripe, such as tr_1Abc or trr_1Abc")
			}
		case OutcomeFailed:
			if m.StripeID != "" {
				add("stripe_id", "goes with the outcome completed only")
			}
		default:
			add("outcome", "must be completed or failed")
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return wrong
}

// Filter selects transfers for a list; zero fields select all.
type Filter struct {
	Status        State
	Seller        string
	Destination   string
	Reference     string
	ErrorCode     string
	CreatedAfter  time.Time // exclusive
	CreatedBefore time.Time // exclusive
	Before        ID        // the cursor: only transfers that sort before it (newest first)
	Limit         int
}

// AuditRow is what an audit needs of one transfer, read in one snapshot.
type AuditRow struct {
	Transfer   Transfer
	Books      Books // summed from the stored postings
	Versions   int64 // history rows
	LastStatus State // the newest history row's
	Listed     State // the status by which lists and counts go
	Unbalanced int   // entries whose postings do not sum to zero
	Broken     error // why the history does not hang together; nil when it does
}
