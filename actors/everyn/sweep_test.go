package everyn_test

import (
	"fmt"
	"maps"
	"math"
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
	of    run
	life  func(*life)
	apart int   // points from one that is tried to the next
	fine  tally // of a life in which nothing fails, where points are left out
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

// newSweep begins a sweep over one kind of life.
func newSweep(t *testing.T, apart int, of run, life func(*life)) *sweep {
	s := &sweep{t: t, of: of, life: life, apart: apart, began: time.Now(), slots: make(chan struct{}, *lives), tried: map[string]int{}}
	if s.samples() {
		_, s.fine = of(t, life)
		s.most, s.lives = s.fine, 1
	}
	return s
}

// samples says that points are left out. Then the points of a life in which nothing fails are
// counted beforehand, and no loop has to find its end.
func (s *sweep) samples() bool { return s.apart > 1 && *onlyPoint == "" }

// missesMost is how many lives in a row must have been over before their n-th point, until a
// loop over every point believes that there is none. Daemon and events are concurrent, so one
// life may have a point or two less than another.
const missesMost = 3

// badMost ends the loops of what fails wherever it is tried.
const badMost = 20

func (s *sweep) hopeful() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bad < badMost
}

// loop tries every point of a kind.
func (s *sweep) loop(k kind) {
	s.loops++
	first, last := 1, math.MaxInt
	if s.samples() { // another first one for each kind
		last = s.fine[k.at]
		first += s.loops % min(s.apart, last)
	}
	s.only(k.name, func() {
		for n, missed := first, 0; n <= last && missed < missesMost && s.hopeful(); n += s.apart {
			missed++
			if s.live(k.name, trouble{k, n}) == 0 {
				missed = 0
			}
		}
	}, func(at []int) { s.live(k.name, trouble{k, at[0]}) })
}

// pairs tries every two points of two kinds, or one pair where points are left out. The second
// counts from the first.
func (s *sweep) pairs(a, b kind) {
	name := a.name + ", then " + b.name
	s.loops++
	loop := s.loops
	s.only(name, func() {
		if s.samples() {
			n := 1 + loop*7%s.fine[a.at]
			m := 1 + loop*5%max(1, s.fine[b.at]*(s.fine[a.at]-n)/s.fine[a.at])
			s.live(name, trouble{a, n}, trouble{b, m})
			return
		}
		for n, missed := 1, 0; missed < missesMost && s.hopeful(); n++ {
			missed++
			for m, missedToo := 1, 0; missedToo < missesMost-1 && s.hopeful(); m++ {
				missedToo++
				left := s.live(name, trouble{a, n}, trouble{b, m})
				if left == 2 {
					break
				}
				missed = 0
				if left == 0 {
					missedToo = 0
				}
			}
		}
	}, func(at []int) { s.live(name, trouble{a, at[0]}, trouble{b, at[1]}) })
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
func (s *sweep) live(name string, troubles ...trouble) (left int) {
	s.slots <- struct{}{}
	defer func() { <-s.slots }()
	var points []string
	for _, t := range troubles {
		points = append(points, strconv.Itoa(t.n))
	}
	point := strings.Join(points, ",")
	// A life that -run leaves out is none in which all has happened: its loop would never end.
	left = len(troubles)
	var had tally
	good := s.t.Run(strings.ReplaceAll(name, " ", "_")+"/"+point, func(t *testing.T) { left, had = s.of(t, s.life, troubles...) })
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
		if s.tried[name] == 0 && s.apart == 1 && *onlyPoint == "" {
			s.t.Errorf("no point was tried: this tests nothing")
		}
	}
	verdict := fmt.Sprintf("%d violations", s.bad)
	s.t.Logf("a life has %d statements (%d of them make something durable), fetches %d rows and calls Stripe %d times",
		s.most[statements], s.most[stores], s.most[fetches], s.most[calls])
	s.t.Logf("%d points failed, in %d lives, in %s: %s", total, s.lives, time.Since(s.began).Round(time.Second), verdict)
}
