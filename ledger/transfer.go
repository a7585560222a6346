package ledger

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Operation is what happens exactly once: creating a transfer at Stripe, or making one
// reversal. Its idempotency key is derived from Name, Epoch and Generation.
type Operation struct {
	ID           ID
	State        State
	Since        time.Time // when State was entered, by the database's clock
	Epoch        int       // of the keys in use
	Generation   int       // of the idempotency key in use; 0: none was ever sent
	RequestHash  string    // of the request that goes with the generation
	FirstSentAt  time.Time // when the generation was first committed to, by the database's clock
	OpenSends    int       // sends of the generation that have no definite answer; some never get one
	StripeID     string    // tr_… or trr_…, once Stripe is known to hold it
	ErrorCode    string    // of the last setback
	ErrorMessage string
	Name         ID        // at Stripe; zero until the first generation begins
	Seen         int       // the ledger's epoch in which it was accepted, or last looked up at Stripe
	ClearAt      time.Time // when Stripe was read, and did not hold it; known to the reader alone, and never stored
}

// Transfer is the aggregate: what the platform owes one seller, with its reversals.
type Transfer struct {
	ID        ID
	Operation Operation // creating it at Stripe; it has the transfer's ID
	Order
	OrderHash      string     // of the order, as it was accepted
	Version        int64      // guards every write; each change adds one
	Holds          []Hold     // those that stand, at the transfer or at a reversal, in the order they began
	HeldBy         HoldSource // of the hold that keeps the transfer itself longest; empty: none stands
	HoldEndsAt     time.Time  // when the next hold of the transfer itself ends by itself; zero: none does
	AmountReversed int64      // minor units; of completed reversals
	Chain          string     // the hash of the last history row
	CreatedAt      time.Time
	Since          time.Time  // when its status was entered, by the database's clock
	Reversals      []Reversal // oldest first
}

// Reversal is a part, or all, of a transfer that must come back, for one cause.
type Reversal struct {
	Operation
	Reference string // the platform's own name for it; unique for its transfer
	OrderHash string // of what was asked for, as it was accepted
	Amount    int64  // minor units, in the transfer's currency
	Cause     string // why, in the words of who asked
	External  bool   // made outside settled, and found by reading Stripe
	CreatedAt time.Time
}

// Final reports a reversal that nothing more happens to by itself.
func (r Reversal) Final() bool {
	return r.State == Completed || r.State == Canceled || r.State == PermanentlyFailed
}

// By names who asked for a change, for the history and the audit of messages.
type By struct {
	Message   ID     // the injected message, or zero
	Principal string // the token's name, or "settled"
	Reason    string
}

// History is one row of the append-only record: one step of a transfer or of one of its
// reversals, with the attempt's answer when the step follows one. Each version of a transfer
// has exactly one.
type History struct {
	Transfer   ID
	Version    int64 // of the transfer, after the step
	Subject    ID    // the operation that moved: the transfer's ID, or a reversal's
	Kind       Kind
	At         time.Time // the database's clock, set at commit
	Event      Event
	From, To   State // the subject's
	Status     State // the transfer's, after the step
	Epoch      int
	Generation int
	OpenSends  int    // after the step
	Answer     Answer // of the attempt; its Row is empty when the step follows none
	By         By
	Holds      []Hold // that the step began or ended
	Detail     string // for people
	Content    []byte // the hash of the transfer's rows after the step; set at commit
	Chain      string // the hash of this row and the one before; set at commit
}

func (t *Transfer) operation(id ID) *Operation {
	if t.ID == id {
		return &t.Operation
	}
	for i := range t.Reversals {
		if t.Reversals[i].ID == id {
			return &t.Reversals[i].Operation
		}
	}
	panic(fmt.Sprintf("ledger: transfer %s has no operation %s", t.ID, id))
}

