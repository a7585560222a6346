package everyn_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// sweep runs loops over points, several at once, and counts.
type sweep struct {
	t     *testing.T
	loops int
	began time.Time
	wg    sync.WaitGroup
	slots chan struct{}

	mu    sync.Mutex
	tried map[string]int // points that failed, by kind
	most  tally          // of the lives in which not all that was to fail did
	lives int
	bad   int // lives with violations
}

func newSweep(t *testing.T) *sweep {
	return &sweep{t: t, began: time.Now(), slots: make(chan struct{}, *lives), tried: map[string]int{}}
}

// beyond is how many lives in a row must have been over before their n-th point, until a loop
// believes that there is none. Daemon and events are concurrent, so one life may have a point or
// two less than another.
func beyond() int {
	if stride() > 1 {
		return 1
	}
	return 3
}

// badMost ends the loops of what fails wherever it is tried.
const badMost = 20

func (s *sweep) hopeful() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bad < badMost
}

// first is the point that a loop begins with: another for each, where points are left out.
func (s *sweep) first() int {
	s.loops++
	return 1 + s.loops%stride()
}

// loop tries every point of a kind.
func (s *sweep) loop(k kind, of run, life func(*life)) {
	first := s.first()
	s.only(k.name, func() {
		for n, missed := first, 0; missed < beyond() && s.hopeful(); n += stride() {
			missed++
			if s.live(k.name, of, life, trouble{k, n}) == 0 {
				missed = 0
			}
		}
	}, func(at []int) { s.live(k.name, of, life, trouble{k, at[0]}) })
}

// pairs tries every two points of two kinds. The second counts from the first.
func (s *sweep) pairs(a, b kind, of run, life func(*life)) {
	name := a.name + ", then " + b.name
	first := s.first()
	s.only(name, func() {
		for n, missed := first, 0; missed < beyond() && s.hopeful(); n += stride() {
			missed++
			for m, missedToo := first, 0; missedToo < beyond() && s.hopeful(); m += stride() {
				missedToo++
				left := s.live(name, of, life, trouble{a, n}, trouble{b, m})
				if left == 2 {
					break
				}
				missed = 0
				if left == 0 {
					missedToo = 0
				}
			}
		}
	}, func(at []int) { s.live(name, of, life, trouble{a, at[0]}, trouble{b, at[1]}) })
}

// only runs a loop, or the one life that the flags ask for.
func (s *sweep) only(name string, loop func(), one func(at []int)) {
	if *onlyKind != "" && *onlyKind != name {
		return
	}
	s.mu.Lock()
	s.tried[name] = 0
	s.mu.Unlock()
	s.wg.Go(func() {
		if *onlyPoint == "" {
			loop()
			return
		}
		var at []int
		for text := range strings.SplitSeq(*onlyPoint+",1", ",") {
			n, err := strconv.Atoi(text)
			if err != nil {
				s.t.Errorf("-point: %v", err)
				return
			}
			at = append(at, n)
		}
		one(at)
	})
}

// live lives one life, when there is room for it, and counts. It returns how many of the
// troubles did not happen.
func (s *sweep) live(name string, of run, life func(*life), troubles ...trouble) (left int) {
	s.slots <- struct{}{}
	defer func() { <-s.slots }()
	var points []string
	for _, t := range troubles {
		points = append(points, strconv.Itoa(t.n))
	}
	point := strings.Join(points, ",")
	var had tally
	good := s.t.Run(strings.ReplaceAll(name, " ", "_")+"/"+point, func(t *testing.T) { left, had = of(t, life, troubles...) })
	if !good {
		s.t.Logf("again: go test ./actors/everyn -run '^%s$' -v -tell -kind \"%s\" -point %s", s.t.Name(), name, point)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lives++; !good {
		s.bad++
	}
	if left == 0 {
		s.tried[name]++
	} else {
		s.most.raise(had)
	}
	return left
}

// report waits for the loops and says what was tried.
func (s *sweep) report() {
	s.t.Helper()
	s.wg.Wait()
	total := 0
	for _, name := range slices.Sorted(maps.Keys(s.tried)) {
		total += s.tried[name]
		s.t.Logf("%5d points: %s", s.tried[name], name)
		if s.tried[name] == 0 && stride() == 1 && *onlyPoint == "" {
			s.t.Errorf("no point was tried: this tests nothing")
		}
	}
	verdict := fmt.Sprintf("%d violations", s.bad)
	s.t.Logf("a life has %d statements (%d of them make something durable), fetches %d rows and calls Stripe %d times",
		s.most.statements, s.most.commits, s.most.fetches, s.most.calls)
	s.t.Logf("%d points failed, in %d lives, in %s: %s", total, s.lives, time.Since(s.began).Round(time.Second), verdict)
}
