package ledger

import (
	"fmt"
	"time"
)

// Clock names one of the three clocks.
type Clock string

// The clocks.
const (
	ClockDatabase Clock = "database" // stamps the ledger
	ClockStripe   Clock = "stripe"   // forgets keys, and dates what Stripe lists
	ClockMachine  Clock = "machine"  // the wall clock that the daemon runs by
)

// ClockNames lists the three.
var ClockNames = []Clock{ClockDatabase, ClockStripe, ClockMachine}

// of is the clock in a sentence.
func (c Clock) of() string {
	switch c {
	case ClockDatabase:
		return "the database's"
	case ClockStripe:
		return "Stripe's"
	}
	return "this machine's"
}

// Trust is a person's word on clocks that disagree: of these, one is right. It is bound to the
// offsets that were seen when it was given, and is void once one of them changes by more than the
// skew. So for as long as it lasts every clock says the same of how long ago it was given, whichever
// of them is right: that alone is what the money protocol takes from it.
//
// What it allows hangs on the two clocks that the protocol rests on: the database's, which stamps
// first sends, and Stripe's, by which keys are forgotten.
//
// While these two agree (only this machine's is off, and the word is for one of them), all goes on as if
// this machine's agreed too. Its offset is left out, and its steps are not.
//
// While they do not, the time of a first send says nothing of a key's age at Stripe. What is new is
// sent, once, and its generation is marked ([Digest.Untimed]): nothing is concluded from its time,
// later either. What was sent before is not sent again. Its absence is proved, by lists without bounds
// of time, only QUIET after the word, and by the clock that is furthest behind.
//
// A false word risks this: if the database's clock and Stripe's were wrong together, and this
// machine's right, then they were set back or forward together, and a word for one of them has
// absence proved, or an old key sent, too early by that much. Any other false word pays nothing twice.
type Trust struct {
	ID    ID // of the message
	Clock Clock
	By    By
	At    time.Time // by the database's clock
	// Database and Stripe say how far ahead of this machine's wall clock theirs were.
	Database, Stripe time.Duration
}

// Explain says in a sentence or two what a person's word does; whole: the two clocks that the protocol
// rests on agree.
func (t Trust) Explain(whole bool, quiet time.Duration) string {
	if whole {
		return fmt.Sprintf("A person says that %s is right, so this machine's is left out for as long as it stays as far off.", t.Clock.of())
	}
	return fmt.Sprintf("A person says that %s is right: what is new is sent, once, and absence of what was sent before is proof %s after %s.",
		t.Clock.of(), quiet, t.At.UTC().Format(time.RFC3339))
}

// ClockStanding is how the clocks stand, for people.
type ClockStanding struct {
	State            string        // agree, disagree, trusted
	Trouble          string        // how they disagree; empty: they agree, as far as they were heard
	Heard            bool          // both others
	Database, Stripe time.Duration // ahead of this machine's wall clock
	Trust            *Trust        // in force here; nil: none
}
