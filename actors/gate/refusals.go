package gate

import (
	"fmt"
	"regexp"
	"sync"

	"github.com/settled/settled/ledger"
)

// Refusals watches for one refusal, of a kind that no row models, that several sellers hear in a row: then it is about
// the platform. The zero value is ready; calls to Stripe share it.
type Refusals struct {
	mu      sync.Mutex
	text    string
	sellers map[string]bool
}

const sameRefusalOf = 3 // sellers

// particular matches the parts in which two wordings of one refusal differ: IDs, quotations, numbers.
var particular = regexp.MustCompile(`[a-z]+_[A-Za-z0-9]+|'[^']*'|[0-9]+`)

// Attribute returns the answer with the reaction that it deserves, given the answers to others before it: the last of
// several equal refusals is about the platform.
func (s *Refusals) Attribute(kind ledger.Kind, seller string, a ledger.Answer) ledger.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	executed := a.Verdict == ledger.Done || a.Verdict == ledger.Failed
	switch {
	case a.Replayed: // of another time
	case a.Reaction == ledger.AskOperator && (a.Row == "T15" || a.Row == "T17" || a.Row == "T18"):
		text := fmt.Sprint(kind, " ", a.Code, " ", particular.ReplaceAllString(a.Message, "#"))
		if text != s.text || s.sellers == nil {
			s.text, s.sellers = text, make(map[string]bool)
		}
		if len(s.sellers) < sameRefusalOf {
			s.sellers[seller] = true
		}
		if len(s.sellers) >= sameRefusalOf {
			a.Reaction, a.Scope, a.Alert = ledger.AwaitPlatform, ledger.ScopePlatform, true
		}
	case executed:
		s.text, s.sellers = "", nil
	}
	return a
}
