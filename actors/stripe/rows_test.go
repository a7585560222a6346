package stripe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/settled/settled/ledger"
)

const (
	unknown, done, failed, notExecuted = ledger.Unknown, ledger.Done, ledger.Failed, ledger.NotExecuted

	none, endpoint, account, auth, down = ledger.ScopeNone, ledger.ScopeEndpoint, ledger.ScopeAccount, ledger.ScopeAuth, ledger.ScopeDown

	invalidRequest = "invalid_request_error"
)

var transfer, reversal = ledger.CreateTransfer, ledger.MakeReversal

// situation is one way an attempt may go, and what it must come to.
type situation struct {
	name string
	kind ledger.Kind

	// One of these.
	answer http.Handler             // what a server on loopback does
	make   func(*testing.T) *Client // a client in another plight
	ctx    context.Context          // the caller's, when it matters
	change func(ledger.Request) ledger.Request

	want ledger.Answer // Message and RequestID are not compared
}

// want writes an answer down shortly.
func want(row string, v ledger.Verdict, r ledger.Reaction, s ledger.Scope, status int, code string) ledger.Answer {
	return ledger.Answer{Row: row, Verdict: v, Reaction: r, Scope: s, HTTPStatus: status, Code: code}
}

func alerting(a ledger.Answer) ledger.Answer { a.Alert = true; return a }

func about(param string, a ledger.Answer) ledger.Answer { a.Param = param; return a }

func made(id string, a ledger.Answer) ledger.Answer { a.StripeID = id; return a }

func replay(a ledger.Answer) ledger.Answer { a.Replayed = true; return a }

func canceledContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func apiError(status int, message string) reply { return refusal(status, "api_error", "", "", message) }

const (
	inUse    = "There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, and the other request is still going through): settled:x. Please try again later."
	drifted  = "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than 'settled:x' if you meant to execute a different request."
	reversed = "The transfer tr_9Demo01 is already fully reversed."
	locked   = "This object cannot be accessed right now because another API request or Stripe process is currently accessing it. If you see this error intermittently, retry the request."
)

