package actors

import (
	"context"
	"errors"
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
	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/ledger"
)

// Store is what the tree needs of the ledger's database.
type Store interface {
	// Commit makes changes durable in one transaction, guarded by version, and stamps them.
	Commit(ctx context.Context, changes []ledger.Change) (at time.Time, won []bool, err error)
	Load(ctx context.Context, ids []ledger.ID) ([]ledger.Record, error)
	ByReference(ctx context.Context, references []string) ([]ledger.Record, error)
	Unfinished(ctx context.Context, after ledger.ID, limit int) ([]ledger.Record, error)
	UnfinishedIDs(ctx context.Context, after ledger.ID, limit int) ([]ledger.ID, error)
	Ping(ctx context.Context) error

	StoreEvents(ctx context.Context, events []ledger.StripeEvent) (fresh []bool, err error)
	UnhandledEvents(ctx context.Context, after string, limit int) ([]ledger.StripeEvent, error)
	HandleEvents(ctx context.Context, ids []string) error

	StoreMessage(ctx context.Context, m ledger.Message, before ledger.State) (fresh bool, err error)
	StoreReceipt(ctx context.Context, r ledger.Receipt) error
	Receipt(ctx context.Context, message ledger.ID) (r ledger.Receipt, found bool, err error)
}

// Stripe is what the tree needs of Stripe; package stripe has it.
type Stripe interface {
	Send(ctx context.Context, r ledger.Request, fresh func() error) ledger.Answer
	Transfer(ctx context.Context, id string) (ledger.StripeTransfer, error)
	Find(ctx context.Context, q stripe.Query) ([]ledger.StripeTransfer, error)
}

// Config is what a System is made of. Zero durations and nil functions get defaults.
type Config struct {
	Store     Store
	Transient func(error) bool // an error of Store that passes by waiting
	Stripe    Stripe
	Policy    ledger.Policy
	Limits    Limits

	TransferSweep time.Duration // interval of the safety net; default 1 minute
	ReversalSweep time.Duration // the same for reversals; the shorter of the two counts
	CommitTimeout time.Duration // of one statement group, default 30 s
	ReadTimeout   time.Duration // of one read of Stripe, all pages, default 60 s

	Metrics prometheus.Registerer
	Log     *slog.Logger

	// Verify proves that the Stripe key belongs to the account of this ledger. No call is made
	// before it returned nil; an error for which Passing is false ends the daemon (see
	// [System.Failed]); others are tried again. nil: nothing is to be proved.
	Verify  func(context.Context) error
	Passing func(error) bool

	NewID      func() ledger.ID // default: a UUIDv7
	Dispatcher actor.Dispatcher // default: a goroutine per mailbox run
}

