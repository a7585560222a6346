package ledger

import (
	"slices"
	"strconv"
	"time"
)

// KeptMost is how long Stripe keeps a reversal pending at most, for lack of balance at the
// seller; then it fails (private preview, docs.stripe.com/connect/pending-transfer-reversals).
const KeptMost = 45 * 24 * time.Hour

// A reversal that is kept pending holds its siblings up, as any that is under way does. Stripe keeps it for lack of
// balance at the seller, and a sibling would wait for the same balance: to send it too could only take what the first
// waits for, so that the older obligation fails after 45 days for the sake of the newer. So the order of obligations is
// kept, and one operation at a time stays the rule.

// keep records that Stripe took a reversal and keeps it pending. The answer is the key's stored
// one, so no send of it is open any more; and no money has moved, so none is booked.
func (t Transfer) keep(op *Operation, a Answer, detail string) (Change, error) {
	c, err := t.move(op, EventKeep, By{}, func(o *Operation) {
		o.OpenSends = 0
		o.ErrorCode, o.ErrorMessage = "", ""
	})
	c.History.Answer, c.History.Detail = a, detail
	return c, err
}

// Kept draws what a read of the transfer says about the reversal being driven while Stripe has
// not made it: it is kept pending, or it came to nothing after it was. It returns false when the
// read says no more than the ledger knows. A reversal that was made is for [Transfer.Found].
func (t Transfer) Kept(s StripeTransfer) (Change, bool, error) {
	op, kind := t.Current()
	if op == nil || kind != MakeReversal || !op.State.Undecided() || op.FirstSentAt.IsZero() && op.State != PendingAtStripe {
		return Change{}, false, nil
	}
	ours := func(r StripeReversal) bool { // of this generation: an earlier one's may have come to nothing before
		return Names(r.Metadata, op.Name) && r.Metadata[MetaGeneration] == strconv.Itoa(op.Generation) && r.Metadata[MetaEpoch] == strconv.Itoa(op.Epoch)
	}
	void := slices.IndexFunc(s.Void, ours)
	if waits := slices.IndexFunc(s.Waiting, ours); op.State != PendingAtStripe {
		if waits < 0 && void < 0 {
			return Change{}, false, nil
		}
		id := ""
		if waits >= 0 {
			id = s.Waiting[waits].ID
		} else { // what became of it is the next step's
			id = s.Void[void].ID
		}
		c, err := t.keep(op, Answer{}, "read at Stripe: "+id+" was taken, and kept pending")
		return c, err == nil, err
	}
	if void < 0 {
		return Change{}, false, nil
	}
	// The seller's balance was too low all the while, so it is waited for before the next try.
	a := Answer{Row: "R4", Verdict: Failed, Reaction: AwaitSellerFunds, StripeID: s.Void[void].ID, Code: "reversal_not_made",
		Message: "Stripe kept " + s.Void[void].ID + " pending, and did not make it: the seller's balance stayed too low, or somebody canceled it."}
	c, err := t.move(op, EventRefuse, By{}, func(o *Operation) {
		o.ErrorCode, o.ErrorMessage = a.Code, a.Message
		spend(o)
	})
	c.History.Answer = a
	return c, err == nil, err
}

// planKept plans an operation that Stripe keeps pending: reading, slowly. Events come first, when
// they come; a read is what they are hints for.
func planKept(op *Operation, r Retry, now, looked time.Time) Step {
	until := op.Since.Add(KeptMost)
	step := Step{Action: Look, At: op.Since.Add(r.Backoff.Max), Code: string(PendingAtStripe), Mover: MoveOfSeller}
	if !looked.IsZero() {
		step.At = later(looked, r.Backoff, op.ID)
	}
	const day = "2 January 2006"
	step.Why = "Stripe took the reversal on " + op.Since.UTC().Format(day) + " and waits for the seller's balance; until " +
		until.UTC().Format(day) + " at most, then it fails there."
	if now.After(until) {
		step.Mover = MoveOfStripe
		step.Why = "Stripe took the reversal on " + op.Since.UTC().Format(day) + " and still keeps it pending, longer than it says it does."
	}
	return step
}
