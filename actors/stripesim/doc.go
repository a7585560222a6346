// Package stripesim is a stateful Stripe at the wire, for Connect transfers and
// reversals: what it answers to a call depends on what was done before, on the
// idempotency key, on balances and capabilities, and on a seeded plan of faults.
// It shares no code with any client of Stripe, so a mistake in one cannot hide in
// the other.
//
//	       ┌ down, wire faults    drop, hang, 502, 503, 504, 424: nothing was read
//	       ├ authenticate         401
//	       ├ limit                429 rate_limit, never stored
//	       ├ validate             400 parameter_*, 400/404 resource_missing, never stored
//	call ──┼ claim the key        replay, 409 while running, 400 idempotency_error
//	       ├ lock the object      429 lock_timeout, the claim is given back
//	       ├ execute              one step under one mutex: balances, capability,
//	       │                      region, source cap, currency, remaining amount
//	       ├ store                2xx, 4xx and 5xx alike, for Times.KeyLife
//	       ├ answer               whole, cut, empty, lost, or replaced by a proxy's page
//	       └ emit                 events, signed, late, twice, unordered, sometimes never
//
// A request that hangs or runs slowly is carried on by the simulator's own agenda,
// so a client that gives up does not stop it. The agenda follows a test clock:
// [Sim.Advance] lets hours pass and fires what falls due in them, in order.
//
// Which call meets which fault is a pure function of the seed, the idempotency key
// (or the method and URL of a read) and how often that key has arrived; concurrency
// does not change the plan. What was never observed at Stripe is chosen here and
// marked "unconfirmed" where it is chosen.
//
// Simplifications, all deliberate: money of a charge is available at once, nothing
// costs a fee, currencies are not converted, and objects never leave the account.
package stripesim
