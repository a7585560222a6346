package audit

import (
	"fmt"
	"slices"
	"time"

	"github.com/settled/settled/ledger"
)

// What a row must be in itself: its state, its reversals, its books and its history agree.

// unknown reports a state of which nobody can say yet whether money moved.
func unknown(s ledger.State) bool {
	return s == "sending" || s == "unresolved" || s == "parked"
}

// undecided reports a state that Stripe may have left while the ledger does not know: an outcome
// that is not known, or a reversal that Stripe kept pending when it was last read.
func undecided(s ledger.State) bool { return unknown(s) || s == "pending_at_stripe" }

// status derives the status of a transfer again, apart from the ledger.
func status(t *ledger.Transfer) ledger.State {
	own := t.Operation.State
	if own != "completed" {
		if t.HeldBy != "" && (own == "pending" || own == "failed") {
			return "held"
		}
		return own
	}
	count := map[ledger.State]int{}
	var back int64
	for i := range t.Reversals {
		r := &t.Reversals[i]
		count[r.State]++
		if r.State == "completed" {
			back += r.Amount
		}
	}
	switch {
	case count["completed"]+count["canceled"]+count["permanently_failed"] < len(t.Reversals):
		return "reversal_pending"
	case count["completed"] > 0 && back == t.Money.Amount:
		return "reversed"
	case count["permanently_failed"] > 0:
		return "permanently_failed"
	case back > 0:
		return "partially_reversed"
	}
	return "completed"
}

// tally counts what is no difference.
func (a *Auditor) tally(t *ledger.Transfer) {
	open := unknown(t.Operation.State)
	unfinished := false
	switch status(t) {
	case "pending", "sending", "failed", "unresolved", "reversal_pending":
		unfinished = true
	case "held":
		unfinished = !t.HoldEndsAt.IsZero() // a hold of it ends by itself
	}
	for i := range t.Reversals {
		open = open || undecided(t.Reversals[i].State)
		if t.Reversals[i].State == "completed" {
			a.report.Returned[t.Money.Currency] += t.Reversals[i].Amount
		}
	}
	if t.Operation.StripeID != "" {
		a.report.Paid[t.Money.Currency] += t.Money.Amount
	}
	if open || unfinished {
		a.report.Open++
	}
	if unfinished {
		a.report.Unfinished++
		if len(a.report.UnfinishedIDs) < SampleMax {
			a.report.UnfinishedIDs = append(a.report.UnfinishedIDs, t.ID)
		}
	}
}

// consistent reports the first way in which a row contradicts itself.
func (a *Auditor) consistent(t *ledger.Transfer, listed ledger.State) {
	var returned int64
	for i := range t.Reversals {
		r := &t.Reversals[i]
		switch r.State {
		case "completed":
			returned += r.Amount
		case "pending", "sending", "failed", "unresolved", "parked", "pending_at_stripe", "canceled", "permanently_failed":
		default:
			a.differ(State, t.ID, r.StripeID, "reversal %s is %q, which is no state of one", r.ID, r.State)
			return
		}
		switch {
		case (r.State == "completed") != (r.StripeID != ""):
			a.differ(State, t.ID, r.StripeID, "reversal %s is %s, and its Stripe ID is %q", r.ID, r.State, r.StripeID)
			return
		case unknown(r.State) != (r.OpenSends > 0):
			a.differ(State, t.ID, r.StripeID, "reversal %s is %s with %d open sends", r.ID, r.State, r.OpenSends)
			return
		case r.Amount < 1:
			a.differ(State, t.ID, r.StripeID, "reversal %s is of %d", r.ID, r.Amount)
			return
		}
	}
	own, wrong := &t.Operation, ""
	switch own.State {
	case "pending", "failed", "canceled", "permanently_failed", "sending", "unresolved", "parked":
		if own.StripeID != "" || len(t.Reversals) > 0 {
			wrong = "what Stripe does not hold has a Stripe ID or reversals"
		}
	case "completed":
		if own.StripeID == "" {
			wrong = "what is completed is at Stripe"
		}
	default:
		wrong = "there is no such state"
	}
	switch {
	case wrong != "":
	case own.ID != t.ID:
		wrong = fmt.Sprintf("its operation is %s", own.ID)
	case unknown(own.State) != (own.OpenSends > 0):
		wrong = "only what is under way has open sends"
	default:
		wrong = heldWrongly(t)
	}
	switch {
	case wrong != "":
		a.differ(State, t.ID, own.StripeID, "the ledger has it as %s: %s", own.State, wrong)
	case listed != status(t):
		a.differ(State, t.ID, own.StripeID, "it is %s, and lists and counts have it as %s", status(t), listed)
	case returned > t.Money.Amount:
		a.differ(Reversed, t.ID, own.StripeID, "%d of %d came back", returned, t.Money.Amount)
	case returned != t.AmountReversed:
		a.differ(Reversed, t.ID, own.StripeID, "its reversals sum to %d, and the row says %d", returned, t.AmountReversed)
	}
}

