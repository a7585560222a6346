package ledger

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// State is where an operation stands: creating a transfer, or making a reversal. The status of a transfer is derived
// from its operation, its holds and its reversals ([Transfer.Status]), and has more names than an operation has states.
// Operators say these words aloud.
type State string

// The states of an operation.
const (
	Pending           State = "pending"            // owed; no call of the current generation is open
	Sending           State = "sending"            // a call was committed to and is under way
	FailedState       State = "failed"             // the last generation ended and moved no money
	Unresolved        State = "unresolved"         // a call's outcome is not known
	Parked            State = "parked"             // unknown, and the machine has no safe move left
	PendingAtStripe   State = "pending_at_stripe"  // Stripe took a reversal, and makes it when the seller has the balance
	Completed         State = "completed"          // Stripe holds it
	Canceled          State = "canceled"           // never sent, and never will be
	PermanentlyFailed State = "permanently_failed" // no money moved and the machine gave up
)

// The statuses that only a transfer has.
const (
	Held              State = "held"               // its operation is not to be sent yet; held_by says why
	ReversalPending   State = "reversal_pending"   // one or more reversals are being driven
	PartiallyReversed State = "partially_reversed" // some of it came back
	Reversed          State = "reversed"           // all of it came back
)

// States lists every status of a transfer, in the order of its life. The states of an operation are among them, and
// [PendingAtStripe] is a reversal's alone.
var States = []State{Held, Pending, Sending, FailedState, Unresolved, Parked, PendingAtStripe, Completed,
	ReversalPending, PartiallyReversed, Reversed, Canceled, PermanentlyFailed}

// ParseState reads a state's name.
func ParseState(s string) (State, error) {
	if slices.Contains(States, State(s)) {
		return State(s), nil
	}
	return "", fmt.Errorf("%q is no state: use one of %s", s, join(States))
}

// Undecided reports a state that only evidence leaves: a send is open, or Stripe has taken the
// operation and not made it yet.
func (s State) Undecided() bool { return s.Open() || s == PendingAtStripe }

// Open reports a state in which a send may have moved money, or may yet.
func (s State) Open() bool { return s == Sending || s == Unresolved || s == Parked }

// Event is why a state changes.
type Event string

// The events.
const (
	EventAccept      Event = "accept"       // it was registered
	EventHold        Event = "hold"         // somebody or a schedule wants it not sent
	EventLetGo       Event = "let_go"       // a hold ended, and others stand
	EventRelease     Event = "release"      // the last hold ended
	EventSend        Event = "send"         // a call is committed to
	EventConfirm     Event = "confirm"      // evidence: Stripe holds it
	EventRefuse      Event = "refuse"       // evidence: this generation moved nothing
	EventNotExecuted Event = "not_executed" // evidence: the only send of this generation was not executed
	EventLose        Event = "lose"         // the outcome of a send is not known
	EventProveAbsent Event = "prove_absent" // read after QUIET: Stripe does not hold it
	EventKeep        Event = "keep"         // evidence: Stripe took it, and keeps it pending
	EventPark        Event = "park"         // read after QUIET, and absence would prove nothing
	EventGiveUp      Event = "give_up"      // attempts, age, or a bug: a person must act
	EventTell        Event = "tell"         // a person was told that it waits for the platform
	EventCancel      Event = "cancel"       // a person wants it never sent
	EventRetry       Event = "retry"        // a person wants it tried again
	EventReverse     Event = "reverse"      // a reversal was asked for
	EventRenewEpoch  Event = "renew_epoch"  // looked up after QUIET, because the database lost commits or a refusal was a puzzle: it goes on under new keys
	EventAdopt       Event = "adopt"        // a reversal made outside was found and booked
	EventRebuild     Event = "rebuild"      // the database had lost it; made again from what Stripe holds
	EventMoot        Event = "moot"         // refused because all of the transfer came back by other hands
)

// ErrIllegalMove reports a step that the table does not have.
var ErrIllegalMove = errors.New("illegal move")

// moves lists every step an operation may take, be it to create a transfer or to make a reversal; any other is
// illegal. A hold is no state: it stands beside the state, and keeps the operation from being sent.
var moves = map[State]map[Event]State{
	"":                {EventAccept: Pending, EventHold: Pending, EventReverse: Pending, EventAdopt: Completed, EventRebuild: Completed},
	Pending:           {EventSend: Sending, EventCancel: Canceled, EventGiveUp: PermanentlyFailed, EventRenewEpoch: Pending, EventRetry: Pending, EventHold: Pending, EventLetGo: Pending, EventRelease: Pending},
	Sending:           {EventConfirm: Completed, EventRefuse: FailedState, EventLose: Unresolved, EventNotExecuted: Pending, EventMoot: Canceled, EventKeep: PendingAtStripe},
	FailedState:       {EventSend: Sending, EventCancel: Canceled, EventGiveUp: PermanentlyFailed, EventRenewEpoch: FailedState, EventRetry: FailedState, EventTell: FailedState, EventHold: FailedState, EventLetGo: FailedState, EventRelease: Pending},
	Unresolved:        {EventSend: Sending, EventConfirm: Completed, EventRefuse: FailedState, EventProveAbsent: FailedState, EventPark: Parked, EventLose: Unresolved, EventMoot: Canceled, EventKeep: PendingAtStripe},
	Parked:            {EventConfirm: Completed, EventRefuse: FailedState, EventProveAbsent: FailedState, EventMoot: Canceled, EventKeep: PendingAtStripe},
	PendingAtStripe:   {EventConfirm: Completed, EventRefuse: FailedState},
	Completed:         {},
	Canceled:          {},
	PermanentlyFailed: {EventRetry: Pending, EventCancel: Canceled},
}

// move looks a step up.
func move(from State, e Event) (State, error) {
	to, ok := moves[from][e]
	if !ok {
		return "", illegal(from, e)
	}
	return to, nil
}

func join[S ~string](list []S) string {
	words := make([]string, len(list))
	for i, s := range list {
		words[i] = string(s)
	}
	return strings.Join(words, ", ")
}
