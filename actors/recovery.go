package actors

import (
	"context"
	"time"

	"github.com/settled/settled/actors/reconcile"
	"github.com/settled/settled/ledger"
)

// recover spawns an actor for each unfinished transfer, page by page, while new ones run
// already; then it sweeps, as a safety net.
func (s *System) recover() {
	var after ledger.ID
	began, found := time.Now(), 0
	for {
		var page []ledger.Record
		err := s.query(func(ctx context.Context) (err error) {
			began := time.Now()
			if page, err = s.conf.Store.Unfinished(ctx, after, recoveryPage); err == nil && len(page) > 0 {
				s.clocks.stored(page[0].ReadAt, began)
			}
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
		if !s.recovering.Swap(true) {
			s.tell(s.reconciler, reconcile.Begin{})
		}
		for i := range page {
			id := page[i].Transfer.ID
			s.tell(s.shard(id), spawn{loaded{record: &page[i], at: at}})
		}
		if found += len(page); len(page) < recoveryPage {
			break
		}
		after = page[len(page)-1].Transfer.ID
	}
	s.log.Info("recovered: each unfinished transfer has its actor", "transfers", found, "took", time.Since(began))
	for s.pause(min(s.conf.TransferSweep, s.conf.ReversalSweep)) {
		s.sweep()
		s.exchange()
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
			s.tell(s.shard(id), ensure{id: id})
		}
		if len(ids) < recoveryPage {
			return
		}
		after = ids[len(ids)-1]
	}
}
