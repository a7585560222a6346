package audit

import "slices"

// Invariant is a promise that holds at every moment, or at rest, whatever crashes. Numbers are
// kept for good: tests, findings and SECURITY.md speak of them.
type Invariant struct {
	Number int
	Text   string
	// Checked says by what: audit, from the rows and Stripe's objects; watch, from what
	// happened on the way; prove, by the simulation around both; tests, by the tests of the
	// part that keeps it.
	Checked string
}

// Invariants lists all of them.
var Invariants = []Invariant{
	{1, "Stripe has at most one transfer that names an operation, under whatever key", "audit, watch"},
	{2, "what is completed here, Stripe holds: same ID, amount, currency, destination", "audit"},
	{3, "what failed or was canceled here, Stripe does not hold, now or later", "audit, watch"},
	{4, "what Stripe holds in our name has a row here", "audit"},
	{5, "no POST leaves without a committed row that says the same", "watch"},
	{6, "a key always goes with the same bytes, and with one operation", "watch"},
	{7, "generations and epochs never fall, and rise only once the generation before is closed", "watch"},
	{8, "no key is sent after SAFE, or reaches Stripe after SAFE, skew and wire", "watch"},
	{9, "a state follows another only as the protocol allows; final is final", "audit, watch"},
	{10, "every version of a row has one line of history, and the lines lead to the row", "audit, watch"},
	{11, "an entry's postings sum to zero, and an account to what the states say", "audit, watch"},
	{12, "what came back is at most what was paid, and the same here and at Stripe", "audit, watch"},
	{13, "a reversal is made at most once, and reversals add up", "audit, watch"},
	{14, "an event told twice, late or out of order ends in the same state", "prove"},
	{15, "an event answered with 2xx is durable; one that fails verification changes nothing", "prove, tests"},
	{16, "a message acts at most once for its key, and leaves an audit row", "prove, tests"},
	{17, "no state changes without somebody who may", "prove, tests"},
	{18, "once faults stop everything comes to its end; nothing is lost", "audit, prove"},
	{19, "a restart without news changes nothing", "prove"},
	{20, "a generation is executed at most once, however many own it", "watch"},
	{21, "what was said to be refused was not paid, and what was said to be paid was", "audit, watch"},
	{22, "a quiet ledger has no drift, and one difference is reported as one", "prove, tests"},
	{23, "retries are bounded: no key is sent in a loop", "watch"},
	{24, "no secret occurs in a log, an answer, a metric or a row", "prove, tests"},
	{25, "nothing is left behind: no goroutine, timer or lock", "prove, tests"},
	{26, "clocks that are wrong by up to the skew change no decision", "prove"},
	{27, "a hold ends at its own time, by a message that means it, or with its operation; no POST begins while one stands", "audit, watch"},
	{28, "nothing is given up before the policy allows it: not for an unknown, a condition, the platform's own trouble, nor too early", "watch"},
	{29, "no part of a daemon panics, and the ledger refuses no change that one makes", "prove"},
	{30, "nothing is sent to another account than the ledger's", "prove, tests"},
	{31, "commits that the database lost move no money again: what Stripe holds gets its row back, and what is asked for again is made once", "watch, prove, tests"},
}

// Invariants returns the numbers of the promises that a difference of the class breaks.
func (c Class) Invariants() []int {
	return slices.Clone(broken[c])
}

var broken = map[Class][]int{
	MissingAtStripe: {2, 21}, MissingHere: {4}, PaidTwice: {1}, Amount: {2, 12}, Currency: {2}, Destination: {2},
	Reversed: {12}, ReversalMissing: {13, 21}, ReversalTwice: {13}, ReversedOutside: {12}, FalseFailed: {3, 21},
	Unnamed: {4}, Foreign: {22}, Parked: {18},
	State: {9}, Books: {11}, Order: {5}, History: {10}, Unbalanced: {11}, Chain: {10}, Record: {16},
}
