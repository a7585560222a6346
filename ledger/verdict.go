package ledger

import (
	"fmt"
	"time"
)

// Verdict is what one answer of Stripe means for the money of the attempt it answers,
// taken alone: whether earlier sends of the same key are still open is weighed later, by
// [Transfer.Conclude]. The zero value is the safe one.
type Verdict uint8

// The verdicts.
const (
	Unknown     Verdict = iota // it may have moved, or may still: time-out, reset, 5xx, 409, unreadable
	Done                       // it moved: a validated 2xx
	Failed                     // it was refused for this key
	NotExecuted                // it was turned away before the idempotency layer, or never sent
	Kept                       // it was taken and has not moved yet: a reversal that Stripe keeps pending
)

var verdictNames = [...]string{Unknown: "unknown", Done: "done", Failed: "failed", NotExecuted: "not_executed", Kept: "kept"}

func (v Verdict) String() string { return verdictNames[v] }

// ParseVerdict is the inverse of [Verdict.String].
func ParseVerdict(s string) (Verdict, error) {
	for v, name := range verdictNames {
		if name == s {
			return Verdict(v), nil
		}
	}
	return Unknown, fmt.Errorf("no verdict is called %q", s)
}

// Reaction is what an answer asks of the machine beyond its verdict.
type Reaction uint8

// The reactions.
const (
	BackOff          Reaction = iota // try again after the backoff
	AwaitFunds                       // the platform's balance is too low: wait for balance.available
	AwaitSeller                      // the seller lacks a capability: wait for account.updated, capability.updated
	AwaitSellerFunds                 // the seller's balance is too low for a reversal: wait for its balance.available
	AskOperator                      // nothing the machine may do changes the answer: a person must act
	LookFirst                        // a hint that the effect exists already: read Stripe before closing anything
	AwaitPlatform                    // about the key or the platform's account, not about this operation: wait until it is mended
)

var reactionNames = [...]string{
	BackOff: "back_off", AwaitFunds: "await_funds", AwaitSeller: "await_seller",
	AwaitSellerFunds: "await_seller_funds", AskOperator: "ask_operator", LookFirst: "look_first",
	AwaitPlatform: "await_platform",
}

func (r Reaction) String() string { return reactionNames[r] }

// ParseReaction is the inverse of [Reaction.String].
func ParseReaction(s string) (Reaction, error) {
	for r, name := range reactionNames {
		if name == s {
			return Reaction(r), nil
		}
	}
	return BackOff, fmt.Errorf("no reaction is called %q", s)
}

// Scope says whose pace an answer is about: a rate limit speaks to everybody who calls the
// same thing, not to the one actor that happened to hear it.
type Scope uint8

// The scopes.
const (
	ScopeNone     Scope = iota // this operation alone
	ScopeEndpoint              // every call to the same endpoint (429 rate_limit, endpoint-…)
	ScopeAccount               // every call of the account (429 rate_limit, global-…)
	ScopeAuth                  // every call, until the key is mended (401)
	ScopeDown                  // Stripe or the way to it seems down (5xx, dial errors, time-outs)
	ScopePlatform              // every operation of its kind, until the key's permissions or the platform's account are mended
)

// Answer is one answer to one attempt, classified. Its rows are those of the table in
// package stripe, which is the only place that sees a Stripe error.
type Answer struct {
	Row        string // the row of the classification table, "T1" to "T28", "R1" to "R7"
	Verdict    Verdict
	Reaction   Reaction
	Scope      Scope
	StripeID   string // tr_… or trr_…, when Verdict is Done or Kept
	HTTPStatus int    // 0 when no answer came
	Code       string // Stripe's error code, or a word of ours when it gave none
	Param      string // the parameter Stripe complained of
	Message    string // for people; never parsed
	RequestID  string // Stripe's Request-Id
	Replayed   bool   // Idempotent-Replayed: the stored answer of the key's first execution
	Alert      bool   // not modelled, or a bug of ours: somebody should look

	RetryAfter time.Duration // how long Stripe asks to wait; 0: it does not say
}

// ServerError reports an answer after which Stripe may still roll the effect forward
// (docs.stripe.com/error-low-level: a 500 is indeterminate).
func (a Answer) ServerError() bool { return a.HTTPStatus >= 500 }

// Puzzling reports a refusal that nobody understands, or that says that the request itself was
// wrong (rows T9, T16 to T18): nothing in it proves that it speaks of this request, so it may be
// a lie. A replay of the stored answer is no puzzle.
func (a Answer) Puzzling() bool {
	refused := a.Verdict == Failed || a.Verdict == NotExecuted
	return refused && a.Alert && !a.Replayed && (a.Reaction == AskOperator || a.Reaction == LookFirst || a.Scope == ScopePlatform)
}
