package prove

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/settled/settled/ledger"
)

// wrong is a time in which clocks are off, by far more than the skew. Stripe's is right: two that
// are off together are as good as a Stripe that is.
type wrong struct {
	Database, Machines bool
	From, For, Off     time.Duration
	Word               time.Duration // so long after its beginning a person says which clock is right; 0: nobody does
	Says               ledger.Clock
	Again, Further     time.Duration // so long after its beginning the same clocks step once more, by so much; 0: they do not
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

// drawWords has people say which clock is right: of three words two are true. Of the false ones none is that this
// machine's clock and no other is wrong, because Stripe's is right. In half of the times the clocks step once more
// after the word.
func (p *plan) drawWords(rng *rand.Rand) {
	for i := range p.Wrong {
		x := &p.Wrong[i]
		if rng.IntN(3) == 0 {
			continue
		}
		x.Word, x.Says = time.Duration((0.05+0.5*rng.Float64())*float64(x.For)), ledger.ClockStripe
		switch {
		case rng.IntN(3) == 0:
			x.Says = ledger.ClockNames[rng.IntN(len(ledger.ClockNames))]
		case !x.Database && rng.IntN(2) == 0:
			x.Says = ledger.ClockDatabase
		}
		if rng.IntN(2) == 0 {
			x.Again, x.Further = x.Word+time.Duration(rng.Float64()*float64(x.For-x.Word)), time.Duration((0.5+24*rng.Float64())*float64(time.Hour))
			if rng.IntN(3) == 0 {
				x.Further = -x.Further
			}
		}
	}
}

// off is by how much the database's clock, or that of the machines, is wrong now.
func (w *world) off(machines bool) (off time.Duration) {
	at := time.Since(w.began)
	for i := range w.plan.Wrong {
		x := &w.plan.Wrong[i]
		if (x.Database && !machines || x.Machines && machines) && at >= x.From && at < x.From+x.For {
			if off += x.Off; x.Again > 0 && at >= x.From+x.Again {
				off += x.Further
			}
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
			if x.Word > 0 {
				time.Sleep(x.Word)
				w.trust(i, x)
			}
		})
	}
}

// trust is a person who says which clock is right. That the clocks agree by now is an answer too.
func (w *world) trust(i int, x *wrong) {
	key := fmt.Sprintf("trust-%d-%d", w.seed, i)
	status, answer := w.ask("says "+key, "POST", "/v1/actors/clocks/messages", key, map[string]any{"type": "trust", "clock": x.Says, "reason": "it was planned"})
	switch {
	case status == 202 && x.true():
		w.met("true word on the clocks")
	case status == 202:
		w.met("false word on the clocks")
	case status != 409:
		w.breaks(16, "a word on the clocks was answered %d %s", status, answer)
	}
}

// true reports a word that is so: Stripe's clock is right, and the database's unless it is wrong.
func (x *wrong) true() bool {
	return x.Says == ledger.ClockStripe || x.Says == ledger.ClockDatabase && !x.Database || x.Says == ledger.ClockMachine && !x.Machines
}

func (s *seam) Trust(ctx context.Context) (t *ledger.Trust, at time.Time, err error) {
	err = s.n.at(ctx, "trust", func() (err error) { t, at, err = s.DB.Trust(ctx); return err })
	return t, at, err
}

func (s *seam) StoreTrust(ctx context.Context, t ledger.Trust) error {
	return s.n.at(ctx, "store_trust", func() error { return s.DB.StoreTrust(ctx, t) })
}

func (s *seam) EndTrust(ctx context.Context, id ledger.ID, why string) error {
	return s.n.at(ctx, "end_trust", func() error { return s.DB.EndTrust(ctx, id, why) })
}
