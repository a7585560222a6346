package ledger

import (
	"errors"
	"strings"
)

// Receipt is what became of a message: stored once, when it was refused, or in one commit with
// what it did. So a message acts at most once, and its repetition is answered as it was.
type Receipt struct {
	Message ID
	Before  State
	After   State
	Refusal string       // why it did not act, for people; empty when it acted
	Class   RefusalClass // the same, for programs
}

// RefusalClass says on what ground a message was refused.
type RefusalClass string

// The grounds.
const (
	RefusedMove     RefusalClass = "illegal_move"
	RefusedEarly    RefusalClass = "too_early"
	RefusedConflict RefusalClass = "conflict"
	RefusedFields   RefusalClass = "wrong_fields"
)

// refusals are the errors that say no to a message, in the order in which they are asked for.
var refusals = []struct {
	class RefusalClass
	err   error
}{{RefusedEarly, ErrTooEarly}, {RefusedMove, ErrIllegalMove}, {RefusedConflict, ErrConflict}}

// Refuse writes why a message did not act. It returns false for an error that is no refusal,
// such as a bug or an outage: that must not be what every repetition hears.
func (r *Receipt) Refuse(err error) bool {
	var fields FieldErrors
	if errors.As(err, &fields) && len(fields) > 0 {
		r.Class, r.Refusal = RefusedFields, fields.Error()
		return true
	}
	for _, known := range refusals {
		if errors.Is(err, known.err) {
			r.Class, r.Refusal = known.class, err.Error()
			return true
		}
	}
	return false
}

// Passing reports a refusal whose ground may go away by itself: what is under way ends, what is too early comes of age. It
// is written down, but does not settle the message: said again, it is looked at anew.
func (r Receipt) Passing() bool { return r.Class == RefusedEarly || r.Class == RefusedMove }

// Err returns the refusal as the error that it was, or nil when the message acted.
func (r Receipt) Err() error {
	if r.Refusal == "" {
		return nil
	}
	if r.Class == RefusedFields {
		// A refusal that names several fields names the first here, and the others in its detail.
		field, detail, _ := strings.Cut(r.Refusal, ": ")
		return FieldErrors{{field, detail}}
	}
	for _, known := range refusals {
		if r.Class == known.class {
			return refusal{r.Refusal, known.err}
		}
	}
	return refusal{r.Refusal, ErrIllegalMove} // of a time when the ground was not written down
}

// refusal is a stored refusal: its text, and the error that callers decide on.
type refusal struct {
	text string
	is   error
}

func (r refusal) Error() string { return r.text }
func (r refusal) Unwrap() error { return r.is }