// heldWrongly tells how a row and the holds that stand at it disagree; empty: they do not.
func heldWrongly(t *ledger.Transfer) string {
	var stand []ledger.Hold
	var first, last time.Time // when the next one ends by itself, and the last
	for _, h := range t.Holds {
		if h.Operation != t.ID {
			i := slices.IndexFunc(t.Reversals, func(r ledger.Reversal) bool { return r.ID == h.Operation })
			if i < 0 || t.Reversals[i].State != "pending" && t.Reversals[i].State != "failed" {
				return "a hold stands at a reversal that cannot be held"
			}
			continue
		}
		stand = append(stand, h)
		if !h.Until.IsZero() && (first.IsZero() || h.Until.Before(first)) {
			first = h.Until
		}
		if h.Until.After(last) {
			last = h.Until
		}
	}
	if slices.ContainsFunc(stand, func(h ledger.Hold) bool { return h.Until.IsZero() }) {
		last = time.Time{}
	}
	by := slices.ContainsFunc(stand, func(h ledger.Hold) bool { return h.Until.Equal(last) && h.Source == t.HeldBy })
	switch {
	case len(stand) > 0 && t.Operation.State != "pending" && t.Operation.State != "failed":
		return fmt.Sprintf("%d holds stand at what cannot be held", len(stand))
	case by != (t.HeldBy != "") || by != (len(stand) > 0):
		return fmt.Sprintf("it says %q, and none of its %d holds is by that and lasts longest", t.HeldBy, len(stand))
	case !t.HoldEndsAt.Equal(first):
		return fmt.Sprintf("its next hold is said to end at %s, and ends at %s", t.HoldEndsAt, first)
	}
	return ""
}

// books recomputes where each amount lies, and compares what the postings say.
func (a *Auditor) books(r ledger.AuditRow) {
	t := &r.Transfer
	amount := t.Money.Amount
	want := map[ledger.Account]int64{}
	switch own := t.Operation.State; {
	case t.Operation.StripeID != "":
		want["clearing"], want["paid"] = -amount, amount
	case unknown(own):
		want["clearing"], want["in_flight"] = -amount, amount
	case own == "canceled":
		// It was drawn and went back.
	default:
		want["clearing"], want["owed"] = -amount, amount
	}
	for i := range t.Reversals {
		switch v := &t.Reversals[i]; {
		case v.State == "completed":
			want["paid"] -= v.Amount
			want["clearing"] += v.Amount
		case unknown(v.State):
			want["paid"] -= v.Amount
			want["returning"] += v.Amount
		}
	}
	for _, account := range []ledger.Account{"clearing", "owed", "in_flight", "paid", "returning"} {
		if got := r.Books[account]; got != want[account] {
			a.differ(Books, t.ID, t.Operation.StripeID, "%s holds %d for it, and as it is %s must hold %d", account, got, status(t), want[account])
			return // one wrong posting shows in two accounts
		}
	}
	for account, got := range r.Books {
		if _, known := want[account]; !known && got != 0 {
			a.differ(Books, t.ID, t.Operation.StripeID, "%s holds %d for it, and must hold nothing", account, got)
			return
		}
	}
}

// history compares the row with the rows that led to it.
func (a *Auditor) history(r ledger.AuditRow) {
	t := &r.Transfer
	if r.Versions != t.Version {
		a.differ(History, t.ID, t.Operation.StripeID, "it is at version %d, and its history has %d rows", t.Version, r.Versions)
	}
	if r.LastStatus != status(t) {
		a.differ(History, t.ID, t.Operation.StripeID, "it is %s, and its history ends in %s", status(t), r.LastStatus)
	}
	if r.Broken != nil {
		a.differ(History, t.ID, t.Operation.StripeID, "%s", r.Broken)
	}
	if r.Unbalanced != 0 {
		a.differ(Unbalanced, t.ID, t.Operation.StripeID, "%d of its entries do not sum to zero", r.Unbalanced)
	}
}

// ordered reports what is not as it was ordered.
func (a *Auditor) ordered(t *ledger.Transfer) {
	if t.OrderHash != t.Order.Hash() {
		a.differ(Order, t.ID, t.Operation.StripeID, "the order in its row is not the one that was accepted")
		return
	}
	for i := range t.Reversals {
		if r := &t.Reversals[i]; !r.External && r.OrderHash != t.ReversalHash(r) {
			a.differ(Order, t.ID, r.StripeID, "reversal %s in its row is not the one that was asked for", r.ID)
		}
	}
}
