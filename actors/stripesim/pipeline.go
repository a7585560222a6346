package stripesim

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// process takes a call through the pipeline and sends the outcome to whoever still
// waits for it. A slow call is continued by the agenda.
func (s *Sim) process(c *call) {
	s.mu.Lock()
	s.arrived(c)
	out, ready := s.enter(c)
	if !ready {
		s.wait(c)
	}
	s.mu.Unlock()
	if ready {
		c.reply <- out
		return
	}
	s.clock.after(c.fault.delay, func() {
		s.mu.Lock()
		s.arrived(c)
		out := s.finish(c)
		s.mu.Unlock()
		c.reply <- out
	})
}

// wait and arrived keep count of the calls whose effect is on the agenda.
func (s *Sim) wait(c *call) {
	c.waiting = true
	s.underWay++
}

func (s *Sim) arrived(c *call) {
	if c.waiting {
		c.waiting = false
		s.underWay--
	}
}

// enter is everything before the execution, in Stripe's order (STRIPE.md §10). It is
// not ready when the execution is yet to come.
func (s *Sim) enter(c *call) (outcome, bool) {
	kind := c.fault.kind
	if kind == KindHang {
		s.hit(kind)
	}
	if s.clock.now().Before(s.downUntil) {
		s.count("refused down")
		return s.plain(s.fail(c, unavailable())), true
	}
	if out, done := s.wireFault(c); done {
		return out, true
	}
	if f := s.authenticate(c); f != nil {
		return s.plain(s.fail(c, f)), true
	}
	if kind == KindRateLimit {
		s.hit(kind)
		return s.plain(s.fail(c, c.fault.colour(rateLimited("global-rate")))), true
	}
	if f := s.limit(c); f != nil {
		return s.plain(s.fail(c, f)), true
	}
	if f := s.validate(c); f != nil {
		return s.deliver(c, s.fail(c, f)), true
	}
	if a, done := s.claim(c); done {
		return s.deliver(c, a), true
	}
	if f := s.lock(c); f != nil {
		s.unclaim(c)
		return s.plain(s.fail(c, f)), true
	}
	if kind == KindSlow {
		s.hit(kind)
		return outcome{}, false
	}
	return s.finish(c), true
}

// wireFault is what can happen to a call that no API server reads.
func (s *Sim) wireFault(c *call) (outcome, bool) {
	switch kind := c.fault.kind; {
	case kind == KindDrop:
		s.hit(kind)
		return outcome{manner: dropped}, true
	case kind == KindAnswer && !c.fault.executes && !c.fault.rule.Store:
		s.hit(kind)
		return s.plain(s.scripted(c)), true
	case kind == KindPuzzle:
		s.hit(kind)
		return s.plain(s.fail(c, c.fault.colour(s.puzzle(c)))), true
	case !c.fault.executes:
		if a, ok := s.gateway(c); ok {
			s.hit(kind)
			return s.plain(a), true
		}
	}
	return outcome{}, false
}

// gateway is the answer of something in front of the API.
func (s *Sim) gateway(c *call) (answer, bool) {
	switch c.fault.kind {
	case KindBadGateway:
		return proxyPage(http.StatusBadGateway, "Bad Gateway"), true
	case KindUnavailable:
		return s.fail(c, c.fault.colour(unavailable())), true
	case KindGatewayTimeout:
		return s.fail(c, c.fault.colour(&failure{status: http.StatusGatewayTimeout, kind: "api_error",
			message: "The request timed out."})), true
	case KindDependency:
		return s.fail(c, c.fault.colour(&failure{status: http.StatusFailedDependency, kind: "api_error",
			message: "The request could not be completed because an external dependency failed."})), true
	}
	return s.strange(c)
}

func unavailable() *failure {
	return &failure{status: http.StatusServiceUnavailable, kind: "api_error",
		message: "Stripe is temporarily unavailable. Please try again later."}
}

// authenticate answers 401 and 403. It knows no scopes: a key opens all or nothing.
func (s *Sim) authenticate(c *call) *failure {
	unauthorized := func(message string) *failure {
		return c.fault.colour(&failure{status: http.StatusUnauthorized, kind: "invalid_request_error", message: message,
			header: map[string]string{"Www-Authenticate": `Basic realm="Stripe"`}})
	}
	if c.fault.kind == KindAuth {
		s.hit(KindAuth)
		return unauthorized("Invalid API Key provided: " + redact(c.auth))
	}
	if c.auth == "" {
		return unauthorized("You did not provide an API key. You need to provide your API key in the Authorization header, " +
			"using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').")
	}
	known := strings.HasPrefix(c.auth, "sk_") || strings.HasPrefix(c.auth, "rk_")
	if len(s.cfg.Secrets) > 0 {
		known = slices.Contains(s.cfg.Secrets, c.auth)
	}
	if strings.Contains(c.auth, "_live_") && !s.cfg.Livemode {
		// Whoever points a live key here has taken a toy for Stripe: all that it paid would be paid nowhere.
		return unauthorized("This is a simulator, and takes no live key: " + redact(c.auth))
	}
	if !known || s.revoked {
		return unauthorized("Invalid API Key provided: " + redact(c.auth))
	}
	if c.info.Account == "" || c.info.Account == s.world.platform.id {
		c.account = s.world.platform
		return nil
	}
	seller, ok := s.seller(c.info.Account)
	if !ok || seller.closed {
		return &failure{status: http.StatusForbidden, kind: "invalid_request_error", code: "account_invalid",
			message: "The provided key '" + redact(c.auth) + "' does not have access to account '" + c.info.Account +
				"' (or that account does not exist). Application access may have been revoked."}
	}
	c.account = seller
	return nil
}

