package gate

import (
	"fmt"
	"time"

	"github.com/settled/settled/ledger"
)

// Some refusals are about the platform: a key without a permission, a restricted account, an unknown URL. Every
// transfer would hear the same, and each would be set aside for it. So the endpoint stands still for all, people are
// told, and one call at a time, after pauses that grow, shows whether it is over. The refused transfers go on by
// themselves then: see [ledger.AwaitPlatform]. Reads stay free: evidence is always wanted.

const (
	standstillBase = time.Second // and a quarter more each time: 26 probes until the longest pause
	standstillMost = 5 * time.Minute
)

// standstill is an endpoint that the platform may not use.
type standstill struct {
	since time.Time // zero: it may
	until time.Time // the next probe's time
	pause time.Duration
}

func (s *standstill) stands() bool { return !s.since.IsZero() }

// stand takes in an answer about the platform.
func (g *gate) stand(m Release, now time.Time) {
	s := &g.still[m.Endpoint]
	if s.stands() && now.Before(s.until) {
		return // answers to calls that were under way already: one lesson, not many
	}
	first := !s.stands()
	if first {
		*s = standstill{since: now, pause: standstillBase}
	} else {
		s.pause = min(s.pause+s.pause/4, standstillMost)
	}
	s.until = now.Add(s.pause)
	kind := ledger.CreateTransfer
	if m.Endpoint == Reversals {
		kind = ledger.MakeReversal
	}
	g.Notify(ledger.Notice{
		Code: standstillCode(m.Endpoint), Mover: ledger.MoveOfPlatform, Kinds: []ledger.Kind{kind},
		Since: s.since, Until: s.until, Bars: true,
		Text:   fmt.Sprintf("Stripe lets the platform make no %s: its key or its account must be mended at Stripe. One call at a time shows whether that is over; then all goes on.", m.Endpoint),
		Detail: "Stripe says: " + m.Said,
	})
	if first {
		g.Alarm("platform", "endpoint", m.Endpoint.String(), "stripe_says", m.Said)
		g.Metrics.still.WithLabelValues(m.Endpoint.String()).Set(1)
	}
	g.Log.Warn("Stripe still refuses the platform; all calls to the endpoint wait",
		"endpoint", m.Endpoint.String(), "stripe_says", m.Said, "until", s.until)
}

// goOn ends an endpoint's standstill: an answer there was about an operation.
func (g *gate) goOn(e Endpoint) {
	if g.still[e].stands() {
		g.Log.Info("Stripe takes the platform's calls again",
			"endpoint", e.String(), "stood_still", time.Since(g.still[e].since))
		g.still[e] = standstill{}
		g.Withdraw(standstillCode(e))
		g.Metrics.still.WithLabelValues(e.String()).Set(0)
	}
}

// probed reports an endpoint that stands still, or is down, and whose probe is out.
func (g *gate) probed(e Endpoint) bool {
	if !g.still[e].stands() && !g.breakers[e].broken() {
		return false
	}
	for _, of := range g.outOf {
		if of == e {
			return true
		}
	}
	return false
}

func standstillCode(e Endpoint) string { return "platform_refused_" + e.String() }
