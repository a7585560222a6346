package stripesim

import "fmt"

// Faults is how much goes wrong by itself. Scripted faults ([Rule]) and the
// controls under /_sim/ work at every level.
type Faults int

const (
	// None answers every call as a Stripe without a bad day would.
	None Faults = iota
	// Light spoils about one call in twenty.
	Light
	// Heavy spoils about one call in three, with every kind of the plan.
	Heavy
)

// ParseFaults reads "none", "light" or "heavy".
func ParseFaults(name string) (Faults, error) {
	switch name {
	case "none":
		return None, nil
	case "light":
		return Light, nil
	case "heavy":
		return Heavy, nil
	}
	return None, fmt.Errorf("stripesim: fault level %q is not none, light or heavy", name)
}

// String is the name that [ParseFaults] reads.
func (f Faults) String() string {
	switch f {
	case None:
		return "none"
	case Light:
		return "light"
	case Heavy:
		return "heavy"
	}
	return fmt.Sprintf("faults(%d)", int(f))
}

// Kind names one thing that can go wrong. The comment of each says what the caller
// sees and what is true at Stripe afterwards; T and R are rows of STRIPE.md §1.
type Kind string

// Faults on the wire: the call may not have been read at all.
const (
	// KindDrop closes the connection before anything is executed (T25).
	KindDrop Kind = "drop_before"
	// KindHang keeps the request on the wire, at most Times.WireMax, and only then
	// lets it into the pipeline, whether or not the client still waits (T25).
	KindHang Kind = "hang_then_execute"
	// KindLoseAnswer executes and closes the connection instead of answering (T25).
	KindLoseAnswer Kind = "answer_lost"
	// KindTruncated executes and cuts the body of the 200 (T24).
	KindTruncated Kind = "truncated_200"
	// KindEmpty executes and answers 200 without a body (T24).
	KindEmpty Kind = "empty_200"
	// KindBadGateway answers 502 with a proxy's HTML (T21, T23). The call was
	// executed behind it when the rule says so; in the plan, every other time.
	KindBadGateway Kind = "bad_gateway"
	// KindUnavailable answers 503 (T22); executed or not as for KindBadGateway.
	KindUnavailable Kind = "unavailable"
	// KindGatewayTimeout answers 504 (T21); executed or not as for KindBadGateway.
	KindGatewayTimeout Kind = "gateway_timeout"
	// KindDependency answers 424 (T19); executed or not as for KindBadGateway.
	KindDependency Kind = "failed_dependency"
)

// Faults inside the pipeline.
const (
	// KindAuth answers 401 (T14). Only by rule or control.
	KindAuth Kind = "unauthorized"
	// KindRateLimit answers 429 rate_limit with a reason header (T12); not stored.
	KindRateLimit Kind = "rate_limit"
	// KindLockTimeout answers 429 lock_timeout and gives the claim back (T13).
	KindLockTimeout Kind = "lock_timeout"
	// KindSlow executes slowly, at most Times.SlowMax: a retry of the same key
	// meets 409 meanwhile (T11).
	KindSlow Kind = "slow_execution"
	// KindStored500 executes, then stores and answers 500: the object exists (T20).
	KindStored500 Kind = "stored_500"
	// KindRolledBack500 stores and answers 500; nothing was executed (T20).
	KindRolledBack500 Kind = "rolled_back_500"
	// KindLate500 stores and answers 500; the effect comes later, at most after
	// Times.LateMax, and only an event tells of it (T20).
	KindLate500 Kind = "late_effect_500"
	// KindBalance refuses a transfer once with balance_insufficient, stored (T2);
	// balance.available follows.
	KindBalance Kind = "balance_insufficient"
	// KindCapability makes the destination inactive, which refuses the transfer,
	// stored (T3); the account is mended later, with its events.
	KindCapability Kind = "insufficient_capabilities"
	// KindSellerDrained takes the seller's available balance away, which refuses a
	// reversal, stored (R4); the money comes back later, with balance.available.
	KindSellerDrained Kind = "seller_drained"
	// KindKept takes a reversal and keeps it pending, as Stripe's private preview does for a seller
	// whose balance is too low (R1): it succeeds, fails or is canceled later, with an event. A rule's
	// Code names the end: succeeded, failed or canceled.
	KindKept Kind = "kept_pending"
	// KindGatewayJSON answers like a gateway in front of Stripe that gave up: a JSON error of Stripe's
	// form but of its own type, without a Request-Id (T23); executed or not as for KindBadGateway.
	KindGatewayJSON Kind = "gateway_json"
	// KindFalseReplay turns a call away before the key layer (429, 403, 404, 401) and says all the
	// same that this is the stored answer (T28): it contradicts itself. Executed or not likewise.
	KindFalseReplay Kind = "false_replay"
	// KindStray answers with a refusal of another request, whose key it echoes. Executed or not likewise.
	KindStray Kind = "stray_answer"
	// KindPuzzle refuses with a code that nobody knows (T18), not stored; every other time it says
	// that the same request may be sent again (Stripe-Should-Retry: true), and Retry-After.
	KindPuzzle Kind = "unmodelled_refusal"
	// KindExternalReversal lets somebody else reverse Rule.Amount (0 = all) right
	// before the call executes (R2, R3). Only by rule.
	KindExternalReversal Kind = "external_reversal"
	// KindAutoReversal lets Stripe itself reverse a transfer after it was created.
	// Only by rule.
	KindAutoReversal Kind = "auto_reversal"
	// KindAnswer answers what the rule says, literally. Only by rule.
	KindAnswer Kind = "scripted_answer"
)

// Faults of reads.
const (
	// KindListLag hides what is younger than a lag, at most Times.ListLag, from one
	// list call.
	KindListLag Kind = "list_lag"
	// KindList500 answers a list with 500.
	KindList500 Kind = "list_500"
)

