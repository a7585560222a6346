package ledger

import (
	"fmt"
	"time"
)

// Clocks says how this machine's clock and Stripe's stand to the database's. The zero value is
// three clocks that agree to the instant.
type Clocks struct {
	Ahead, Behind time.Duration // of the database's clock: the furthest of the others; neither is negative

	// Trouble says which clock is off, and by how much; empty: they agree within Skew. While they
	// do not, nothing is proved by time and no old key is sent.
	Trouble string
	// Halt forbids every send. Only with two clocks that agree beside Stripe, and neither of which
	// jumped, a new key may go out; its generation is marked: see [Digest.Untimed].
	Halt bool
	// Trusted is when a person said which clock is right, by the database's clock. Since then all keep
	// their distance, so that each says the same of how long ago that was: see [Trust]. Zero: nobody
	// did, or the clocks that the protocol rests on agree.
	Trusted time.Time
}

// CodeClocks is the word for what waits until the clocks agree.
const CodeClocks = "clocks_disagree"

// earliest is the moment that no clock denies to have come: absence is proved by it.
func (p Policy) earliest(now time.Time) time.Time { return now.Add(-p.Clocks.Behind) }

// latest is the last moment that any clock says it is: a key is as old as that.
func (p Policy) latest(now time.Time) time.Time { return now.Add(p.Clocks.Ahead) }

// young reports a key that may be sent still. One whose first send is to come, by every clock,
// was stamped by a wrong one: how old it is nobody knows.
func (p Policy) young(op *Operation, now time.Time) bool {
	return !op.FirstSentAt.IsZero() && op.Seen == p.Epoch && p.Clocks.Trouble == "" &&
		now.Before(op.FirstSentAt.Add(p.Windows.Safe)) && !op.FirstSentAt.After(now.Add(p.Windows.Skew))
}

// quiet reports that nothing of the operation's generation can be under way, by every clock;
// else, why that cannot be said yet.
func (p Policy) quiet(op *Operation, now time.Time) error {
	if p.Clocks.Trouble != "" && p.Clocks.Trusted.IsZero() {
		return fmt.Errorf("%w: absence is no evidence while the clocks disagree: %s", ErrTooEarly, p.Clocks.Trouble)
	}
	if at := p.quietAt(op); !p.earliest(now).After(at) {
		return fmt.Errorf("%w: absence is no evidence before %s", ErrTooEarly, at.Format(time.RFC3339))
	}
	return nil
}

// Until returns how long it is until a step is due; not positive: it is. What time alone decides
// waits for the clock that is furthest behind.
func (p Policy) Until(s Step, now time.Time) time.Duration {
	if s.Decides || s.Action == Release {
		now = p.earliest(now)
	}
	return s.At.Sub(now)
}

// explain tells people of a step that waits for the clocks.
func (c Clocks) explain(s Step) Step {
	if c.Trouble == "" {
		return s
	}
	switch {
	case s.Action == Look && !c.Trusted.IsZero():
		s.Why = "The clocks disagree, so nothing is concluded from the time of its first send, and the request is not sent again; Stripe is read for evidence. " + c.Trouble
	case s.Action == Look:
		s.Why = "The clocks disagree, so nothing is concluded from time and the request is not sent again; Stripe is read for evidence. " + c.Trouble
	case s.Action == Send && c.Halt:
		s.Why = "The clocks disagree, so nothing is sent. " + c.Trouble
	default:
		return s
	}
	s.Code, s.Mover = CodeClocks, MoveOfPlatform
	return s
}
