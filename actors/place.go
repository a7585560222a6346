package actors

import (
	"bytes"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/settled/settled/ledger"
)

// place asks the gate how many calls come before one that waits for a permit. The gate completes the answer: only it
// knows.
type place struct {
	endpoint endpoint
	seller   string
	age      ledger.ID
	live     ledger.Live
	reply    chan<- ledger.Live
}

// sleep asks conditions who else waits for what an actor waits for, and when one of them asks Stripe.
type sleep struct {
	who   string
	live  ledger.Live
	reply chan<- ledger.Live
}

// tellLive answers what the actor is doing. Whom it waits for completes the answer: an actor that waits knows neither
// its place in the gate nor, because it holds no record, what it waits for.
func (t *transfer) tellLive(c actor.Context, m live) {
	l := t.live()
	switch w := t.w; {
	case w != nil && w.errand == asking:
		c.Send(t.sys.gate, place{w.asked, w.record.Transfer.Destination, t.id, l, m.reply})
	case w == nil && !t.resting:
		c.Send(t.sys.conditions, sleep{c.Self().Id, l, m.reply})
	default:
		m.reply <- l
	}
}

func (s *conditions) tellSleep(m sleep) {
	if x := s.sleeping[m.who]; x != nil {
		w := s.of[x.condition]
		m.live.Asleep = w.sleepers() + len(w.probes)
		if len(w.probes) == 0 {
			m.live.ProbeAt = latest(s.due(x.condition, w), time.Now())
		}
	}
	m.reply <- m.live
}

// sleepers counts who waits and is not out to probe; some of the heap wait for something else by now.
func (w *waiting) sleepers() (n int) {
	for _, x := range w.asleep {
		if !x.gone {
			n++
		}
	}
	return n
}

func (g *gate) tellPlace(m place) {
	if before, waits := g.queues[m.endpoint].before(m.seller, m.age); waits {
		m.live.Queued, m.live.Before, m.live.Rate = true, before, g.rate(m.endpoint)
	}
	m.reply <- m.live
}

// rate is how many calls a second to an endpoint may be made; 0: it is not limited.
func (g *gate) rate(e endpoint) int {
	rate := g.limits.EndpointRate
	if rate == 0 || g.limits.Rate > 0 && g.limits.Rate < rate {
		rate = g.limits.Rate
	}
	return rate
}

// before counts the asks that come before one; it is false when that does not wait here.
func (q *queue) before(seller string, age ledger.ID) (n int, waits bool) {
	own := q.lines[seller]
	if own == nil || !slices.ContainsFunc(own.asks, func(a ask) bool { return a.age == age }) {
		return 0, false
	}
	for _, a := range own.asks {
		if bytes.Compare(a.age[:], age[:]) < 0 {
			n++
		}
	}
	rounds, passed := n, false // of the ring of sellers, before its turn
	for _, l := range q.turns {
		switch {
		case l == own:
			passed = true
		case passed:
			n += min(len(l.asks), rounds)
		default:
			n += min(len(l.asks), rounds+1)
		}
	}
	return n, true
}