func situations() []situation {
	var (
		backOff, awaitFunds, awaitSeller       = ledger.BackOff, ledger.AwaitFunds, ledger.AwaitSeller
		awaitSellerFunds, askOperator, lookFst = ledger.AwaitSellerFunds, ledger.AskOperator, ledger.LookFirst
		awaitPlatform                          = ledger.AwaitPlatform
	)
	ok := func(k ledger.Kind) reply { return reply{status: 200, body: objectOf(k).String()} }
	odd := func(k ledger.Kind, field string, value any) http.Handler {
		return reply{status: 200, body: objectOf(k).with(field, value).String()}
	}
	wrong := alerting(want("T24", unknown, backOff, none, 200, "wrong_object"))
	meta := func(key, value string) map[string]string {
		m := map[string]string{}
		for k, v := range transferRequest().Metadata {
			m[k] = v
		}
		m[key] = value
		return m
	}
	return []situation{
		// T1, R1, T24: 2xx.
		{name: "a transfer", kind: transfer, answer: ok(transfer), want: made("tr_9Demo01", want("T1", done, backOff, none, 200, ""))},
		{name: "a reversal", kind: reversal, answer: ok(reversal), want: made("trr_9Demo02", want("R1", done, backOff, none, 200, ""))},
		{name: "a reversal that says it succeeded", kind: reversal, answer: odd(reversal, "status", "succeeded"),
			want: made("trr_9Demo02", want("R1", done, backOff, none, 200, ""))},
		{name: "a transfer with 201", kind: transfer, answer: reply{status: 201, body: transferObject().String()},
			want: made("tr_9Demo01", want("T1", done, backOff, none, 201, ""))},
		{name: "an empty object", kind: transfer, answer: reply{status: 200, body: `{}`}, want: wrong},
		{name: "null", kind: transfer, answer: reply{status: 200, body: `null`}, want: wrong},
		{name: "an id alone", kind: transfer, answer: reply{status: 200, body: `"tr_9Demo01"`}, want: want("T24", unknown, backOff, down, 200, "bad_json")},
		{name: "a reversal for a transfer", kind: transfer, answer: ok(reversal), want: wrong},
		{name: "a transfer for a reversal", kind: reversal, answer: ok(transfer), want: wrong},
		{name: "another kind of id", kind: transfer, answer: odd(transfer, "id", "po_9Demo01"), want: wrong},
		{name: "an id with a slash", kind: transfer, answer: odd(transfer, "id", "tr_9/../x"), want: wrong},
		{name: "a bare prefix", kind: transfer, answer: odd(transfer, "id", "tr_"), want: wrong},
		{name: "another amount", kind: transfer, answer: odd(transfer, "amount", 4201), want: wrong},
		{name: "another currency", kind: transfer, answer: odd(transfer, "currency", "usd"), want: wrong},
		{name: "another destination", kind: transfer, answer: odd(transfer, "destination", "acct_other"), want: wrong},
		{name: "another operation", kind: transfer, answer: odd(transfer, "metadata", meta(ledger.MetaOperation, "x")), want: wrong},
		{name: "another generation", kind: transfer, answer: odd(transfer, "metadata", meta(ledger.MetaGeneration, "2")), want: wrong},
		{name: "another epoch", kind: transfer, answer: odd(transfer, "metadata", meta(ledger.MetaEpoch, "1")), want: wrong},
		{name: "no metadata", kind: transfer, answer: odd(transfer, "metadata", nil), want: wrong},
		{name: "a reversal of another amount", kind: reversal, answer: odd(reversal, "amount", 1), want: wrong},
		{name: "a reversal of another transfer", kind: reversal, answer: odd(reversal, "transfer", "tr_other"), want: wrong},
		{name: "a reversal of another generation", kind: reversal, answer: odd(reversal, "metadata", meta(ledger.MetaGeneration, "7")), want: wrong},
		{name: "a pending reversal", kind: reversal, answer: odd(reversal, "status", "pending"), want: made("trr_9Demo02", want("R1", ledger.Kept, awaitSellerFunds, none, 200, "reversal_pending"))},
		{name: "a failed reversal", kind: reversal, answer: odd(reversal, "status", "failed"), want: made("trr_9Demo02", want("R1", ledger.Kept, awaitSellerFunds, none, 200, "reversal_pending"))},
		{name: "a canceled reversal", kind: reversal, answer: odd(reversal, "status", "canceled"), want: made("trr_9Demo02", want("R1", ledger.Kept, awaitSellerFunds, none, 200, "reversal_pending"))},
		{name: "a reversal of a status that nobody knows", kind: reversal, answer: odd(reversal, "status", "queued"), want: wrong},
		{name: "200 and HTML", kind: transfer, answer: reply{status: 200, body: "<html>hello</html>"}, want: want("T24", unknown, backOff, down, 200, "bad_json")},
		{name: "200 and nothing", kind: transfer, answer: reply{status: 200}, want: want("T24", unknown, backOff, down, 200, "bad_json")},
		{name: "204", kind: transfer, answer: reply{status: 204}, want: want("T24", unknown, backOff, down, 204, "bad_json")},
		{name: "200 cut in two", kind: transfer, make: rawAnswer("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n" + transferObject().String()[:100]),
			want: want("T24", unknown, backOff, down, 200, "truncated")},
		{name: "200 that drips for ever", kind: transfer, make: dripping, want: want("T24", unknown, backOff, down, 200, "timeout")},
		{name: "200 larger than any transfer", kind: transfer, answer: reply{status: 200, body: `{"pad":"` + strings.Repeat("x", answerMax) + `"}`},
			want: want("T24", unknown, backOff, down, 200, "body_too_large")},

		// T2 to T8: about a transfer.
		{name: "the platform's balance is too low", kind: transfer, answer: invalid("balance_insufficient", "", "You have insufficient funds in your Stripe account."),
			want: want("T2", failed, awaitFunds, none, 400, "balance_insufficient")},
		{name: "the seller lacks the capability", kind: transfer, answer: invalid("insufficient_capabilities_for_transfer", "", "Your destination account needs to have at least one of the following capabilities enabled: transfers, crypto_transfers, legacy_payments"),
			want: want("T3", failed, awaitSeller, none, 400, "insufficient_capabilities_for_transfer")},
		{name: "the seller lacks the capability, as a 403", kind: transfer, answer: refusal(403, invalidRequest, "insufficient_capabilities_for_transfer", "", "x"),
			want: want("T3", failed, awaitSeller, none, 403, "insufficient_capabilities_for_transfer")},
		{name: "no such destination", kind: transfer, answer: invalid("resource_missing", "destination", "No such destination: 'acct_9Seller1'"),
			want: about("destination", want("T4", failed, askOperator, none, 400, "resource_missing"))},
		{name: "no such charge", kind: transfer, answer: invalid("resource_missing", "source_transaction", "No such charge: 'ch_9Demo'"),
			want: about("source_transaction", want("T5", failed, askOperator, none, 400, "resource_missing"))},
		{name: "another region", kind: transfer, answer: invalid("transfers_not_allowed", "", "Funds can't be sent to accounts located in BR because it's restricted outside of your platform's region."),
			want: want("T6", failed, askOperator, none, 400, "transfers_not_allowed")},
		{name: "the charge is used up", kind: transfer, answer: invalid("", "", "Transfers using this transaction as a source must not exceed the source amount of €70.00. (There is already a transfer using this source, amounting to €70.00.)"),
			want: want("T7", failed, lookFst, none, 400, "source_exceeded")},
		{name: "the charge settled in another currency", kind: transfer, answer: invalid("", "source_transaction", "The currency of source_transaction's balance transaction (usd) must be the same as the transfer currency (eur)"),
			want: about("source_transaction", want("T8", failed, askOperator, none, 400, "currency_mismatch"))},

		// T9 to T18: about either.
		{name: "an amount of zero", kind: transfer, answer: invalid("parameter_invalid_integer", "amount", "This value must be greater than or equal to 1."),
			want: about("amount", alerting(want("T9", failed, askOperator, none, 400, "parameter_invalid_integer")))},
		{name: "a parameter is missing", kind: reversal, answer: invalid("parameter_missing", "amount", "Missing required param: amount."),
			want: about("amount", alerting(want("T9", failed, askOperator, none, 400, "parameter_missing")))},
		{name: "the amount is too small", kind: transfer, answer: invalid("amount_too_small", "amount", "x"),
			want: about("amount", alerting(want("T9", failed, askOperator, none, 400, "amount_too_small")))},
		{name: "other parameters under the same key", kind: transfer, answer: refusal(400, "idempotency_error", "", "", drifted),
			want: alerting(want("T10", unknown, lookFst, none, 400, "idempotency_error"))},
		{name: "the first is still running", kind: transfer, answer: refusal(409, invalidRequest, "idempotency_key_in_use", "", inUse),
			want: want("T11", unknown, backOff, none, 409, "idempotency_key_in_use")},
		{name: "the first is still running, of the other type", kind: reversal, answer: refusal(409, "idempotency_error", "idempotency_key_in_use", "", inUse),
			want: want("T11", unknown, backOff, none, 409, "idempotency_key_in_use")},
		{name: "the first is still running, as a 400", kind: reversal, answer: refusal(400, "idempotency_error", "idempotency_key_in_use", "", inUse),
			want: want("T11", unknown, backOff, none, 400, "idempotency_key_in_use")},
		{name: "too many requests to the endpoint", kind: transfer, answer: refusal(429, invalidRequest, "rate_limit", "", "Too many").but("Stripe-Rate-Limited-Reason", "endpoint-rate"),
			want: want("T12", notExecuted, backOff, endpoint, 429, "rate_limit")},
		{name: "too many requests to this kind of resource", kind: transfer, answer: refusal(429, invalidRequest, "rate_limit", "", "Too many").but("Stripe-Rate-Limited-Reason", "resource-specific"),
			want: want("T12", notExecuted, backOff, endpoint, 429, "rate_limit")},
		{name: "too many requests, without a reason", kind: reversal, answer: refusal(429, invalidRequest, "", "", "Too many"),
			want: want("T12", notExecuted, backOff, endpoint, 429, "rate_limit")},
		{name: "too many requests of the account", kind: transfer, answer: refusal(429, invalidRequest, "rate_limit", "", "Too many").but("Stripe-Rate-Limited-Reason", "global-concurrency"),
			want: want("T12", notExecuted, backOff, account, 429, "rate_limit")},
		{name: "a locked object", kind: reversal, answer: refusal(429, invalidRequest, "lock_timeout", "", locked).but("Stripe-Should-Retry", "true"),
			want: want("T13", notExecuted, backOff, none, 429, "lock_timeout")},
		{name: "a bad key", kind: transfer, answer: refusal(401, invalidRequest, "", "", "Invalid API Key provided: sk_test_****6789"),
			want: alerting(want("T14", notExecuted, awaitPlatform, auth, 401, "unauthorized"))},
		{name: "an expired key", kind: transfer, answer: refusal(401, invalidRequest, "api_key_expired", "", "Expired API Key provided"),
			want: alerting(want("T14", notExecuted, awaitPlatform, auth, 401, "api_key_expired"))},
		{name: "a restricted key", kind: transfer, answer: refusal(403, invalidRequest, "", "", "The provided key 'rk_test_x' does not have the required permissions"),
			want: want("T15", notExecuted, awaitPlatform, ledger.ScopePlatform, 403, "forbidden")},
		{name: "a restricted platform", kind: transfer, answer: invalid("", "", "Cannot create live transfers: your account is restricted. Please contact us."),
			want: want("T15", failed, awaitPlatform, ledger.ScopePlatform, 400, "platform_restricted")},
		{name: "no access to the account", kind: reversal, answer: refusal(403, invalidRequest, "account_invalid", "", "The provided key does not have access to account 'acct_x'"),
			want: want("T15", notExecuted, askOperator, none, 403, "account_invalid")},
		{name: "an unknown URL", kind: transfer, answer: refusal(404, invalidRequest, "", "", "Unrecognized request URL (POST: /v1/transfers)."),
			want: alerting(want("T16", notExecuted, awaitPlatform, ledger.ScopePlatform, 404, "not_found"))},
		{name: "a card error", kind: transfer, answer: refusal(402, "card_error", "card_declined", "", "Your card was declined."),
			want: alerting(want("T17", failed, askOperator, none, 402, "card_declined"))},
		{name: "a code that is not modelled", kind: transfer, answer: invalid("brand_new_code", "", "Something new."),
			want: alerting(want("T18", failed, askOperator, none, 400, "brand_new_code"))},
		{name: "a 400 without a code", kind: reversal, answer: invalid("", "", "Something new."),
			want: alerting(want("T18", failed, lookFst, none, 400, "unmodelled"))},

		// T19 to T22: Stripe is unwell.
		{name: "424", kind: transfer, answer: apiError(424, "x"), want: want("T19", unknown, backOff, down, 424, "http_424")},
		{name: "500", kind: transfer, answer: apiError(500, "An unknown error occurred"), want: want("T20", unknown, backOff, down, 500, "http_500")},
		{name: "502", kind: reversal, answer: apiError(502, "x"), want: want("T21", unknown, backOff, down, 502, "http_502")},
		{name: "504", kind: transfer, answer: apiError(504, "x"), want: want("T21", unknown, backOff, down, 504, "http_504")},
		{name: "520 of some edge", kind: transfer, answer: apiError(520, "x"), want: want("T21", unknown, backOff, down, 520, "http_520")},
		{name: "408", kind: transfer, answer: refusal(408, invalidRequest, "", "", "x"), want: want("T21", unknown, backOff, down, 408, "http_408")},
		{name: "503", kind: transfer, answer: apiError(503, "x"), want: want("T22", unknown, backOff, down, 503, "http_503")},

		// T23: not Stripe.
		{name: "502 of a proxy", kind: transfer, answer: reply{status: 502, body: "<html>Bad Gateway</html>"}, want: want("T23", unknown, backOff, down, 502, "http_502")},
		{name: "403 of a firewall", kind: transfer, answer: reply{status: 403, body: "<html>blocked</html>"}, want: want("T23", unknown, backOff, down, 403, "http_403")},
		{name: "400 and nothing", kind: transfer, answer: reply{status: 400}, want: want("T23", unknown, backOff, down, 400, "http_400")},
		{name: "400 without an error", kind: transfer, answer: reply{status: 400, body: `{"message":"no"}`}, want: want("T23", unknown, backOff, down, 400, "http_400")},
		{name: "400 with an error without a type", kind: transfer, answer: reply{status: 400, body: `{"error":{"message":"no"}}`}, want: want("T23", unknown, backOff, down, 400, "http_400")},
		{name: "400 with an error that is a word", kind: transfer, answer: reply{status: 400, body: `{"error":"no"}`}, want: want("T23", unknown, backOff, down, 400, "http_400")},
		{name: "400 cut in two", kind: transfer, make: rawAnswer("HTTP/1.1 400 Bad Request\r\nContent-Length: 900\r\n\r\n" + invalid("balance_insufficient", "", "x").body[:40]),
			want: want("T23", unknown, backOff, down, 400, "truncated")},
		{name: "400 of a gateway", kind: transfer, answer: refusal(400, "upstream_timeout", "", "", "x"), want: want("T23", unknown, backOff, down, 400, "http_400")},
		{name: "402 of a gateway", kind: reversal, answer: refusal(402, "quota", "balance_insufficient", "", "x"), want: want("T23", unknown, backOff, down, 402, "http_402")},
		{name: "a refusal in Stripe's form without a Request-Id", kind: transfer, answer: invalid("balance_insufficient", "", "x").but("Request-Id", ""), want: want("T23", unknown, backOff, down, 400, "http_400")},
		{name: "the same of a reversal", kind: reversal, answer: invalid("", "", reversed).but("Request-Id", " "), want: want("T23", unknown, backOff, down, 400, "http_400")},
		{name: "429 without a Request-Id", kind: transfer, answer: refusal(429, invalidRequest, "rate_limit", "", "x").but("Request-Id", ""), want: want("T23", unknown, backOff, down, 429, "http_429")},
		{name: "a refusal of another request", kind: transfer, answer: invalid("balance_insufficient", "", "x").but("Idempotency-Key", "settled:another"),
			want: alerting(want("T23", unknown, backOff, down, 400, "stray_answer"))},
		{name: "another request's transfer", kind: transfer, answer: ok(transfer).but("Idempotency-Key", "settled:another"), want: alerting(want("T23", unknown, backOff, down, 200, "stray_answer"))},
		{name: "another request's replay", kind: reversal, answer: invalid("", "", "x").replayed().but("Idempotency-Key", "settled:another"),
			want: alerting(want("T23", unknown, backOff, down, 400, "stray_answer"))},
		{name: "a transfer whose key is echoed", kind: transfer, answer: ok(transfer).but("Idempotency-Key", transferRequest().Key), want: made("tr_9Demo01", want("T1", done, backOff, none, 200, ""))},
		{name: "a redirect", kind: transfer, answer: reply{status: 307, header: map[string]string{"Location": "/v1/elsewhere"}}, want: alerting(want("T23", unknown, backOff, down, 307, "http_307"))},
		{name: "a redirect with a transfer in it", kind: transfer, answer: reply{status: 302, header: map[string]string{"Location": "/v1/elsewhere"}, body: transferObject().String()},
			want: alerting(want("T23", unknown, backOff, down, 302, "http_302"))},
		{name: "a redirect to nowhere", kind: transfer, answer: reply{status: 301, header: map[string]string{"Location": "http://[bad"}}, want: alerting(want("T23", unknown, backOff, down, 301, "http_301"))},
		{name: "a switch of protocols", kind: transfer, make: rawAnswer("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"),
			want: want("T23", unknown, backOff, down, 101, "unreadable")},

		// T25: sent, and no answer.
		{name: "reset after the request", kind: transfer, make: resetting, want: want("T25", unknown, backOff, down, 0, "connection_reset")},
		{name: "closed after the request", kind: reversal, make: rawAnswer(""), want: want("T25", unknown, backOff, down, 0, "connection_closed")},
		{name: "no answer in time", kind: transfer, make: silent(nil), want: want("T25", unknown, backOff, down, 0, "timeout")},
		{name: "gave up while waiting", kind: transfer, make: silent(errGaveUp), want: want("T25", unknown, backOff, none, 0, "canceled")},
		{name: "an answer that is not HTTP", kind: transfer, make: rawAnswer("SSH-2.0-OpenSSH_9.9\r\n"), want: want("T25", unknown, backOff, down, 0, "connection_lost")},

		// T26: not sent.
		{name: "connection refused", kind: transfer, make: refusing, want: want("T26", notExecuted, backOff, down, 0, "dial")},
		{name: "no such host", kind: transfer, make: nameless, want: want("T26", notExecuted, backOff, down, 0, "dns")},
		{name: "an unknown authority", kind: transfer, make: distrustful, want: want("T26", notExecuted, backOff, down, 0, "tls")},
		{name: "TLS with somebody who speaks none", kind: transfer, make: plain, want: want("T26", notExecuted, backOff, down, 0, "connect")},
		{name: "no time to dial", kind: transfer, make: slowDial, want: want("T26", notExecuted, backOff, down, 0, "timeout")},
		{name: "gave up before", kind: transfer, answer: ok(transfer), ctx: canceledContext(), want: want("T26", notExecuted, backOff, none, 0, "canceled")},

		// T27: a bug of ours.
		{name: "no key", kind: transfer, answer: ok(transfer), change: func(r ledger.Request) ledger.Request { r.Key = ""; return r },
			want: alerting(want("T27", notExecuted, askOperator, none, 0, "bad_request"))},
		{name: "a key too long", kind: transfer, answer: ok(transfer), change: func(r ledger.Request) ledger.Request { r.Key = strings.Repeat("k", 256); return r },
			want: alerting(want("T27", notExecuted, askOperator, none, 0, "bad_request"))},
		{name: "a key that would be trimmed", kind: transfer, answer: ok(transfer), change: func(r ledger.Request) ledger.Request { r.Key += " "; return r },
			want: alerting(want("T27", notExecuted, askOperator, none, 0, "bad_request"))},
		{name: "metadata of another operation", kind: reversal, answer: ok(reversal), change: func(r ledger.Request) ledger.Request { r.Operation[0]++; return r },
			want: alerting(want("T27", notExecuted, askOperator, none, 0, "bad_request"))},
		{name: "nothing to reverse", kind: reversal, answer: ok(reversal), change: func(r ledger.Request) ledger.Request { r.Transfer = ""; return r },
			want: alerting(want("T27", notExecuted, askOperator, none, 0, "bad_request"))},

		// Stripe-Should-Retry: true is Stripe's own word that an answer is not the last.
		{name: "an unmodelled 400 to be retried", kind: transfer, answer: invalid("unexpected_state", "", "x").but("Stripe-Should-Retry", "true"), want: alerting(want("T18", unknown, backOff, none, 400, "unexpected_state"))},
		{name: "an unmodelled 400 of a reversal to be retried", kind: reversal, answer: invalid("", "", "x").but("Stripe-Should-Retry", "true"), want: alerting(want("T18", unknown, backOff, none, 400, "unmodelled"))},
		{name: "a 404 to be retried", kind: transfer, answer: refusal(404, invalidRequest, "resource_missing", "destination", "x").but("Stripe-Should-Retry", "true"),
			want: about("destination", alerting(want("T16", unknown, backOff, none, 404, "resource_missing")))},
		{name: "an unmodelled 400 not to be retried", kind: transfer, answer: invalid("unexpected_state", "", "x").but("Stripe-Should-Retry", "false"), want: alerting(want("T18", failed, askOperator, none, 400, "unexpected_state"))},
		{name: "a 409 not to be retried", kind: transfer, answer: refusal(409, invalidRequest, "", "", inUse).but("Stripe-Should-Retry", "false"), want: want("T11", unknown, backOff, none, 409, "idempotency_key_in_use")},
		{name: "a stored refusal to be retried", kind: transfer, answer: invalid("balance_insufficient", "", "x").replayed().but("Stripe-Should-Retry", "true"),
			want: replay(want("T28", failed, awaitFunds, none, 400, "balance_insufficient"))},

		// The codes in words.
		{name: "no funds, without a code", kind: transfer, answer: invalid("", "", "Insufficient funds in Stripe account. In test mode, you can add funds to your available balance by creating a charge with 4000000000000077."),
			want: want("T2", failed, awaitFunds, none, 400, "balance_insufficient")},
		{name: "no capability, without a code", kind: transfer, answer: invalid("", "", sayings["T3"]), want: want("T3", failed, awaitSeller, none, 400, "insufficient_capabilities_for_transfer")},
		{name: "out of the region, without a code", kind: transfer, answer: invalid("", "", sayings["T6"]), want: want("T6", failed, askOperator, none, 400, "transfers_not_allowed")},
		{name: "the seller's balance is too low, without a code", kind: reversal, answer: invalid("", "", sayings["R4"]), want: want("R4", failed, awaitSellerFunds, none, 400, "balance_insufficient")},
		{name: "a wording of a reversal that nobody knows", kind: reversal, answer: invalid("", "", "You can only reverse up to 600 of this transfer."), want: alerting(want("T18", failed, lookFst, none, 400, "unmodelled"))},

		// T28: replays.
		{name: "a replayed transfer", kind: transfer, answer: ok(transfer).replayed(), want: replay(made("tr_9Demo01", want("T28", done, backOff, none, 200, "")))},
		{name: "a replayed reversal", kind: reversal, answer: ok(reversal).replayed(), want: replay(made("trr_9Demo02", want("T28", done, backOff, none, 200, "")))},
		{name: "a replay of another transfer", kind: transfer, answer: reply{status: 200, body: transferObject().with("amount", 1).String()}.replayed(), want: replay(wrong)},
		{name: "a replayed refusal", kind: transfer, answer: invalid("balance_insufficient", "", "x").replayed(), want: replay(want("T28", failed, awaitFunds, none, 400, "balance_insufficient"))},
		{name: "a replayed R2", kind: reversal, answer: invalid("", "", reversed).replayed(), want: replay(want("T28", failed, lookFst, none, 400, "already_fully_reversed"))},
		// These come before the key layer, so none of them can be a stored answer.
		{name: "a replay header on a 429", kind: transfer, answer: refusal(429, invalidRequest, "rate_limit", "", "x").replayed(), want: replay(alerting(want("T28", unknown, backOff, none, 429, "rate_limit")))},
		{name: "a replay header on a lock timeout", kind: transfer, answer: refusal(429, invalidRequest, "lock_timeout", "", locked).replayed(), want: replay(alerting(want("T28", unknown, backOff, none, 429, "lock_timeout")))},
		{name: "a replay header on a 401", kind: transfer, answer: refusal(401, invalidRequest, "", "", "x").replayed(), want: replay(alerting(want("T28", unknown, backOff, none, 401, "unauthorized")))},
		{name: "a replay header on a 403", kind: transfer, answer: refusal(403, invalidRequest, "", "", "x").replayed(), want: replay(alerting(want("T28", unknown, backOff, none, 403, "forbidden")))},
		{name: "a replay header on a 404", kind: transfer, answer: refusal(404, invalidRequest, "", "", "x").replayed(), want: replay(alerting(want("T28", unknown, backOff, none, 404, "not_found")))},
		{name: "a replay header on a missing transfer", kind: reversal, answer: refusal(404, invalidRequest, "resource_missing", "id", "x").replayed(),
			want: about("id", replay(alerting(want("T28", unknown, backOff, none, 404, "resource_missing"))))},
		{name: "a replayed 500", kind: transfer, answer: apiError(500, "x").replayed(), want: replay(want("T28", unknown, backOff, none, 500, "http_500"))},
		{name: "a replayed 503", kind: reversal, answer: apiError(503, "x").replayed(), want: replay(want("T28", unknown, backOff, none, 503, "http_503"))},
		{name: "a replay header on a 409", kind: transfer, answer: refusal(409, invalidRequest, "", "", inUse).replayed(), want: replay(want("T11", unknown, backOff, none, 409, "idempotency_key_in_use"))},
		{name: "a replay header on parameter drift", kind: transfer, answer: refusal(400, "idempotency_error", "", "", drifted).replayed(), want: replay(alerting(want("T10", unknown, lookFst, none, 400, "idempotency_error")))},
		{name: "a replay header on a proxy's page", kind: transfer, answer: reply{status: 400, body: "<html>"}.replayed(), want: replay(want("T23", unknown, backOff, none, 400, "http_400"))},

		// R2 to R7: about a reversal.
		{name: "already fully reversed", kind: reversal, answer: invalid("", "", reversed), want: want("R2", notExecuted, lookFst, none, 400, "already_fully_reversed")},
		{name: "already fully reversed, without a full stop", kind: reversal, answer: invalid("", "", strings.ToUpper(strings.TrimSuffix(reversed, "."))), want: want("R2", notExecuted, lookFst, none, 400, "already_fully_reversed")},
		{name: "more than is left", kind: reversal, answer: invalid("", "amount", "Reversal amount (€7.00) is greater than unreversed amount on transfer (€5.00)"),
			want: about("amount", want("R3", failed, lookFst, none, 400, "amount_above_remainder"))},
		{name: "more than is left, without a parameter", kind: reversal, answer: invalid("", "", "Reversal amount (€7.00) is greater than unreversed amount on transfer (€5.00)"),
			want: want("R3", failed, lookFst, none, 400, "amount_above_remainder")},
		{name: "the seller's balance is too low", kind: reversal, answer: invalid("balance_insufficient", "", "The associated account does not have a sufficient balance."),
			want: want("R4", failed, awaitSellerFunds, none, 400, "balance_insufficient")},
		{name: "conversion leaves nothing", kind: reversal, answer: invalid("", "", "Converting this reversal would round its amount to zero."),
			want: want("R5", failed, askOperator, none, 400, "rounds_to_zero")},
		{name: "no such transfer", kind: reversal, answer: refusal(404, invalidRequest, "resource_missing", "id", "No such transfer: 'tr_9Demo01'"),
			want: about("id", want("R6", failed, askOperator, none, 404, "resource_missing"))},
		{name: "the seller's account is closed", kind: reversal, answer: invalid("account_closed", "", "x"), want: want("R7", failed, askOperator, none, 400, "account_closed")},
		{name: "the seller's account was rejected, without a code", kind: reversal, answer: invalid("", "", "The destination account has been rejected."),
			want: want("R7", failed, askOperator, none, 400, "account_closed")},
		{name: "an unknown URL of a reversal", kind: reversal, answer: refusal(404, invalidRequest, "", "", "Unrecognized request URL."),
			want: alerting(want("T16", notExecuted, awaitPlatform, ledger.ScopePlatform, 404, "not_found"))},
	}
}

