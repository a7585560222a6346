package ledger

import "strings"

// Subject is what a type of event is about, for who keeps this ledger. Stripe has hundreds of types and an endpoint
// may be sent all of them; those that are about nothing here are acknowledged and counted.
type Subject uint8

// The subjects.
const (
	AboutNothing  Subject = iota
	AboutBalance          // of the platform, or of the seller whose event it is
	AboutSeller           // a seller's account changed, and may be able to be paid now
	AboutTransfer         // a transfer was made, changed or reversed
)

// SubjectOf tells the subject of a type of event. Events of Accounts v2 name in brackets the part of the account that
// changed (v2.core.account[configuration.recipient].capability_status_updated); any part may be what was missing.
// A person, a link or a token of an account (v2.core.account_person.created) is another type of object.
func SubjectOf(eventType string) Subject {
	switch eventType {
	case "balance.available":
		return AboutBalance
	case "account.updated", "capability.updated":
		return AboutSeller
	case "transfer.created", "transfer.reversed", "transfer.updated":
		return AboutTransfer
	}
	if strings.HasPrefix(eventType, "v2.core.account[") || strings.HasPrefix(eventType, "v2.core.account.") {
		return AboutSeller
	}
	return AboutNothing
}

// NeedsPayload reports whether more of such an event is used than whose it is. Other payloads are not stored:
// a seller's carries a person's name and address.
func (s Subject) NeedsPayload() bool { return s == AboutBalance || s == AboutTransfer }
