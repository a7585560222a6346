package actors

import (
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/settled/settled/ledger"
)

// endpoint is what Stripe limits by itself: each has a rate of its own.
type endpoint uint8

// The endpoints, most urgent first: evidence, then money coming back, then money going out, and
// only then the reconciler's walks, which have a rate of their own. Reading one object and reading
// a list are two at Stripe: the one may fail while the other works.
const (
	reads endpoint = iota
	lists
	reversals
	transfers
	walks
	endpoints
)

func (e endpoint) String() string {
	return [...]string{"reads", "lists", "reversals", "transfers", "walks"}[e]
}

// permit lets an actor make one call. It must be returned by a release, used or not.
type permit struct {
	inc uint64
	no  uint64
}

// denied answers an ask that will get no permit: the daemon stops.
type denied struct{ inc uint64 }

// release returns a permit, with what the call taught about Stripe.
type release struct {
	no       uint64
	endpoint endpoint
	scope    ledger.Scope
	after    time.Duration // Retry-After: how long the scope is to be left alone
	said     string        // Stripe's words, or those of whoever answered in its place
	unused   bool          // no call was made, or none that Stripe had a say in: it taught nothing
}

type (
	gateTick  struct{ no uint64 }               // a rate, cooldown or breaker may let the next one through
	gateClose struct{ drained chan<- struct{} } // give no more permits; tell when none is out
	gateSweep struct{}
	gateOpen  struct{} // the account behind the key is known to be the ledger's
)

// Limits are the gate's settings.
type Limits struct {
	Rate         int // calls a second in all; 0: no limit
	EndpointRate int // calls a second to one endpoint; 0: no limit
	Concurrency  int // calls under way at once
	// Cooldown is the first pause after a 429; it doubles in a row. 0: 500 ms. A simulator
	// whose time runs faster wants a shorter one.
	Cooldown time.Duration
}

const (
	cooldownBase  = 500 * time.Millisecond // after a 429, for its scope; the default of Limits.Cooldown
	cooldownMost  = 30 * time.Second
	breakerAfter  = 20 // answers in a row that say that Stripe is down
	breakerBase   = time.Second
	breakerMost   = 30 * time.Second
	authBase      = 15 * time.Second // after a 401: nothing gets better by hammering
	authMost      = 5 * time.Minute
	permitLost    = 5 * time.Minute  // a permit out for so long was lost with its actor
	probeLost     = 90 * time.Second // a probe's: until it is back nobody else goes
	gateSweepEach = time.Minute
	probeSweep    = 15 * time.Second
)

// pace spaces calls at a rate, by the generic cell rate algorithm, with a burst of a tenth of
// a second so that the timer's coarseness costs no throughput.
type pace struct {
	every time.Duration // zero: no limit
	due   time.Time     // the theoretical arrival time of the next call
}

const paceBurst = 100 * time.Millisecond

func newPace(rate int) pace {
	if rate <= 0 {
		return pace{}
	}
	return pace{every: time.Second / time.Duration(rate)}
}

// next returns the earliest moment at which a call may start.
func (p *pace) next() time.Time {
	if p.every == 0 {
		return time.Time{}
	}
	return p.due.Add(-max(paceBurst-p.every, 0))
}

func (p *pace) take(now time.Time) {
	if p.every > 0 {
		p.due = latest(p.due, now).Add(p.every)
	}
}

// block keeps a scope closed for a while, longer each time in a row.
type block struct {
	until  time.Time
	asked  time.Time // until then Stripe itself asked to be left alone
	streak int
}

func (b *block) close(now time.Time, base, most, asked time.Duration) {
	if asked > 0 {
		b.asked = latest(b.asked, now.Add(asked))
	}
	defer func() { b.until = latest(b.until, b.asked) }() // what Stripe asks for is never cut short
	if now.Before(b.until) {
		return // answers to calls that were under way already: one lesson, not many
	}
	d := base
	for range b.streak {
		d = min(2*d, most)
	}
	b.streak++
	b.until = now.Add(d)
}

