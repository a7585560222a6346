package ledger

import (
	"fmt"
	"time"
)

// Windows are the spans of time that the money protocol rests on. Safe and Quiet are
// settings; the others are assumptions about the world, which tests and the demo shrink
// together with the simulator's.
type Windows struct {
	Safe    time.Duration // a key is sent only this long after its first send
	Quiet   time.Duration // after it, nothing of a generation can be under way any more
	Skew    time.Duration // clocks differ by at most this
	Wire    time.Duration // a request reaches Stripe at most this long after its last check of freshness
	Late    time.Duration // the effect of an errored request appears at most this long after
	Lag     time.Duration // a list at Stripe is at most this far behind
	KeyLife time.Duration // Stripe forgets a key after this, at the earliest (24 h)
}

// DefaultWindows returns the windows for the real Stripe: a key is documented to live "at
// least 24 hours"; a request can hang on an idle connection for two.
func DefaultWindows() Windows {
	return Windows{
		Safe: 6 * time.Hour, Quiet: 10*time.Hour + 30*time.Minute,
		Skew: 15 * time.Minute, Wire: 2 * time.Hour, Late: 2 * time.Hour, Lag: 15 * time.Minute,
		KeyLife: 24 * time.Hour,
	}
}

// Check reports windows under which the protocol would not be safe.
func (w Windows) Check() error {
	if w.Safe <= 0 {
		return fmt.Errorf("SAFE_WINDOW must be positive, not %s", w.Safe)
	}
	// Safe is compared alone as well: a span of centuries would overflow the sum.
	if last := w.Safe + w.Skew + w.Wire; last >= w.KeyLife || w.Safe >= w.KeyLife {
		return fmt.Errorf("SAFE_WINDOW of %s is too long: with %s of skew and wire a key could be sent after Stripe forgot it (%s); set it below %s",
			w.Safe, w.Skew+w.Wire, w.KeyLife, w.KeyLife-w.Skew-w.Wire)
	}
	// "At least", not "more than": the sum of the defaults is exactly 10 h 30 min, and
	// absence is concluded strictly after it.
	if least := w.Safe + w.Skew + w.Wire + w.Late + w.Lag; w.Quiet < least {
		return fmt.Errorf("QUIET_WINDOW of %s is too short: nothing is proved absent before SAFE_WINDOW + %s; set it to at least %s",
			w.Quiet, w.Skew+w.Wire+w.Late+w.Lag, least)
	}
	return nil
}

// Retry bounds how often, and for how long, an operation that moved no money is tried again. Waiting for a
// condition is bounded apart: it is no attempt.
type Retry struct {
	Enabled     bool // false: a refused operation waits for a person (for reversals: none is started)
	MaxAttempts int  // refusals before the machine gives up
	MaxAge      time.Duration
	Backoff     Backoff
	// ConditionMaxAge ends the wait for a condition, such as funds or a seller's capability; 0: nothing does.
	ConditionMaxAge time.Duration
}

// UnresolvedPolicy says what follows when Stripe is read after QUIET and holds nothing.
type UnresolvedPolicy string

// The policies.
const (
	ParkDoubtful UnresolvedPolicy = "park"   // park a generation that saw a 5xx; else the absence is proof
	ParkAlways   UnresolvedPolicy = "always" // park every one
)

// Policy is all that planning depends on beside the transfer itself.
type Policy struct {
	Windows    Windows
	Transfers  Retry
	Reversals  Retry
	Unresolved UnresolvedPolicy

	Clocks     Clocks    // at the moment of planning
	Epoch      int       // the ledger's epoch: raised when its database lost commits
	EpochSince time.Time // when it was raised; zero in the first epoch
	Account    string    // the ledger's at Stripe, from which names derive; empty: it is not known
}

func (p Policy) retry(k Kind) Retry {
	if k == MakeReversal {
		return p.Reversals
	}
	return p.Transfers
}
