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
)

// Acceptance is what became of one order.
type Acceptance struct {
	Transfer Transfer // as stored: the new one, or the one that has the reference
	Created  bool     // false: the reference was there already
	Conflict bool     // the reference was there, with another content
}

// Live is what an actor says of itself.
type Live struct {
	Alive       bool
	Doing       string    // waiting, loading, asking, committing, calling, reading
	Until       time.Time // the end of its wait, by this machine's clock; zero when it has none
	Incarnation uint64    // grows with every restart of any actor
}
