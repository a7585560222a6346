package ledger

import (
	"errors"
	"time"
)

// What the parts of the daemon say to each other about the ledger.
var (
	// ErrNotFound reports a transfer that the ledger does not have.
	ErrNotFound = errors.New("no such transfer")
	// ErrUnavailable reports that the ledger cannot be reached, or that no answer came in
	// time: nothing is known to have happened, and asking again is safe.
	ErrUnavailable = errors.New("the ledger cannot be reached at the moment")
	// ErrStripeAway reports that Stripe could not be read; it is an [ErrUnavailable] of another's making.
	ErrStripeAway = errors.New("nothing could be read at Stripe")
	// ErrNewEpoch reports that the ledger is in a later epoch than this process knows of: its
	// database lost commits. Nothing is written any more; a new start learns the epoch.
	ErrNewEpoch = errors.New("the ledger began a new epoch since this process started: it must start again")
)

// NotReady is why the daemon is not ready yet, or no longer.
type NotReady struct {
	Reason string // for anybody: it names no host, user or database
	Err    error  // the whole of it; nil: the reason is
}

func (e *NotReady) Error() string {
	if e.Err == nil {
		return e.Reason
	}
	return e.Reason + ": " + e.Err.Error()
}

// Unwrap reaches the whole of it.
func (e *NotReady) Unwrap() error { return e.Err }

// Acceptance is what became of one order.
type Acceptance struct {
	Transfer Transfer // as stored: the new one, or the one that has the reference
	Created  bool     // false: the reference was there already
	Conflict bool     // the reference was there, with another content
	Refused  error    // it is above a ceiling ([ErrCeiling]), and there is no transfer
}

// Live is what an actor says of itself.
type Live struct {
	Alive       bool
	Doing       string    // waiting, loading, asking, committing, calling, reading
	Until       time.Time // the end of its wait, by this machine's clock; zero when it has none
	Incarnation uint64    // grows with every restart of any actor

	Queued bool // it waits for its turn to call Stripe
	Before int  // calls whose turn comes before
	Rate   int  // calls a second that are made of its kind; 0: no limit

	Asleep  int       // so many wait for the same condition, itself included; 0: it waits for none
	ProbeAt time.Time // when the next of them asks Stripe, unless an event speaks of it before; zero: one does now
}
