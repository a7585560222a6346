package stripe

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	sdk "github.com/stripe/stripe-go/v76"

	"github.com/settled/settled/ledger"
)

// shape is the first thing to know of an outcome: what there is to read.
type shape uint8

const (
	lost     shape = iota // it was sent, or may have been, and no answer came
	local                 // refused by ourselves
	unsent                // provably no byte left
	believed              // a 2xx with the object asked for
	waiting               // a 2xx with a reversal that has not happened yet
	odd                   // a 2xx with another object than asked for
	garbled               // a 2xx that cannot be read
	foreign               // an answer that is not one of Stripe's
	stray                 // an answer to another request
	refused               // a Stripe error
)

// row says what one kind of outcome means. All of its conditions must hold; an empty one
// always does.
type row struct {
	name string

	// When.
	shape  shape
	on     []ledger.Kind
	status []int
	typ    sdk.ErrorType
	code   []string // Stripe's, or our word for it; "" is an absent one, "x*" a prefix
	param  string
	limit  string         // prefix of Stripe-Rate-Limited-Reason
	says   *regexp.Regexp // in the message: only where Stripe gives no code

	// Then.
	verdict  ledger.Verdict
	reaction ledger.Reaction
	scope    ledger.Scope
	alert    bool
	word     string // the code of the answer, when there is none
	notFinal bool   // not a stored answer of this key's execution, even if a header says so: see replayed
}

var (
	transfers = []ledger.Kind{ledger.CreateTransfer}
	reversals = []ledger.Kind{ledger.MakeReversal}

	says = func(pattern string) *regexp.Regexp { return regexp.MustCompile(`(?i)` + pattern) }
)

