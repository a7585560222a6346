package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// Settings are the reconciler's settings. The zero value is good.
type Settings struct {
	// Interval is between the beginnings of two walks; a walk that takes longer is followed by
	// the next at once. 0: 1 hour. Negative: it walks only when told, and follows no events.
	Interval time.Duration
	// Rate bounds its reads of Stripe a second. A walk reads a page of 100 transfers at a time.
	// 0: 2. Negative: no limit of its own.
	Rate int
	// ReportOnly has it apply nothing by itself. Otherwise it applies pure evidence: see
	// [audit.Propose].
	ReportOnly bool
	// IgnoreForeign has it pass over transfers that others make in the same account.
	IgnoreForeign bool
	// Window is how many transfers at Stripe are compared between two durable cursors; so many
	// of their IDs are held in memory, twice. 0: 20,000.
	Window int
}

// OrDefaults returns the settings with defaults for those that are zero.
func (s Settings) OrDefaults() Settings {
	if s.Interval == 0 {
		s.Interval = time.Hour
	}
	if s.Rate == 0 {
		s.Rate = 2
	}
	if s.Window <= 0 {
		s.Window = 20_000
	}
	return s
}

// Follows reports whether events about a transfer are followed; one of others names no operation of ours.
func (s Settings) Follows(r Recheck) bool {
	stranger := r.Operation == (ledger.ID{})
	return s.Interval > 0 && !(stranger && s.IgnoreForeign)
}

// Store is the part of the ledger's database that the reconciler needs.
type Store interface {
	// OpenWalk finds the walk to be made: the unended one, or a new one when the last began
	// longer ago than every. One that is not mine is another process's, or was made just now.
	OpenWalk(ctx context.Context, owner ledger.ID, every, stale, ahead time.Duration) (
		w audit.Walk, mine bool, err error)
	// SaveWalk stores how far a walk has come; false: another process has taken it.
	SaveWalk(ctx context.Context, w audit.Walk) (after audit.Walk, ok bool, err error)
	LeaveWalk(ctx context.Context, w audit.Walk) error
	Walks(ctx context.Context) (newest, ended audit.Walk, err error)

	ByStripeID(ctx context.Context, ids []string) ([]ledger.Record, error)
	Sent(ctx context.Context, since, until time.Time, after audit.Sent, limit int) ([]audit.Sent, error)
	// Lost takes in the proof that commits were lost, and the row that was made again, or nil.
	Lost(ctx context.Context, created time.Time, skew time.Duration, rebuilt *ledger.Change) (
		stored, raised bool, err error)

	// StoreFindings stores all findings of a comparison of some transfers at Stripe, and clears the other findings
	// about them.
	StoreFindings(ctx context.Context, objects []string, walk int64, found []audit.Finding) (
		stored []audit.Finding, opened []bool, err error)
	// KeepFindings leaves the findings about objects open that could not be compared.
	KeepFindings(ctx context.Context, objects []string, walk int64) error
	MarkApplied(ctx context.Context, id ledger.ID, by ledger.By) error
}

// Stripe is the part of Stripe that the reconciler reads.
type Stripe interface {
	Transfer(ctx context.Context, id string) (ledger.StripeTransfer, error)
	Page(ctx context.Context, q stripe.PageQuery) (stripe.TransferPage, error)
}

// Config is all that the reconciler knows of the tree around it.
type Config struct {
	Settings
	Log         *slog.Logger
	Metrics     *Metrics
	Seconds     prometheus.Observer // of reads of Stripe
	Store       Store
	Stripe      Stripe
	Windows     ledger.Windows
	Owner       ledger.ID     // this process, to others that walk
	Cooldown    time.Duration // after a read that failed; it doubles
	ReadTimeout time.Duration

	Gate        *actor.PID      // gives permits to read Stripe
	Calls       context.Context // ends calls that outlast the stop's budget
	Incarnation func() uint64   // tags the answers to one walk
	NewID       func() ledger.ID
	Policy      func() ledger.Policy // in force, as it stands now

	// Tell sends a message from a goroutine or a timer.
	Tell  func(to *actor.PID, message any)
	Alarm func(kind string, args ...any)
	Bug   func(where string, reason any)
	// Query asks the ledger once; Persist waits outages out, and returns the context's error when that ends first.
	Query   func(call func(context.Context) error) error
	Persist func(ctx context.Context, call func(context.Context) error) error
	// Pause waits, and reports false when done is closed meanwhile.
	Pause func(d time.Duration, done <-chan struct{}) bool
	// Find returns the ledger's transfers by the names and references that objects at Stripe carry.
	Find func(ctx context.Context, names []ledger.ID, references map[ledger.ID]string) (
		map[ledger.ID]*ledger.Record, error)
	// Hint tells a transfer's actor the ID of an object at Stripe that concerns it.
	Hint func(transfer ledger.ID, stripeID string)
	// Inject has a transfer's actor obey a command.
	Inject func(ctx context.Context, m ledger.Message) (ledger.Record, error)
	// Rebuilt follows a row that was made again; Outlived ends a process that has begun a new epoch of the ledger.
	Rebuilt  func(*ledger.Change)
	Outlived func(operation ledger.ID, stripeID string)
}

const (
	// staleWalk is how long after its owner was last seen a walk is taken over.
	staleWalk = 2 * time.Minute
	// rechecksMost bounds the rechecks that wait. The next walk makes up for those that are dropped.
	rechecksMost = 1000
)

var (
	errTaken    = errors.New("another process has taken the walk")
	errStopping = errors.New("the daemon is stopping")
)

// stale is staleWalk, or less where time runs faster.
func (c *Config) stale() time.Duration {
	if c.Interval > 0 {
		return min(staleWalk, c.Interval)
	}
	return staleWalk
}
