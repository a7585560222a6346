package ledger

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What people read: a refusal says where a transfer stands and which way leads on, never which row of a table is missing.

// asked are the events that people ask for, and the word they ask with.
var asked = map[Event]bool{EventHold: true, EventLetGo: true, EventRelease: true, EventCancel: true, EventRetry: true, EventReverse: true}

// waysOn says which way leads on from a state.
var waysOn = map[State]string{
	Held:              "`release` or `cancel` leads on",
	Pending:           "`hold` or `cancel` leads on",
	Sending:           "a call is under way; what comes of it leads on",
	FailedState:       "`retry`, `hold` or `cancel` leads on",
	Unresolved:        "a call may have moved money; only evidence leads on",
	Parked:            "only `resolve` (completed or failed) leaves this state",
	PendingAtStripe:   "only Stripe ends it",
	Completed:         "the way back is `reverse`",
	ReversalPending:   "the way back is under way; name one of its reversals by reversal to mean that",
	PartiallyReversed: "only `reverse` leads on",
	Reversed:          "it is at its end",
	Canceled:          "it is at its end",
	PermanentlyFailed: "`retry` or `cancel` leads on",
}

// illegal is the error of a step that a table does not have.
func illegal(from State, e Event) error {
	if asked[e] && waysOn[from] != "" {
		return fmt.Errorf("%w: it is %s: %s", ErrIllegalMove, from, waysOn[from])
	}
	return fmt.Errorf("%w: %s does not follow %s", ErrIllegalMove, e, from)
}

// Sentence is a refusal as people read it: without the words by which programs know its kind.
func Sentence(err error) string {
	text := err.Error()
	for _, known := range refusals {
		if _, after, found := strings.Cut(text, known.err.Error()+": "); found && errors.Is(err, known.err) && known.class != RefusedConflict {
			text = after
		}
	}
	return sentence(text)
}

// sentence gives a text a capital and a full stop.
func sentence(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 {
		return text
	}
	text = string(unicode.ToUpper(first)) + text[size:]
	if !strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "?") && !strings.HasSuffix(text, "!") {
		text += "."
	}
	return text
}

// LeftToPeople says why the machine makes no move of an operation any more, and what a person may do.
func (t *Transfer) LeftToPeople(op *Operation) string {
	reversal := ""
	if i := t.index(op); i >= 0 {
		reversal = Money{t.Reversals[i].Amount, t.Money.Currency}.String()
	}
	if op.State == Parked {
		why := "Whether Stripe moved the money is not known, and no safe move is left: look at Stripe and `resolve` it."
		if reversal != "" {
			why = "Whether Stripe made the reversal of " + reversal + " is not known, and no safe move is left: look at Stripe and `resolve` it."
		}
		return why
	}
	last := sentence(orElse(op.ErrorMessage, "no reason was recorded"))
	if reversal != "" {
		return "settled gave up the reversal of " + reversal + ": " + last + " Mend it and `retry`, `reverse` anew, or `cancel` the reversal."
	}
	return "settled gave up: " + last + " Mend it and `retry`, or `cancel`."
}

// givenUp is the operation for which a transfer was given up: its last reversal that was, or its own.
func (t *Transfer) givenUp() *Operation {
	for i := len(t.Reversals) - 1; i >= 0; i-- {
		if t.Reversals[i].State == PermanentlyFailed {
			return &t.Reversals[i].Operation
		}
	}
	return &t.Operation
}
