package ledger

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// An object at Stripe that names an operation of ours without a row is proof that the database lost
// commits: nothing is sent before its row is there. From what the object says the row is made again,
// so that the order, should it be repeated, finds it.

// Lost reports whether a transfer at Stripe names an operation of this ledger, and as what: its
// name must really derive from the reference that it tells. Whether it has a row is the caller's to know.
func (s *StripeTransfer) Lost(account string) (name ID, reference string, ours bool) {
	reference = s.Metadata[MetaReference]
	for _, a := range []string{account, ""} { // a ledger may have begun before it knew its account
		if name = TransferName(a, reference); reference != "" && Names(s.Metadata, name) {
			return name, reference, true
		}
	}
	return ID{}, "", false
}

// lostReversal reports a reversal at Stripe that is one of ours of t, and that t does not have.
func (t *Transfer) lostReversal(r StripeReversal) bool {
	reference := r.Metadata[MetaReference]
	name := ReversalName(t.Operation.Name, reference)
	return t.Operation.Name != (ID{}) && reference != "" && Names(r.Metadata, name) && t.OperationNamed(name) == nil && !t.refers(reference)
}

func (t *Transfer) refers(reference string) bool {
	return slices.ContainsFunc(t.Reversals, func(r Reversal) bool { return r.Reference == reference })
}

// LostReversals returns the reversals of t at Stripe that prove that the database lost their rows.
func (t *Transfer) LostReversals(s StripeTransfer) (lost []StripeReversal) {
	for _, r := range s.Reversals {
		if t.lostReversal(r) {
			lost = append(lost, r)
		}
	}
	return lost
}

// Rebuild makes the row of a transfer again from what Stripe holds, with its reversals. It fails
// when the object does not give the order as it was: somebody edited it at Stripe.
func Rebuild(s StripeTransfer, account string, id ID, epoch int, by By) (Change, error) {
	name, _, ours := s.Lost(account)
	if !ours {
		return Change{}, fmt.Errorf("%w: %s names no operation of this ledger", ErrConflict, s.ID)
	}
	order, err := orderOf(s)
	if err != nil {
		return Change{}, err
	}
	var listed int64
	for _, r := range s.Reversals {
		listed += r.Amount
	}
	if listed != s.AmountReversed || listed > order.Money.Amount {
		return Change{}, fmt.Errorf("%w: Stripe lists reversals of %d and says that %d came back", ErrTooEarly, listed, s.AmountReversed)
	}
	keys, generation, _ := keyed(s.Metadata)
	t := Transfer{ID: id, Order: order, OrderHash: order.Hash(),
		Operation: Operation{ID: id, Name: name, Epoch: max(keys, 0), Seen: epoch, Generation: max(generation, 0), FirstSentAt: s.Created}}
	c := t.change(id, by).step(id, EventRebuild, func(o *Operation) { o.StripeID = s.ID })
	back := slices.Clone(s.Reversals)
	slices.Reverse(back) // oldest first
	change, err := c.adopt(back).done()
	if err != nil {
		return Change{}, err
	}
	change.History.Detail = fmt.Sprintf("the database had lost it; made again from %s at Stripe, of %s", s.ID, s.Created.UTC().Format(time.RFC3339))
	return change, nil
}

// orderOf reads the order that a transfer at Stripe was made for. The order's hash is in the
// metadata, so that what was edited since is seen.
func orderOf(s StripeTransfer) (Order, error) {
	o := Order{
		Reference: s.Metadata[MetaReference], Seller: s.Metadata[MetaSeller], Destination: s.Destination,
		Money: Money{s.Amount, s.Currency}, SourceTransaction: s.SourceTransaction, Description: s.Description,
	}
	if text := s.Metadata[MetaNotBefore]; text != "" {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return o, fmt.Errorf("%w: %s has an unreadable %s", ErrConflict, s.ID, MetaNotBefore)
		}
		o.NotBefore = at
	}
	for k, v := range maps.All(s.Metadata) {
		if !strings.HasPrefix(k, MetaReserved) {
			if o.Metadata == nil {
				o.Metadata = make(map[string]string)
			}
			o.Metadata[k] = v
		}
	}
	// The group is the platform's own, or one of ours, or the charge's.
	for _, o.TransferGroup = range []string{s.TransferGroup, ""} {
		if o.Hash() == s.Metadata[MetaOrder] {
			return o, o.Check()
		}
	}
	return o, fmt.Errorf("%w: %s is not as it was ordered: somebody edited it at Stripe", ErrConflict, s.ID)
}

// adopt adds reversals that Stripe holds and the ledger does not have, oldest first, with their
// postings: those that others made, and those of ours whose rows were lost.
func (c *Change) adopt(list []StripeReversal) *Change {
	for _, s := range list {
		a := &c.After
		r := Reversal{Operation: Operation{ID: ExternalID(s.ID), StripeID: s.ID, Epoch: a.Operation.Epoch, Seen: a.Operation.Seen},
			Amount: s.Amount, External: true, Cause: "made outside settled"}
		if a.lostReversal(s) {
			r.Reference, r.External, r.Cause = s.Metadata[MetaReference], false, "the database had lost it"
			r.Name, r.OrderHash = ReversalName(a.Operation.Name, r.Reference), a.ReversalHash(&r)
		}
		c.adds(r, EventAdopt)
	}
	return c
}
