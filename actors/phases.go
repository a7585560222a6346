package actors

import (
	"fmt"
	"time"

	"github.com/settled/settled/actors/gate"
	"github.com/settled/settled/ledger"
)

// view is how a transfer's actor stands to the ledger.
type view uint8

const (
	stale      view = iota // its state in the ledger is not known
	loading                // it was asked for
	current                // record is the ledger's last word
	committing             // a change of record was handed to the writer
)

// errand is the one thing that a transfer's actor is about at Stripe.
type errand uint8

const (
	idle    errand = iota // nothing
	asking                // it asked the gate for a permit: for a read, a send, or the call of a written intent
	holding               // it has the permit of a send whose intent is being written
	calling               // its call is under way
	reading               // its read is under way
)

func (v view) String() string { return [...]string{"stale", "loading", "current", "committing"}[v] }

func (e errand) String() string {
	return [...]string{"idle", "asking", "holding", "calling", "reading"}[e]
}

// legal has the phases in which an actor may be between two messages. The two go on side by side:
// a person's command is committed while a call is under way, and the ledger is read again while a
// permit is waited for. Only a permit is held for nothing but the commit of its own send's intent.
var legal = [4][5]bool{
	//          idle  asking holding calling reading
	stale:      {true, true, false, true, true},
	loading:    {true, true, false, true, true},
	current:    {true, true, false, true, true},
	committing: {true, true, true, true, true},
}

// work is the knowledge and the errands of an actor that is not waiting.
type work struct {
	view    view
	errand  errand
	record  ledger.Record
	at      time.Time     // the local clock just after the ledger said so: see now
	next    sequel        // committing: follows the commit
	retried bool          // the commit was tried before, and cut off
	asked   gate.Endpoint // of the permit that was asked for last
	permit  uint64        // holding: its number
	intent  *intent       // asking: the call that is committed to and waits for a permit; see delayed
	read    *read         // asking: wanted; reading: under way
	later   []any         // wait for the ledger to be known and still
	after   []any         // wait for the read or the call to end
	aside   string        // a bug's text: the transfer is to be set aside
}

// check panics when the phases contradict each other, or what is in hand: that is a bug, and the
// shard restarts the actor from what the ledger says.
func (w *work) check() {
	waits := w.errand == asking
	switch {
	case !legal[w.view][w.errand],
		(w.permit != 0) != (w.errand == holding),
		w.intent != nil && !waits,
		w.read != nil && !waits && w.errand != reading,
		w.read == nil && w.errand == reading,
		w.next != nil && w.view != committing:
		panic(fmt.Sprintf("actors: a transfer is %s and %s, with permit %d, intent %t, read %t", w.view, w.errand, w.permit, w.intent != nil, w.read != nil))
	}
}

// away reports that an errand is to end before another begins: a call or a read that is under way,
// or wanted. An actor that asks for the permit of a send which it has not committed to may still turn to a read.
func (w *work) away() bool {
	return w.errand == calling || w.errand == reading || w.errand == asking && (w.read != nil || w.intent != nil)
}

// live tells the actor's doing.
func (t *transfer) live() ledger.Live {
	l := ledger.Live{Alive: true, Incarnation: t.inc, Until: t.until, Doing: "waiting"}
	switch w := t.w; {
	case w == nil && t.resting:
		l.Doing = "resting"
	case w == nil:
	case w.view == committing:
		l.Doing = w.view.String()
	case w.errand != idle:
		l.Doing = w.errand.String()
	case w.view == loading:
		l.Doing = w.view.String()
	}
	return l
}
