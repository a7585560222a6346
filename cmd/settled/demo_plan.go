package main

import (
	"fmt"
	"math/rand/v2"

	"github.com/settled/settled/ledger"
)

// planned is one order of the demo's platform, and the reversals that will follow it.
type planned struct {
	order     ledger.Order
	reversals []int64 // minor units; 0: all that remains
}

// planTraffic draws sellers, amounts and reversals from a seed.
func planTraffic(seed uint64, n int) []planned {
	rng := rand.New(rand.NewPCG(seed, 1))
	sellers := max(3, n/10)
	currencies := []ledger.Currency{"eur", "usd", "gbp", "jpy"}
	plan := make([]planned, n)
	for i := range plan {
		seller := rng.IntN(sellers)
		amount := 100 + rng.Int64N(50_000)
		p := planned{order: ledger.Order{
			Reference:   fmt.Sprintf("demo-%d-%04d", seed, i),
			Seller:      fmt.Sprintf("seller-%03d", seller),
			Destination: fmt.Sprintf("acct_demo%03d", seller),
			Money:       ledger.Money{Amount: amount, Currency: currencies[rng.IntN(len(currencies))]},
			Metadata:    map[string]string{"order": fmt.Sprint(1000 + i)},
		}}
		switch x := rng.IntN(100); {
		case x < 12:
			p.reversals = []int64{0}
		case x < 28:
			p.reversals = []int64{1 + rng.Int64N(amount-1)}
		case x < 36:
			first := 1 + rng.Int64N(amount/2)
			p.reversals = []int64{first, 1 + rng.Int64N(amount/2)}
		case x < 40:
			p.reversals = []int64{1 + rng.Int64N(amount/2), 0}
		}
		plan[i] = p
	}
	return plan
}
