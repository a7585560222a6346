package gate

import (
	"errors"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/ledger"
)

// Endpoint is a part of Stripe's API that has a rate limit, and outages, of its own.
type Endpoint uint8

// The endpoints, most urgent first: evidence, then money coming back, then money going out, and
// only then the reconciler's walks, which have a rate of their own. Reading one object and reading
// a list are two at Stripe: the one may fail while the other works.
const (
	Reads Endpoint = iota
	Lists
	Reversals
	Transfers
	Walks
	endpoints
)

func (e Endpoint) String() string {
	return [...]string{"reads", "lists", "reversals", "transfers", "walks"}[e]
}

// Of returns the endpoint that makes an operation.
func Of(k ledger.Kind) Endpoint {
	if k == ledger.MakeReversal {
		return Reversals
	}
	return Transfers
}

// sends reports an endpoint whose calls move money.
func (e Endpoint) sends() bool { return e == Reversals || e == Transfers }

// Messages to the gate.
type (
	// Ask asks for a permit to make one call. It is answered by a [Permit] or [Denied] with the same incarnation.
	Ask struct {
		Endpoint Endpoint
		Seller   string    // sellers take turns
		Age      ledger.ID // UUIDv7: older goes first
		From     *actor.PID
		Inc      uint64
	}
	// Release returns a permit, with the lesson of the call.
	Release struct {
		No       uint64
		Endpoint Endpoint
		Scope    ledger.Scope
		After    time.Duration // Retry-After: how long the scope is to be left alone
		Said     string        // the words of Stripe, or of a gateway that answered in its place
		Unused   bool          // nothing was learned: no call was made, or Stripe had no say in it
	}
	// Place asks how many calls come before one that waits for a permit. The gate completes the answer, and sends it.
	Place struct {
		Endpoint Endpoint
		Seller   string
		Age      ledger.ID
		Live     ledger.Live
		Reply    chan<- ledger.Live
	}
	// Open lets calls through: the account behind the key is known to be the ledger's.
	Open struct{}
	// Close has the gate give no more permits, and tell when none is out.
	Close struct{ Drained chan<- struct{} }

	tick   struct{ no uint64 } // a rate, cooldown or breaker may let the next one through
	sweep  struct{}            // permits may have been lost with their actors
	listen struct{}            // the clocks may be heard again
)

// Answers of the gate.
type (
	// Permit lets an actor make one call. It must come back by a [Release], used or not.
	Permit struct {
		Inc uint64
		No  uint64
	}
	// Denied answers an [Ask] that gets no permit: the daemon stops.
	Denied struct{ Inc uint64 }
)

// Messages to conditions.
type (
	// Await puts an actor to sleep that waits for a condition, as the ledger says.
	Await struct {
		Condition ledger.Condition
		Urgent    bool      // a reversal: it goes before transfers
		Operation ledger.ID // UUIDv7: older goes first
		Who       *actor.PID
		Since     time.Time // the refusal, by the local clock
	}
	// HeardOf: an event spoke of the conditions of an account, in these currencies if it said which.
	HeardOf struct {
		Reaction   ledger.Reaction
		Account    string
		Currencies []ledger.Currency
		Said       bool
	}
	// Probed ends a probe.
	Probed struct {
		No    uint64
		Ended ProbeEnd
	}
	// Came: evidence that is no probe's says that a condition came true.
	Came struct{ Condition ledger.Condition }
	// Sleep asks who else waits for the condition of a sleeping actor, and when one of them asks Stripe. The answer is
	// completed, and sent.
	Sleep struct {
		Who   string
		Live  ledger.Live
		Reply chan<- ledger.Live
	}

	conditionTick struct {
		condition ledger.Condition
		no        uint64
	}
)

// Messages of conditions to an actor that waits.
type (
	// BeginProbe: it is the actor's turn to ask Stripe.
	BeginProbe struct{ No uint64 }
	// StillProbing: does the actor still probe? It answers when it does not.
	StillProbing struct{ No uint64 }
)

// ProbeEnd is how a probe ended.
type ProbeEnd uint8

// The ends of a probe.
const (
	Yielded ProbeEnd = iota // the actor does not wait any more, or for something else: the next one's turn
	InVain                  // no answer about the condition came
	Refused                 // the condition has not come true
	Passed                  // it has
)

// AfterRead is the release after a read, which ended in err.
func AfterRead(no uint64, e Endpoint, err error) Release {
	r := Release{No: no, Endpoint: e}
	var failed *stripe.ReadError
	switch {
	case errors.As(err, &failed):
		r.Said = failed.Said
		r.Scope, r.After = failed.Scope, failed.RetryAfter
		r.Unused = failed.HTTPStatus == 0 && failed.Scope == ledger.ScopeNone
		if r.Scope == ledger.ScopePlatform { // reads stay free: nothing is given up for one
			r.Scope = ledger.ScopeNone
		}
	case err != nil:
		r.Unused = true
	}
	return r
}
