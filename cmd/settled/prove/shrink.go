package prove

import (
	"slices"
	"testing"
	"time"

	"github.com/settled/settled/actors/stripesim"
)

// Shrink looks for the smallest world in which the same invariant breaks: fewer orders, fewer
// daemons, fewer kinds of trouble. It tries for about as long as patience allows, and returns
// the outcome of the smallest one found, with its trace.
func Shrink(t *testing.T, conf Config, failed Result, patience time.Duration) Result {
	p := makePlan(failed.Seed, conf.Transfers, conf.Policy.Windows)
	if len(failed.Violations) == 0 {
		return run(t, conf, failed.Seed, p, true)
	}
	invariant := failed.Violations[0].Invariant
	breaks := func(p plan) bool {
		for _, v := range run(t, conf, failed.Seed, p, false).Violations {
			if v.Invariant == invariant {
				return true
			}
		}
		return false
	}
	for began, smaller := time.Now(), true; smaller; {
		smaller = false
		for _, simpler := range simplifications {
			if time.Since(began) > patience {
				break
			}
			if q, changed := simpler(p); changed && breaks(q) {
				p, smaller = q, true
			}
		}
	}
	return run(t, conf, failed.Seed, p, true)
}

// simplifications each make a plan simpler in one way, if it can be.
var simplifications = []func(plan) (plan, bool){
	func(p plan) (plan, bool) { return p.only(0, len(p.orders)/2) },
	func(p plan) (plan, bool) { return p.only(len(p.orders)/2, len(p.orders)) },
	func(p plan) (plan, bool) { return p.only(0, len(p.orders)-1) },
	func(p plan) (plan, bool) { return p.only(1, len(p.orders)) },
	func(p plan) (plan, bool) { q := p; q.messages = nil; return q, len(p.messages) > 0 },
	func(p plan) (plan, bool) {
		q := p
		q.messages = p.messages[:len(p.messages)/2]
		return q, len(p.messages) > 1
	},
	func(p plan) (plan, bool) {
		q := p
		q.messages = p.messages[len(p.messages)/2:]
		return q, len(p.messages) > 1
	},
	func(p plan) (plan, bool) { q := p; q.meddling = nil; return q, len(p.meddling) > 0 },
	func(p plan) (plan, bool) { q := p; q.Weather = nil; return q, len(p.Weather) > 0 },
	func(p plan) (plan, bool) {
		q := p
		q.meddling = p.meddling[:len(p.meddling)/2]
		return q, len(p.meddling) > 1
	},
	func(p plan) (plan, bool) { q := p; q.Losses = nil; return q, len(p.Losses) > 0 },
	func(p plan) (plan, bool) {
		q := p
		q.Losses = p.Losses[:len(p.Losses)/2]
		return q, len(p.Losses) > 1
	},
	func(p plan) (plan, bool) { q := p; q.Walk = -1; return q, p.Walk > 0 },
	func(p plan) (plan, bool) { q := p; q.Nodes = 1; return q, p.Nodes > 1 },
	func(p plan) (plan, bool) { q := p; q.Nodes--; return q, p.Nodes > 2 },
	func(p plan) (plan, bool) { q := p; q.Kills = 0; return q, p.Kills > 0 },
	func(p plan) (plan, bool) { q := p; q.Stops = 0; return q, p.Stops > 0 },
	func(p plan) (plan, bool) { q := p; q.Faults = stripesim.None; return q, p.Faults != stripesim.None },
	func(p plan) (plan, bool) { q := p; q.Outages = nil; return q, len(p.Outages) > 0 },
	func(p plan) (plan, bool) {
		q := p
		q.Outages = p.Outages[:len(p.Outages)/2]
		return q, len(p.Outages) > 1
	},
	func(p plan) (plan, bool) { q := p; q.Stranger = stranger{}; return q, p.Stranger.For > 0 },
	func(p plan) (plan, bool) { q := p; q.Listless = listless{}; return q, p.Listless.For > 0 },
	func(p plan) (plan, bool) { q := p; q.PageMax = 0; return q, p.PageMax > 0 },
	func(p plan) (plan, bool) { q := p; q.FailBefore = 0; return q, p.FailBefore > 0 },
	func(p plan) (plan, bool) { q := p; q.FailAfter = 0; return q, p.FailAfter > 0 },
	func(p plan) (plan, bool) { q := p; q.DieBefore = 0; return q, p.DieBefore > 0 },
	func(p plan) (plan, bool) { q := p; q.DieAfter = 0; return q, p.DieAfter > 0 },
	func(p plan) (plan, bool) { q := p; q.FailInside = 0; return q, p.FailInside > 0 },
	func(p plan) (plan, bool) { q := p; q.DieInside = 0; return q, p.DieInside > 0 },
	func(p plan) (plan, bool) { q := p; q.Slow = 0; return q, p.Slow > 0 },
	func(p plan) (plan, bool) { q := p; q.LoseEvent = 0; return q, p.LoseEvent > 0 },
	func(p plan) (plan, bool) { q := p; q.TwiceEvent = 0; return q, p.TwiceEvent > 0 },
	func(p plan) (plan, bool) { q := p; q.LieEvent = 0; return q, p.LieEvent > 0 },
	func(p plan) (plan, bool) { q := p; q.LoseAnswer = 0; return q, p.LoseAnswer > 0 },
	func(p plan) (plan, bool) {
		q := p
		q.StripeSkew, q.BaseSkew, q.SkewJumps = 0, 0, false
		return q, p.StripeSkew != 0 || p.BaseSkew != 0 || p.SkewJumps
	},
	func(p plan) (plan, bool) { q := p; q.Troubled /= 2; return q, p.Troubled > time.Hour },
}

// only keeps a part of the orders, and the messages about them.
func (p plan) only(from, to int) (plan, bool) {
	if from >= to || to-from == len(p.orders) {
		return p, false
	}
	q := p
	q.orders = p.orders[from:to]
	q.messages = slices.Clone(p.messages)
	q.messages = slices.DeleteFunc(q.messages, func(m planned) bool { return m.target < from || m.target >= to })
	for i := range q.messages {
		q.messages[i].target -= from
	}
	return q, true
}
