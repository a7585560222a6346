package stripesim

import (
	"net/http"
	"time"
)

// bucket is a token bucket that holds one second of its rate.
type bucket struct {
	tokens float64
	at     time.Time
}

func (b *bucket) take(rate int, now time.Time) bool {
	b.tokens = min(float64(rate), b.tokens+now.Sub(b.at).Seconds()*float64(rate))
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// limit answers 429 when a limiter refuses, globally or for the endpoint.
func (s *Sim) limit(c *call) *failure {
	now := s.clock.now()
	for _, l := range []struct {
		rate         int
		name, reason string
	}{{s.cfg.RateLimit, "", "global-rate"}, {s.cfg.EndpointRateLimit, c.ep.counter, "endpoint-rate"}} {
		if l.rate <= 0 {
			continue
		}
		b := s.limits[l.name]
		if b == nil {
			b = &bucket{tokens: float64(l.rate), at: now}
			s.limits[l.name] = b
		}
		if !b.take(l.rate, now) {
			s.count("limited " + l.reason)
			return rateLimited(l.reason)
		}
	}
	return nil
}

func rateLimited(reason string) *failure {
	return &failure{status: http.StatusTooManyRequests, kind: "invalid_request_error", code: "rate_limit",
		message: "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
		header:  map[string]string{"Stripe-Rate-Limited-Reason": reason}}
}

// lockTimeout is the 429 of an object that somebody else holds (recorded 13 times).
func lockTimeout() *failure {
	return &failure{status: http.StatusTooManyRequests, kind: "invalid_request_error", code: "lock_timeout", retry: "true",
		message: "This object cannot be accessed right now because another API request or Stripe process is currently accessing " +
			"it. If you see this error intermittently, retry the request. If you see this error frequently and are making " +
			"multiple concurrent requests to a single object, make your requests serially or at a lower rate."}
}
