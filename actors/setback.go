package actors

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/settled/settled/ledger"
)

// Kind is why an actor crashed on purpose.
type Kind string

// The kinds of setback. All of them are recorded in the ledger before the crash.
const (
	Refused     Kind = "refused"      // Stripe refused; the generation is closed
	NotExecuted Kind = "not_executed" // Stripe turned the call away; its key stays good
	Lost        Kind = "lost"         // the outcome is not known
	Asked       Kind = "asked"        // an operator asked for it
)

// Setback is the typed failure with which an actor ends an attempt that was no success. What
// happened is durable already; the next incarnation reads it and derives its wait.
type Setback struct {
	Kind Kind
	Row  string // of the classification table
	Code string
}

func (s *Setback) Error() string { return fmt.Sprintf("%s (%s %s)", s.Kind, s.Row, s.Code) }

// setbackNoted follows a commit that records a setback.
type setbackNoted struct{ setback *Setback }

func (n setbackNoted) after(t *transfer, _ actor.Context, _ *ledger.Change, err error) {
	if err == nil {
		t.crash(n.setback)
	}
}

// crash ends the incarnation: see handOn.
func (t *transfer) crash(s *Setback) { panic(s) }

// stepAside records that the machine gives this transfer up after repeated bugs.
func (t *transfer) stepAside(c actor.Context) {
	x := &t.w.record.Transfer
	op, _ := x.Current()
	if op == nil || x.Status() == ledger.PermanentlyFailed || op.State == ledger.Parked || op.State == ledger.PendingAtStripe || x.Status() == ledger.Held || x.Status() == ledger.Canceled ||
		op.Seen < t.sys.Policy().Epoch { // what lost commits may have sent is not given up before it was looked up
		t.rest(c)
		return
	}
	if op.State == ledger.Sending {
		change, err := x.Lost("the actor panicked")
		t.commit(c, change, err, nil) // then comes back here
		return
	}
	change, err := x.SetAside(t.w.aside)
	t.commit(c, change, err, setAsideNoted{})
}

// setAsideNoted follows the commit that sets the transfer aside.
type setAsideNoted struct{}

func (setAsideNoted) after(t *transfer, _ actor.Context, _ *ledger.Change, err error) {
	if err == nil {
		t.w.aside = ""
	}
}