// Faults of events. A rule of such a kind is matched by Rule.Path against the
// event's type.
const (
	// KindEventLate delivers late, at most after Times.EventDelayMax.
	KindEventLate Kind = "event_late"
	// KindEventTwice delivers the same event twice.
	KindEventTwice Kind = "event_twice"
	// KindEventDuplicate makes two Event objects for one change.
	KindEventDuplicate Kind = "event_duplicate"
	// KindEventEarly delivers the event before the API call is answered.
	KindEventEarly Kind = "event_before_answer"
	// KindEventVersion renders the event in another API version.
	KindEventVersion Kind = "event_wrong_version"
	// KindEventLost never delivers; GET /v1/events still has it.
	KindEventLost Kind = "event_lost"
	// KindEventStray also delivers an event of the other mode (livemode flipped)
	// about an object that does not exist here. Only by rule.
	KindEventStray Kind = "event_other_mode"
)

// class is what a call does, as far as faults care.
type class uint8

const (
	classTransfer class = 1 << iota // POST /v1/transfers
	classReverse                    // POST /v1/transfers/:id/reversals
	classWrite                      // any other POST
	classGet                        // GET of one object
	classList                       // GET of a list
	classEvent                      // not a call: an event being emitted

	classMove = classTransfer | classReverse
	classPost = classMove | classWrite
	classRead = classGet | classList
	classCall = classPost | classRead
)

// kindSpec says to what a kind applies and how often the plan draws it.
type kindSpec struct {
	kind   Kind
	on     class // where a rule may put it
	random class // where the plan may put it
	light  int   // weight in the plan at Light
	heavy  int   // weight in the plan at Heavy
	spends bool  // leaves an answer other than success stored under the key
}

// kindTable is the whole plan. Writes other than transfers and reversals are never
// spoiled by chance: they are the marketplace's set-up, not what is under test.
var kindTable = []kindSpec{
	{kind: KindDrop, on: classCall, random: classMove | classRead, light: 4, heavy: 4},
	{kind: KindHang, on: classCall, random: classMove, light: 1, heavy: 2},
	{kind: KindLoseAnswer, on: classCall, random: classMove, light: 4, heavy: 5},
	{kind: KindTruncated, on: classCall, random: classMove | classRead, light: 1, heavy: 2},
	{kind: KindEmpty, on: classCall, random: classMove | classRead, light: 1, heavy: 1},
	{kind: KindBadGateway, on: classCall, random: classMove | classRead, light: 2, heavy: 3},
	{kind: KindUnavailable, on: classCall, random: classMove | classRead, light: 2, heavy: 2},
	{kind: KindGatewayTimeout, on: classCall, random: classMove, light: 1, heavy: 2},
	{kind: KindDependency, on: classCall, random: classMove, light: 0, heavy: 1},
	{kind: KindAuth, on: classCall},
	{kind: KindRateLimit, on: classCall, random: classMove | classRead, light: 4, heavy: 5},
	{kind: KindLockTimeout, on: classPost, random: classMove, light: 3, heavy: 3},
	{kind: KindSlow, on: classCall, random: classMove, light: 3, heavy: 3},
	{kind: KindStored500, on: classPost, random: classMove, light: 1, heavy: 2, spends: true},
	{kind: KindRolledBack500, on: classPost, random: classMove, light: 0, heavy: 1, spends: true},
	{kind: KindLate500, on: classPost, random: classMove, light: 1, heavy: 2, spends: true},
	{kind: KindBalance, on: classTransfer, random: classTransfer, light: 2, heavy: 2, spends: true},
	{kind: KindCapability, on: classTransfer, random: classTransfer, light: 0, heavy: 1, spends: true},
	{kind: KindSellerDrained, on: classReverse, random: classReverse, light: 1, heavy: 3, spends: true},
	{kind: KindKept, on: classReverse, random: classReverse, light: 1, heavy: 3, spends: true},
	{kind: KindGatewayJSON, on: classPost, random: classMove, light: 1, heavy: 3},
	{kind: KindFalseReplay, on: classPost, random: classMove, light: 1, heavy: 2},
	{kind: KindStray, on: classPost, random: classMove, light: 1, heavy: 2},
	{kind: KindPuzzle, on: classPost, random: classMove, light: 0, heavy: 1, spends: true},
	{kind: KindExternalReversal, on: classReverse},
	{kind: KindAutoReversal, on: classTransfer},
	{kind: KindAnswer, on: classCall},
	{kind: KindListLag, on: classList, random: classList, light: 4, heavy: 10},
	{kind: KindList500, on: classList, random: classList, light: 2, heavy: 3},
	{kind: KindEventLate, on: classEvent, random: classEvent, light: 40, heavy: 300},
	{kind: KindEventTwice, on: classEvent, random: classEvent, light: 20, heavy: 120},
	{kind: KindEventDuplicate, on: classEvent, random: classEvent, light: 10, heavy: 50},
	{kind: KindEventEarly, on: classEvent, random: classEvent, light: 10, heavy: 80},
	{kind: KindEventVersion, on: classEvent, random: classEvent, light: 0, heavy: 20},
	{kind: KindEventLost, on: classEvent, random: classEvent, light: 0, heavy: 80},
	{kind: KindEventStray, on: classEvent},
}

// Kinds lists every kind there is, in the order of the plan's table.
func Kinds() []Kind {
	all := make([]Kind, len(kindTable))
	for i, k := range kindTable {
		all[i] = k.kind
	}
	return all
}

// specOf finds a kind in the table.
func specOf(k Kind) (kindSpec, bool) {
	for _, spec := range kindTable {
		if spec.kind == k {
			return spec, true
		}
	}
	return kindSpec{}, false
}
