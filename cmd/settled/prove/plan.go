package prove

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// plan is what a seed decides before anything happens. Each world gets another mixture of
// troubles (swarm testing: what goes wrong all the time hides what goes wrong alone).
type plan struct {
	Nodes    int              // daemons that own every transfer at once
	Faults   stripesim.Faults // what Stripe does by itself
	Kills    int              // deaths of a process at a random moment, beside those at seams
	Stops    int              // orderly stops
	Troubled time.Duration    // after so long faults end, and everything must come to its end

	FailBefore, FailAfter float64 // a statement group that was not executed; one that was, and the answer lost
	DieBefore, DieAfter   float64 // the process ends on either side of a commit or a call
	FailInside, DieInside float64 // in the middle of a statement group
	Slow                  float64 // something takes a while
	LoseEvent, TwiceEvent float64 // on the way from Stripe
	LieEvent              float64 // beside a true event a signed one comes that says what is not so
	LoseAnswer            float64 // of the API to the platform
	StripeSkew, BaseSkew  time.Duration
	SkewJumps             bool     // the database's clock jumps back and forth
	Wrong                 []wrong  // times in which clocks are off
	Outages               []outage // of the calls that move money, while reads work
	blind                 bool     // see drawOutages
	Weather               []spell  // what must be waited for
	Losses                []loss   // of what the database had acknowledged
	Sweep                 time.Duration
	Walk                  time.Duration // how often the reconciler walks by itself; negative: never

	Stranger stranger
	Listless listless

	AccountsV2 bool // sellers are accounts of the v2 API, whose events are thin

	Kept int // so many reversals Stripe keeps pending at first, and every one that a seller's balance does not cover; 0: none

	PageMax int // objects in a page of Stripe's lists; 0: as many as Stripe gives

	charges  []charge // that orders are paid from
	orders   []planned
	messages []planned
	meddling []planned // in Stripe's dashboard: transfers of an amount, and reversals
}

// planned is something the platform or its people ask for.
type planned struct {
	at     time.Duration
	order  ledger.Order
	charge int // which charge it is paid from, from 1
	target int // of a message: which order
	kind   ledger.MessageType
	amount int64
	failed bool // of a word that nobody can vouch for: it moved no money

	wait     time.Duration // of an order: it is not to be sent before
	until    time.Duration // of a hold: it ends so long after the message
	override string        // of a release
	then     []planned     // follow a reversal that was granted, and are about it
}

// makePlan draws a plan.
func makePlan(seed uint64, transfers int, w ledger.Windows) plan {
	rng := rand.New(rand.NewPCG(seed, 11))
	sometimes := func(share, most float64) float64 {
		if rng.Float64() >= share {
			return 0
		}
		return rng.Float64() * most
	}
	p := plan{
		Nodes:      1 + rng.IntN(3),
		Faults:     []stripesim.Faults{stripesim.None, stripesim.Light, stripesim.Heavy, stripesim.Heavy}[rng.IntN(4)],
		Kills:      rng.IntN(7),
		Stops:      rng.IntN(3),
		Troubled:   time.Duration(8+rng.IntN(40)) * time.Hour,
		FailBefore: sometimes(0.4, 0.1), FailAfter: sometimes(0.5, 0.1),
		DieBefore: sometimes(0.3, 0.004), DieAfter: sometimes(0.4, 0.004),
		FailInside: sometimes(0.3, 0.1), DieInside: sometimes(0.3, 0.004),
		Slow:      sometimes(0.4, 0.05),
		LoseEvent: sometimes(0.5, 0.9), TwiceEvent: sometimes(0.5, 0.5), LieEvent: sometimes(0.5, 0.3), LoseAnswer: sometimes(0.5, 0.3),
		SkewJumps: rng.IntN(4) == 0,
		Sweep:     []time.Duration{10 * time.Minute, time.Hour, 3 * time.Hour}[rng.IntN(3)],
	}
	// Any two of the three clocks are at most the skew apart.
	half := float64(w.Skew) / 2
	if rng.IntN(2) == 0 {
		p.StripeSkew = time.Duration((2*rng.Float64() - 1) * half)
	}
	if rng.IntN(2) == 0 {
		p.BaseSkew = time.Duration((2*rng.Float64() - 1) * half)
	}
	if rng.IntN(5) == 0 {
		p.LoseEvent = 1 // no event ever comes: answers and reads must do
	}
	p.drawOutages(rng, w.Safe)
	if rng.IntN(2) == 0 && !p.blind {
		p.PageMax = 1 + rng.IntN(3)
	}
	p.traffic(rng, seed, transfers)
	p.hold(rand.New(rand.NewPCG(seed, 27)))
	p.drawWeather(rand.New(rand.NewPCG(seed, 20)))
	p.drawClocks(rand.New(rand.NewPCG(seed, 31)))
	p.drawWords(rand.New(rand.NewPCG(seed, 71)))
	p.drawStranger(rand.New(rand.NewPCG(seed, 36)))
	p.AccountsV2 = rand.New(rand.NewPCG(seed, 50)).IntN(2) != 0
	p.drawListless(rand.New(rand.NewPCG(seed, 61)))
	if rng := rand.New(rand.NewPCG(seed, 29)); rng.IntN(4) == 0 {
		p.Kept = 1 + rng.IntN(transfers)
	}
	p.Walk = []time.Duration{-1, -1, 3 * time.Hour, 12 * time.Hour}[rng.IntN(4)]
	p.drawLosses(rand.New(rand.NewPCG(seed, 40)))
	for range rng.IntN(3) * rng.IntN(2) * (1 + transfers/20) {
		m := planned{at: time.Duration(rng.Float64() * float64(p.Troubled)), order: p.orders[rng.IntN(len(p.orders))].order}
		if rng.IntN(3) == 0 {
			m.amount = 100 + rng.Int64N(50_000)
		}
		p.meddling = append(p.meddling, m)
	}
	return p
}

