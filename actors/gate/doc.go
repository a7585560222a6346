// Package gate decides who may call Stripe, and when.
//
//	gate        permits: how many calls a second, how many at once, in which order, and when none
//	conditions  turns: of the many operations that wait for one condition, one asks Stripe again
//
// Both are actors, and are spoken to by messages alone. To call Stripe an actor sends [Ask], gets [Permit], makes the
// call on a goroutine of its own, and sends [Release] with the lesson of the answer. To wait for a condition it sends
// [Await], and gets [BeginProbe] in its turn; [Probed] says how the turn ended.
//
// Nothing here is durable, and nothing here guards money: a permit that is given twice is a call more, and the
// idempotency key keeps the call safe. The package knows Stripe's answers by their scope only ([ledger.Scope]), and of
// the tree the few functions that [Config] hands to it.
package gate