// validate refuses unknown URLs, parameters and ids. Nothing of it is ever stored.
func (s *Sim) validate(c *call) *failure {
	if c.ep.run == nil {
		f := invalid("", "", "Unrecognized request URL ("+c.info.Method+": "+c.info.Path+"). Please see "+
			"https://stripe.com/docs or we can help at https://support.stripe.com/.")
		f.status = http.StatusNotFound
		return f
	}
	if len([]rune(c.info.Key)) > keyMax {
		return invalid("", "", "Idempotency keys can be at most 255 characters long.")
	}
	if f := c.ep.params.validate(c.form); f != nil {
		return f
	}
	if c.ep.check != nil {
		return c.ep.check(s, c)
	}
	return nil
}

// lock takes the object a write is about, so that a slow execution keeps others out.
func (s *Sim) lock(c *call) *failure {
	if c.fault.kind == KindLockTimeout {
		s.hit(KindLockTimeout)
		return c.fault.colour(lockTimeout())
	}
	if c.info.Method != http.MethodPost || c.transfer == nil {
		return nil
	}
	if _, held := s.locks[c.transfer.id]; held {
		s.count("lock held")
		return lockTimeout()
	}
	c.locked = c.transfer.id
	s.locks[c.locked] = struct{}{}
	return nil
}

// finish executes, stores and shapes the answer.
func (s *Sim) finish(c *call) outcome {
	a := s.execute(c)
	s.store(c, a)
	if c.locked != "" {
		delete(s.locks, c.locked)
	}
	return s.deliver(c, a)
}

// execute is where the faults of the API server itself strike.
func (s *Sim) execute(c *call) answer {
	switch kind := c.fault.kind; kind {
	case KindList500:
		s.hit(kind)
		return s.fail(c, c.fault.colour(serverError()))
	case KindListLag:
		s.hit(kind)
		c.hide = s.clock.now().Add(-c.fault.delay)
	case KindRolledBack500:
		s.hit(kind)
		return s.fail(c, c.fault.colour(serverError()))
	case KindStored500:
		s.hit(kind)
		s.run(c)
		return s.fail(c, c.fault.colour(serverError()))
	case KindLate500:
		s.hit(kind)
		s.later(c)
		return s.fail(c, c.fault.colour(serverError()))
	case KindAnswer:
		if c.fault.rule.Store {
			s.hit(kind)
			return s.scripted(c)
		}
	case KindBalance:
		s.hit(kind)
		s.clock.after(c.fault.delay, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.announceBalance(s.world.platform)
		})
		return s.fail(c, c.fault.colour(platformEmpty()))
	case KindCapability:
		s.breakCapability(c)
	case KindSellerDrained:
		s.drainSeller(c)
	case KindExternalReversal:
		s.hit(kind)
		s.reverseForeign(c.transfer, c.fault.rule.Amount)
	}
	return s.run(c)
}

// run executes the call in one step and answers what it came to.
func (s *Sim) run(c *call) answer {
	body, f := c.ep.run(s, c)
	if f != nil {
		return s.fail(c, c.fault.colour(f))
	}
	return succeed(c, body)
}

// later lets an effect come after its 500. The key keeps replaying the 500, so the
// effect comes once; the record stays until it has.
func (s *Sim) later(c *call) {
	record := c.record
	if record != nil {
		record.pinned = true
	}
	s.underWay++
	s.clock.after(c.fault.delay, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.underWay--
		if record != nil {
			record.pinned = false
		}
		if _, f := c.ep.run(s, c); f != nil {
			s.log.Info("late effect did not come", "key", c.info.Key, "reason", f.message)
			s.count("late refused")
			return
		}
		s.count("late executed")
	})
}

// plain is an outcome nothing happens to on the way.
func (s *Sim) plain(a answer) outcome {
	s.count("answer " + statusText[a.status])
	return outcome{answer: a}
}

// deliver is what can happen to an answer on its way back.
func (s *Sim) deliver(c *call, a answer) outcome {
	out := outcome{answer: a, early: c.early}
	switch kind := c.fault.kind; kind {
	case KindLoseAnswer:
		s.hit(kind)
		out.manner = dropped
	case KindTruncated:
		if a.status == http.StatusOK {
			s.hit(kind)
			out.manner = cut
		}
	case KindEmpty:
		if a.status == http.StatusOK {
			s.hit(kind)
			out.manner = emptied
		}
	case KindAnswer:
		if c.fault.executes {
			s.hit(kind)
			out.answer = s.scripted(c)
		}
	default:
		if c.fault.executes {
			if g, ok := s.gateway(c); ok {
				s.hit(kind)
				out.answer = g
			}
		}
	}
	if out.manner != dropped {
		s.count("answer " + statusText[out.answer.status])
	}
	return out
}

// webhookTimeout is how long a receiver may take to answer a delivery.
const webhookTimeout = 10 * time.Second