// table has every outcome of one attempt, taken alone; the first row that fits counts. Its
// names are those of the fact sheet on Stripe that this package was written from; the letters
// say how well a row is founded: D Stripe's documentation, W recorded traffic, S the SDK's
// source, C other people's production code, U unconfirmed.
//
// Whether an earlier send of the same key is still open is not known here. The ledger weighs
// it: a refusal of a retry says nothing of the call before it.
var table = []row{
	// Nothing came back. -----------------------------------------------------------------------

	// A bug of ours: no key, no metadata to recognise the object by, ….
	{name: "T27", shape: local, verdict: ledger.NotExecuted, reaction: ledger.AskOperator, alert: true, word: "bad_request"},
	// Never sent, as the gate in the request's body and the connection's trace prove. Stripe
	// is not to blame for a key that was too old.
	{name: "T26", shape: unsent, code: []string{"key_too_old"}, verdict: ledger.NotExecuted},
	{name: "T26", shape: unsent, verdict: ledger.NotExecuted, scope: ledger.ScopeDown, word: "connect"},
	// Time-out, reset, end of file after a byte may have left.
	{name: "T25", shape: lost, verdict: ledger.Unknown, scope: ledger.ScopeDown, word: "connection_lost"},

	// 2xx. -------------------------------------------------------------------------------------

	{name: "T1", shape: believed, on: transfers, verdict: ledger.Done},
	{name: "R1", shape: believed, on: reversals, verdict: ledger.Done},
	// Private preview: the seller lacks balance, and Stripe waits for it (D).
	{name: "R1", shape: waiting, verdict: ledger.Kept, reaction: ledger.AwaitSellerFunds, word: "reversal_pending"},
	// Another object than ours, or `{}`, which the SDK takes for one (S). Stripe is well; we
	// are not.
	{name: "T24", shape: odd, verdict: ledger.Unknown, alert: true, word: "wrong_object"},
	// Cut, empty, not JSON: probably done; the same key brings the object back (S).
	{name: "T24", shape: garbled, verdict: ledger.Unknown, scope: ledger.ScopeDown, word: "bad_json"},

	// Not Stripe. ------------------------------------------------------------------------------

	// A redirect: the base is wrong, or somebody is in between.
	{name: "T23", shape: foreign, status: []int{300, 301, 302, 303, 304, 305, 306, 307, 308}, verdict: ledger.Unknown, scope: ledger.ScopeDown, alert: true},
	// A proxy's page or a gateway's own error, with any status: what stands behind it may have done anything.
	{name: "T23", shape: foreign, verdict: ledger.Unknown, scope: ledger.ScopeDown},
	// The connection is poisoned: it brought the answer to somebody else's request.
	{name: "T23", shape: stray, verdict: ledger.Unknown, scope: ledger.ScopeDown, alert: true, word: "stray_answer"},

	// Stripe errors about anything but the operation. --------------------------------------------

	// The key is in use by a request that still runs (D); its type is told both ways (U).
	{name: "T11", shape: refused, status: []int{409}, verdict: ledger.Unknown, word: "idempotency_key_in_use", notFinal: true},
	{name: "T11", shape: refused, code: []string{"idempotency_key_in_use"}, verdict: ledger.Unknown, notFinal: true},
	// The key was used with other parameters, perhaps successfully (D, C): drift is our bug.
	{name: "T10", shape: refused, typ: sdk.ErrorTypeIdempotency, verdict: ledger.Unknown, reaction: ledger.LookFirst, alert: true, word: "idempotency_error", notFinal: true},
	// Before the idempotency layer, and not stored (W: all 10 retries executed freshly).
	{name: "T13", shape: refused, status: []int{429}, code: []string{"lock_timeout"}, verdict: ledger.NotExecuted},
	// Likewise (D); the reason says whose bucket is empty.
	{name: "T12", shape: refused, status: []int{429}, limit: "global-", verdict: ledger.NotExecuted, scope: ledger.ScopeAccount, word: "rate_limit"},
	{name: "T12", shape: refused, status: []int{429}, verdict: ledger.NotExecuted, scope: ledger.ScopeEndpoint, word: "rate_limit"},
	{name: "T14", shape: refused, status: []int{401}, verdict: ledger.NotExecuted, reaction: ledger.AwaitPlatform, scope: ledger.ScopeAuth, alert: true, word: "unauthorized"},
	// Listed in newer documentation as a failed external dependency (C, U).
	{name: "T19", shape: refused, status: []int{424}, verdict: ledger.Unknown, scope: ledger.ScopeDown, notFinal: true},
	// Stored, and indeterminate: Stripe may still roll it forward (D, error-low-level).
	{name: "T20", shape: refused, status: []int{500}, verdict: ledger.Unknown, scope: ledger.ScopeDown},
	{name: "T22", shape: refused, status: []int{503}, verdict: ledger.Unknown, scope: ledger.ScopeDown},
	// The edge gave up on what stands behind it; a 408 is the same from the other side (U).
	{name: "T21", shape: refused, status: []int{408, 502, 504}, verdict: ledger.Unknown, scope: ledger.ScopeDown, notFinal: true},
	{name: "T21", shape: refused, status: statuses(500, 599), verdict: ledger.Unknown, scope: ledger.ScopeDown},

	// Stripe errors about a transfer. ------------------------------------------------------------

	// C ×6; one report of it as a 403, hence before T15. The SDK does not know the code.
	{name: "T3", shape: refused, on: transfers, code: []string{"insufficient_capabilities_for_transfer"}, verdict: ledger.Failed, reaction: ledger.AwaitSeller},
	// Stored (W on payouts). Often the platform's automatic payouts took it.
	{name: "T2", shape: refused, on: transfers, status: []int{400}, code: []string{"balance_insufficient"}, verdict: ledger.Failed, reaction: ledger.AwaitFunds},
	// The same three without their codes, as older accounts get them (C ×3: production code matches the words).
	{name: "T2", shape: refused, on: transfers, status: []int{400}, code: []string{""}, says: says(`insufficient (available )?funds in (your )?stripe account`), verdict: ledger.Failed, reaction: ledger.AwaitFunds, word: "balance_insufficient"},
	{name: "T3", shape: refused, on: transfers, status: []int{400}, code: []string{""}, says: says(`needs? to have at least one of the following capabilities enabled`), verdict: ledger.Failed, reaction: ledger.AwaitSeller, word: "insufficient_capabilities_for_transfer"},
	{name: "T6", shape: refused, on: transfers, status: []int{400}, code: []string{""}, says: says(`funds can.?t be sent to accounts located in|transfers involving brazil`), verdict: ledger.Failed, reaction: ledger.AskOperator, word: "transfers_not_allowed"},
	{name: "T4", shape: refused, on: transfers, status: []int{400}, code: []string{"resource_missing"}, param: "destination", verdict: ledger.Failed, reaction: ledger.AskOperator},
	{name: "T5", shape: refused, on: transfers, status: []int{400}, code: []string{"resource_missing"}, param: "source_transaction", verdict: ledger.Failed, reaction: ledger.AskOperator},
	{name: "T6", shape: refused, on: transfers, status: []int{400}, code: []string{"transfers_not_allowed"}, verdict: ledger.Failed, reaction: ledger.AskOperator},
	// A strong hint that an earlier transfer of the same charge is ours (C ×4).
	{name: "T7", shape: refused, on: transfers, status: []int{400}, says: says(`must not exceed the source amount`), verdict: ledger.Failed, reaction: ledger.LookFirst, word: "source_exceeded"},
	// C ×4.
	{name: "T8", shape: refused, on: transfers, status: []int{400}, param: "source_transaction", says: says(`must be the same as the transfer currency`), verdict: ledger.Failed, reaction: ledger.AskOperator, word: "currency_mismatch"},

	// Stripe errors about a reversal. ------------------------------------------------------------

	// There is no code for it (C ×4, D): the message's end is all there is.
	{name: "R2", shape: refused, on: reversals, status: []int{400}, says: says(`is already fully reversed\.?\s*$`), verdict: ledger.NotExecuted, reaction: ledger.LookFirst, word: "already_fully_reversed"},
	// Documented generally (D); the exact code for reversals is unconfirmed (U).
	{name: "R4", shape: refused, on: reversals, status: []int{400}, code: []string{"balance_insufficient"}, verdict: ledger.Failed, reaction: ledger.AwaitSellerFunds},
	{name: "R4", shape: refused, on: reversals, status: []int{400}, code: []string{""}, says: says(`(in|not have (a )?)sufficient (available )?(balance|funds)`), verdict: ledger.Failed, reaction: ledger.AwaitSellerFunds, word: "balance_insufficient"},
	// Conversion into the seller's currency would leave nothing (D); wording U.
	{name: "R5", shape: refused, on: reversals, status: []int{400}, says: says(`conver(t|sion).*\b(zero|0)\b|round.*\b(zero|0)\b`), verdict: ledger.Failed, reaction: ledger.AskOperator, word: "rounds_to_zero"},
	// More than is left: somebody else reversed a part. Wording U; the analogue for refunds is
	// W ("Refund amount ($6.00) is greater than unrefunded amount on charge ($5.00)").
	{name: "R3", shape: refused, on: reversals, status: []int{400}, code: []string{"", "amount_too_large"}, param: "amount", verdict: ledger.Failed, reaction: ledger.LookFirst, word: "amount_above_remainder"},
	{name: "R3", shape: refused, on: reversals, status: []int{400}, code: []string{""}, says: says(`amount.*(greater than|exceeds?)\b`), verdict: ledger.Failed, reaction: ledger.LookFirst, word: "amount_above_remainder"},
	// An id in the path is a 404, one in the body a 400 (W on charges).
	{name: "R6", shape: refused, on: reversals, status: []int{400, 404}, code: []string{"resource_missing"}, verdict: ledger.Failed, reaction: ledger.AskOperator},
	// Code and wording U.
	{name: "R7", shape: refused, on: reversals, status: []int{400}, code: []string{"account_invalid", "account_closed"}, verdict: ledger.Failed, reaction: ledger.AskOperator},
	{name: "R7", shape: refused, on: reversals, status: []int{400}, code: []string{""}, says: says(`account.*(closed|rejected|deauthori[sz]ed|deleted|does not have access)`), verdict: ledger.Failed, reaction: ledger.AskOperator, word: "account_closed"},

	// Stripe errors about either. ----------------------------------------------------------------

	// W on refunds: what validation refuses is not stored. A bug of ours.
	{name: "T9", shape: refused, status: []int{400}, code: []string{"parameter_*", "amount_too_small", "amount_too_large"}, verdict: ledger.Failed, reaction: ledger.AskOperator, alert: true},
	// About some account: the destination, for ours is not named in a request.
	{name: "T15", shape: refused, status: []int{403}, code: []string{"account_invalid"}, verdict: ledger.NotExecuted, reaction: ledger.AskOperator},
	// About the key: a restricted one lacks a permission (C ×4).
	{name: "T15", shape: refused, status: []int{403}, verdict: ledger.NotExecuted, reaction: ledger.AwaitPlatform, scope: ledger.ScopePlatform, word: "forbidden"},
	// About the platform's account, without a code (C ×4).
	{name: "T15", shape: refused, status: []int{400}, code: []string{""}, says: says(`\byour account (is|has been) (currently )?(restricted|rejected|under review)|\byour account cannot currently make`), verdict: ledger.Failed, reaction: ledger.AwaitPlatform, scope: ledger.ScopePlatform, word: "platform_restricted"},
	// An id that is not there.
	{name: "T16", shape: refused, status: []int{404}, code: []string{"resource_missing"}, verdict: ledger.NotExecuted, reaction: ledger.AskOperator, alert: true},
	// An unknown URL: wrong base or version.
	{name: "T16", shape: refused, status: []int{404}, verdict: ledger.NotExecuted, reaction: ledger.AwaitPlatform, scope: ledger.ScopePlatform, alert: true, word: "not_found"},
	{name: "T17", shape: refused, status: []int{402}, verdict: ledger.Failed, reaction: ledger.AskOperator, alert: true, word: "card_error"},
	// Most refusals of a reversal have no code, and their wordings are unconfirmed (U): it may say that others
	// reversed a part, or that ours is there. Stripe is read before anything is closed by it.
	{name: "T18", shape: refused, on: reversals, status: statuses(400, 499), verdict: ledger.Failed, reaction: ledger.LookFirst, alert: true, word: "unmodelled"},
	// A code not in this table never earns a new key by itself.
	{name: "T18", shape: refused, status: statuses(400, 499), verdict: ledger.Failed, reaction: ledger.AskOperator, alert: true, word: "unmodelled"},
}

