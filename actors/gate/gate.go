package gate

import (
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/settled/settled/ledger"
)

// Config is all that the gate knows of the tree around it.
type Config struct {
	Log      *slog.Logger
	Metrics  *Metrics
	Limits   Limits
	WalkRate int  // calls a second to [Walks]; not above 0: no limit
	Barred   bool // nothing is let through before [Open]

	// Tell sends a message from a timer.
	Tell func(to *actor.PID, message any)
	// Notify and Withdraw begin and end a notice to people.
	Notify   func(ledger.Notice)
	Withdraw func(code string)
	Alarm    func(kind string, args ...any)
	// Outage reports that the ledger cannot be written: intents wait for it with their permits in hand.
	Outage func() bool
	// Halted reports that the clocks forbid every send.
	Halted func() bool
	// Hear has the clocks heard, off the actor: by a transfer that waits, and by a small page of Stripe's. It
	// releases the permit, and calls done when the clocks may be heard again.
	Hear func(no uint64, of ledger.ID, done func())
}

const (
	cooldownBase = 500 * time.Millisecond // after a 429, for its scope; the default of Limits.Cooldown
	cooldownMost = 30 * time.Second
	breakerAfter = 20 // answers in a row that say that Stripe is down
	breakerBase  = time.Second
	breakerMost  = 30 * time.Second
	authBase     = 15 * time.Second // after a 401: nothing gets better by hammering
	authMost     = 5 * time.Minute
	permitLost   = 5 * time.Minute  // a permit out for so long was lost with its actor
	probeLost    = 90 * time.Second // a probe's: until it is back nobody else goes
	sweepEach    = time.Minute
	probeSweep   = 15 * time.Second
)

// gate gives permits for calls to Stripe: reversals before transfers, older before newer,
// sellers in turn; so many a second, so many at once. The lesson of one call holds
// for all: a 429 pauses its scope, a 401 everything, and while an endpoint seems down its breaker
// lets a single call through to see whether it is back: see breaker.go. Whoever waits, waits here,
// without a goroutine and without a row in the ledger.
type gate struct {
	Config

	queues  [endpoints]queue
	paces   [endpoints]pace
	cool    [endpoints]block
	all     pace
	coolall block
	auth    block
	refused bool     // the key was, and no answer has shown it mended
	turn    Endpoint // that probed last while it is

	breakers [endpoints]breaker    // see breaker.go
	still    [endpoints]standstill // see platform.go

	out     map[uint64]time.Time // permits that are out, since when
	outOf   map[uint64]Endpoint  // and to which endpoint
	no      uint64
	sweeper *time.Timer
	timer   *time.Timer
	tickAt  time.Time
	ticks   uint64 // only the tick armed last counts: a stopped timer may have fired already
	halt    bool   // the clocks forbid every send
	hearing bool   // they are being heard, or will be soon
	closed  bool
	drained []chan<- struct{}
}

// New makes the gate.
func New(c Config) actor.Actor { return newGate(c) }

func newGate(c Config) *gate {
	g := &gate{Config: c, all: newPace(c.Limits.Rate),
		out: make(map[uint64]time.Time), outOf: make(map[uint64]Endpoint)}
	for e := range g.paces {
		g.paces[e] = newPace(c.Limits.EndpointRate)
	}
	g.paces[Walks] = newPace(c.WalkRate)
	return g
}

func (g *gate) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		for e := range endpoints { // of an incarnation before
			g.Withdraw(standstillCode(e))
			g.Withdraw(brokenCode(e))
		}
		g.Withdraw(refusedKeyCode)
		return
	case Ask:
		g.queues[m.Endpoint].push(m)
	case Place:
		g.tellPlace(m)
		return
	case Release:
		g.release(m)
	case tick:
		if m.no != g.ticks {
			return
		}
		g.timer = nil
	case sweep:
		g.sweeper = nil
		g.reclaim()
	case listen:
		g.hearing = false
	case Open:
		g.Barred = false
	case Close:
		g.closed = true
		g.drained = append(g.drained, m.Drained)
	case *actor.Stopping, *actor.Restarting:
		for _, timer := range []*time.Timer{g.sweeper, g.timer} {
			if timer != nil {
				timer.Stop()
			}
		}
		return
	default:
		return
	}
	g.grant(c)
	if g.sweeper == nil && len(g.out) > 0 { // with no permit out none can be lost, and an idle gate needs no timer
		each := sweepEach
		if g.refused || g.anyBroken() {
			each = probeSweep
		}
		g.sweeper = g.after(c, each, sweep{})
	}
	g.report()
}

// grant gives permits while there is room, then arms the timer for the next one.
func (g *gate) grant(c actor.Context) {
	if g.closed {
		g.deny(c)
		return
	}
	if g.Barred {
		return
	}
	g.hear(c)
	now := time.Now()
	for {
		room := g.Limits.Concurrency
		if g.refused {
			room = 1
		}
		if len(g.out) >= room {
			return // the next release comes back here
		}
		e, at, waits := g.choose()
		if !waits {
			return
		}
		if wait := at.Sub(now); wait > 0 {
			if g.timer != nil && !at.Before(g.tickAt) {
				return
			}
			if g.timer != nil {
				g.timer.Stop()
			}
			g.ticks++
			g.timer, g.tickAt = g.after(c, wait, tick{g.ticks}), at
			return
		}
		a := g.queues[e].pop()
		g.all.take(now)
		g.paces[e].take(now)
		g.no++
		g.out[g.no], g.outOf[g.no], g.turn = now, e, e
		c.Send(a.From, Permit{Inc: a.Inc, No: g.no})
	}
}

