package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/settled/settled/ledger"
)

// commit asks the writer to make changes durable, all in one transaction. It is answered
// exactly once, by done, on the writer's goroutine: done must only send.
type commit struct {
	ctx     context.Context // given up when done; nil: never
	changes []ledger.Change
	done    func(committed)
	delayed func() // told, like done, once the changes wait by themselves; nil: nobody is
}

// committed is the writer's answer.
type committed struct {
	changes []ledger.Change // as committed, stamped
	won     []bool          // false: the transfer has moved on, and nothing was written
	at      time.Time       // the database's clock at the commit
	retried bool            // a first try was cut off: what lost may have lost to itself
	err     error           // nothing is known to be written; with retried it may be
}

const (
	writerMost    = 500             // changes in one transaction: 86–93 % of the gain of 1,000
	exhaustedHold = 3 * time.Second // so long a commit of nothing ends no outage of a ledger without room
	probeMost     = 5 * time.Second // so long the ledger may take to show that it can be written
)

// write commits what queued. A ledger that cannot be reached is waited out here, so that no
// actor hears of it; whoever has a deadline is let go when it passes. Should the connection
// break in the middle of a commit, the same changes are sent again: if they had been written
// after all, the guard turns them down and the actor reads the ledger, which is safe.
func (s *System) write(items []commit) { s.writeOn(items, false) }

// writeOn is write for items of which retried says that they were tried before.
//
// An outage ends here too, for nobody else may ever ask for a commit again: while it lasts, and
// all who asked were let go, a commit of nothing is tried. And what fails although a commit of
// nothing succeeds is no outage: somebody holds a row of it, and the rest must not wait for that. A
// full disk is an outage: it takes a commit of nothing and refuses every other.
func (s *System) writeOn(items []commit, retried bool) {
	var exhausted time.Time // when it was last
	var err error
	ended := retryOutage(s.stopped, outageMost, func() (again bool) {
		if items = inTime(items, retried); len(items) == 0 && s.outage.Load() == nil {
			return false
		}
		err = s.commitAll(items, retried)
		behind := errors.Is(err, ledger.ErrNewEpoch) // no waiting mends this: see query
		if err != nil && s.conf.Exhausted(err) {
			exhausted = time.Now()
		} else if err != nil && len(items) > 0 && !behind && s.writable() {
			s.outage.Store(nil)
			s.setApart(items)
			return false
		}
		if err == nil && len(items) == 0 && time.Since(exhausted) < exhaustedHold {
			return true
		}
		if err == nil || len(items) == 0 && !s.transient(err) { // what waiting does not mend is no outage
			s.outage.Store(nil)
			return false
		}
		retried = true
		failed := err
		if first := s.outage.Swap(&failed) == nil; first && !behind {
			s.log.Error("the ledger cannot be reached; waiting for it", "err", err)
		}
		if behind {
			giveUp(items, err)
		}
		return !behind
	})
	if !ended {
		giveUp(items, err)
	}
}

// inTime lets those go whose deadline has passed, and returns the others.
func inTime(items []commit, retried bool) []commit {
	return slices.DeleteFunc(items, func(it commit) bool {
		if it.ctx == nil || it.ctx.Err() == nil {
			return false
		}
		// Retried, it may be written all the same, and nobody will ask for it again.
		it.done(committed{changes: it.changes, won: make([]bool, len(it.changes)), retried: retried,
			err: fmt.Errorf("%w: %w", ledger.ErrUnavailable, it.ctx.Err())})
		return true
	})
}

// giveUp answers items that are not tried again: the daemon stops.
func giveUp(items []commit, err error) {
	for _, it := range items {
		it.done(committed{err: fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)})
	}
}

// writable reports whether a commit of nothing succeeds.
func (s *System) writable() bool {
	return s.queryWithin(min(probeMost, s.conf.CommitTimeout), func(ctx context.Context) error {
		_, _, err := s.conf.Store.Commit(ctx, nil)
		return err
	}) == nil
}

