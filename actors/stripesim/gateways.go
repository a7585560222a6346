package stripesim

import "net/http"

// strange is an answer that something in front of the API gives in its place, or that is not
// what it says it is. Like a gateway's it comes before the execution or, unseen, after it.
func (s *Sim) strange(c *call) (answer, bool) {
	h := mix(s.plan.seed, "strange", c.identity()) + scramble(uint64(c.info.Arrival))
	switch c.fault.kind {
	case KindGatewayJSON:
		f := []*failure{
			{status: http.StatusBadRequest, kind: "upstream_timeout", message: "the upstream did not answer in time"},
			{status: http.StatusPaymentRequired, kind: "quota", message: "egress quota"},
			{status: http.StatusGone, kind: "policy_violation", code: "egress", message: "session expired"},
			{status: http.StatusBadRequest, kind: "invalid_request_error", code: "balance_insufficient", message: "answered for Stripe"},
		}[h%4]
		a := s.fail(c, f)
		a.header, a.unnamed = map[string]string{"Server": "egress-gw/3.1"}, true
		return a, true
	case KindFalseReplay:
		f := []*failure{
			{status: http.StatusTooManyRequests, kind: "invalid_request_error", code: "rate_limit", message: "Too many requests."},
			{status: http.StatusForbidden, kind: "invalid_request_error", message: "Forbidden."},
			{status: http.StatusNotFound, kind: "invalid_request_error", code: "resource_missing", message: "Not here."},
			{status: http.StatusUnauthorized, kind: "invalid_request_error", message: "Not you."},
		}[h%4]
		a := s.fail(c, f)
		a.replayed = true
		return a, true
	case KindStray:
		a := s.fail(c, refused("balance_insufficient", "", "Somebody else's funds are insufficient."))
		a.header = map[string]string{"Idempotency-Key": "settled:of:another:request"}
		return a, true
	}
	return answer{}, false
}

// puzzle is a refusal that nobody has modelled.
func (s *Sim) puzzle(c *call) *failure {
	f := invalid("novel_refusal", "", "This is a refusal of a kind that is new.")
	if c.fault.executes { // a coin: nothing is executed either way
		f.retry, f.header = "true", map[string]string{"Retry-After": "90"}
	}
	return f
}
