package actors

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/settled/settled/actors/gate"
	"github.com/settled/settled/actors/reconcile"
	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// Store is what the tree needs of the ledger's database.
type Store interface {
	// Commit makes changes durable in one transaction, guarded by version, and stamps them.
	Commit(ctx context.Context, changes []ledger.Change) (at time.Time, won []bool, err error)
	Load(ctx context.Context, ids []ledger.ID) ([]ledger.Record, error)
	ByReference(ctx context.Context, references []string) ([]ledger.Record, error)
	ByName(ctx context.Context, names []ledger.ID) ([]ledger.Record, error)
	// Ordered sums what a principal ordered since a moment.
	Ordered(ctx context.Context, principal string, since time.Time) (map[ledger.Currency]int64, error)
	// PaidBefore reports whether anything for a seller was let go, or sent, to a destination.
	PaidBefore(ctx context.Context, seller, destination string) (bool, error)
	Unfinished(ctx context.Context, after ledger.ID, limit int) ([]ledger.Record, error)
	UnfinishedIDs(ctx context.Context, after ledger.ID, limit int) ([]ledger.ID, error)
	Ping(ctx context.Context) error

	StoreEvents(ctx context.Context, events []ledger.StripeEvent) (fresh []bool, err error)
	UnhandledEvents(ctx context.Context, after string, limit int) ([]ledger.StripeEvent, error)
	HandleEvents(ctx context.Context, ids []string) error

	StoreMessage(ctx context.Context, m ledger.Message, before ledger.State) (fresh bool, err error)
	StoreReceipt(ctx context.Context, r ledger.Receipt) error
	Receipt(ctx context.Context, message ledger.ID) (r ledger.Receipt, found bool, err error)

	Finding(ctx context.Context, id ledger.ID) (audit.Finding, error)
	MarkAccepted(ctx context.Context, id ledger.ID, by ledger.By, until time.Time) error
	MarkReopened(ctx context.Context, id ledger.ID, by ledger.By) error

	reconcile.Store
	TrustStore
}

// Stripe is the part of Stripe that the tree needs; package stripe has it.
type Stripe interface {
	Send(ctx context.Context, r ledger.Request, fresh func() error) ledger.Answer
	reconcile.Stripe
}

// Limits are the gate's settings.
type Limits = gate.Limits

// Reconcile are the reconciler's settings.
type Reconcile = reconcile.Settings

// Config is what a System is made of. Zero durations and nil functions get defaults.
type Config struct {
	Store     Store
	Transient func(error) bool // an error of Store that passes by waiting
	Exhausted func(error) bool // such an error that a commit of nothing may not show
	Broken    func(error) bool // another error than ledger.ErrNewEpoch after which only a new start may go on
	Stripe    Stripe
	Policy    ledger.Policy
	Limits    Limits

	Ceilings           ledger.Ceilings // what may be ordered; none by default
	HoldNewDestination bool            // a seller's first order to a destination waits for a release

	TransferSweep time.Duration // interval of the safety net; default 1 minute
	ReversalSweep time.Duration // the same for reversals; the shorter of the two counts
	CommitTimeout time.Duration // of one statement group, default 30 s
	ReadTimeout   time.Duration // of one read of Stripe, default 60 s

	Reconcile Reconcile // the zero value walks every hour

	Metrics prometheus.Registerer
	Log     *slog.Logger

	// Names tells the account that operations' names at Stripe derive from. It is asked once, after
	// Verify, and before anything is sent. nil: the verified account.
	Names func(context.Context) (account string, err error)
	// Verify proves that the Stripe key belongs to the account of this ledger, and tells it. No call is made before it
	// returned no error. An empty account says that it may go on although nothing was proved; it is tried again now and
	// then. An error for which Passing is false ends the daemon (see [System.Failed]); others are tried again. nil:
	// nothing is to be proved.
	Verify  func(context.Context) (account string, err error)
	Passing func(error) bool

	Wall       func() time.Time // this machine's wall clock; nil: the real one. Simulations set it wrong
	NewID      func() ledger.ID // default: a UUIDv7
	Dispatcher actor.Dispatcher // default: a goroutine per mailbox run
	// Turn, if set, is called before each message that a goroutine or a timer sends, and may block:
	// a simulation lets one go on at a time. (Actors send from their mailbox runs: see Dispatcher.)
	Turn func(to string, message any)
}