// gate gives permits for calls to Stripe: reversals before transfers, older before newer,
// sellers in turn; so many a second, so many at once. What one call learns of a limit holds
// for all: a 429 pauses its scope, a 401 everything, and while an endpoint seems down its breaker
// lets a single call through to see whether it is back: see breaker.go. Whoever waits, waits here,
// without a goroutine and without a row in the ledger.
type gate struct {
	log     *slog.Logger
	metrics *metrics
	limits  Limits

	queues [endpoints]queue
	paces  [endpoints]pace
	cool   [endpoints]block
	all    pace
	coolall,
	auth block
	refused bool     // the key was, and no answer has shown it mended
	turn    endpoint // that probed last while it is

	breakers [endpoints]breaker    // see breaker.go
	still    [endpoints]standstill // see platform.go

	out     map[uint64]time.Time // permits that are out, since when
	outOf   map[uint64]endpoint  // and of what
	no      uint64
	tell    func(to *actor.PID, message any)
	outage  func() bool // the ledger cannot be written: permits are out for good reason
	sweep   *time.Timer
	timer   *time.Timer
	tickAt  time.Time
	ticks   uint64 // only the tick armed last counts: a stopped timer may have fired already
	barred  bool   // nothing is let through before the account was verified
	sys     *System
	halt    bool // the clocks forbid every send
	hearing bool // they are being heard, or will be soon
	closed  bool
	drained []chan<- struct{}
}

func newGate(s *System) *gate {
	g := &gate{log: s.log, metrics: s.metrics, limits: s.conf.Limits, all: newPace(s.conf.Limits.Rate), barred: s.conf.Verify != nil, out: make(map[uint64]time.Time), tell: s.tell,
		outOf: make(map[uint64]endpoint), sys: s, outage: func() bool { return s.outage.Load() != nil }}
	for e := range g.paces {
		g.paces[e] = newPace(s.conf.Limits.EndpointRate)
	}
	g.paces[walks] = newPace(s.conf.Reconcile.Rate)
	return g
}

func (g *gate) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		for e := range endpoints { // of an incarnation before
			g.sys.Withdraw(standstillCode(e))
			g.sys.Withdraw(brokenCode(e))
		}
		g.sys.Withdraw(refusedKeyCode)
		return
	case ask:
		g.queues[m.endpoint].push(m)
	case place:
		g.tellPlace(m)
		return
	case release:
		g.release(m)
	case gateTick:
		if m.no != g.ticks {
			return
		}
		g.timer = nil
	case gateSweep:
		g.sweep = nil
		g.reclaim()
	case gateHear:
		g.hearing = false
	case gateOpen:
		g.barred = false
	case gateClose:
		g.closed = true
		g.drained = append(g.drained, m.drained)
	case *actor.Stopping, *actor.Restarting:
		for _, timer := range []*time.Timer{g.sweep, g.timer} {
			if timer != nil {
				timer.Stop()
			}
		}
		return
	default:
		return
	}
	g.grant(c)
	if g.sweep == nil && len(g.out) > 0 { // with no permit out none can be lost, and an idle gate needs no timer
		each := gateSweepEach
		if g.refused || g.anyBroken() {
			each = probeSweep
		}
		g.sweep = g.after(c, each, gateSweep{})
	}
	g.report()
}

// grant gives permits while there is room, then arms the timer for the next one.
func (g *gate) grant(c actor.Context) {
	if g.closed {
		for e := range g.queues {
			for q := &g.queues[e]; q.n > 0; {
				a := q.pop()
				c.Send(a.from, denied{a.inc})
			}
		}
		if len(g.out) == 0 {
			for _, d := range g.drained {
				close(d)
			}
			g.drained = nil
		}
		return
	}
	if g.barred {
		return
	}
	g.listen(c)
	now := time.Now()
	for {
		room := g.limits.Concurrency
		if g.refused {
			room = 1
		}
		if len(g.out) >= room {
			return // the next release comes back here
		}
		e, at, any := g.choose()
		if !any {
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
			g.timer, g.tickAt = g.after(c, wait, gateTick{g.ticks}), at
			return
		}
		a := g.queues[e].pop()
		g.all.take(now)
		g.paces[e].take(now)
		g.no++
		g.out[g.no], g.outOf[g.no], g.turn = now, e, e
		c.Send(a.from, permit{inc: a.inc, no: g.no})
	}
}

