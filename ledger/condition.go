package ledger

import (
	"fmt"
	"time"
)

// Waiting is no attempt. A refusal that says "not yet" is about a condition of the world: the platform's funds in
// one currency, one seller's capability, one seller's funds. Asking again proves nothing of the operation, so it is
// counted neither against the attempts nor against their age. The condition's own age alone ends the wait; and what
// the platform has to mend is not given up before somebody there was told, with time left to act.

// Condition is what refused operations wait for. All that have the same one wait together.
type Condition struct {
	Reaction Reaction
	Account  string   // the seller's; empty: the platform's own
	Currency Currency // of the funds; empty where no currency matters
}

// Waits reports a refusal that is not about the operation: it holds until a condition of the world changes.
func (r Reaction) Waits() bool {
	switch r {
	case AwaitFunds, AwaitSeller, AwaitSellerFunds, AwaitPlatform:
		return true
	}
	return false
}

// Awaits returns the condition that a refusal of one of t's operations waits for.
func (t *Transfer) Awaits(r Reaction) Condition {
	c := Condition{Reaction: r}
	if r != AwaitFunds {
		c.Account = t.Destination
	}
	if r != AwaitSeller {
		c.Currency = t.Money.Currency
	}
	return c
}

// waits folds a refusal that waits for a condition. Setbacks of other kinds keep their count; their age and their
// backoff begin anew, for the time that is waited here is not theirs.
func (d Digest) waits(h History) Digest {
	if d.Awaits != h.Answer.Reaction {
		d.Awaits, d.AwaitsSince, d.Told = h.Answer.Reaction, h.At, time.Time{}
	}
	d.Setbacks, d.First = 1, time.Time{}
	d.Last, d.LastAnswer = h.At, h.Answer
	return d
}

// noticeShare is the part of a condition's age that the platform has left once it was told.
const noticeShare = 10

// planWait plans an operation whose last refusal waits for a condition. now is by the clock that is behind: nothing is
// given up because one ran ahead.
func planWait(op *Operation, d Digest, p Policy, r Retry, now time.Time) Step {
	last := orElse(op.ErrorMessage, "no reason was given.")
	step := Step{Action: Send, Code: orElse(op.ErrorCode, "failed"), At: d.Last.Add(r.Backoff.Max), Awaits: d.Awaits}
	switch d.Awaits {
	case AwaitFunds:
		step.Mover, step.Why = MoveOfPlatform, "The platform's balance at Stripe is too low; it is sent when that changes."
	case AwaitSeller:
		step.Mover, step.Why = MoveOfSeller, "The seller's account cannot take transfers yet; it is sent when that changes."
	case AwaitSellerFunds:
		step.Mover, step.Why = MoveOfSeller, "The seller's balance at Stripe is too low for the reversal; it is made when that changes."
	case AwaitPlatform:
		// The gate lets one call in all through, to see whether it is over; so the own wait is short, and nothing
		// is ever given up for it.
		step.Awaits, step.Mover = BackOff, MoveOfPlatform
		step.At = d.Last.Add(max(r.Backoff.Wait(d.Setbacks, Jitter(op.ID, d.Setbacks)), d.LastAnswer.RetryAfter))
		step.Why = "Stripe refuses the platform's key or account (" + last + "); it goes on by itself once that is mended at Stripe."
		return step
	}
	if r.ConditionMaxAge <= 0 || p.Clocks.Trouble != "" {
		return step
	}
	since := d.AwaitsSince.UTC().Format(time.RFC3339)
	end := d.AwaitsSince.Add(r.ConditionMaxAge)
	if step.Mover == MoveOfPlatform {
		notice := r.ConditionMaxAge / noticeShare
		if d.Told.IsZero() {
			if step.Ends = end.Add(-notice); !now.Before(step.Ends) {
				step.Action, step.At = Tell, now
				step.Why = fmt.Sprintf("It waits for the platform since %s (%s), and is given up %s from now unless that changes.", since, last, notice)
			}
			return step
		}
		end = latest(end, d.Told.Add(notice))
	}
	if step.Ends = end; !now.Before(end) {
		return Step{Action: GiveUp, At: now, Code: step.Code, Mover: MoveOfPlatform,
			Why: fmt.Sprintf("Waited since %s, the last time: %s", since, last)}
	}
	return step
}
