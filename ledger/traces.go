package ledger

import (
	"fmt"
	"slices"
	"time"
)

// listLead is how much earlier than the first send, beyond the skew, a list begins: Stripe's clock
// stamps what it lists, in whole seconds, and the database's the send.
const listLead = 5 * time.Minute

// Created bounds when Stripe, by its own clock, can have made what the generation in use asks
// for; a zero time is no bound. A group of our own holds nothing else, so it needs none below,
// and a wrong clock can hide nothing in it. What is to be denied by a person's word on clocks that disagree
// has no bounds: Stripe's dates say nothing to the database's.
func (t *Transfer) Created(op *Operation, d Digest, p Policy) (since, until time.Time) {
	if d.Untimed || !p.Clocks.Trusted.IsZero() {
		return since, until
	}
	lead := p.Windows.Skew + listLead
	switch {
	case op.Epoch != p.Epoch: // what was lost may have been sent at any time
	case !op.FirstSentAt.IsZero():
		since, until = op.FirstSentAt.Add(-lead), p.quietAt(op).Add(lead)
	case p.Epoch <= 1:
		since = t.CreatedAt.Add(-lead)
	}
	if t.OwnGroup() {
		since = time.Time{}
	}
	return since, until
}

// OwnGroup reports that [Transfer.Group] is one of ours, that names this transfer alone.
func (t *Transfer) OwnGroup() bool { return t.TransferGroup == "" && t.SourceTransaction == "" }

// Resembles reports a transfer at Stripe that may be this one with its metadata removed, as
// anybody can in Stripe's dashboard: it names no operation, and is as this one was ordered.
func (t *Transfer) Resembles(s StripeTransfer) bool {
	return s.Metadata[MetaOperation] == "" && t.AsOrdered(s) && s.SourceTransaction == t.SourceTransaction &&
		(t.Group() == "" || s.TransferGroup == t.Group())
}

// AsOrdered reports a transfer at Stripe of the amount and currency, and to the account, that were ordered.
func (t *Transfer) AsOrdered(s StripeTransfer) bool {
	return s.Amount == t.Money.Amount && s.Currency == t.Money.Currency && s.Destination == t.Destination
}

// Is reports a transfer at Stripe that can be no other than this one: it names it, or lost its
// metadata and stands in its own group.
func (t *Transfer) Is(s StripeTransfer) bool {
	return Names(s.Metadata, t.Operation.Name) || t.OwnGroup() && t.Resembles(s)
}

// Suspect parks an operation of which Stripe holds nothing that names it, but holds what may be it.
func (t Transfer) Suspect(p Policy, stripeID string, now time.Time) (Change, error) {
	op, _ := t.Current()
	if op == nil {
		return t.move(nil, EventPark, By{}, nil)
	}
	if err := p.quiet(op, now); err != nil {
		return Change{}, err
	}
	c, err := t.move(op, EventPark, By{}, func(o *Operation) {
		o.ErrorCode, o.ErrorMessage = "metadata_removed", fmt.Sprintf("Stripe holds %s, which is like it and names no operation: somebody must say whether it is this one.", stripeID)
	})
	c.History.Detail = fmt.Sprintf("read after the quiet period: %s is like it, and its metadata names no operation", stripeID)
	return c, err
}

// ReversalAlike returns the reversal in a transfer at Stripe that may be the operation with its
// metadata removed: of its amount, not older than its first send, and of no row; empty: none.
func (t *Transfer) ReversalAlike(op *Operation, s StripeTransfer, p Policy) string {
	if !op.State.Open() {
		return ""
	}
	amount := t.Request(op).Amount
	since := op.FirstSentAt.Add(-p.Windows.Skew - listLead)
	if !p.Clocks.Trusted.IsZero() {
		since = time.Time{}
	}
	for _, r := range s.Reversals {
		known := slices.ContainsFunc(t.Reversals, func(k Reversal) bool { return k.StripeID == r.ID })
		if !known && r.Amount == amount && r.Metadata[MetaOperation] == "" && !r.Created.Before(since) {
			return r.ID
		}
	}
	return ""
}
