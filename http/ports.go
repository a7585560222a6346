package http

import (
	"context"
	"time"

	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// Engine is the actor system, as far as this package knows it.
type Engine interface {
	// Create registers orders in one commit, and answers for each in its place.
	Create(ctx context.Context, orders []ledger.Order, by ledger.By) ([]ledger.Acceptance, error)
	// Inject audits a message, has it act, and returns the transfer as it then is. A message
	// whose ID acted before does not act again.
	Inject(ctx context.Context, m ledger.Message) (ledger.Record, error)
	// Receive returns once the events are durable; duplicates are fine.
	Receive(ctx context.Context, events []ledger.StripeEvent) error
	// Live tells of the work of the transfer's actor.
	Live(ctx context.Context, id ledger.ID) ledger.Live
	// Ready returns nil, or why nothing should be sent here yet.
	Ready(ctx context.Context) error
	// Notices are for people, about the daemon; those that bar all calls to Stripe come first.
	Notices() []ledger.Notice
	// Policy is the part of planning that is the same for all transfers.
	Policy() ledger.Policy

	// Clocks says how the three clocks stand.
	Clocks() ledger.ClockStanding
	// Trust takes a person's word that of the clocks that disagree one is right; it is [ledger.ErrIllegalMove] while
	// they agree. Distrust takes it back. A message acts once.
	Trust(ctx context.Context, clock ledger.Clock, by ledger.By) (ledger.ClockStanding, error)
	Distrust(ctx context.Context, by ledger.By) (ledger.ClockStanding, error)

	// Reconciler tells of the reconciler's work.
	Reconciler(ctx context.Context) (audit.Status, error)
	// Reconcile has a walk begun, now or after the one that goes on. The same message asks once.
	Reconcile(ctx context.Context, by ledger.By) (audit.Status, error)
	// Mend carries out a person's decision about a finding; until is when an accepted one is open again. A
	// message acts once.
	Mend(ctx context.Context, finding ledger.ID, how audit.Mending, until time.Time,
		by ledger.By) (audit.Finding, error)
}

// Store is the ledger's database, for reading.
type Store interface {
	// Dossier returns all that is known of one transfer, with the latest entries of its history, or
	// [ledger.ErrNotFound].
	Dossier(ctx context.Context, id ledger.ID, latest int) (ledger.Dossier, error)
	// Chapter returns at most limit entries of a history, the latest before a version, or [ledger.ErrNotFound].
	Chapter(ctx context.Context, id ledger.ID, before int64, limit int) (ledger.Chapter, error)
	// Alike finds, for each of the references, another one of the last day that is easily taken for it.
	Alike(ctx context.Context, references []string) (map[string]string, error)
	// List returns at most f.Limit transfers, newest first.
	List(ctx context.Context, f ledger.Filter) ([]ledger.Record, error)

	// Finding returns a finding of the reconciler, or [audit.ErrNotFound].
	Finding(ctx context.Context, id ledger.ID) (audit.Finding, error)
	// Findings returns at most f.Limit findings, newest first.
	Findings(ctx context.Context, f audit.Filter) ([]audit.Finding, error)
	// DriftCounts counts the open findings.
	DriftCounts(ctx context.Context) ([]audit.Count, error)
}

// Tokens is where the admin tokens are kept.
type Tokens interface {
	// Tokens returns every token, the revoked ones too.
	Tokens(ctx context.Context) ([]Token, error)
}

// Token is an admin token as it is stored: its hash, never itself.
type Token struct {
	Name      string // who: the principal of all that its holder does
	Prefix    string // the part that is not secret, for looking it up
	Hash      []byte // [HashToken] of the whole
	Role      Role
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	RevokedAt time.Time // zero: not revoked
}

// Keys is where the answers to idempotent requests are kept.
type Keys interface {
	// ClaimKey takes a key, unless another request has it. A claim that was never finished
	// may be taken over after staleAfter.
	ClaimKey(ctx context.Context, key, fingerprint string, staleAfter time.Duration) (Claim, error)
	// FinishKey stores the answer of a claimed key.
	FinishKey(ctx context.Context, key string, status int, body []byte) error
	// ReleaseKey gives a claimed key back, without an answer.
	ReleaseKey(ctx context.Context, key string) error
}

// ClaimState is the result of a claim.
type ClaimState uint8

// The states of a claim.
const (
	KeyNew      ClaimState = iota // it is ours: act, then finish or release it
	KeyRunning                    // another request has it, and has not answered yet
	KeyDone                       // it was answered: Status and Body are the answer
	KeyMismatch                   // it was used with another content
)

// Claim is the answer to a claim of an idempotency key.
type Claim struct {
	State  ClaimState
	Status int
	Body   []byte
}
