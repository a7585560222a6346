package gate

import (
	"fmt"
	"time"
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

// Check returns why the limits cannot be kept.
func (l Limits) Check() error {
	if l.Concurrency < 1 {
		return fmt.Errorf("STRIPE_CONCURRENCY must be at least 1, not %d", l.Concurrency)
	}
	return nil
}

// OrDefaults returns the limits with defaults for those that are not set.
func (l Limits) OrDefaults() Limits {
	if l.Cooldown == 0 {
		l.Cooldown = cooldownBase
	}
	return l
}

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
	defer func() { b.until = latest(b.until, b.asked) }() // Stripe's own pause is never cut short
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

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