// System is the tree of actors, and the way into it for package http and the command.
type System struct {
	conf    Config
	log     *slog.Logger
	metrics *metrics
	gated   *gate.Metrics
	walked  *reconcile.Metrics
	actors  *actor.ActorSystem

	root, writer, apart, reader, gate, inbox, conditions, keeper, handler, reconciler *actor.PID
	shards                                                                            [shardCount]*actor.PID
	transferProps                                                                     *actor.Props

	notices      notices
	clocks       *clocks
	guard        *guard
	refusals     gate.Refusals
	incarnations atomic.Uint64
	outage       atomic.Pointer[error]
	account      atomic.Pointer[string] // whose key it is, once it was verified
	names        atomic.Pointer[string] // the account that names derive from, once it was asked
	missed       atomic.Bool            // stored events may not have been applied
	recovering   atomic.Bool            // recovery has begun
	closing      atomic.Bool            // no new calls
	stopped      chan struct{}
	failed       chan error
	calls        context.Context // ends calls that outlast the stop's budget
	cutCalls     context.CancelFunc

	mu      sync.Mutex
	sending int           // sends whose outcome is not recorded yet
	settled chan struct{} // closed when closing and sending is 0

	stopOnce sync.Once
	cut      error // what Stop returned
}

// errStopping reports what is not done any more.
var errStopping = fmt.Errorf("%w: the daemon is stopping", ledger.ErrUnavailable)

const (
	shardCount   = 64
	recoveryPage = 1000
)

// New checks the configuration and makes a system that is not started yet.
func New(conf Config) (*System, error) {
	if err := conf.Policy.Windows.Check(); err != nil {
		return nil, err
	}
	if err := conf.Limits.Check(); err != nil {
		return nil, err
	}
	conf.Limits = conf.Limits.OrDefaults()
	orDefault := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	orDefault(&conf.TransferSweep, time.Minute)
	orDefault(&conf.ReversalSweep, conf.TransferSweep)
	orDefault(&conf.CommitTimeout, 30*time.Second)
	orDefault(&conf.ReadTimeout, time.Minute)
	conf.Reconcile = conf.Reconcile.OrDefaults()
	if conf.Log == nil {
		conf.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if conf.Metrics == nil {
		conf.Metrics = prometheus.NewRegistry()
	}
	if conf.Transient == nil {
		conf.Transient = func(error) bool { return true }
	}
	if conf.Exhausted == nil {
		conf.Exhausted = func(error) bool { return false }
	}
	if conf.Broken == nil {
		conf.Broken = func(error) bool { return false }
	}
	if conf.NewID == nil {
		conf.NewID = func() ledger.ID { return uuid.Must(uuid.NewV7()) }
	}
	s := &System{conf: conf, log: conf.Log, metrics: newMetrics(conf.Metrics), gated: gate.NewMetrics(conf.Metrics), walked: reconcile.NewMetrics(conf.Metrics), stopped: make(chan struct{}), failed: make(chan error, 1), settled: make(chan struct{})}
	s.guard = newGuard(conf)
	s.clocks = newClocks(conf.Policy.Windows, conf.Wall, s.clockTrouble)
	s.clocks.collect(conf.Metrics)
	s.calls, s.cutCalls = context.WithCancel(stripe.WithDates(context.Background(), s.clocks.dated))
	return s, nil
}

// Start spawns the tree and begins recovery. It returns at once; [System.Ready] tells when
// recovery has begun.
func (s *System) Start() {
	s.actors = actor.NewActorSystem(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(quiet{s.log.Handler()}) }),
		actor.WithDeadLetterRequestLogging(false),
		actor.WithDeadLetterThrottleInterval(time.Millisecond),
	)
	s.transferProps = s.props(func() actor.Actor { return &transfer{sys: s} }, restart{s})
	up := make(chan struct{})
	s.root, _ = s.actors.Root.SpawnNamed(s.props(func() actor.Actor { return &root{s, sync.OnceFunc(func() { close(up) })} }, fail{s}), "settled")
	<-up
	go s.replay()
	go s.recover()
	if s.conf.Verify != nil {
		s.unverified(nil)
		go s.verify()
	}
}

// Failed yields the error that makes it wrong to go on, such as another account's key.
func (s *System) Failed() <-chan error { return s.failed }

func (s *System) fail(err error) {
	select {
	case s.failed <- err:
	default: // one reason is enough
	}
}