var currencies = []ledger.Currency{"eur", "usd", "gbp", "jpy"}

// traffic draws what is ordered and asked for, most of it early, some while things are bad.
func (p *plan) traffic(rng *rand.Rand, seed uint64, transfers int) {
	spread := time.Duration(1+rng.IntN(int(p.Troubled/time.Hour))) * time.Hour
	sellers := 1 + rng.IntN(8)
	ofCharges := rng.IntN(3) == 0
	if p.blind {
		sellers, ofCharges = 1+rng.IntN(3), true
	}
	moment := func() time.Duration { return time.Duration(rng.Float64() * float64(spread)) }
	for i := range transfers {
		seller := rng.IntN(sellers)
		amount := 100 + rng.Int64N(50_000)
		o := planned{at: moment(), order: ledger.Order{
			Reference: fmt.Sprintf("prove-%d-%d", seed, i), Seller: fmt.Sprintf("seller-%d", seller), Destination: fmt.Sprintf("acct_prove%02d", seller),
			Money: ledger.Money{Amount: amount, Currency: currencies[rng.IntN(len(currencies))]},
		}}
		switch {
		case rng.IntN(3) == 0:
			o.at = 0
		case len(p.Outages) > 0 && rng.IntN(2) == 0:
			o.at = p.Outages[0].From + time.Duration(rng.Float64()*float64(2*time.Hour))
		}
		if rng.IntN(10) == 0 {
			o.order.TransferGroup = fmt.Sprintf("order-%d", rng.IntN(3)) // shared, so that a list holds others' too
		}
		if ofCharges && rng.IntN(2) == 0 {
			p.payFromCharge(rng, &o)
		}
		p.orders = append(p.orders, o)
		say := func(after time.Duration, kind ledger.MessageType, amount int64) {
			p.messages = append(p.messages, planned{at: o.at + after, target: i, kind: kind, amount: amount})
		}
		soon := func() time.Duration { return time.Duration(rng.Float64() * float64(3*time.Hour)) }
		switch x := rng.IntN(100); {
		case x < 12:
			say(soon(), ledger.MessageReverse, 0)
		case x < 28:
			say(soon(), ledger.MessageReverse, 1+rng.Int64N(amount-1))
		case x < 40:
			say(soon(), ledger.MessageReverse, 1+rng.Int64N(amount/2))
			say(soon(), ledger.MessageReverse, 1+rng.Int64N(amount/2))
		case x < 44:
			say(soon(), ledger.MessageReverse, 1+rng.Int64N(amount/2))
			say(soon(), ledger.MessageReverse, 0)
		case x < 48: // more than there is, unless one is refused
			say(soon(), ledger.MessageReverse, 1+amount/2)
			say(soon(), ledger.MessageReverse, 1+amount/2)
		case x < 51: // two that only their names tell apart
			part := 1 + rng.Int64N(amount/2)
			say(soon(), ledger.MessageReverse, part)
			say(soon(), ledger.MessageReverse, part)
		case x < 52:
			say(time.Duration(rng.Float64()*float64(time.Minute)), ledger.MessageCancel, 0)
		case x < 57:
			say(soon(), ledger.MessageHold, 0)
			say(soon(), ledger.MessageRelease, 0)
		case x < 60:
			say(soon(), ledger.MessageRetry, 0)
		case x < 65:
			say(soon(), ledger.MessageRestart, 0)
		case x < 70 && !p.late(): // nobody can know that yet, and a person says so all the same
			after := 5 * soon()
			if i%2 == 0 {
				after /= 60 // while a call may be under way
			}
			p.messages = append(p.messages, planned{at: o.at + after, target: i, kind: ledger.MessageResolve, failed: true})
		}
	}
}
