package actors

import (
	"context"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/settled/settled/actors/reconcile"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// recheck has the reconciler compare a transfer that others changed, as an event says.
func (s *System) recheck(send func(*actor.PID, any), r reconcile.Recheck) {
	if s.conf.Reconcile.Follows(r) {
		send(s.reconciler, r)
	}
}

// messageRun is a person's word to the reconciler, and its kin about a finding: they are
// audited like the messages to transfers.
const (
	messageRun    ledger.MessageType = "run"
	messageAccept ledger.MessageType = "accept"
	messageReopen ledger.MessageType = "reopen"
)

// Reconcile has a walk begin now, or after the one that goes on, and tells the reconciler's
// doing. The message's ID makes it act once.
func (s *System) Reconcile(ctx context.Context, by ledger.By) (audit.Status, error) {
	if s.closing.Load() {
		return audit.Status{}, errStopping
	}
	before, err := s.Reconciler(ctx)
	if err != nil {
		return before, err
	}
	fresh, err := s.conf.Store.StoreMessage(ctx, ledger.Message{ID: by.Message, Type: messageRun, By: by}, ledger.State(before.Doing))
	if err != nil {
		return before, fmt.Errorf("store the message: %w", s.unavailable(err))
	}
	if !fresh {
		return before, nil
	}
	_, err = ask(ctx, s, s.reconciler, func(reply chan<- string) any { return reconcile.Run{Reply: reply} })
	if err != nil {
		return before, err
	}
	after, err := s.Reconciler(ctx)
	if err != nil {
		return after, err
	}
	s.storeReceipt(ctx, ledger.Receipt{Message: by.Message, Before: ledger.State(before.Doing), After: ledger.State(after.Doing)})
	return after, nil
}

// Reconciler tells the reconciler's doing, and how its last walks went.
func (s *System) Reconciler(ctx context.Context) (audit.Status, error) {
	status, err := ask(ctx, s, s.reconciler, func(reply chan<- audit.Status) any { return reconcile.Status{Reply: reply} })
	if err != nil {
		return status, err
	}
	status.Newest, status.Ended, err = s.conf.Store.Walks(ctx)
	return status, s.unavailable(err)
}

// Mend carries out a person's decision about a finding: apply sends the proposed message to the
// transfer, accept records that it is as it should be, until a moment (zero: for [audit.AcceptFor]),
// reopen takes that back. None acts twice.
func (s *System) Mend(ctx context.Context, id ledger.ID, how audit.Mending, until time.Time, by ledger.By) (audit.Finding, error) {
	if s.closing.Load() {
		return audit.Finding{}, errStopping
	}
	f, err := s.conf.Store.Finding(ctx, id)
	if err != nil {
		return f, s.unavailable(err)
	}
	m, proposed := f.Message()
	switch {
	case how == audit.Apply && f.AppliedBy.Message == by.Message && !f.AppliedAt.IsZero():
		return f, nil // asked again
	case !f.ClearedAt.IsZero():
		return f, fmt.Errorf("%w: it was cleared at %s, for the difference is there no more", ledger.ErrIllegalMove, f.ClearedAt.Format(time.RFC3339))
	case how == audit.Accept:
		return s.decide(ctx, f, messageAccept, until, by, "accepted", func() error { return s.conf.Store.MarkAccepted(ctx, f.ID, by, until) })
	case how == audit.Reopen:
		return s.decide(ctx, f, messageReopen, time.Time{}, by, "open", func() error { return s.conf.Store.MarkReopened(ctx, f.ID, by) })
	case !proposed:
		return f, fmt.Errorf("%w: it has no repair that a message could make; mend it at Stripe, or accept it", ledger.ErrIllegalMove)
	case !f.AppliedAt.IsZero():
		return f, fmt.Errorf("%w: %s applied it at %s", ledger.ErrIllegalMove, f.AppliedBy.Principal, f.AppliedAt.Format(time.RFC3339))
	}
	m.ID, m.By = by.Message, by
	if _, err := s.Inject(ctx, m); err != nil {
		return f, err
	}
	if err := s.conf.Store.MarkApplied(ctx, id, by); err != nil {
		return f, s.unavailable(err)
	}
	s.tell(s.reconciler, reconcile.Recheck{StripeID: f.Object}) // it clears the finding, once that is mended
	f, err = s.conf.Store.Finding(ctx, id)
	return f, s.unavailable(err)
}

// decide stores a person's decision about a finding, as a message, and carries it out once.
func (s *System) decide(ctx context.Context, f audit.Finding, kind ledger.MessageType, until time.Time, by ledger.By, after ledger.State,
	do func() error) (audit.Finding, error) {
	m := ledger.Message{ID: by.Message, Transfer: f.Transfer, Type: kind, By: by, StripeID: f.StripeID, Until: until}
	if _, err := s.conf.Store.StoreMessage(ctx, m, ledger.State(f.Class)); err != nil {
		return f, fmt.Errorf("store the message: %w", s.unavailable(err))
	}
	_, done, err := s.conf.Store.Receipt(ctx, by.Message)
	if err == nil && !done {
		if err = do(); err == nil {
			s.storeReceipt(ctx, ledger.Receipt{Message: by.Message, Before: ledger.State(f.Class), After: after})
			s.log.Warn("a person decided about a difference", "decision", kind, "finding", f.ID, "difference", f.Difference.String(),
				"principal", by.Principal, "reason", by.Reason)
		}
	}
	if err != nil {
		return f, s.unavailable(err)
	}
	f, err = s.conf.Store.Finding(ctx, f.ID)
	return f, s.unavailable(err)
}
