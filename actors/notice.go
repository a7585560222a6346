package actors

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/settled/settled/ledger"
)

// notices is what the daemon has people know, by code.
type notices struct {
	mu  sync.Mutex
	all map[string]ledger.Notice
}

// Notify has people know of something until [System.Withdraw]: `/readyz?verbose` lists it, and while it bars the calls,
// `why` of every transfer that is due gives it as the reason. Said again, it keeps its beginning.
func (s *System) Notify(n ledger.Notice) {
	s.notices.mu.Lock()
	defer s.notices.mu.Unlock()
	if n.Since.IsZero() {
		n.Since = time.Now()
	}
	if before, ok := s.notices.all[n.Code]; ok && (before.Ends.IsZero() || n.Since.Before(before.Ends)) {
		n.Since = before.Since
	}
	if s.notices.all == nil {
		s.notices.all = make(map[string]ledger.Notice)
	}
	s.notices.all[n.Code] = n
}

// Withdraw ends a notice.
func (s *System) Withdraw(code string) {
	s.notices.mu.Lock()
	defer s.notices.mu.Unlock()
	delete(s.notices.all, code)
}

// Notices lists them: those that bar the calls first, then by code.
func (s *System) Notices() []ledger.Notice {
	s.notices.mu.Lock()
	defer s.notices.mu.Unlock()
	list := make([]ledger.Notice, 0, len(s.notices.all)+1)
	now := time.Now()
	for code, n := range s.notices.all {
		if !n.Ends.IsZero() && !n.Ends.After(now) {
			delete(s.notices.all, code)
			continue
		}
		list = append(list, n)
	}
	if s.outage.Load() != nil { // derived: whoever forgot to withdraw it would say what is not so
		list = append(list, ledger.Notice{Code: "ledger_unwritable", Bars: true, Mover: ledger.MoveOfPlatform,
			Text: "The ledger cannot be written, and nothing is sent before it says so there: see /readyz and the log. It goes on by itself once the database can be written."})
	}
	slices.SortFunc(list, func(a, b ledger.Notice) int {
		if a.Bars != b.Bars {
			if a.Bars {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Code, b.Code)
	})
	return list
}
