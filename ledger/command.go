package ledger

import "fmt"

// What a person may ask of one operation: of the transfer's own, or of the reversal that a
// message names.

// Operation returns the ID of the operation that a message is about.
func (m Message) Operation() ID {
	if m.Reversal != (ID{}) {
		return m.Reversal
	}
	return m.Transfer
}

// Command makes the change that a message asks for, if it is a hold, a release, a cancel or a
// retry. Each refers to one operation.
func (t Transfer) Command(m Message) (Change, error) {
	reversal := m.Reversal != (ID{})
	switch m.Type {
	case MessageHold:
		if reversal {
			return t.HoldReversal(m.Reversal, HeldByOperator, m.Until, m.By)
		}
		return t.Hold(HeldByOperator, m.Until, m.By)
	case MessageRelease:
		if reversal { // the transfer's own ID is none of a reversal
			if _, err := t.Reversal(m.Reversal); err != nil {
				return Change{}, err
			}
		}
		return t.LetGo(m.Operation(), m.Override, m.By)
	case MessageCancel:
		if reversal {
			return t.CancelReversal(m.Reversal, m.By)
		}
		return t.Cancel(m.By)
	case MessageRetry:
		if reversal {
			return t.RetryReversal(m.Reversal, m.By)
		}
		return t.Retry(m.By)
	}
	return Change{}, fmt.Errorf("%w: %q is no message", ErrIllegalMove, m.Type)
}

// Reversal returns one of the reversals by its ID; a FieldErrors when there is none of it.
func (t *Transfer) Reversal(id ID) (*Reversal, error) {
	for i := range t.Reversals {
		if t.Reversals[i].ID == id {
			return &t.Reversals[i], nil
		}
	}
	return nil, FieldErrors{{"reversal", fmt.Sprintf("%s is no reversal of this transfer, which has %d", id, len(t.Reversals))}}
}

// CancelReversal ends a reversal of which no send is open. What it would have taken back
// remains, and may be reversed again.
func (t Transfer) CancelReversal(id ID, by By) (Change, error) {
	r, err := t.Reversal(id)
	if err != nil {
		return Change{}, err
	}
	return t.move(&r.Operation, EventCancel, by, nil)
}

// RetryReversal has one refused reversal tried again now, its count of refusals begun anew.
func (t Transfer) RetryReversal(id ID, by By) (Change, error) {
	r, err := t.Reversal(id)
	if err != nil {
		return Change{}, err
	}
	if err := t.unheld(&r.Operation); err != nil {
		return Change{}, err
	}
	if rest := t.Remaining(); r.State == PermanentlyFailed && r.Amount > rest {
		return Change{}, fmt.Errorf("%w: %d remain to be reversed, and this is of %d", ErrIllegalMove, rest, r.Amount)
	}
	return t.move(&r.Operation, EventRetry, by, nil)
}
