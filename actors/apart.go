package actors

import (
	"errors"
	"slices"
	"time"

	"github.com/settled/settled/ledger"
)

// apart are changes that the ledger does not take, although it can be written: most likely
// another session holds a row of one of them ("select … for update" by hand, a migration of
// somebody's, a second daemon that was cut off in a transaction). They are tried again beside
// the writer, which goes on with everything else: as halves, so that those that are free come
// through at once, and in the end the one that is held waits alone, with a backoff of its own.
type apart struct {
	items []commit
	wait  time.Duration // before the next try, once nothing is left to split
}

// setApart hands changes over that failed in a group, or alone. What their owners hold for them
// meanwhile goes back: of 32 permits for calls to Stripe, 32 locked rows would hold all.
func (s *System) setApart(items []commit) {
	items = slices.DeleteFunc(items, func(it commit) bool {
		if len(it.changes) == 0 { // asked whether the ledger can be written: it can
			it.done(committed{})
			return true
		}
		if it.delayed != nil {
			it.delayed()
		}
		return false
	})
	if len(items) == 0 {
		return
	}
	s.tell(s.apart, apart{items: items, wait: outageBackoff})
}

// writeApart tries one set of changes again.
func (s *System) writeApart(list []apart) {
	for _, a := range list {
		// Its first try failed: whatever loses now may have lost to itself.
		items := inTime(a.items, true)
		if len(items) == 0 {
			continue
		}
		err := s.commitAll(items, true)
		switch {
		case err == nil:
		case errors.Is(err, ledger.ErrNewEpoch):
			giveUp(items, err)
		case !s.writable():
			// About the ledger after all. The writer, asked for a commit of nothing, finds that out
			// too, and says so until it is over.
			s.tell(s.writer, commit{done: func(committed) {}})
			s.tryLater(apart{items, a.wait})
		case len(items) > 1:
			// Both at the end of the queue: what is free anywhere comes before what is held.
			half := len(items) / 2
			s.tell(s.apart, apart{items[:half:half], a.wait})
			s.tell(s.apart, apart{items[half:], a.wait})
		default:
			if a.wait == outageBackoff {
				s.log.Warn("a change waits: the ledger can be written, and its row cannot; another session may hold it", "transfer", items[0].changes[0].After.ID, "err", err)
			}
			s.tryLater(apart{items, min(2*a.wait, outageMost)})
		}
	}
}

func (s *System) tryLater(a apart) {
	time.AfterFunc(a.wait, func() { s.tell(s.apart, a) })
}
