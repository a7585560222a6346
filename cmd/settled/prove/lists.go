package prove

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/settled/settled/actors/stripesim"
)

// listless is a span in which Stripe answers every list with 500, while objects can be read and money moves: whatever
// only a list can tell must wait, and nothing else may.
type listless struct{ From, For time.Duration }

func (l listless) String() string {
	return fmt.Sprintf("no lists for %s from %s on", l.For.Round(time.Minute), l.From.Round(time.Minute))
}

// drawListless draws it in one world of three, and by itself: what else a seed plans stays as it is.
func (p *plan) drawListless(rng *rand.Rand) {
	if rng.IntN(3) > 0 {
		return
	}
	p.Listless.From = time.Duration(rng.Float64() * float64(p.Troubled) / 4)
	p.Listless.For = time.Duration((0.1 + 0.9*rng.Float64()) * float64(p.Troubled-p.Listless.From))
}

// hideLists has lists fail while it lasts.
func (w *world) hideLists() {
	l := w.plan.Listless
	if l.For == 0 {
		return
	}
	w.sim.Inject(stripesim.Rule{Kind: stripesim.KindList500, Path: "GET /v1/transfers$", Times: -1, Match: func(stripesim.RequestInfo) bool {
		at := time.Since(w.began)
		if !w.troubled() || at < l.From || at >= l.From+l.For {
			return false
		}
		w.mu.Lock()
		w.faults["no list"]++
		w.mu.Unlock()
		return true
	}})
}
