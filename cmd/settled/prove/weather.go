package prove

import (
	"fmt"
	"math/rand/v2"
	nethttp "net/http"
	"time"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// spell is a time in which transfers or reversals cannot be made, and nothing is broken: what must be waited for.
type spell struct {
	Kind      string        // no funds, seller not ready, seller empty, platform refused
	From, For time.Duration // since the world began
	Currency  ledger.Currency
	Account   string        // of the seller
	Each      time.Duration // between what comes in, and is told by an event
	Amount    int64         // that comes in each time: enough for a few, or none
	Status    int           // with which Stripe refuses the platform
	Says      string
}

func (s spell) String() string {
	return fmt.Sprintf("%s (%s%s) for %s from %s on, %d each %s", s.Kind, s.Currency, s.Account, s.For.Round(time.Minute), s.From.Round(time.Minute), s.Amount, s.Each.Round(time.Minute))
}

// drawWeather draws spells, some as long as the trouble. It draws by itself: what else a seed plans stays as it is.
func (p *plan) drawWeather(rng *rand.Rand) {
	if rng.IntN(2) == 0 {
		return
	}
	for range 1 + rng.IntN(3) {
		o := p.orders[rng.IntN(len(p.orders))].order
		s := spell{From: time.Duration(rng.Float64() * float64(2*time.Hour)), Currency: o.Money.Currency, Each: time.Duration(1+rng.IntN(8)) * 15 * time.Minute}
		s.For = time.Duration((0.2 + 0.8*rng.Float64()) * float64(p.Troubled-s.From))
		switch rng.IntN(6) {
		case 0, 1, 2:
			s.Kind, s.Amount = "no funds", []int64{0, 100, 30_000, 60_000}[rng.IntN(4)]
		case 3:
			s.Kind, s.Account, s.Currency = "seller not ready", o.Destination, ""
		case 4:
			s.Kind, s.Account, s.Amount = "seller empty", o.Destination, []int64{1, 20_000}[rng.IntN(2)]
		default:
			s.Kind, s.Currency = "platform refused", ""
			s.Status, s.Says = nethttp.StatusForbidden, "The provided key does not have the required permissions for this endpoint."
			switch rng.IntN(3) {
			case 0:
				s.Status, s.Says = nethttp.StatusBadRequest, "Cannot create live transfers: your account is restricted."
			case 1:
				s.Status, s.Says = nethttp.StatusNotFound, "Unrecognized request URL (POST: /v1/transfers)."
			}
		}
		p.Weather = append(p.Weather, s)
	}
	if rng.IntN(4) == 0 && len(p.charges) == 0 { // what is paid from a charge needs no funds
		p.famine()
	}
}

// famine has all orders be of one currency, of which the platform has nothing while trouble lasts; twelve
// times an hour a little comes in that pays for none. Whoever wakes all that wait is heard.
func (p *plan) famine() {
	s := spell{Kind: "no funds", For: p.Troubled, Currency: p.orders[0].order.Money.Currency, Each: 5 * time.Minute, Amount: 1}
	for i := range p.orders {
		p.orders[i].order.Money.Currency = s.Currency
	}
	p.Weather = []spell{s}
}

// weather has the spells come and go.
func (w *world) weather() {
	for i, s := range w.plan.Weather {
		step := func(what string, do func()) {
			w.turn(fmt.Sprintf("weather %d %s", i, what))
			w.mu.Lock()
			w.faults[s.Kind+" "+what]++
			w.mu.Unlock()
			do()
		}
		if s.Kind == "platform refused" {
			w.sim.Inject(stripesim.Rule{Kind: stripesim.KindAnswer, Path: "POST /v1/transfers$", Status: s.Status, Type: "invalid_request_error", Message: s.Says, Times: -1,
				Match: func(stripesim.RequestInfo) bool {
					at := time.Since(w.began)
					return at >= s.From && at < s.From+s.For
				}})
		}
		w.background(func() {
			time.Sleep(s.From)
			step("begins", func() { w.begins(s) })
			for n := 1; time.Since(w.began)+s.Each < s.From+s.For; n++ {
				time.Sleep(s.Each)
				step("goes on", func() { w.goesOn(s, n) })
			}
			time.Sleep(max(0, s.From+s.For-time.Since(w.began)))
			step("ends", func() { w.ends(s) })
		})
	}
}

func (w *world) begins(s spell) {
	switch s.Kind {
	case "no funds", "seller empty":
		w.sim.SetAvailable(s.Account, string(s.Currency), 0)
	case "seller not ready":
		w.sim.Onboard(s.Account, "inactive")
	}
}

// goesOn brings a little, or an event that changes nothing.
func (w *world) goesOn(s spell, n int) {
	switch s.Kind {
	case "no funds", "seller empty":
		if s.Amount > 0 {
			w.sim.Gain(s.Account, string(s.Currency), s.Amount)
		}
	case "seller not ready": // one screen after the other is filled in
		for _, status := range []string{"inactive", "pending", "pending"}[n%3:] {
			w.sim.Onboard(s.Account, status)
		}
	}
}

func (w *world) ends(s spell) {
	switch s.Kind {
	case "no funds":
		w.sim.Unlimit(string(s.Currency))
	case "seller empty":
		w.sim.Gain(s.Account, string(s.Currency), 1_000_000_000)
	case "seller not ready":
		w.sim.Onboard(s.Account, "active")
	}
}