func TestEachOutcomeComesToItsRow(t *testing.T) {
	for _, s := range situations() {
		t.Run(s.want.Row+" "+s.name, func(t *testing.T) {
			t.Parallel()
			var c *Client
			ctx := t.Context()
			switch {
			case s.make != nil:
				c = s.make(t)
			default:
				c = client(t, serve(t, s.answer))
			}
			if s.ctx != nil {
				ctx = s.ctx
			}
			if give, ok := gaveUp.LoadAndDelete(c); ok {
				var cancel context.CancelFunc
				ctx, cancel = context.WithCancel(ctx)
				give.(func(context.CancelFunc))(cancel)
			}
			r := requestOf(s.kind)
			if s.change != nil {
				r = s.change(r)
			}
			got := c.Send(ctx, r, always)
			noCanary(t, "the answer", fmt.Sprintf("%+v", got))
			if got.Verdict != ledger.Done && got.Message == "" {
				t.Error("the answer has no message")
			}
			sent, canned := s.answer.(reply)
			if _, without := sent.header["Request-Id"]; canned && got.HTTPStatus != 0 && !without && got.RequestID != "req_9B" {
				t.Errorf("the request id is %q", got.RequestID)
			}
			message := got.Message
			got.Message, got.RequestID = "", ""
			if got != s.want {
				t.Errorf("\n got %+v\nwant %+v\nmessage: %s", got, s.want, message)
			}
		})
	}
}

