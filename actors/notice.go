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
	if before, ok := s.notices.all[n.Code]; ok {
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
	list := make([]ledger.Notice, 0, len(s.notices.all))
	for _, n := range s.notices.all {
		list = append(list, n)
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
