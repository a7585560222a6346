// Package actors runs one actor for each transfer that Stripe has not finished.
//
//	settled ─┬─ writer     what actors decided, committed in groups
//	         ├─ reader     what actors must know, loaded in groups
//	         ├─ gate       permits: how many calls, in which order, and when not at all
//	         ├─ conditions turns: of many that wait for the same, one asks Stripe again
//	         ├─ keeper     Stripe events, stored in groups
//	         ├─ inbox      stored events, told to whom they concern
//	         ├─ handler    marks, in groups, what was dealt with
//	         ├─ reconciler walks Stripe and the ledger, both ways, and keeps what differs
//	         └─ transfers  recovery and sweep; under it 64 shards
//	              └─ shard      supervises: restart is the only directive it needs
//	                   └─ transfer  one per unfinished transfer: its timer, its call
//
// A transfer moves through its own actor alone, so no lock guards it. Two nodes may run an
// actor for the same transfer all the same; then the version guard and the derived
// idempotency key keep it safe, and the loser of a guard reads the ledger again.
//
// The life of an attempt:
//
//	due ─▶ ask the gate ─▶ permit ─▶ commit the intent ─▶ call Stripe ─▶ commit the outcome
//	 ▲                                                                        │
//	 └── a timer, armed by the next incarnation ◀── restart ◀── panic(*Setback) ┘ unless done
//
// Crash and restart stand in for retry bookkeeping: an actor whose attempt ended in anything
// but success records that and panics with a typed [Setback]. The shard restarts it, and the
// new incarnation knows nothing but what the ledger says: it loads its record, asks
// [ledger.Plan] what comes next, and arms its own timer. While it waits it holds no record,
// which is what lets a million of them wait at once.
//
// To read it: transfer.go is an actor's turns and phases.go its phases, send.go one attempt, read.go
// reading Stripe for evidence, command.go people's commands, commit.go how a change is made durable;
// package gate paces, writer.go commits in groups, shard.go supervises; package reconcile walks,
// findings.go has people's words about its findings; system.go has the tree, api.go the ways into it,
// stop.go the way out.
package actors