// System is the tree of actors, and the way into it for package http and the command.
type System struct {
	conf    Config
	log     *slog.Logger
	metrics *metrics
	actors  *actor.ActorSystem

	root, writer, reader, gate, inbox, keeper, handler *actor.PID
	shards                                             [shardCount]*actor.PID
	transferProps                                      *actor.Props

	incarnations atomic.Uint64
	outage       atomic.Pointer[error]
	missed       atomic.Bool // stored events may not have been applied
	recovering   atomic.Bool // recovery has begun
	closing      atomic.Bool // no new calls
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
	if conf.Limits.Concurrency < 1 {
		return nil, fmt.Errorf("STRIPE_CONCURRENCY must be at least 1, not %d", conf.Limits.Concurrency)
	}
	orDefault := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	orDefault(&conf.TransferSweep, time.Minute)
	orDefault(&conf.ReversalSweep, conf.TransferSweep)
	orDefault(&conf.CommitTimeout, 30*time.Second)
	orDefault(&conf.Limits.Cooldown, cooldownBase)
	orDefault(&conf.ReadTimeout, time.Minute)
	if conf.Log == nil {
		conf.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if conf.Metrics == nil {
		conf.Metrics = prometheus.NewRegistry()
	}
	if conf.Transient == nil {
		conf.Transient = func(error) bool { return true }
	}
	if conf.NewID == nil {
		conf.NewID = func() ledger.ID { return uuid.Must(uuid.NewV7()) }
	}
	s := &System{conf: conf, log: conf.Log, metrics: newMetrics(conf.Metrics), stopped: make(chan struct{}), failed: make(chan error, 1), settled: make(chan struct{})}
	s.calls, s.cutCalls = context.WithCancel(context.Background())
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
	s.root, _ = s.actors.Root.SpawnNamed(s.props(func() actor.Actor { return &trunk{s, sync.OnceFunc(func() { close(up) })} }, fail{s}), "settled")
	<-up
	go s.replay()
	go s.recover()
	if s.conf.Verify != nil {
		go s.verify()
	}
}

// verify opens the gate once the account is known to be the ledger's.
func (s *System) verify() {
	for wait := outageBackoff; ; wait = min(2*wait, 10*time.Second) {
		ctx, cancel := context.WithTimeout(s.calls, s.conf.ReadTimeout)
		err := s.conf.Verify(ctx)
		cancel()
		switch {
		case err == nil:
			s.actors.Root.Send(s.gate, gateOpen{})
			return
		case s.closing.Load():
			return // the stop may have cut it off
		case s.conf.Passing == nil || !s.conf.Passing(err):
			s.fail(err)
			return
		}
		s.log.Warn("the Stripe account cannot be verified yet; nothing is sent before", "err", err)
		if !s.pause(wait) {
			return
		}
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

// trunk is the top of the tree: it spawns the parts.
type trunk struct {
	sys *System
	up  func() // every part has its address
}

func (r *trunk) Receive(c actor.Context) {
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
		return &group[commit]{most: writerMost, work: s.write, depth: func(n int) { s.metrics.writerDepth.Set(float64(n)) }}
	})
	s.reader = name("reader", func() actor.Actor { return &group[load]{most: readerMost, work: s.read} })
	s.keeper = name("keeper", func() actor.Actor { return &group[store]{most: storeMost, work: s.keep} })
	s.handler = name("handler", func() actor.Actor { return &group[handled]{most: 1000, work: s.mark} })
	s.gate = name("gate", func() actor.Actor { return newGate(s) })
	s.inbox = name("inbox", func() actor.Actor {
		return &inbox{sys: s, awaited: make(map[condition]*waiting), happens: make(map[condition]time.Time)}
	})
	name("transfers", func() actor.Actor { return &branch{s, r.up} })
}

// branch holds the shards.
type branch struct {
	sys *System
	up  func()
}

func (b *branch) Receive(c actor.Context) {
	if _, ok := c.Message().(*actor.Started); !ok {
		return
	}
	for n := range b.sys.shards {
		pid, err := c.SpawnNamed(b.sys.props(func() actor.Actor {
			return &shard{sys: b.sys, closing: make(map[ledger.ID]*closing), bugs: make(map[ledger.ID]int)}
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

// recover spawns an actor for each unfinished transfer, page by page, while new ones run
// already; then it sweeps, as a safety net.
func (s *System) recover() {
	var after ledger.ID
	for {
		var page []ledger.Record
		err := s.query(func(ctx context.Context) (err error) {
			page, err = s.conf.Store.Unfinished(ctx, after, recoveryPage)
			return err
		})
		at := time.Now()
		if err != nil {
			s.log.Warn("unfinished transfers cannot be read", "err", err)
			if !s.pause(outageMost) {
				return
			}
			continue
		}
		s.recovering.Store(true)
		for i := range page {
			id := page[i].Transfer.ID
			s.actors.Root.Send(s.shard(id), spawn{known{loaded{record: &page[i], at: at}}})
		}
		if len(page) < recoveryPage {
			break
		}
		after = page[len(page)-1].Transfer.ID
	}
	for s.pause(min(s.conf.TransferSweep, s.conf.ReversalSweep)) {
		s.sweep()
		if s.missed.Swap(false) {
			s.replay()
		}
	}
}

// sweep looks for unfinished rows without an actor. There should be none.
func (s *System) sweep() {
	var after ledger.ID
	for {
		var ids []ledger.ID
		err := s.query(func(ctx context.Context) (err error) {
			ids, err = s.conf.Store.UnfinishedIDs(ctx, after, recoveryPage)
			return err
		})
		if err != nil {
			s.log.Warn("the sweep cannot read unfinished transfers", "err", err)
			return
		}
		for _, id := range ids {
			s.actors.Root.Send(s.shard(id), ensure{id: id})
		}
		if len(ids) < recoveryPage {
			return
		}
		after = ids[len(ids)-1]
	}
}

// Policy returns the policy in force.
func (s *System) Policy() ledger.Policy { return s.conf.Policy }

// Create registers orders, all in one commit, and answers each. The orders were checked. A
// reference that is there already is not registered again: its transfer is returned, with
// Conflict when its content differs.
func (s *System) Create(ctx context.Context, orders []ledger.Order, by ledger.By) ([]ledger.Acceptance, error) {
	if s.closing.Load() {
		return nil, errStopping
	}
	if len(orders) == 0 {
		return nil, nil
	}
	changes := make([]ledger.Change, len(orders))
	now := time.Now()
	for i, o := range orders {
		changes[i] = ledger.Accept(o, s.conf.NewID(), s.conf.Policy.Epoch, now, by)
	}
	done := make(chan committed, 1)
	s.actors.Root.Send(s.writer, commit{ctx: ctx, changes: changes, done: func(r committed) {
		s.spawnAccepted(r) // also when nobody waits any more
		done <- r
	}})
	var r committed
	select {
	case r = <-done:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ledger.ErrUnavailable, ctx.Err())
	case <-s.stopped:
		return nil, errStopping
	}
	if r.err != nil {
		return nil, r.err
	}
	result := make([]ledger.Acceptance, len(orders))
	var taken []string
	for i := range r.changes {
		result[i] = ledger.Acceptance{Transfer: r.changes[i].After, Created: r.won[i]}
		if !r.won[i] {
			taken = append(taken, orders[i].Reference)
		}
	}
	if len(taken) == 0 {
		return result, nil
	}
	records, err := s.conf.Store.ByReference(ctx, taken)
	if err != nil {
		return nil, fmt.Errorf("read transfers by reference: %w", s.unavailable(err))
	}
	byReference := make(map[string]ledger.Transfer, len(records))
	for _, rec := range records {
		byReference[rec.Transfer.Reference] = rec.Transfer
	}
	for i, o := range orders {
		if result[i].Created {
			continue
		}
		t, ok := byReference[o.Reference]
		if !ok {
			return nil, fmt.Errorf("%w: the transfer with reference %q is not there yet", ledger.ErrUnavailable, o.Reference)
		}
		// Its own ID says that it lost to itself: its commit was cut off after it had happened.
		result[i].Created = t.ID == r.changes[i].After.ID
		result[i].Transfer, result[i].Conflict = t, t.Order.Hash() != o.Hash()
	}
	return result, nil
}

// spawnAccepted spawns the actors of what was created, or may have been.
func (s *System) spawnAccepted(r committed) {
	at := time.Now()
	for i := range r.won { // none when it failed
		record := &ledger.Record{Transfer: r.changes[i].After, ReadAt: r.at}
		to := s.shard(record.Transfer.ID)
		switch {
		case r.won[i]:
			s.metrics.transitions.WithLabelValues(ledger.CreateTransfer.String(), string(record.Transfer.State)).Inc()
			s.actors.Root.Send(to, spawn{known{loaded{record: record, at: at}}})
		case r.retried:
			s.actors.Root.Send(to, deliver{record.Transfer.ID, recall{}})
		}
	}
}

// unavailable marks an error of the store that passes by waiting as such.
func (s *System) unavailable(err error) error {
	if err != nil && (s.transient(err) || errors.Is(err, context.DeadlineExceeded)) {
		return fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
	}
	return err
}

// Inject stores a person's message, has the transfer's actor act on it, and returns the
// transfer as it then is. The message's ID makes it act at most once: a repetition is
// answered by what became of the first.
func (s *System) Inject(ctx context.Context, m ledger.Message) (ledger.Record, error) {
	if s.closing.Load() {
		return ledger.Record{}, errStopping
	}
	record, err := s.record(ctx, m.Transfer)
	if err != nil {
		return ledger.Record{}, err
	}
	fresh, err := s.conf.Store.StoreMessage(ctx, m, record.Transfer.State)
	if err != nil {
		return ledger.Record{}, fmt.Errorf("store the message: %w", s.unavailable(err))
	}
	if !fresh {
		receipt, found, err := s.conf.Store.Receipt(ctx, m.ID)
		switch {
		case err != nil:
			return ledger.Record{}, s.unavailable(err)
		case found && receipt.Refusal != "":
			return record, fmt.Errorf("%w: %s", ledger.ErrIllegalMove, receipt.Refusal)
		case found:
			return record, nil
		}
	}
	reply := make(chan injected, 1)
	s.actors.Root.Send(s.shard(m.Transfer), deliver{m.Transfer, inject{message: m, reply: reply}})
	select {
	case r := <-reply:
		if errors.Is(r.err, ledger.ErrUnavailable) {
			return ledger.Record{}, r.err // not an end: asking again may act
		}
		receipt := ledger.Receipt{Message: m.ID, Before: r.before, After: r.record.Transfer.State}
		if r.err != nil {
			receipt.Refusal = r.err.Error()
		}
		if err := s.conf.Store.StoreReceipt(ctx, receipt); err != nil {
			s.log.Warn("what became of a message could not be stored", "message", m.ID, "err", err)
		}
		return r.record, r.err
	case <-ctx.Done():
		return ledger.Record{}, fmt.Errorf("%w: the transfer's actor did not answer in time", ledger.ErrUnavailable)
	case <-s.stopped:
		return ledger.Record{}, errStopping
	}
}

func (s *System) record(ctx context.Context, id ledger.ID) (ledger.Record, error) {
	records, err := s.conf.Store.Load(ctx, []ledger.ID{id})
	if err != nil {
		return ledger.Record{}, fmt.Errorf("read transfer %s: %w", id, s.unavailable(err))
	}
	if len(records) == 0 {
		return ledger.Record{}, ledger.ErrNotFound
	}
	return records[0], nil
}

// Receive stores verified events and has them applied. It returns once they are durable;
// events that are stored already are dropped.
func (s *System) Receive(ctx context.Context, events []ledger.StripeEvent) error {
	done := make(chan error, 1)
	s.actors.Root.Send(s.keeper, store{ctx: ctx, events: events, done: done})
	select {
	case err := <-done:
		return s.unavailable(err)
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ledger.ErrUnavailable, ctx.Err())
	case <-s.stopped:
		return errStopping
	}
}

// Live returns what a transfer's actor is doing; the zero value when it has none.
func (s *System) Live(ctx context.Context, id ledger.ID) ledger.Live {
	reply := make(chan ledger.Live, 1)
	s.actors.Root.Send(s.shard(id), peek{id, live{reply}})
	select {
	case l := <-reply:
		return l
	case <-ctx.Done():
		return ledger.Live{}
	case <-s.stopped:
		return ledger.Live{}
	}
}

// Ready returns why the daemon is not ready, or nil: the ledger is reachable, recovery has
// begun, and it is not stopping. Stripe being down does not make it unready: a webhook must
// still be taken.
func (s *System) Ready(ctx context.Context) error {
	if s.closing.Load() {
		return errors.New("the daemon is stopping")
	}
	if err := s.conf.Store.Ping(ctx); err != nil {
		return fmt.Errorf("the ledger's database cannot be reached: %w", err)
	}
	if err := s.outage.Load(); err != nil {
		return fmt.Errorf("the ledger cannot be written: %w", *err)
	}
	if !s.recovering.Load() {
		return errors.New("recovery has not begun")
	}
	return nil
}

// enter and leave count sends whose outcome is not recorded yet. Once the system stops nothing
// enters.
func (s *System) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	s.sending++
	return true
}

func (s *System) leave() {
	s.mu.Lock()
	s.sending--
	s.quiet()
	s.mu.Unlock()
}

// quiet tells a stop, under the lock, that no send is open any more.
func (s *System) quiet() {
	if s.sending == 0 && s.closing.Load() {
		select {
		case <-s.settled:
		default:
			close(s.settled)
		}
	}
}

// Stop ends the system: no new calls are started, calls under way may end and have their
// outcomes recorded while ctx lasts, then the tree is stopped. What ctx cuts off stays
// "sending" in the ledger, and the next start takes it for unresolved. A second call waits for
// the first and returns the same.
func (s *System) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() { s.cut = s.stop(ctx) })
	return s.cut
}

func (s *System) stop(ctx context.Context) (cut error) {
	s.mu.Lock()
	s.closing.Store(true)
	s.quiet()
	s.mu.Unlock()
	if s.actors == nil { // never started
		close(s.stopped)
		return nil
	}
	drained := make(chan struct{})
	s.actors.Root.Send(s.gate, gateClose{drained})
	for _, done := range []<-chan struct{}{drained, s.settled} {
		select {
		case <-done:
		case <-ctx.Done():
			s.mu.Lock()
			n := s.sending
			s.mu.Unlock()
			cut = fmt.Errorf("%d calls were cut off; they are unresolved to the next start: %w", n, ctx.Err())
		}
	}
	s.cutCalls()
	if cut == nil {
		for _, pid := range []*actor.PID{s.writer, s.keeper, s.handler} {
			done := make(chan struct{})
			s.actors.Root.Send(pid, flush{done})
			select {
			case <-done:
			case <-ctx.Done():
				cut = fmt.Errorf("the ledger's writer did not finish: %w", ctx.Err())
			}
		}
	}
	close(s.stopped)
	s.stopTree()
	s.actors.Shutdown()
	return cut
}

// stopTree stops the tree and waits for it. The library's own StopFuture gives up after 10 s.
func (s *System) stopTree() {
	done := make(chan struct{})
	s.actors.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *actor.Started:
			c.Watch(s.root)
			c.Stop(s.root)
		case *actor.Terminated:
			if m.Who.Equal(s.root) {
				close(done)
				c.Stop(c.Self())
			}
		}
	}))
	<-done
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
func (h quiet) WithGroup(g string) slog.Handler      { return quiet{h.Handler.WithGroup(g)} }