// deny turns everybody away, and reports to the closer of the gate once no call is under way.
func (g *gate) deny(c actor.Context) {
	for e := range g.queues {
		for q := &g.queues[e]; q.n > 0; {
			a := q.pop()
			c.Send(a.From, Denied{a.Inc})
		}
	}
	if len(g.out) > 0 {
		return
	}
	for _, d := range g.drained {
		close(d)
	}
	g.drained = nil
}

// choose returns the most urgent endpoint that may be called soonest, and when; waits is false when no call waits that
// may be made. While the key is refused the endpoints take turns: a probe that fails for a reason of its own proves
// nothing about the key.
func (g *gate) choose() (best Endpoint, at time.Time, waits bool) {
	first := Endpoint(0)
	if g.refused {
		first = g.turn + 1
	}
	now := time.Now()
	for i := range endpoints {
		e := (first + i) % endpoints
		t, may := g.next(e)
		switch {
		case !may:
		case !t.After(now): // of those that may go now, the most urgent
			return e, t, true
		case !waits || t.Before(at):
			best, at, waits = e, t, true
		}
	}
	return best, at, waits
}

// next returns when the next call to an endpoint may be made; it is false while none may.
func (g *gate) next(e Endpoint) (at time.Time, may bool) {
	if g.queues[e].n == 0 || g.halt && e.sends() || g.probed(e) {
		return at, false
	}
	for _, t := range []time.Time{
		g.all.next(), g.coolall.until, g.auth.until,
		g.paces[e].next(), g.cool[e].until, g.still[e].until, g.breakers[e].until,
	} {
		at = latest(at, t)
	}
	return at, true
}

// release takes a permit back and learns from its answer.
func (g *gate) release(m Release) {
	delete(g.out, m.No)
	delete(g.outOf, m.No)
	if m.Unused {
		return
	}
	now := time.Now()
	switch m.Scope {
	case ledger.ScopeEndpoint:
		g.cool[m.Endpoint].close(now, g.Limits.Cooldown, cooldownMost, m.After)
		g.slows(m, limitedCode(m.Endpoint), g.cool[m.Endpoint].until)
		g.Log.Warn("Stripe limits the rate of an endpoint; pausing it",
			"endpoint", m.Endpoint.String(), "until", g.cool[m.Endpoint].until)
	case ledger.ScopeAccount:
		g.coolall.close(now, g.Limits.Cooldown, cooldownMost, m.After)
		g.slows(m, limitedCode(endpoints), g.coolall.until)
		g.Log.Warn("Stripe limits the rate of the account; pausing all calls", "until", g.coolall.until)
	case ledger.ScopeAuth:
		g.refuse(m, now)
		return
	case ledger.ScopeDown:
		g.fails(m, now)
		return
	case ledger.ScopePlatform:
		g.stand(m, now)
	case ledger.ScopeNone:
		g.goOn(m.Endpoint)
		if !now.Before(g.cool[m.Endpoint].until) {
			g.cool[m.Endpoint] = block{}
		}
		if !now.Before(g.coolall.until) {
			g.coolall = block{}
		}
	}
	// Any answer that is neither 401 nor an outage shows that Stripe is there and knows us.
	g.knows()
	g.works(m.Endpoint, now)
}

// reclaim takes back permits that were lost with their actors. While the ledger cannot be
// written none counts as lost: intents wait for it with their permits in hand.
func (g *gate) reclaim() {
	for no, since := range g.out {
		switch {
		case g.Outage():
			g.out[no] = time.Now()
		case time.Since(since) > permitLost, time.Since(since) > probeLost && g.isProbe(g.outOf[no]):
			g.Log.Warn("a permit was lost with its actor; taking it back", "out_for", time.Since(since))
			delete(g.out, no)
			delete(g.outOf, no)
		}
	}
}

// hear has the clocks heard while they forbid the calls of somebody who waits here. Nobody else may have a reason to
// ask the database or Stripe anything then, and so nobody would notice that the clocks agree again.
func (g *gate) hear(c actor.Context) {
	g.halt = g.Halted()
	if !g.halt || g.hearing || g.queues[Transfers].n+g.queues[Reversals].n == 0 {
		return
	}
	g.hearing = true
	q := &g.queues[Transfers]
	if q.n == 0 {
		q = &g.queues[Reversals]
	}
	g.no++
	g.out[g.no], g.outOf[g.no] = time.Now(), Lists
	self, tell := c.Self(), g.Tell
	g.Hear(g.no, q.turns[0].asks[0].Age, func() { tell(self, listen{}) })
}

func (g *gate) report() {
	g.Metrics.out.Set(float64(len(g.out)))
	for e := range endpoints {
		g.Metrics.waiting.WithLabelValues(e.String()).Set(float64(g.queues[e].n))
	}
	braked := 0.0
	if g.refused || time.Now().Before(g.coolall.until) {
		braked = 1
	}
	g.Metrics.braked.Set(braked)
}

// isProbe reports an endpoint whose calls out are probes: one that is lost must not be waited for long.
func (g *gate) isProbe(e Endpoint) bool {
	return g.refused || g.breakers[e].broken() || g.still[e].stands()
}

func (g *gate) anyBroken() bool {
	for e := range endpoints {
		if g.breakers[e].broken() || g.still[e].stands() {
			return true
		}
	}
	return false
}

// after sends a message to the gate itself, later.
func (g *gate) after(c actor.Context, d time.Duration, m any) *time.Timer {
	self, tell := c.Self(), g.Tell
	return time.AfterFunc(d, func() { tell(self, m) })
}
