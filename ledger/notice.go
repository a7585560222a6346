package ledger

import (
	"slices"
	"time"
)

// Notice is something about the daemon, not about one transfer, that people should know for as long as it lasts.
type Notice struct {
	Code   string // a word for it, such as account_unverified
	Text   string // one sentence for people; it names no host, user or database, for anybody may read it
	Detail string // more, for who has a token; may be empty
	Since  time.Time
	Mover  Mover // whose move it is; nobody's where there is none to make
	// Bars says that no call to Stripe is made before it is over: the reason why any transfer waits that is due.
	Bars bool
	// Kinds are the operations whose calls it bars; none: all calls.
	Kinds []Kind
	// Reads says that it bars the reads for operations of these kinds, and not their sends.
	Reads bool
	Until time.Time // when the next call shows whether it is over; zero: nobody knows
	Ends  time.Time // it is over by itself then; zero: it is not
}

// Hinders reports a notice that keeps an operation from being sent.
func (n Notice) Hinders(k Kind) bool {
	return n.Bars && !n.Reads && (len(n.Kinds) == 0 || slices.Contains(n.Kinds, k))
}

// HindersRead reports a notice that keeps Stripe from being read for an operation.
func (n Notice) HindersRead(k Kind) bool {
	return n.Bars && (len(n.Kinds) == 0 || n.Reads && slices.Contains(n.Kinds, k))
}
