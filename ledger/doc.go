// Package ledger is the domain: what a transfer is, which steps it may take, what an answer
// of Stripe proves, and what every cent did. It is pure: no clock, no chance, no I/O. Time,
// IDs and jitter are handed in; what comes out are values that package db stores and package
// actors acts upon.
//
//	Order ──Accept──▶ Transfer ──Plan──▶ Step        what to do next, and when
//	                     │  ▲
//	                     │  └── Change ◀── Begin, Conclude, Confirm, Hold, Reverse, …
//	                     ▼
//	              moves (state.go): the one table that says which step is legal
//
// A Transfer is an aggregate: the transfer and its reversals share one version, so one guard
// covers both, and one operation (the transfer, or one reversal) is driven at a time. Every
// change of it is a [Change]: the new row, exactly one [History] row, and the postings that
// it causes, to be committed together or not at all.
//
// # Accounts
//
// Every move that moves money, or may, is a double entry; its postings sum to zero in the
// transfer's currency. The accounts, each per currency:
//
//	clearing   the counterpart: buyers' money that obligations are drawn on, and where it returns to
//	owed       what the platform owes sellers and no open send may have moved
//	in_flight  what a send of open outcome may have moved (sending, unresolved, parked)
//	paid       what Stripe holds for sellers
//	returning  what an open send of a reversal may have taken back
//
//	accept                   clearing  → owed
//	send                     owed      → in_flight     (not again for a resend: it is there already)
//	confirm                  in_flight → paid
//	refuse, absent, …        in_flight → owed
//	cancel                   owed      → clearing
//	reversal: send           paid      → returning
//	reversal: confirm        returning → clearing
//	reversal: refuse, …      returning → paid
//	reversal made outside    paid      → clearing
package ledger
