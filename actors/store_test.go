package actors_test

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// faultyStore is the real store, with faults on top.
type faultyStore struct {
	actors.Store
	dead      *atomic.Bool
	committed func(changes []ledger.Change, commit func() ([]bool, error)) ([]bool, error)
	// before errs instead of the call; after errs although the call has happened. They may
	// block, or panic.
	before, after atomic.Pointer[func(call string, changes []ledger.Change) error]
	loads         atomic.Pointer[func(ids []ledger.ID) error]
	drifts        atomic.Pointer[func() error]
	handles       atomic.Pointer[func(ids []string) error]
	sums          atomic.Pointer[func(principal string) error]
}

// errOutage passes by waiting.
var errOutage = errors.New("no route to the database")

func (s *faultyStore) fails(hook *atomic.Pointer[func(string, []ledger.Change) error], call string, changes []ledger.Change) error {
	if s.dead != nil && s.dead.Load() {
		return errOutage
	}
	if f := hook.Load(); f != nil {
		return (*f)(call, changes)
	}
	return nil
}

func (s *faultyStore) onBefore(f func(call string, changes []ledger.Change) error) {
	s.before.Store(&f)
}
func (s *faultyStore) onAfter(f func(call string, changes []ledger.Change) error) { s.after.Store(&f) }

// onHandle errs instead of marking events as handled; nil ends that.
func (s *faultyStore) onHandle(f func(ids []string) error) {
	if f == nil {
		s.handles.Store(nil)
		return
	}
	s.handles.Store(&f)
}

// onLoad errs instead of a load; nil ends that.
func (s *faultyStore) onLoad(f func(ids []ledger.ID) error) {
	if f == nil {
		s.loads.Store(nil)
		return
	}
	s.loads.Store(&f)
}

func (s *faultyStore) Ordered(ctx context.Context, principal string, since time.Time) (map[ledger.Currency]int64, error) {
	if f := s.sums.Load(); f != nil {
		if err := (*f)(principal); err != nil {
			return nil, err
		}
	}
	return s.Store.Ordered(ctx, principal, since)
}

// mend ends all faults.
func (s *faultyStore) mend() {
	s.before.Store(nil)
	s.after.Store(nil)
}

func around[T any](s *faultyStore, call string, changes []ledger.Change, do func() (T, error)) (T, error) {
	var none T
	if err := s.fails(&s.before, call, changes); err != nil {
		return none, err
	}
	out, err := do()
	if err != nil {
		return none, err
	}
	return out, s.fails(&s.after, call, changes)
}

func (s *faultyStore) Commit(ctx context.Context, changes []ledger.Change) (at time.Time, won []bool, err error) {
	won, err = around(s, "commit", changes, func() (won []bool, err error) {
		return s.committed(changes, func() ([]bool, error) {
			at, won, err = s.Store.Commit(ctx, changes)
			return won, err
		})
	})
	return at, won, err
}

func (s *faultyStore) Load(ctx context.Context, ids []ledger.ID) ([]ledger.Record, error) {
	return around(s, "load", nil, func() ([]ledger.Record, error) {
		if f := s.loads.Load(); f != nil {
			if err := (*f)(ids); err != nil {
				return nil, err
			}
		}
		return s.Store.Load(ctx, ids)
	})
}

func (s *faultyStore) Unfinished(ctx context.Context, after ledger.ID, limit int) ([]ledger.Record, error) {
	return around(s, "unfinished", nil, func() ([]ledger.Record, error) { return s.Store.Unfinished(ctx, after, limit) })
}

func (s *faultyStore) UnfinishedIDs(ctx context.Context, after ledger.ID, limit int) ([]ledger.ID, error) {
	return around(s, "unfinished_ids", nil, func() ([]ledger.ID, error) { return s.Store.UnfinishedIDs(ctx, after, limit) })
}

func (s *faultyStore) StoreEvents(ctx context.Context, events []ledger.StripeEvent) ([]bool, error) {
	return around(s, "store_events", nil, func() ([]bool, error) { return s.Store.StoreEvents(ctx, events) })
}

func (s *faultyStore) HandleEvents(ctx context.Context, ids []string) error {
	if f := s.handles.Load(); f != nil {
		if err := (*f)(ids); err != nil {
			return err
		}
	}
	_, err := around(s, "handle_events", nil, func() (struct{}, error) { return struct{}{}, s.Store.HandleEvents(ctx, ids) })
	return err
}

// onDrift errs instead of the calls that the reconciler alone makes; nil ends that.
func (s *faultyStore) onDrift(f func() error) {
	if f == nil {
		s.drifts.Store(nil)
		return
	}
	s.drifts.Store(&f)
}

func (s *faultyStore) drift(call string) error {
	if f := s.drifts.Load(); f != nil {
		if err := (*f)(); err != nil {
			return err
		}
	}
	return s.fails(&s.before, call, nil)
}

func (s *faultyStore) OpenWalk(ctx context.Context, owner ledger.ID, every, stale, ahead time.Duration) (audit.Walk, bool, error) {
	if err := s.drift("open_walk"); err != nil {
		return audit.Walk{}, false, err
	}
	return s.Store.OpenWalk(ctx, owner, every, stale, ahead)
}

func (s *faultyStore) SaveWalk(ctx context.Context, w audit.Walk) (audit.Walk, bool, error) {
	if err := s.drift("save_walk"); err != nil {
		return w, false, err
	}
	return s.Store.SaveWalk(ctx, w)
}

func (s *faultyStore) LeaveWalk(ctx context.Context, w audit.Walk) error {
	if err := s.drift("leave_walk"); err != nil {
		return err
	}
	return s.Store.LeaveWalk(ctx, w)
}

func (s *faultyStore) StoreFindings(ctx context.Context, objects []string, walk int64, found []audit.Finding) ([]audit.Finding, []bool, error) {
	if err := s.drift("findings"); err != nil {
		return nil, nil, err
	}
	return s.Store.StoreFindings(ctx, objects, walk, found)
}
