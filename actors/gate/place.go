package gate

import (
	"bytes"
	"slices"

	"github.com/settled/settled/ledger"
)

func (g *gate) tellPlace(m Place) {
	if before, waits := g.queues[m.Endpoint].before(m.Seller, m.Age); waits {
		m.Live.Queued, m.Live.Before, m.Live.Rate = true, before, g.rate(m.Endpoint)
	}
	m.Reply <- m.Live
}

// rate is how many calls a second to an endpoint may be made; 0: it is not limited.
func (g *gate) rate(e Endpoint) int {
	rate := g.Limits.EndpointRate
	if rate == 0 || g.Limits.Rate > 0 && g.Limits.Rate < rate {
		rate = g.Limits.Rate
	}
	return rate
}

// before counts the asks that come before one; it is false when that does not wait here.
func (q *queue) before(seller string, age ledger.ID) (n int, waits bool) {
	own := q.lines[seller]
	if own == nil || !slices.ContainsFunc(own.asks, func(a Ask) bool { return a.Age == age }) {
		return 0, false
	}
	for _, a := range own.asks {
		if bytes.Compare(a.Age[:], age[:]) < 0 {
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
