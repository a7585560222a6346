package actors

import (
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/ledger"
)

// clocks keeps what was last heard of three clocks: the database's, which stamps the ledger;
// Stripe's, by which keys are forgotten and objects are dated; and this machine's wall clock.
// What was heard is carried on by the monotonic clock, which nobody sets. So a clock that jumps
// differs from the two others, and so does all that was heard before the machine was suspended,
// because the monotonic clock stands still then: until each is heard again.
//
// Nothing is latched. Once the three agree within the skew, the trouble is over. Before that a person's
// word may say which is right: see trust.go.
type clocks struct {
	skew  time.Duration
	quiet time.Duration                            // only for what people read
	wall  func() time.Time                         // nil: the one that comes with time.Now
	raise func(trouble string, word *ledger.Trust) // hears of the beginning of trouble, of a person's word on it, and ("") of its end

	mu               sync.Mutex
	database, stripe clockTime
	word             word
	last             string // what was raised last: nothing, trouble, or a word's ID
}

// clockTime is the time that a clock told between two local instants.
type clockTime struct {
	heard         bool
	said          time.Time
	grain         time.Duration // it may have been so much later
	before, after time.Time     // with monotonic readings
	wall          time.Time     // this machine's wall clock at after
}

// dateGrain is the resolution of Stripe's Date header.
const dateGrain = time.Second

func newClocks(w ledger.Windows, wall func() time.Time, raise func(string, *ledger.Trust)) *clocks {
	return &clocks{skew: w.Skew, quiet: w.Quiet, wall: wall, raise: raise}
}

// stored takes in the database's time, which a query that began at before brought.
func (c *clocks) stored(said, before time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, wall := c.read()
	c.database = clockTime{heard: true, said: said, before: before, after: now, wall: wall}
	c.look(now, wall)
}

// dated takes in the Date of an answer of Stripe's.
func (c *clocks) dated(d stripe.Date) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stripe.heard && d.After.Before(c.stripe.after) {
		return
	}
	now, wall := c.read()
	c.stripe = clockTime{heard: true, said: d.At, grain: dateGrain, before: d.Before, after: d.After, wall: wall.Add(-now.Sub(d.After))}
	c.look(now, wall)
}

// read reads this machine's two clocks at one instant.
func (c *clocks) read() (now, wall time.Time) {
	now = time.Now()
	if c.wall != nil {
		return now, c.wall().Round(0)
	}
	return now, now.Round(0)
}

// at is the least that the clock says at an instant: it may be later, and never was earlier.
func (r *clockTime) at(now time.Time) time.Time { return r.said.Add(now.Sub(r.after)) }

// slack is how much later than at it may be: network time, and the resolution.
func (r *clockTime) slack() time.Duration { return r.grain + r.after.Sub(r.before) }

// apart returns how far a is ahead of b, beyond what the slack of either explains, as far as it
// is more than the skew; else 0.
func (c *clocks) apart(a, b time.Time, slackA, slackB time.Duration) time.Duration {
	least, most := a.Sub(b)-slackB, a.Sub(b)+slackA
	switch {
	case least > c.skew:
		return a.Sub(b)
	case most < -c.skew:
		return a.Sub(b)
	}
	return 0
}

// now returns the database's time, as far as this machine can tell, and how the other clocks
// stand to it. It may be behind, by the time that the database's word took to come here, and
// never ahead. It is false before the database was heard.
func (c *clocks) now() (time.Time, ledger.Clocks, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, wall := c.read()
	state := c.look(now, wall)
	return c.database.at(now), state, c.database.heard
}

// state is how the clocks stand.
func (c *clocks) state() ledger.Clocks {
	_, state, _ := c.now()
	return state
}

// heardSince reports that Stripe's clock was heard after an instant.
func (c *clocks) heardSince(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stripe.heard && !c.stripe.after.Before(t)
}