// unmodelled is what is left: a shape without a row. There is none, as a test shows; but the
// safe answer costs nothing.
var unmodelled = row{name: "T23", verdict: ledger.Unknown, alert: true, word: "unmodelled"}

// replayed is row T28, a rule over the others: with Idempotent-Replayed the answer is the
// stored one of the key's first execution, and final for the key. Then a 4xx is a refusal
// even where the same answer, given freshly, only turns a request away; what it asks for is
// its row's. A 5xx stays unknown for ever. It says nothing about Stripe's health now.
//
// Some answers are given before the key layer and never stored (401, 403, 404, 409, 429,
// idempotency_error; W, D). One of them with this header contradicts itself: it proves
// nothing. Whatever cannot be read keeps its word too.
func replayed(a *ledger.Answer, r *row) {
	a.Replayed, a.Scope = true, ledger.ScopeNone
	switch {
	case r.shape == believed:
		a.Row = "T28"
	case r.shape == refused && a.HTTPStatus >= 500:
		a.Row = "T28"
	case r.shape != refused || r.notFinal:
	case slices.Contains(neverStored, a.HTTPStatus):
		a.Row, a.Verdict, a.Reaction, a.Alert = "T28", ledger.Unknown, ledger.BackOff, true
	default:
		a.Row, a.Verdict = "T28", ledger.Failed
	}
}

