package ledger

import (
	"slices"

	"github.com/google/uuid"
)

// What an operation is called at Stripe, in its key and in its metadata, is derived from what the
// platform calls it. A row's ID is drawn: an order that is repeated after the database lost its
// row gets another one, and under a name of that ID nothing at Stripe would tie the payment to the
// order. Under a derived name the repetition meets its own key, its own metadata and its own bytes.

// nameNamespace derives names of transfers; a transfer's name derives those of its reversals.
var nameNamespace = uuid.MustParse("3c1f6a52-0d0b-5a55-8d55-6f6e1b9d2a70")

// TransferName names the transfer of a reference. The account is the ledger's: two ledgers of one
// platform may use the same references. It is empty for a ledger that never knew its account.
func TransferName(account, reference string) ID {
	// No account has a space in its name, so no two pairs share a text.
	return uuid.NewSHA1(nameNamespace, []byte(account+" "+reference))
}

// ReversalName names the reversal of a reference, of the transfer that is called so.
func ReversalName(transfer ID, reference string) ID {
	return uuid.NewSHA1(transfer, []byte(reference))
}

// Named fills in the names of the transfer and of the operation that is being driven, if they are
// not decided yet, by the ledger's account. A name that was used once stays, whatever becomes known
// of the account later.
func (t Transfer) Named(account string) Transfer {
	if t.Operation.Name == (ID{}) {
		t.Operation.Name = TransferName(account, t.Reference)
	}
	if op, kind := t.Current(); kind == MakeReversal && op != nil && op.Name == (ID{}) {
		i := t.index(op)
		t.Reversals = slices.Clone(t.Reversals)
		t.Reversals[i].Name = ReversalName(t.Operation.Name, t.Reversals[i].Reference)
	}
	return t
}

// OperationNamed returns the operation of that name, or nil.
func (t *Transfer) OperationNamed(name ID) *Operation {
	if name == (ID{}) {
		return nil
	}
	if t.Operation.Name == name {
		return &t.Operation
	}
	for i := range t.Reversals {
		if t.Reversals[i].Name == name {
			return &t.Reversals[i].Operation
		}
	}
	return nil
}

// firstKeys is the epoch of the keys with which an operation begins, whatever the ledger's own: the
// repetition of a lost order uses the keys that the order used, one after the other, and so meets
// what is still under way. Only what rested for QUIET and was looked up goes on to the keys of a
// later epoch.
func firstKeys(epoch int) int { return min(epoch, 1) }

// Retraces reports an operation that was accepted after the database had lost commits, and may be
// the repetition of one that was lost: before each generation it is looked up at Stripe.
func (o *Operation) Retraces() bool { return o.Epoch < o.Seen && o.StripeID == "" }
