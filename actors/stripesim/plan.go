package stripesim

import "time"

// How often the plan may strike. Light is one call in twenty, Heavy about one in
// three; a key meets at most faultsPerKey, an operation over all its keys at most
// spendsPerOperation answers that use a key up, a read at most readsInARow in a row.
const (
	lightRate          = 0.05
	heavyRate          = 0.36
	faultsPerKey       = 3
	spendsPerOperation = 2
	readsInARow        = 2
	outagesPerSeller   = 2
)

// plan draws faults. Its state is only how often something has come; what it draws
// is a function of that, the seed and the call.
type plan struct {
	seed    uint64
	level   Faults
	tallies ages[tally] // by identity
	spent   ages[uint8] // by operation
}

// tally is what the plan remembers of a key or a URL.
type tally struct {
	arrivals uint32
	faults   uint8 // of a key: in all; of a read: in a row
}

// fault is what will be done to one call.
type fault struct {
	kind     Kind // "" is nothing
	rule     *Rule
	delay    time.Duration
	executes bool // behind a gateway's answer
}

// admit counts a call and decides what happens to it. It is the only place where the
// plan and the rules look at calls.
func (s *Sim) admit(c *call) {
	identity := c.identity()
	c.pageMax = s.cfg.PageMax
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	c.id = "req_1" + base62(mix(s.plan.seed, "request")+scramble(s.requests))
	s.count("request")
	s.count(c.ep.counter)
	now := s.clock.now()
	seen := s.plan.tallies.at(mix(0, identity), now, s.cfg.Times.KeyLife)
	seen.arrivals++
	c.info.Arrival = int(seen.arrivals)
	if rule := s.takeRule(c.info, c.ep.class); rule != nil {
		c.fault = fault{kind: rule.Kind, rule: rule, executes: rule.Execute,
			delay: s.delayOf(rule.Kind, rule.Delay, mix(s.plan.seed, "rule", identity))}
	} else {
		c.fault = s.drawFault(c, seen, identity, now)
		switch {
		case c.fault.kind != "":
			seen.faults++
		case c.ep.class&classRead != 0:
			seen.faults = 0 // a read that goes well starts its row anew
		}
	}
	s.plan.tallies.put(mix(0, identity), seen)
	if c.fault.kind == KindHang {
		s.wait(c)
	}
}

// drawFault is the random part of the plan.
func (s *Sim) drawFault(c *call, seen tally, identity string, now time.Time) fault {
	read := c.ep.class&classRead != 0
	bound := uint8(faultsPerKey)
	if read {
		bound = readsInARow
	}
	h := mix(s.plan.seed, "fault", identity) + scramble(uint64(seen.arrivals))
	rate := map[Faults]float64{Light: lightRate, Heavy: heavyRate}[s.plan.level]
	if seen.faults >= bound || unit(scramble(h)) >= rate {
		return fault{}
	}
	spec, ok := pick(scramble(h^1), c.ep.class, s.plan.level)
	if !ok {
		return fault{}
	}
	if spec.spends {
		operation := mix(0, c.operation())
		spent := s.plan.spent.at(operation, now, s.cfg.Times.KeyLife)
		if spent >= spendsPerOperation {
			return fault{}
		}
		s.plan.spent.put(operation, spent+1)
	}
	return fault{kind: spec.kind, executes: scramble(h^2)&1 == 1, delay: s.delayOf(spec.kind, 0, scramble(h^3))}
}

// pick draws one kind by weight.
func pick(h uint64, on class, level Faults) (kindSpec, bool) {
	weight := func(k kindSpec) int {
		switch {
		case k.random&on == 0:
			return 0
		case level == Light:
			return k.light
		}
		return k.heavy
	}
	total := 0
	for _, k := range kindTable {
		total += weight(k)
	}
	if total == 0 {
		return kindSpec{}, false
	}
	n := int(h % uint64(total))
	for _, k := range kindTable {
		if n -= weight(k); n < 0 {
			return k, true
		}
	}
	panic("stripesim: weights do not add up")
}

// delayOf is how long a fault takes: what was asked for, else a draw within the
// bound that Times sets for the kind.
func (s *Sim) delayOf(k Kind, asked time.Duration, h uint64) time.Duration {
	if asked > 0 {
		return asked
	}
	t := s.cfg.Times
	switch k {
	case KindHang:
		return spread(h, t.WireMax)
	case KindLate500:
		// A forgotten key could otherwise be executed anew before the effect comes.
		return spread(h, min(t.LateMax, t.KeyLife-t.KeyLife/8))
	case KindSlow:
		return spread(h, t.SlowMax)
	case KindListLag:
		return time.Duration(unit(h) * float64(t.ListLag))
	case KindCapability, KindSellerDrained, KindKept, KindBalance, KindAutoReversal, KindEventLate:
		return spread(h, t.EventDelayMax)
	}
	return 0
}

// ages is a map that forgets what nobody asked for during two lives of a key, so
// that a long run does not grow for ever.
type ages[V any] struct {
	young, old map[uint64]V
	born       time.Time
}

// at reads a value, its zero when there is none.
func (a *ages[V]) at(key uint64, now time.Time, life time.Duration) V {
	if a.young == nil || now.Sub(a.born) > life {
		a.old, a.young, a.born = a.young, make(map[uint64]V), now
	}
	if v, ok := a.young[key]; ok {
		return v
	}
	return a.old[key]
}

func (a *ages[V]) put(key uint64, v V) { a.young[key] = v }
