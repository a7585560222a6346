package gate

import (
	"bytes"
	"container/heap"
	"time"

	"github.com/settled/settled/ledger"
)

// sleeper is an actor that waits.
type sleeper struct {
	Await
	gone bool // it waits for something else, and is still in the heap
}

// sleepers is a heap: reversals first, then the oldest.
type sleepers []*sleeper

func (h sleepers) Len() int { return len(h) }
func (h sleepers) Less(i, j int) bool {
	if h[i].Urgent != h[j].Urgent {
		return h[i].Urgent
	}
	return bytes.Compare(h[i].Operation[:], h[j].Operation[:]) < 0
}
func (h sleepers) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *sleepers) Push(x any)   { *h = append(*h, x.(*sleeper)) }
func (h *sleepers) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return x
}

// sleepers counts those that wait and are not out to probe; some of the heap wait for something else by now.
func (w *waiting) sleepers() (n int) {
	for _, x := range w.asleep {
		if !x.gone {
			n++
		}
	}
	return n
}

// wake takes the most urgent sleeper.
func (s *conditions) wake(w *waiting) (m Await, ok bool) {
	for w.asleep.Len() > 0 {
		x := heap.Pop(&w.asleep).(*sleeper)
		if !x.gone {
			delete(s.sleeping, x.Who.Id)
			s.counted(x.Condition, -1)
			return x.Await, true
		}
	}
	return Await{}, false
}

// forget takes a sleeper out, that waits for something else now.
func (s *conditions) forget(x *sleeper) {
	x.gone = true
	delete(s.sleeping, x.Who.Id)
	s.counted(x.Condition, -1)
}

func (s *conditions) counted(x ledger.Condition, n int) {
	s.count[x.Reaction] += n
	s.Metrics.asleep.WithLabelValues(x.Reaction.String()).Set(float64(s.count[x.Reaction]))
}

func (s *conditions) tellSleep(m Sleep) {
	if x := s.sleeping[m.Who]; x != nil {
		w := s.of[x.Condition]
		m.Live.Asleep = w.sleepers() + len(w.probes)
		if len(w.probes) == 0 {
			m.Live.ProbeAt = latest(s.due(x.Condition, w), time.Now())
		}
	}
	m.Reply <- m.Live
}
