// Package reconcile compares Stripe with the ledger, both ways, and keeps the differences.
//
//	reconciler  the actor: a walk's clock, its mailbox and its brake
//	walker      the goroutine of a walk, which is one long sequence, and of rechecks between walks
//
// The actor is spoken to by messages: [Begin], [Run], [Recheck], [Status], [Halt]. reconciler.go has its turns,
// walk.go a walk over all that Stripe ever held, recheck.go the second comparison before a difference counts, lost.go
// the proof that the ledger's database lost commits. Each read of Stripe has a permit of the gate's, behind all other
// calls.
//
// Of the tree the package knows the few functions that [Config] hands to it.
package reconcile
