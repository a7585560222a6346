package stripe

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// retryAfterMost bounds Retry-After. Stripe documents none, so one that asks for more than a
// pause is rather an edge's mistake; it is not to keep a platform's money back for a day.
const retryAfterMost = 15 * time.Minute

// retryAfter reads Retry-After: seconds, or a date (RFC 9110, 10.2.3). A date is compared with
// the answer's own Date, which is of the same clock; with ours only where that is missing.
func retryAfter(h http.Header) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return 0
	}
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		if !(n > 0) { // NaN too
			return 0
		}
		return time.Duration(min(n, retryAfterMost.Seconds()) * float64(time.Second))
	}
	until, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	from, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		from = time.Now()
	}
	return min(max(until.Sub(from), 0), retryAfterMost)
}
