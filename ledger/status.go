package ledger

// Status derives the word for how a transfer stands. It is stored beside the row, where rows are listed, counted and
// found unfinished by it; the audit compares the two.
//
//	its operation is not completed    the operation's state; held, when a hold keeps it from being sent
//	a reversal is not at its end      reversal_pending
//	all of it came back               reversed
//	a reversal was given up           permanently_failed
//	some of it came back              partially_reversed
//	else                              completed
func (t Transfer) Status() State {
	switch s := t.Operation.State; {
	case t.HeldBy != "" && s.Holdable():
		return Held
	case s != Completed:
		return s
	}
	driven, givenUp := false, false
	for i := range t.Reversals {
		r := &t.Reversals[i]
		driven = driven || !r.Final()
		givenUp = givenUp || r.State == PermanentlyFailed
	}
	switch {
	case driven:
		return ReversalPending
	case t.AmountReversed == t.Money.Amount && t.AmountReversed > 0:
		return Reversed
	case givenUp:
		return PermanentlyFailed
	case t.AmountReversed > 0:
		return PartiallyReversed
	}
	return Completed
}

// Holdable reports a state in which an operation can be held: none of its sends is open, and it is not at its end.
func (s State) Holdable() bool { return s == Pending || s == FailedState }