func TestEveryRowHasASituation(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range situations() {
		seen[s.want.Row] = true
	}
	for _, r := range table {
		if !seen[r.name] {
			t.Errorf("no situation comes to row %s", r.name)
		}
	}
	for i := 1; i <= 28; i++ {
		if name := fmt.Sprintf("T%d", i); !seen[name] {
			t.Errorf("no situation comes to row %s", name)
		}
	}
	for i := 1; i <= 7; i++ {
		if name := fmt.Sprintf("R%d", i); !seen[name] {
			t.Errorf("no situation comes to row %s", name)
		}
	}
}

// readRequest reads one request off a raw connection; false when there is none.
func readRequest(conn net.Conn, in *bufio.Reader) bool {
	r, err := http.ReadRequest(in)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err == nil
}

// gaveUp has, by client, what makes its caller give up.
var gaveUp sync.Map

// discard is a log that nobody reads.
var discard = slog.New(slog.DiscardHandler)

// quiet is the log of a server whose clients hang up on purpose.
var quiet = log.New(io.Discard, "", 0)

// pool is a client's connection pool.
func pool(c *Client) *http.Transport { return c.http.Transport.(*exchange).next.(*http.Transport) }

// rawAnswer reads a request, writes text and closes.
func rawAnswer(text string) func(*testing.T) *Client {
	return func(t *testing.T) *Client {
		return client(t, listener(t, func(conn net.Conn) {
			if readRequest(conn, bufio.NewReader(conn)) {
				_, _ = io.WriteString(conn, text)
			}
		}))
	}
}

