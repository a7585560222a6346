package prove

import (
	"math/rand/v2"
	"time"
)

// wrong is a time in which clocks are off, by far more than the skew. Stripe's is right: two that
// are off together are as good as a Stripe that is.
type wrong struct {
	Database, Machines bool
	From, For, Off     time.Duration
}

// drawClocks has clocks be wrong for some hours in one of four worlds, most of them by so much
// that absence would be proved at once, or a key be young for ever.
func (p *plan) drawClocks(rng *rand.Rand) {
	if rng.IntN(4) != 0 {
		return
	}
	for range 1 + rng.IntN(3) {
		which := rng.IntN(4) // the database's twice as often: it stamps
		x := wrong{Database: which != 1, Machines: which == 1 || which == 2, From: time.Duration(rng.Float64() * float64(p.Troubled) * 0.8),
			For: time.Duration((0.2 + 8*rng.Float64()) * float64(time.Hour)), Off: time.Duration((0.5 + 24*rng.Float64()) * float64(time.Hour))}
		if rng.IntN(3) == 0 {
			x.Off = -x.Off
		}
		x.For = min(x.For, p.Troubled-x.From)
		p.Wrong = append(p.Wrong, x)
	}
}

// off is by how much the database's clock, or that of the machines, is wrong now.
func (w *world) off(machines bool) (off time.Duration) {
	at := time.Since(w.began)
	for i := range w.plan.Wrong {
		x := &w.plan.Wrong[i]
		if (x.Database && !machines || x.Machines && machines) && at >= x.From && at < x.From+x.For {
			off += x.Off
		}
	}
	return off
}

// wall is the wall clock of the machines that the daemons run on.
func (w *world) wall() time.Time { return time.Now().Add(w.off(true)) }

// clocksGoWrong counts the times in which clocks are off, each as it begins.
func (w *world) clocksGoWrong() {
	for i := range w.plan.Wrong {
		x := &w.plan.Wrong[i]
		w.background(func() {
			time.Sleep(x.From)
			switch {
			case x.Database && x.Machines:
				w.met("all our clocks wrong")
			case x.Database:
				w.met("database's clock wrong")
			default:
				w.met("machines' clocks wrong")
			}
		})
	}
}
