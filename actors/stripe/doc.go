// Package stripe is the only place of the daemon that sees Stripe. It sends one request at a
// time and says what the answer proves about the money; whether to send again, and when, is
// decided elsewhere.
//
//	Request ─▶ send.go      guard, form, one POST
//	           attempt.go   the gate in the request's body: was a byte handed out, or refused?
//	           transport.go the pool, and the exchange that records what came back
//	           outcome.go   what it came to, in words and cleaned of secrets
//	           object.go    is this 2xx what was asked for?
//	           table.go     every answer Stripe may give ─▶ verdict, reaction, scope
//	Query   ─▶ read.go      evidence: transfers with all of their reversals
//
// Three promises hold whatever happens on the wire. One Send makes at most one request:
// nothing below it retries, follows a redirect or replays. An answer is Done only when the
// object in it is the one asked for. An answer is NotExecuted only when Stripe said so, or
// when it is proved that no byte left.
package stripe