// choose returns the most urgent endpoint that may be called soonest, and when. While the key is
// refused they take turns: a probe that fails for a reason of its own proves nothing of the key.
func (g *gate) choose() (best endpoint, at time.Time, any bool) {
	first := endpoint(0)
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
		case !any || t.Before(at):
			best, at, any = e, t, true
		}
	}
	return best, at, any
}

// next returns when the next call to an endpoint may be made; it is false while none may.
func (g *gate) next(e endpoint) (at time.Time, may bool) {
	if g.queues[e].n == 0 || g.halted(e) || g.probed(e) {
		return at, false
	}
	for _, t := range []time.Time{g.all.next(), g.coolall.until, g.auth.until, g.paces[e].next(), g.cool[e].until, g.still[e].until, g.breakers[e].until} {
		at = latest(at, t)
	}
	return at, true
}

// release takes a permit back and learns from its answer.
func (g *gate) release(m release) {
	delete(g.out, m.no)
	delete(g.outOf, m.no)
	if m.unused {
		return
	}
	now := time.Now()
	switch m.scope {
	case ledger.ScopeEndpoint:
		g.cool[m.endpoint].close(now, g.limits.Cooldown, cooldownMost, m.after)
		g.slows(m, limitedCode(m.endpoint), g.cool[m.endpoint].until)
		g.log.Warn("Stripe limits the rate of an endpoint; pausing it", "endpoint", m.endpoint.String(), "until", g.cool[m.endpoint].until)
	case ledger.ScopeAccount:
		g.coolall.close(now, g.limits.Cooldown, cooldownMost, m.after)
		g.slows(m, limitedCode(endpoints), g.coolall.until)
		g.log.Warn("Stripe limits the rate of the account; pausing all calls", "until", g.coolall.until)
	case ledger.ScopeAuth:
		g.refuse(m, now)
		return
	case ledger.ScopeDown:
		g.fails(m, now)
		return
	case ledger.ScopePlatform:
		g.stand(m, now)
	case ledger.ScopeNone:
		g.goOn(m.endpoint)
		if !now.Before(g.cool[m.endpoint].until) {
			g.cool[m.endpoint] = block{}
		}
		if !now.Before(g.coolall.until) {
			g.coolall = block{}
		}
	}
	// Any answer that is neither 401 nor an outage shows that Stripe is there and knows us.
	g.knows()
	g.works(m.endpoint, now)
}

// reclaim takes back permits that were lost with their actors. While the ledger cannot be
// written none counts as lost: intents wait for it with their permits in hand.
func (g *gate) reclaim() {
	for no, since := range g.out {
		switch {
		case g.outage():
			g.out[no] = time.Now()
		case time.Since(since) > permitLost, time.Since(since) > probeLost && g.isProbe(g.outOf[no]):
			g.log.Warn("a permit was lost with its actor; taking it back", "out_for", time.Since(since))
			delete(g.out, no)
			delete(g.outOf, no)
		}
	}
}

func (g *gate) report() {
	g.metrics.gateOut.Set(float64(len(g.out)))
	for e := range endpoints {
		g.metrics.gateWaiting.WithLabelValues(e.String()).Set(float64(g.queues[e].n))
	}
	braked := 0.0
	if g.refused || time.Now().Before(g.coolall.until) {
		braked = 1
	}
	g.metrics.gateBraked.Set(braked)
}

// isProbe reports an endpoint whose calls out are probes: one that is lost must not be waited for long.
func (g *gate) isProbe(e endpoint) bool {
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
	self := c.Self()
	return time.AfterFunc(d, func() { g.tell(self, m) })
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
