package stripe

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	sdk "github.com/stripe/stripe-go/v76"

	"github.com/settled/settled/ledger"
)

// object is a transfer or a reversal as it comes over the wire. The SDK's own types drop a
// reversal's status, and make of `{}` an object without an error.
type object struct {
	sdk.APIResource
	ID                string            `json:"id"`
	Object            string            `json:"object"`
	Amount            int64             `json:"amount"`
	AmountReversed    int64             `json:"amount_reversed"`
	Currency          string            `json:"currency"`
	Created           int64             `json:"created"`
	Metadata          map[string]string `json:"metadata"`
	Destination       string            `json:"destination"`
	SourceTransaction string            `json:"source_transaction"`
	TransferGroup     string            `json:"transfer_group"`
	Description       string            `json:"description"`
	Reversals         *page             `json:"reversals"`
	Transfer          string            `json:"transfer"` // a reversal's
	Status            string            `json:"status"`   // a reversal's, in Stripe's private preview only
}

// page is one page of a list.
type page struct {
	sdk.APIResource
	Object  string    `json:"object"`
	HasMore bool      `json:"has_more"`
	Data    []*object `json:"data"`
}

// The kinds of object, and how their ids begin.
const (
	aTransfer = "transfer"
	aReversal = "transfer_reversal"
	aList     = "list"

	transferPrefix = "tr_"
	reversalPrefix = "trr_"
)

// isID reports an id of Stripe's: its prefix, then letters, digits and underscores.
func isID(id, prefix string) bool {
	rest, ok := strings.CutPrefix(id, prefix)
	return ok && rest != "" && len(id) <= wordMax && strings.Trim(rest, idLetters) == ""
}

const idLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

// flaw says why the object is not the one that was asked for; empty means that it is.
func (o *object) flaw(r ledger.Request, lenient bool) string {
	differs := func(field, got, want string) string {
		return fmt.Sprintf("the answer's %s is %q, not %q", field, got, want)
	}
	kind, prefix := aTransfer, transferPrefix
	if r.Kind == ledger.MakeReversal {
		kind, prefix = aReversal, reversalPrefix
	}
	switch {
	case o.Object != kind:
		return differs("object", o.Object, kind)
	case !isID(o.ID, prefix):
		return fmt.Sprintf("the answer's id %q is no %s…", o.ID, prefix)
	case o.Amount != r.Amount:
		return fmt.Sprintf("%s: the answer's amount is %d, not %d", o.ID, o.Amount, r.Amount)
	case r.Kind == ledger.CreateTransfer && o.Destination != r.Destination:
		return o.ID + ": " + differs("destination", o.Destination, r.Destination)
	case lenient:
		return ""
	case o.Currency != string(r.Currency):
		return o.ID + ": " + differs("currency", o.Currency, string(r.Currency))
	case r.Kind == ledger.MakeReversal && o.Transfer != r.Transfer:
		return o.ID + ": " + differs("transfer", o.Transfer, r.Transfer)
	}
	for _, k := range slices.Sorted(maps.Keys(r.Metadata)) { // operation, generation, epoch
		if strings.HasPrefix(k, ledger.MetaReserved) && o.Metadata[k] != r.Metadata[k] {
			return o.ID + ": " + differs("metadata["+k+"]", o.Metadata[k], r.Metadata[k])
		}
	}
	return ""
}

// What a reversal's status may say. Stripe sends none outside of the private preview
// (docs.stripe.com/connect/pending-transfer-reversals).
const (
	statusSucceeded = "succeeded"
	statusPending   = "pending"
	statusFailed    = "failed"
	statusCanceled  = "canceled"
)

// happened reports a reversal that took its money.
func (o *object) happened() bool { return o.Status == "" || o.Status == statusSucceeded }

// void reports a reversal that did not happen, and will not.
func (o *object) void() bool { return o.Status == statusFailed || o.Status == statusCanceled }

// evidence is the transfer as the ledger knows it. Reversals that came to nothing, and those that
// Stripe keeps pending, took no money: they stand beside those that did.
func (o *object) evidence(reversals []*object) ledger.StripeTransfer {
	t := ledger.StripeTransfer{
		ID: o.ID, Amount: o.Amount, AmountReversed: o.AmountReversed, Currency: ledger.Currency(o.Currency),
		Destination: o.Destination, SourceTransaction: o.SourceTransaction, TransferGroup: o.TransferGroup, Description: o.Description,
		Created: time.Unix(o.Created, 0).UTC(), Metadata: o.Metadata,
	}
	if taken, waiting := sums(reversals); waiting > 0 && t.AmountReversed == taken+waiting {
		t.AmountReversed = taken // whether Stripe counts what it keeps pending is not documented (U)
	}
	for _, r := range reversals {
		list := &t.Reversals
		switch {
		case r.void():
			list = &t.Void
		case !r.happened():
			list = &t.Waiting
		}
		*list = append(*list, ledger.StripeReversal{ID: r.ID, Amount: r.Amount, Created: time.Unix(r.Created, 0).UTC(), Metadata: r.Metadata})
	}
	return t
}

// addsUp reports that the reversals are all of the transfer's: that none was made, nor left
// out, between the reading of the one and the other.
func (o *object) addsUp(reversals []*object) bool {
	taken, waiting := sums(reversals)
	return o.AmountReversed == taken || o.AmountReversed == taken+waiting
}

// sums adds up the reversals that took money, and those that Stripe keeps pending.
func sums(reversals []*object) (taken, waiting int64) {
	for _, r := range reversals {
		switch {
		case r.happened():
			taken += r.Amount
		case !r.void():
			waiting += r.Amount
		}
	}
	return taken, waiting
}
