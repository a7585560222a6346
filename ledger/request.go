package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind tells the two operations apart.
type Kind uint8

// The kinds of operation.
const (
	CreateTransfer Kind = iota // POST /v1/transfers
	MakeReversal               // POST /v1/transfers/{id}/reversals
)

func (k Kind) String() string { return [...]string{"transfer", "reversal"}[k] }

// Metadata keys under which every object that we make at Stripe names its operation. Lists
// cannot be filtered by metadata, but what they return can be matched by it.
const (
	MetaOperation  = "settled_operation"
	MetaGeneration = "settled_generation"
	MetaEpoch      = "settled_epoch"
	// These are there so that a row which the database lost is made again from the object alone.
	MetaReference = "settled_reference"
	MetaSeller    = "settled_seller"
	MetaNotBefore = "settled_not_before"
	MetaOrder     = "settled_order" // the order's hash
	// MetaReserved is the prefix that callers' own metadata may not use.
	MetaReserved = "settled_"
)

// Request is all that one POST to Stripe says. It is a pure function of fields that never
// change and of the generation, so every resend under a key carries the same bytes.
type Request struct {
	Kind      Kind
	Operation ID     // its name at Stripe
	Key       string // Idempotency-Key

	Amount            int64 // minor units
	Currency          Currency
	Destination       string // acct_…; a transfer's
	SourceTransaction string // ch_…, or empty
	TransferGroup     string
	Description       string
	Transfer          string // tr_…: what a reversal reverses

	Metadata map[string]string // the caller's and ours
}

// Key derives the idempotency key of a generation from the operation's name. It is never drawn:
// after any crash the same durable state yields the same key. Stripe allows 255 characters; this
// is at most 90, and holds no personal data.
func Key(name ID, epoch, generation int) string {
	return fmt.Sprintf("settled:%s:%d:%d", name, epoch, generation)
}

// Hash names the request's content (SHA-256, hex). It is stored with the generation; a
// request that would hash differently is not sent under that generation's key.
func (r Request) Hash() string {
	var b strings.Builder
	field := func(name, value string) { // both length-prefixed, so that no two requests share a text
		for _, s := range [...]string{name, value} {
			b.WriteString(strconv.Itoa(len(s)))
			b.WriteByte(':')
			b.WriteString(s)
		}
	}
	field("kind", r.Kind.String())
	field("operation", r.Operation.String())
	field("key", r.Key)
	field("amount", strconv.FormatInt(r.Amount, 10))
	field("currency", string(r.Currency))
	field("destination", r.Destination)
	field("source_transaction", r.SourceTransaction)
	field("transfer_group", r.TransferGroup)
	field("description", r.Description)
	field("transfer", r.Transfer)
	for _, k := range slices.Sorted(maps.Keys(r.Metadata)) {
		field("metadata."+k, r.Metadata[k])
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:])
}

// StripeTransfer is a transfer as Stripe holds it: evidence.
type StripeTransfer struct {
	ID                string // tr_…
	Amount            int64  // minor units
	AmountReversed    int64  // the only honest progress figure; "reversed" is true only for all of it
	Currency          Currency
	Destination       string
	SourceTransaction string
	TransferGroup     string
	Description       string
	Created           time.Time
	Metadata          map[string]string
	Reversals         []StripeReversal // all of them, newest first
	Waiting           []StripeReversal // those that Stripe keeps pending: they have taken no money yet
	Void              []StripeReversal // those that came to nothing, and never will
}

// StripeReversal is a reversal as Stripe holds it.
type StripeReversal struct {
	ID       string // trr_…
	Amount   int64  // minor units, in the transfer's currency
	Created  time.Time
	Metadata map[string]string
}

// Names reports whether the object's metadata names the operation.
func Names(metadata map[string]string, name ID) bool {
	return name != (ID{}) && metadata[MetaOperation] == name.String()
}