func (s *System) props(producer actor.Producer, ofChildren actor.SupervisorStrategy) *actor.Props {
	options := []actor.PropsOption{actor.WithMailbox(newMailbox), actor.WithSupervisor(ofChildren)}
	if s.conf.Dispatcher != nil {
		options = append(options, actor.WithDispatcher(s.conf.Dispatcher))
	}
	return actor.PropsFromProducer(producer, options...)
}

// root is the top of the tree: it spawns the parts.
type root struct {
	sys *System
	up  func() // every part has its address
}

func (r *root) Receive(c actor.Context) {
	if _, ok := c.Message().(*actor.Started); !ok {
		return
	}
	s := r.sys
	name := func(name string, producer actor.Producer) *actor.PID {
		pid, err := c.SpawnNamed(s.props(producer, restart{s}), name)
		if err != nil {
			panic(err)
		}
		return pid
	}
	s.writer = name("writer", func() actor.Actor {
		return &group[commit]{most: writerMost, work: s.write, tell: s.tell, depth: func(n int) { s.metrics.writerDepth.Set(float64(n)) }}
	})
	s.apart = name("apart", func() actor.Actor { return &group[apart]{most: 1, work: s.writeApart, tell: s.tell} })
	s.reader = name("reader", func() actor.Actor { return &group[load]{most: readerMost, work: s.read, tell: s.tell} })
	s.keeper = name("keeper", func() actor.Actor { return &group[store]{most: storeMost, work: s.keep, tell: s.tell} })
	s.handler = name("handler", func() actor.Actor { return &group[handled]{most: 1000, work: s.mark, tell: s.tell} })
	s.gate = name("gate", s.newGate)
	s.conditions = name("conditions", s.newConditions)
	s.inbox = name("inbox", func() actor.Actor { return &inbox{s} })
	s.reconciler = name("reconciler", s.newReconciler)
	name("transfers", func() actor.Actor { return &shards{s, r.up} })
}

// shards is the parent of the shards.
type shards struct {
	sys *System
	up  func()
}

func (b *shards) Receive(c actor.Context) {
	if _, ok := c.Message().(*actor.Started); !ok {
		return
	}
	for n := range b.sys.shards {
		pid, err := c.SpawnNamed(b.sys.props(func() actor.Actor {
			return &shard{sys: b.sys, closing: make(map[ledger.ID]*closing), bugs: make(map[ledger.ID]bugs)}
		}, restart{b.sys}), strconv.Itoa(n))
		if err != nil {
			panic(err)
		}
		b.sys.shards[n] = pid
	}
	b.up()
}

// fail is the strategy for the parts: one that panicked has lost what it was asked, and whoever
// waits for its answer waits for ever. Only a new start of the daemon mends that; until then
// the part goes on with what comes next.
type fail struct{ sys *System }

func (f fail) HandleFailure(sys *actor.ActorSystem, sup actor.Supervisor, child *actor.PID, rs *actor.RestartStatistics, reason, message any) {
	f.sys.fail(fmt.Errorf("%s panicked: %v", child.Id, reason))
	restart(f).HandleFailure(sys, sup, child, rs, reason, message)
}

// restart is the strategy for shards: bring it back, count nothing. Its children are found by
// the sweep.
type restart struct{ sys *System }

func (r restart) HandleFailure(_ *actor.ActorSystem, sup actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, _ any) {
	r.sys.bug(child.Id, reason)
	sup.RestartChildren(child)
}

// shard returns the shard of a transfer. UUIDv7 ends in random bits.
func (s *System) shard(id ledger.ID) *actor.PID { return s.shards[id[15]%shardCount] }

// tell sends a message from outside of the actors: from a goroutine, or a timer.
func (s *System) tell(to *actor.PID, message any) {
	if s.conf.Turn != nil {
		s.conf.Turn(to.Id, message)
	}
	s.actors.Root.Send(to, message)
}

// quiet drops the library's line for each panic: panics are this package's control flow, and
// counted where they are handled.
type quiet struct{ slog.Handler }

func (h quiet) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "[ACTOR] Recovering" {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return l > slog.LevelInfo && h.Handler.Enabled(ctx, l) // its start-up line says nothing to anybody
}

func (h quiet) WithAttrs(a []slog.Attr) slog.Handler { return quiet{h.Handler.WithAttrs(a)} }

func (h quiet) WithGroup(g string) slog.Handler { return quiet{h.Handler.WithGroup(g)} }