// commitAll commits items in one transaction and answers them. When a row is refused it
// splits them, so that one bad row fails alone. It returns an error, with nothing answered,
// only when waiting may mend it.
func (s *System) commitAll(items []commit, retried bool) error {
	n := 0
	for _, it := range items {
		n += len(it.changes)
	}
	changes := make([]ledger.Change, 0, n)
	for _, it := range items {
		changes = append(changes, it.changes...)
	}
	var at time.Time
	var won []bool
	began := time.Now()
	err := s.query(func(ctx context.Context) (err error) {
		if at, won, err = s.conf.Store.Commit(ctx, changes); err == nil {
			s.clocks.stored(at, began)
		}
		return err
	})
	switch {
	case err == nil:
		if n > 0 {
			s.metrics.batch.Observe(float64(n))
			s.metrics.commitSeconds.Observe(time.Since(began).Seconds())
		}
	case s.transient(err), errors.Is(err, ledger.ErrNewEpoch), n == 0:
		return err
	case len(items) > 1:
		half := len(items) / 2
		if err := s.commitAll(items[:half:half], retried); err != nil {
			return err
		}
		// The first half is answered; what follows must be too, so an outage between
		// the halves is waited out by a call of its own.
		s.writeOn(items[half:], retried)
		return nil
	default:
		s.log.Error("the ledger refused a change", "transfer", changes[0].After.ID, "event", changes[0].History.Event, "err", err)
		items[0].done(committed{err: err})
		return nil
	}
	for _, it := range items {
		k := len(it.changes)
		it.done(committed{changes: changes[:k:k], won: won[:k:k], at: at, retried: retried})
		changes, won = changes[k:], won[k:]
	}
	return nil
}

// load asks the reader for a transfer's record. It is answered exactly once, by done.
type load struct {
	id   ledger.ID
	done func(loaded)
}

// loaded is the reader's answer.
type loaded struct {
	record *ledger.Record // nil: the ledger has no such transfer
	at     time.Time      // the local clock just after the record was read
	err    error
}

const readerMost = 500

// read loads what queued, in one query, waiting an outage out. When the query fails for
// another reason it is split, so that a row that cannot be read concerns its own actor alone.
func (s *System) read(items []load) {
	ids := make([]ledger.ID, len(items))
	for i, it := range items {
		ids[i] = it.id
	}
	var records []ledger.Record
	var err error
	ended := retryOutage(s.stopped, outageMost, func() (again bool) {
		err = s.query(func(ctx context.Context) (err error) {
			records, err = s.load(ctx, ids)
			return err
		})
		if again = err != nil && s.transient(err); again {
			s.log.Warn("transfers cannot be read; waiting for the ledger", "transfers", len(ids), "err", err)
		}
		return again
	})
	switch half := len(items) / 2; {
	case !ended:
		for _, it := range items {
			it.done(loaded{err: errStopping})
		}
		return
	case err != nil && half > 0:
		s.read(items[:half])
		s.read(items[half:])
		return
	case err != nil:
		s.log.Error("a transfer cannot be read", "transfer", ids[0], "err", err)
		items[0].done(loaded{err: err})
		return
	}
	at := time.Now()
	byID := make(map[ledger.ID]*ledger.Record, len(records))
	for i := range records {
		byID[records[i].Transfer.ID] = &records[i]
	}
	for _, it := range items {
		it.done(loaded{record: byID[it.id], at: at})
	}
}

// load reads records, and the database's clock with them.
func (s *System) load(ctx context.Context, ids []ledger.ID) ([]ledger.Record, error) {
	began := time.Now()
	records, err := s.conf.Store.Load(ctx, ids)
	if err == nil && len(records) > 0 {
		s.clocks.stored(records[0].ReadAt, began)
	}
	return records, err
}