// look compares the clocks, under the lock, and tells when trouble begins or ends, and when a person's
// word begins to count or is void.
func (c *clocks) look(now, wall time.Time) ledger.Clocks {
	if !c.database.heard {
		return ledger.Clocks{}
	}
	state := c.compare(now, wall)
	trouble, last := state.Trouble, ""
	state, why := c.heed(state, now, wall)
	var trusted *ledger.Trust
	switch {
	case why != "":
		trusted = c.word.Trust
		trouble, last = why, trusted.ID.String()
	case trouble != "":
		last = "trouble"
	}
	if last != c.last {
		c.raise(trouble, trusted)
	}
	c.last = last
	return state
}

func (c *clocks) compare(now, wall time.Time) (s ledger.Clocks) {
	db := c.database.at(now)
	s.Ahead, s.Behind = max(0, wall.Sub(db)), max(0, db.Sub(wall))
	machine := c.apart(db, wall, c.database.slack(), 0)
	if !c.stripe.heard {
		if s.Halt = machine != 0; s.Halt {
			s.Trouble = fmt.Sprintf("The database's clock is %s this machine's, and Stripe's was not heard yet.", offset(machine))
		}
		return s
	}
	at := c.stripe.at(now)
	s.Ahead, s.Behind = max(s.Ahead, at.Sub(db)), max(s.Behind, db.Sub(at))
	ours, theirs := c.apart(at, wall, c.stripe.slack(), 0), c.apart(at, db, c.stripe.slack(), c.database.slack())
	jumped := wall.Sub(c.stripe.wall) - now.Sub(c.stripe.after)
	switch {
	case machine == 0 && ours == 0 && theirs == 0:
	case machine == 0 && jumped.Abs() > c.skew:
		s.Halt = true
		s.Trouble = fmt.Sprintf("This machine's clock jumped by %s since Stripe was heard last, or the machine was suspended.", jumped.Round(time.Second))
	case machine == 0:
		s.Trouble = fmt.Sprintf("Stripe's clock is %s this machine's and the database's.", offset(at.Sub(wall)))
	case ours == 0:
		s.Halt = true
		s.Trouble = fmt.Sprintf("The database's clock is %s this machine's and Stripe's.", offset(machine))
	case theirs == 0:
		s.Halt = true
		s.Trouble = fmt.Sprintf("This machine's clock is %s the database's and Stripe's.", offset(-machine))
	default:
		s.Halt = true
		s.Trouble = fmt.Sprintf("Of three clocks no two agree: the database's is %s this machine's, and Stripe's %s it.", offset(machine), offset(ours))
	}
	return s
}

// offset is how far a clock is from another, for people.
func offset(d time.Duration) string {
	if d < 0 {
		return (-d).Round(time.Second).String() + " behind"
	}
	return d.Round(time.Second).String() + " ahead of"
}

// collect registers the offsets to this machine's wall clock as metrics.
func (c *clocks) collect(r prometheus.Registerer) {
	gauge := func(clock string, value func(now, wall time.Time) time.Duration) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "settled_clock_offset_seconds",
			Help:        "How far a clock is ahead of this machine's wall clock; monotonic: since Stripe was heard last.",
			ConstLabels: prometheus.Labels{"clock": clock}}, func() float64 {
			c.mu.Lock()
			defer c.mu.Unlock()
			return value(c.read()).Seconds()
		}))
	}
	from := func(of *clockTime) func(now, wall time.Time) time.Duration {
		return func(now, wall time.Time) time.Duration {
			if !of.heard {
				return 0
			}
			return of.at(now).Sub(wall)
		}
	}
	gauge("database", from(&c.database))
	gauge("stripe", from(&c.stripe))
	gauge("monotonic", func(now, wall time.Time) time.Duration {
		if !c.stripe.heard {
			return 0
		}
		return now.Sub(c.stripe.after) - wall.Sub(c.stripe.wall)
	})
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "settled_clocks_disagree",
		Help: "1 while the clocks differ by more than the skew: nothing is proved by time, but for what a person's word allows."}, func() float64 {
		if c.standing().State != agree {
			return 1
		}
		return 0
	}))
	for _, of := range ledger.ClockNames {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "settled_clock_trusted",
			Help:        "1 while a person's word that this clock is right counts, because the clocks disagree.",
			ConstLabels: prometheus.Labels{"clock": string(of)}}, func() float64 {
			if t := c.standing().Trust; t != nil && t.Clock == of {
				return 1
			}
			return 0
		}))
	}
}