// Current returns the operation that is being driven and its kind: the transfer's own until
// Stripe holds it; then the reversal that was begun and has not come to its end, else the oldest
// that is neither final nor held; else nil.
func (t *Transfer) Current() (*Operation, Kind) {
	if t.Operation.StripeID == "" {
		return &t.Operation, CreateTransfer
	}
	var oldest *Operation
	for i := range t.Reversals {
		r := &t.Reversals[i]
		switch {
		case r.Final():
		case r.State != Pending && r.State != FailedState:
			// One operation at a time: an older one that a hold let go waits for its end.
			return &r.Operation, MakeReversal
		case oldest == nil && len(t.HoldsOf(r.ID)) == 0:
			oldest = &r.Operation
		}
	}
	return oldest, MakeReversal
}

// Unended returns the oldest reversal that is not final, held or not; nil when there is none.
func (t *Transfer) Unended() *Reversal {
	for i := range t.Reversals {
		if !t.Reversals[i].Final() {
			return &t.Reversals[i]
		}
	}
	return nil
}

// Remaining returns what may still be reversed, in minor units: the amount less what came
// back and less what is on its way back.
func (t *Transfer) Remaining() int64 {
	rest := t.Money.Amount - t.AmountReversed
	for _, r := range t.Reversals {
		if !r.Final() {
			rest -= r.Amount
		}
	}
	return rest
}

// Request returns the POST of an operation's generation in use. It reads nothing that can
// change while the generation lasts.
func (t *Transfer) Request(op *Operation) Request {
	meta := make(map[string]string)
	if op.ID == t.ID {
		maps.Copy(meta, t.Metadata)
	}
	// Ours come last: nothing a platform writes may take the place of what evidence is found by.
	// Nothing here depends on the row's ID, nor on anything else that a repetition of the order
	// would have otherwise: it must send the same bytes.
	meta[MetaOperation] = op.Name.String()
	meta[MetaGeneration] = strconv.Itoa(op.Generation)
	meta[MetaEpoch] = strconv.Itoa(op.Epoch)
	r := Request{
		Operation: op.Name,
		Key:       Key(op.Name, op.Epoch, op.Generation),
		Currency:  t.Money.Currency,
		Metadata:  meta,
	}
	if op.ID != t.ID {
		i := slices.IndexFunc(t.Reversals, func(v Reversal) bool { return v.ID == op.ID })
		meta[MetaReference], meta[MetaOrder] = t.Reversals[i].Reference, t.Reversals[i].OrderHash
		r.Kind, r.Amount, r.Transfer = MakeReversal, t.Reversals[i].Amount, t.Operation.StripeID
		return r
	}
	meta[MetaReference], meta[MetaSeller], meta[MetaOrder] = t.Reference, t.Seller, t.OrderHash
	if !t.NotBefore.IsZero() {
		meta[MetaNotBefore] = t.NotBefore.UTC().Format(time.RFC3339Nano)
	}
	r.Kind, r.Amount, r.Destination = CreateTransfer, t.Money.Amount, t.Destination
	r.SourceTransaction, r.Description = t.SourceTransaction, t.Description
	r.TransferGroup = t.Group()
	return r
}

// groupPrefix begins the transfer_groups of our own making.
const groupPrefix = "settled:"

// Group returns the transfer_group that is sent: the platform's own; else one of ours, by
// which the transfer is found again; else none, because a charge's group is inherited.
func (t *Transfer) Group() string {
	if t.TransferGroup != "" || t.SourceTransaction != "" {
		return t.TransferGroup
	}
	return groupPrefix + t.Operation.Name.String()
}

// next copies t for a change, so that no change shares memory that changes with the transfer
// it came from. (The metadata never change, so they are shared.)
func (t Transfer) next() Transfer {
	t.Version++
	t.Reversals = slices.Clone(t.Reversals)
	return t
}

// externalNamespace derives the IDs of reversals that others made, so that finding one twice
// books it once.
var externalNamespace = uuid.MustParse("7b0f2f3c-55a1-5d1e-9c1c-8f3f5f0a6c11")

// ExternalID returns the ID under which a reversal made outside settled is booked.
func ExternalID(stripeID string) ID { return uuid.NewSHA1(externalNamespace, []byte(stripeID)) }