func resetting(t *testing.T) *Client {
	return client(t, listener(t, func(conn net.Conn) {
		readRequest(conn, bufio.NewReader(conn))
		_ = conn.(*net.TCPConn).SetLinger(0) // close with a reset
	}))
}

// tiny is a time-out that a test can wait for, and within which a busy machine has sent a request.
const tiny = 3 * time.Second

// dripping sends a body byte by byte, each after the last was taken, until it is closed.
func dripping(t *testing.T) *Client {
	return client(t, listener(t, func(conn net.Conn) {
		if !readRequest(conn, bufio.NewReader(conn)) {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{\"id\":")
		_, _ = conn.Read(make([]byte, 1)) // until the client hangs up
	}), func(c *Config) { c.Timeout = tiny })
}

var errGaveUp = errors.New("gave up")

// silent never answers. With errGaveUp the caller gives up once the request has arrived.
func silent(why error) func(*testing.T) *Client {
	return func(t *testing.T) *Client {
		arrived := make(chan struct{})
		base := listener(t, func(conn net.Conn) {
			if readRequest(conn, bufio.NewReader(conn)) {
				close(arrived)
			}
			_, _ = conn.Read(make([]byte, 1))
		})
		if why == nil {
			return client(t, base, func(c *Config) { c.Timeout = tiny })
		}
		c := client(t, base)
		gaveUp.Store(c, func(cancel context.CancelFunc) {
			go func() {
				<-arrived
				cancel()
			}()
		})
		return c
	}
}

func refusing(t *testing.T) *Client {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return client(t, "http://"+l.Addr().String())
}

// nameless asks for a name that cannot exist (RFC 6761), of a resolver that answers so even
// where there is no network.
func nameless(t *testing.T) *Client {
	c := client(t, "http://stripe.invalid")
	pool(c).DialContext = (&net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no network")
	}}}).DialContext
	return c
}

func distrustful(t *testing.T) *Client {
	s := httptest.NewUnstartedServer(reply{status: 200, body: transferObject().String()})
	s.Config.ErrorLog = quiet
	s.StartTLS()
	t.Cleanup(s.Close)
	return client(t, s.URL)
}

// plain speaks TLS to a server that answers in plain text.
func plain(t *testing.T) *Client {
	base := listener(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1))
		_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
	})
	return client(t, "https"+strings.TrimPrefix(base, "http"))
}

// slowDial never gets a connection.
func slowDial(t *testing.T) *Client {
	c := client(t, "http://127.0.0.1:1", func(c *Config) { c.Timeout = tiny })
	pool(c).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return c
}
