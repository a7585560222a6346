package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// span is a range of sense of a duration. A value outside is a slip of the pen: a walk each nanosecond, a wait of
// a thousand years.
type span struct{ least, most time.Duration }

const day = 24 * time.Hour

var (
	pauses  = span{10 * time.Millisecond, 30 * day}  // between two of the same kind
	ages    = span{time.Minute, 3650 * day}          // for how long something is tried or kept
	windows = span{time.Second, 30 * day}            // the protocol checks how they stand to each other
	budgets = span{10 * time.Millisecond, time.Hour} // for something to end
)

// parseSpan reads a duration as Go writes it, or in days, as 90d; it must be in the range.
func parseSpan(text string, in span) (d time.Duration, err error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, e := strconv.ParseUint(days, 10, 16)
		d, err = time.Duration(n)*day, e
	} else {
		d, err = time.ParseDuration(text)
	}
	switch {
	case err != nil || d <= 0:
		return 0, fmt.Errorf("%q is not a positive duration such as 90s, 1m, 1h30m or 90d", text)
	case d < in.least:
		return 0, fmt.Errorf("%q is shorter than %s: is the unit right?", text, in.least)
	case d > in.most:
		return 0, fmt.Errorf("%q is longer than %s: is the unit right?", text, in.most)
	}
	return d, nil
}
