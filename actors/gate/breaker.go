package gate

import (
	"fmt"
	"time"

	"github.com/settled/settled/ledger"
)

// An endpoint is down, not Stripe: lists may fail for an hour while every transfer would be paid, and the
// reverse. So each endpoint has a breaker of its own, and each probes by itself. With one breaker for all, the probe is
// the most urgent call, which is a read; while reads fail every probe fails, and nothing is paid.

// breaker keeps an endpoint to a single call after pauses that grow, once its answers say that it is down.
type breaker struct {
	block
	failures int       // in a row
	since    time.Time // zero: it lets calls through
}

func (b *breaker) broken() bool { return !b.since.IsZero() }

// fails takes in an answer that says that Stripe, or the way to its endpoint, is down.
func (g *gate) fails(m Release, now time.Time) {
	b := &g.breakers[m.Endpoint]
	// While the key is refused one call in all is made: it is a probe, and must not be repeated at once.
	if b.failures++; b.failures < breakerAfter && !b.broken() && !g.refused {
		return
	}
	first := !b.broken()
	if first {
		b.since = now
		g.Metrics.broken.WithLabelValues(m.Endpoint.String()).Set(1)
	}
	b.close(now, breakerBase, breakerMost, m.After)
	n := ledger.Notice{
		Code: brokenCode(m.Endpoint), Mover: ledger.MoveOfStripe, Since: b.since, Until: b.until, Bars: true,
		Detail: said(m.Said),
		Text:   fmt.Sprintf("Stripe does not answer %s, or the way to it is down. One call at a time shows whether that is over; then all goes on.", m.Endpoint),
	}
	m.Endpoint.narrow(&n)
	g.Notify(n)
	if first {
		g.Log.Warn("Stripe seems to be down; one call at a time shows whether it is back",
			"endpoint", m.Endpoint.String(), "until", b.until)
	}
}

// works takes in an answer that shows that the endpoint is there.
func (g *gate) works(e Endpoint, now time.Time) {
	b := &g.breakers[e]
	broken := b.broken()
	*b = breaker{}
	if !broken {
		return
	}
	g.Log.Info("Stripe answers again", "endpoint", e.String())
	g.Metrics.broken.WithLabelValues(e.String()).Set(0)
	g.Withdraw(brokenCode(e))
	// Most often all of them were down together: the others find out at once.
	for other := range g.breakers {
		if o := &g.breakers[other]; o.broken() && o.until.After(now) && !o.asked.After(now) {
			o.until = now
		}
	}
}

// refuse takes in that Stripe does not know the key: it is the same for every endpoint.
func (g *gate) refuse(m Release, now time.Time) {
	g.refused = true
	g.auth.close(now, authBase, authMost, m.After)
	g.Notify(ledger.Notice{
		Code: refusedKeyCode, Mover: ledger.MoveOfPlatform, Until: g.auth.until, Bars: true, Detail: said(m.Said),
		Text: "Stripe refuses the secret key, so nothing is sent. One call at a time shows whether that is over; a key that was changed needs a new start of the daemon.",
	})
	g.Log.Error("Stripe refuses the secret key; pausing all calls", "until", g.auth.until)
}

// knows takes in an answer that shows that Stripe knows the key.
func (g *gate) knows() {
	if g.refused {
		g.Log.Info("Stripe takes the secret key again")
		g.Withdraw(refusedKeyCode)
	}
	g.refused, g.auth = false, block{}
}

// slows tells of a pause that Stripe's rate limits ask for; it is over by itself.
func (g *gate) slows(m Release, code string, until time.Time) {
	n := ledger.Notice{
		Code: code, Mover: ledger.MoveOfStripe, Until: until, Ends: until, Bars: true, Detail: said(m.Said),
		Text: "Stripe asks for fewer calls (429): all calls to it pause for a moment, and go on by themselves.",
	}
	if m.Scope == ledger.ScopeEndpoint {
		n.Text = fmt.Sprintf("Stripe asks for fewer calls (429): %s pause for a moment, and go on by themselves.",
			m.Endpoint)
		m.Endpoint.narrow(&n)
	}
	g.Notify(n)
}

// narrow says whose calls a notice about an endpoint is about.
func (e Endpoint) narrow(n *ledger.Notice) {
	switch e {
	case Reads: // by its ID a reversal is read, and a transfer that is known
		n.Kinds, n.Reads = []ledger.Kind{ledger.MakeReversal}, true
	case Lists:
		n.Kinds, n.Reads = []ledger.Kind{ledger.CreateTransfer}, true
	case Reversals:
		n.Kinds = []ledger.Kind{ledger.MakeReversal}
	case Transfers:
		n.Kinds = []ledger.Kind{ledger.CreateTransfer}
	case Walks: // no transfer waits for it
		n.Bars = false
	}
}

// refusedKeyCode is the notice's while Stripe refuses the key.
const refusedKeyCode = "key_refused"

func brokenCode(e Endpoint) string { return "stripe_down_" + e.String() }

// limitedCode is of a pause of an endpoint; of endpoints, which is none: of all calls.
func limitedCode(e Endpoint) string {
	if e == endpoints {
		return "rate_limited"
	}
	return "rate_limited_" + e.String()
}

func said(words string) string {
	if words == "" {
		return ""
	}
	return "Stripe says: " + words
}
