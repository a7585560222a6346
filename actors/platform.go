package actors

import (
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/settled/settled/ledger"
)

// What is about the platform is not about a transfer: a key without a permission, a restricted account, an unknown
// URL. Every transfer would hear the same, and each would be set aside for it. So the endpoint stands still for all,
// somebody is told, and one call at a time, after pauses that grow, shows whether it is over. Whoever was refused
// goes on by itself then: see [ledger.AwaitPlatform]. Reads stay free: evidence is always wanted.

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
func (g *gate) stand(m release, now time.Time) {
	s := &g.still[m.endpoint]
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
	if m.endpoint == reversals {
		kind = ledger.MakeReversal
	}
	g.sys.Notify(ledger.Notice{
		Code: standstillCode(m.endpoint), Mover: ledger.MoveOfPlatform, Kinds: []ledger.Kind{kind}, Since: s.since, Until: s.until, Bars: true,
		Text:   fmt.Sprintf("Stripe lets the platform make no %s: its key or its account must be mended at Stripe. One call at a time shows whether that is over; then all goes on.", m.endpoint),
		Detail: "Stripe says: " + m.said,
	})
	if first {
		g.sys.alarm("platform", "endpoint", m.endpoint.String(), "stripe_says", m.said)
		g.metrics.gateStill.WithLabelValues(m.endpoint.String()).Set(1)
	}
	g.log.Warn("Stripe still refuses the platform; all calls to the endpoint wait", "endpoint", m.endpoint.String(), "stripe_says", m.said, "until", s.until)
}

// goOn ends an endpoint's standstill: an answer there was about an operation.
func (g *gate) goOn(e endpoint) {
	if g.still[e].stands() {
		g.log.Info("Stripe takes the platform's calls again", "endpoint", e.String(), "stood_still", time.Since(g.still[e].since))
		g.still[e] = standstill{}
		g.sys.Withdraw(standstillCode(e))
		g.metrics.gateStill.WithLabelValues(e.String()).Set(0)
	}
}

// probed reports an endpoint that stands still, or is down, and whose probe is out.
func (g *gate) probed(e endpoint) bool {
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

func standstillCode(e endpoint) string { return "platform_refused_" + e.String() }

// sameRefusal watches for one refusal, of a kind that no row models, that several sellers hear in a row: then it is
// not about them.
type sameRefusal struct {
	mu      sync.Mutex
	text    string
	sellers map[string]bool
}

const sameRefusalOf = 3 // sellers

// particular is what differs between two wordings of one refusal: IDs, quotations, numbers.
var particular = regexp.MustCompile(`[a-z]+_[A-Za-z0-9]+|'[^']*'|[0-9]+`)

// weigh returns the answer as it is to be understood, given those of others before it.
func (s *sameRefusal) weigh(kind ledger.Kind, seller string, a ledger.Answer) ledger.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	executed := a.Verdict == ledger.Done || a.Verdict == ledger.Failed
	switch {
	case a.Replayed: // of another time
	case a.Reaction == ledger.AskOperator && (a.Row == "T15" || a.Row == "T17" || a.Row == "T18"):
		text := fmt.Sprint(kind, " ", a.Code, " ", particular.ReplaceAllString(a.Message, "#"))
		if text != s.text || s.sellers == nil {
			s.text, s.sellers = text, make(map[string]bool)
		}
		if len(s.sellers) < sameRefusalOf {
			s.sellers[seller] = true
		}
		if len(s.sellers) >= sameRefusalOf {
			a.Reaction, a.Scope, a.Alert = ledger.AwaitPlatform, ledger.ScopePlatform, true
		}
	case executed:
		s.text, s.sellers = "", nil
	}
	return a
}
