package actors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/settled/settled/ledger"
)

// ask sends an actor a question, and waits for its answer as long as the caller waits and the daemon runs. The reply
// is buffered: an actor that answers never blocks, also when nobody waits any more.
func ask[T any](ctx context.Context, s *System, to *actor.PID, question func(reply chan<- T) any) (answer T, err error) {
	reply := make(chan T, 1)
	s.tell(to, question(reply))
	select {
	case answer = <-reply:
	case <-ctx.Done():
		err = fmt.Errorf("%w: no answer in time: %w", ledger.ErrUnavailable, ctx.Err())
	case <-s.stopped:
		err = errStopping
	}
	return answer, err
}

// Policy returns the policy in force, with the account as it is known by now, and the clocks as they stand.
func (s *System) Policy() ledger.Policy {
	p := s.conf.Policy
	if account := s.account.Load(); account != nil {
		p.Account = *account
	}
	if names := s.names.Load(); names != nil {
		p.Account = *names
	}
	p.Clocks = s.clocks.state()
	return p
}

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
	return s.create(ctx, orders, by)
}

// register commits orders that are within the ceilings.
func (s *System) register(ctx context.Context, orders []ledger.Order, by ledger.By) ([]ledger.Acceptance, error) {
	changes := make([]ledger.Change, len(orders))
	now := time.Now()
	for i, o := range orders {
		held, err := s.guard.reasons(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("whether a destination is new cannot be read: %w", s.unavailable(err))
		}
		changes[i] = ledger.Accept(o, s.conf.NewID(), s.conf.Policy.Epoch, now, by, held...)
	}
	r, err := ask(ctx, s, s.writer, func(reply chan<- committed) any {
		return commit{ctx: ctx, changes: changes, done: func(r committed) {
			s.spawnAccepted(r) // also when nobody waits any more
			reply <- r
		}}
	})
	if err = cmp.Or(err, r.err); err != nil {
		return nil, err
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
	byReference, err := s.byReference(ctx, taken)
	if err != nil {
		return nil, err
	}
	for i, o := range orders {
		if result[i].Created {
			continue
		}
		t, ok := byReference[o.Reference]
		if !ok {
			return nil, fmt.Errorf("%w: the transfer with reference %q is not there yet", ledger.ErrUnavailable, o.Reference)
		}
		// Same ID: our first, cut-off commit had succeeded.
		result[i].Created = t.ID == r.changes[i].After.ID
		result[i].Transfer, result[i].Conflict = t, t.Order.Hash() != o.Hash()
	}
	return result, nil
}

// byReference reads transfers by the platform's names.
func (s *System) byReference(ctx context.Context, references []string) (map[string]ledger.Transfer, error) {
	records, err := s.conf.Store.ByReference(ctx, references)
	if err != nil {
		return nil, fmt.Errorf("read transfers by reference: %w", s.unavailable(err))
	}
	found := make(map[string]ledger.Transfer, len(records))
	for _, r := range records {
		found[r.Transfer.Reference] = r.Transfer
	}
	return found, nil
}

// spawnAccepted spawns the actors of what was created, or may have been.
func (s *System) spawnAccepted(r committed) {
	at := time.Now()
	for i := range r.won { // none when it failed for good
		record := &ledger.Record{Transfer: r.changes[i].After, ReadAt: r.at}
		to := s.shard(record.Transfer.ID)
		switch {
		case r.won[i]:
			s.metrics.transitions.WithLabelValues(ledger.CreateTransfer.String(), string(record.Transfer.Status())).Inc()
			s.tell(to, spawn{loaded{record: record, at: at}})
		case r.retried:
			s.tell(to, deliver{record.Transfer.ID, recall{}})
		}
	}
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
	fresh, err := s.conf.Store.StoreMessage(ctx, m, record.Transfer.Status())
	if err != nil {
		return ledger.Record{}, fmt.Errorf("store the message: %w", s.unavailable(err))
	}
	for repeated := !fresh; ; repeated = true {
		if repeated {
			if receipt, found, err := s.receipt(ctx, m); err != nil || found {
				return s.answered(ctx, m, receipt, err)
			}
		}
		r, err := ask(ctx, s, s.shard(m.Transfer), func(reply chan<- result) any {
			return deliver{m.Transfer, command{message: m, reply: reply}}
		})
		switch {
		case err != nil:
			return ledger.Record{}, err
		case !errors.Is(r.err, errStale): // else the transfer has moved on, or the message has acted elsewhere
			return s.conclude(ctx, m, r)
		}
	}
}

// conclude ends a message by what its actor says. What it did carries its receipt; what it did
// not do, and why, is stored here.
func (s *System) conclude(ctx context.Context, m ledger.Message, r result) (ledger.Record, error) {
	receipt := ledger.Receipt{Message: m.ID, Before: r.before, After: r.record.Transfer.Status()}
	switch {
	case r.err == nil && r.acted:
		return r.record, nil
	case r.err != nil && !receipt.Refuse(r.err):
		return ledger.Record{}, r.err // not an end: asking again may act
	}
	if s.storeReceipt(ctx, receipt) && r.err != nil {
		// Another node may have acted on the same message meanwhile: the first receipt stands.
		if first, found, err := s.receipt(ctx, m); err == nil && found && first.Refusal == "" {
			return s.answered(ctx, m, first, nil)
		}
	}
	return r.record, r.err
}

// storeReceipt stores what became of a message; it returns false when it could not.
func (s *System) storeReceipt(ctx context.Context, r ledger.Receipt) bool {
	err := s.conf.Store.StoreReceipt(ctx, r)
	if err != nil {
		s.log.Warn("what became of a message could not be stored", "message", r.Message, "err", err)
	}
	return err == nil
}

func (s *System) receipt(ctx context.Context, m ledger.Message) (ledger.Receipt, bool, error) {
	r, found, err := s.conf.Store.Receipt(ctx, m.ID)
	return r, found, s.unavailable(err)
}

// answered answers a message by its receipt, with the transfer as it is now.
func (s *System) answered(ctx context.Context, m ledger.Message, r ledger.Receipt, err error) (ledger.Record, error) {
	if err != nil {
		return ledger.Record{}, err
	}
	record, err := s.record(ctx, m.Transfer)
	if err != nil {
		return ledger.Record{}, err
	}
	return record, r.Err()
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
	stored, err := ask(ctx, s, s.keeper, func(reply chan<- error) any { return store{events: events, done: reply} })
	return cmp.Or(err, s.unavailable(stored))
}

// Live returns what a transfer's actor is doing; the zero value when it has none.
func (s *System) Live(ctx context.Context, id ledger.ID) ledger.Live {
	l, _ := ask(ctx, s, s.shard(id), func(reply chan<- ledger.Live) any { return peek{id, live{reply}} })
	return l
}

// Ready returns why the daemon is not ready, or nil: the ledger is reachable, recovery has
// begun, and it is not stopping. Stripe being down does not make it unready: a webhook must
// still be taken.
func (s *System) Ready(ctx context.Context) error {
	if s.closing.Load() {
		return &ledger.NotReady{Reason: "the daemon is stopping"}
	}
	if err := s.conf.Store.Ping(ctx); err != nil {
		return &ledger.NotReady{Reason: "the ledger's database cannot be reached", Err: err}
	}
	if err := s.outage.Load(); err != nil {
		return &ledger.NotReady{Reason: "the ledger cannot be written", Err: *err}
	}
	if !s.recovering.Load() {
		return &ledger.NotReady{Reason: "recovery has not begun"}
	}
	return nil
}