// neverStored lists the statuses of answers that come before the key layer.
var neverStored = []int{401, 403, 404, 409, 429}

// again is another rule over the rows: Stripe-Should-Retry: true is Stripe's own word that the
// same request may be sent again (D). A refusal that says so is not the last word about its key,
// so it closes nothing: unknown keeps the key, where "not executed" would earn a new one as soon
// as this one is too old, while a copy of the request may still be executed under it.
func again(a *ledger.Answer, o *outcome) {
	if o.shape == refused && o.status < 500 && o.again && !o.replayed && (a.Verdict == ledger.Failed || a.Reaction == ledger.AskOperator) {
		a.Verdict, a.Reaction = ledger.Unknown, ledger.BackOff
	}
}

// classify reads the table.
func classify(o *outcome) ledger.Answer {
	r := &unmodelled
	if i := find(o); i >= 0 {
		r = &table[i]
	}
	a := ledger.Answer{
		Row: r.name, Verdict: r.verdict, Reaction: r.reaction, Scope: r.scope, Alert: r.alert,
		HTTPStatus: o.status, Code: o.code, Param: o.param, Message: o.message, RequestID: o.requestID,
		RetryAfter: o.retryAfter,
	}
	if a.Verdict == ledger.Done || a.Verdict == ledger.Kept {
		a.StripeID = o.id
	}
	if a.Code == "" {
		a.Code = r.word
	}
	if a.Code == "" && o.shape != believed {
		a.Code = fmt.Sprintf("http_%d", o.status)
	}
	if o.gaveUp {
		a.Scope = ledger.ScopeNone
	}
	again(&a, o)
	if o.replayed {
		replayed(&a, r)
	}
	return a
}

// find is the index of the first row that fits, or -1.
func find(o *outcome) int {
	for i := range table {
		if table[i].fits(o) {
			return i
		}
	}
	return -1
}

// fits reports that all conditions of the row hold.
func (r *row) fits(o *outcome) bool {
	return r.shape == o.shape &&
		(r.on == nil || slices.Contains(r.on, o.kind)) &&
		(r.status == nil || slices.Contains(r.status, o.status)) &&
		(r.typ == "" || r.typ == o.typ) &&
		(r.code == nil || slices.ContainsFunc(r.code, func(c string) bool { return matches(c, o.code) })) &&
		(r.param == "" || r.param == o.param) &&
		strings.HasPrefix(o.limit, r.limit) &&
		(r.says == nil || r.says.MatchString(o.message))
}

func matches(pattern, code string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(code, prefix)
	}
	return pattern == code
}

// statuses lists from to to, both included.
func statuses(from, to int) []int {
	var all []int
	for s := from; s <= to; s++ {
		all = append(all, s)
	}
	return all
}
