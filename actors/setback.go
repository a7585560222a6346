package actors

import "fmt"

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
