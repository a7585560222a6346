package stripesim_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/settled/settled/actors/stripesim"
)

func TestLevelsAreReadAsTheyAreWritten(t *testing.T) {
	for _, f := range []stripesim.Faults{stripesim.None, stripesim.Light, stripesim.Heavy} {
		if got, err := stripesim.ParseFaults(f.String()); err != nil || got != f {
			t.Fatalf("%v: %v %v", f, got, err)
		}
	}
	if _, err := stripesim.ParseFaults("medium"); err == nil {
		t.Fatal("medium is no level")
	}
}

// effect is what a spoiled POST /v1/transfers shows, and what is true afterwards.
type effect struct {
	rule     stripesim.Rule
	broken   bool   // the caller sees no usable answer
	status   int    // when not broken
	code     string // of the error
	made     int    // transfers right after the call
	retry    int    // status of a retry under the same key
	replayed bool   // whether the retry is a replay
	total    int    // transfers after the retry and all that is late
}

func TestEveryFaultOfATransferHasItsEffect(t *testing.T) {
	for name, e := range map[string]effect{
		"dropped before":    {rule: stripesim.Rule{Kind: stripesim.KindDrop}, broken: true, made: 0, retry: 200, total: 1},
		"answer lost":       {rule: stripesim.Rule{Kind: stripesim.KindLoseAnswer}, broken: true, made: 1, retry: 200, replayed: true, total: 1},
		"truncated":         {rule: stripesim.Rule{Kind: stripesim.KindTruncated}, broken: true, made: 1, retry: 200, replayed: true, total: 1},
		"empty":             {rule: stripesim.Rule{Kind: stripesim.KindEmpty}, status: 200, made: 1, retry: 200, replayed: true, total: 1},
		"502 before":        {rule: stripesim.Rule{Kind: stripesim.KindBadGateway}, status: 502, made: 0, retry: 200, total: 1},
		"502 behind":        {rule: stripesim.Rule{Kind: stripesim.KindBadGateway, Execute: true}, status: 502, made: 1, retry: 200, replayed: true, total: 1},
		"503 before":        {rule: stripesim.Rule{Kind: stripesim.KindUnavailable}, status: 503, made: 0, retry: 200, total: 1},
		"504 behind":        {rule: stripesim.Rule{Kind: stripesim.KindGatewayTimeout, Execute: true}, status: 504, made: 1, retry: 200, replayed: true, total: 1},
		"424 before":        {rule: stripesim.Rule{Kind: stripesim.KindDependency}, status: 424, made: 0, retry: 200, total: 1},
		"401":               {rule: stripesim.Rule{Kind: stripesim.KindAuth}, status: 401, made: 0, retry: 200, total: 1},
		"rate limit":        {rule: stripesim.Rule{Kind: stripesim.KindRateLimit}, status: 429, code: "rate_limit", made: 0, retry: 200, total: 1},
		"lock timeout":      {rule: stripesim.Rule{Kind: stripesim.KindLockTimeout}, status: 429, code: "lock_timeout", made: 0, retry: 200, total: 1},
		"executed, 500":     {rule: stripesim.Rule{Kind: stripesim.KindStored500}, status: 500, made: 1, retry: 500, replayed: true, total: 1},
		"rolled back, 500":  {rule: stripesim.Rule{Kind: stripesim.KindRolledBack500}, status: 500, made: 0, retry: 500, replayed: true, total: 0},
		"late, 500":         {rule: stripesim.Rule{Kind: stripesim.KindLate500}, status: 500, made: 0, retry: 500, replayed: true, total: 1},
		"out of funds once": {rule: stripesim.Rule{Kind: stripesim.KindBalance}, status: 400, code: "balance_insufficient", made: 0, retry: 400, replayed: true, total: 0},
		"seller broken":     {rule: stripesim.Rule{Kind: stripesim.KindCapability}, status: 400, code: "insufficient_capabilities_for_transfer", made: 0, retry: 400, replayed: true, total: 0},
		"reversed by Stripe": {rule: stripesim.Rule{Kind: stripesim.KindAutoReversal, Delay: time.Hour}, status: 200, made: 1, retry: 200,
			replayed: true, total: 1},
		"scripted, not stored": {rule: stripesim.Rule{Kind: stripesim.KindAnswer, Status: 418, Body: "teapot"}, status: 418, made: 0, retry: 200, total: 1},
		"scripted and stored": {rule: stripesim.Rule{Kind: stripesim.KindAnswer, Status: 402, Type: "card_error", Code: "odd", Store: true},
			status: 402, code: "odd", made: 0, retry: 402, replayed: true, total: 0},
		"scripted, executed behind": {rule: stripesim.Rule{Kind: stripesim.KindAnswer, Status: 200, Body: "{}", Execute: true}, status: 200,
			made: 1, retry: 200, replayed: true, total: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := stripesim.New(stripesim.Config{Seed: 11})
				defer sim.Close()
				w := wire{sim}
				sim.Inject(e.rule)
				r := w.post("/v1/transfers", transferForm(100, ""), "K")
				if (r.err != nil) != e.broken || !e.broken && (r.status != e.status || r.code() != e.code) {
					t.Fatalf("the caller sees %v %d %s", r.err, r.status, r.body)
				}
				if n := len(sim.Truth().Transfers); n != e.made {
					t.Fatalf("%d transfers right after, want %d", n, e.made)
				}
				again := w.post("/v1/transfers", transferForm(100, ""), "K")
				if again.status != e.retry || (again.header.Get("Idempotent-Replayed") == "true") != e.replayed {
					t.Fatalf("the retry: %d %s %v", again.status, again.body, again.header)
				}
				sim.Advance(3 * time.Hour)
				if again := w.post("/v1/transfers", transferForm(100, ""), "K"); again.status != e.retry {
					t.Fatalf("a later retry: %d %s", again.status, again.body)
				}
				truth := sim.Truth()
				if len(truth.Transfers) != e.total || truth.Pending != 0 {
					t.Fatalf("in the end: %+v, want %d", truth.Transfers, e.total)
				}
				if e.rule.Kind == stripesim.KindAutoReversal && truth.Transfers[0].AmountReversed != 100 {
					t.Fatalf("Stripe reversed it by itself: %+v", truth.Transfers[0])
				}
				if got := sim.Counts()["fault "+string(e.rule.Kind)]; got != 1 {
					t.Fatalf("the fault was counted %d times", got)
				}
			})
		})
	}
}

func TestAFaultOfAReversalHasItsEffect(t *testing.T) {
	sim, w := local(t, stripesim.Config{Seed: 12})
	id := w.pay(t, 1000, "").id()
	sim.Inject(stripesim.Rule{Kind: stripesim.KindSellerDrained, Delay: time.Hour})
	r := w.post("/v1/transfers/"+id+"/reversals", "amount=400", "R1")
	if r.status != 400 || r.code() != "balance_insufficient" {
		t.Fatalf("R4: %s", r.body)
	}
	if r := w.post("/v1/transfers/"+id+"/reversals", "amount=400", "R2"); r.status != 400 {
		t.Fatalf("the money is really away: %s", r.body)
	}
	sim.Advance(time.Hour)
	if r := w.post("/v1/transfers/"+id+"/reversals", "amount=400", "R3"); r.status != 200 {
		t.Fatalf("an hour later it is back: %s", r.body)
	}
	sim.Inject(stripesim.Rule{Kind: stripesim.KindExternalReversal, Amount: 600, Path: "/v1/transfers/" + id})
	if r := w.post("/v1/transfers/"+id+"/reversals", "amount=600", "R4"); r.message() != "The transfer "+id+" is already fully reversed." {
		t.Fatalf("somebody else was faster: %s", r.body)
	}
	tr := find(t, sim.Truth(), id)
	if len(tr.Reversals) != 2 || tr.Reversals[1].IdempotencyKey != "" || len(tr.Reversals[1].Metadata) != 0 {
		t.Fatalf("the foreign reversal names nobody: %+v", tr.Reversals)
	}
}

func TestALateEffectKeepsItsKeyUntilItHasCome(t *testing.T) {
	sim, w := local(t, stripesim.Config{Times: stripesim.Times{KeyLife: time.Hour, LateMax: 3 * time.Hour}})
	sim.Inject(stripesim.Rule{Kind: stripesim.KindLate500, Delay: 2 * time.Hour})
	w.post("/v1/transfers", transferForm(100, ""), "K")
	sim.Advance(90 * time.Minute)
	if r := w.post("/v1/transfers", transferForm(100, ""), "K"); r.status != 500 || r.header.Get("Idempotent-Replayed") != "true" {
		t.Fatalf("while the effect is pending the key replays the 500: %d %s", r.status, r.body)
	}
	sim.Advance(time.Hour)
	if n := len(sim.Truth().Transfers); n != 1 {
		t.Fatalf("%d transfers", n)
	}
	list := w.get("/v1/events", "type=transfer.created")
	if len(list.data()) != 1 || !strings.Contains(list.body, `"idempotency_key":"K"`) {
		t.Fatalf("the event names the key: %s", list.body)
	}
}

func TestARuleFitsWhatItSays(t *testing.T) {
	sim, w := local(t, stripesim.Config{})
	sim.Inject(stripesim.Rule{Kind: stripesim.KindRateLimit, Path: "POST /v1/transfers$", Key: "settled:", Arrival: 2, Times: 2,
		Header: map[string]string{"Stripe-Rate-Limited-Reason": "endpoint-rate"}})
	var seen []stripesim.RequestInfo
	sim.Inject(stripesim.Rule{Kind: stripesim.KindDrop, Times: -1, Match: func(r stripesim.RequestInfo) bool {
		seen = append(seen, r)
		return false
	}})
	want := map[string][]int{"other": {200, 200}, "settled:1": {200, 429, 200}, "settled:2": {200, 429}, "settled:3": {200, 200}}
	for _, key := range []string{"other", "settled:1", "settled:2", "settled:3"} {
		for i, status := range want[key] {
			r := w.post("/v1/transfers", transferForm(1, ""), key)
			if r.status != status || status == 429 && r.header.Get("Stripe-Rate-Limited-Reason") != "endpoint-rate" {
				t.Fatalf("%s, call %d: %d %s", key, i, r.status, r.body)
			}
		}
	}
	if last := seen[len(seen)-1]; last.Key != "settled:3" || last.Arrival != 2 || last.Form.Get("amount") != "1" || last.Path != "/v1/transfers" {
		t.Fatalf("what Match saw: %+v", last)
	}
	sim.ClearRules()
	defer func() {
		if recover() == nil {
			t.Fatal("a kind that does not exist is a bug")
		}
	}()
	sim.Inject(stripesim.Rule{Kind: "nonsense"})
}

// operation pays a seller of its own, so that another operation's outage is not its.
func (w wire) operation(i int) reply {
	return w.post("/v1/transfers", fmt.Sprintf("amount=%d&currency=eur&destination=acct_%d", 100+i, i), fmt.Sprintf("op:%d:1", i))
}

// stored reports an answer that is a replay; some only say that they are.
func (r reply) stored() bool {
	return r.header.Get("Idempotent-Replayed") == "true" && !slices.Contains([]int{401, 403, 404, 429}, r.status)
}

// word reports a refusal that is Stripe's, of this operation, and known.
func (r reply) word(i int) bool {
	echo := r.header.Get("Idempotency-Key")
	return r.header.Get("Request-Id") != "" && (echo == "" || echo == fmt.Sprintf("op:%d:1", i)) && r.code() != "novel_refusal"
}

// drive sends every operation until its key gave a final answer, as a client that
// keeps to the protocol does, and returns what each saw.
func drive(w wire, operations, workers int) []string {
	seen := make([]string, operations)
	var wg sync.WaitGroup
	for n := range workers {
		wg.Go(func() {
			for i := n; i < operations; i += workers {
				var story strings.Builder
				for range 12 {
					r := w.operation(i)
					fmt.Fprintf(&story, "%d%s ", r.status, r.code())
					if r.status == 200 && r.id() != "" || r.status == 400 && r.word(i) || r.stored() && r.err == nil && r.body != "" {
						break
					}
				}
				seen[i] = story.String()
			}
		})
	}
	wg.Wait()
	return seen
}

func TestTheSameSeedPlansTheSameFaultsInAnyOrder(t *testing.T) {
	run := func(seed uint64, workers int) (stories []string, ids map[string]string) {
		synctest.Test(t, func(t *testing.T) {
			// Calls that hang take their hours here: keys must outlive them all.
			sim := stripesim.New(stripesim.Config{Seed: seed, Faults: stripesim.Heavy, Times: stripesim.Times{KeyLife: 10_000 * time.Hour}})
			defer sim.Close()
			stories = drive(wire{sim}, 300, workers)
			sim.Advance(24 * time.Hour)
			ids = make(map[string]string)
			for _, tr := range sim.Truth().Transfers {
				ids[tr.IdempotencyKey] = tr.ID
			}
		})
		return stories, ids
	}
	one, oneIDs := run(21, 1)
	two, twoIDs := run(21, 7)
	other, _ := run(22, 1)
	differs := 0
	for i := range one {
		if one[i] != two[i] {
			t.Errorf("operation %d: %q by one worker, %q among seven", i, one[i], two[i])
		}
		if one[i] != other[i] {
			differs++
		}
	}
	if differs < len(one)/4 {
		t.Fatalf("another seed changed only %d of %d operations", differs, len(one))
	}
	for key, id := range oneIDs {
		if twoIDs[key] != id {
			t.Fatalf("key %s made %s and %s", key, id, twoIDs[key])
		}
	}
}

func TestThePlanIsAsHeavyAsItSaysAndBounded(t *testing.T) {
	for level, want := range map[stripesim.Faults][2]float64{stripesim.None: {0, 0}, stripesim.Light: {0.03, 0.08}, stripesim.Heavy: {0.28, 0.42}} {
		t.Run(level.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := stripesim.New(stripesim.Config{Seed: 31, Faults: level})
				defer sim.Close()
				w := wire{sim}
				const calls = 2000
				var wg sync.WaitGroup
				for i := range calls {
					wg.Go(func() {
						w.post("/v1/transfers", transferForm(100, fmt.Sprint("&metadata[op]=", i)), fmt.Sprint("K", i))
					})
				}
				synctest.Wait()
				sim.Advance(24 * time.Hour)
				wg.Wait()
				faults := 0
				for name, n := range sim.Counts() {
					if strings.HasPrefix(name, "fault ") && !strings.HasPrefix(name, "fault event") {
						faults += n
					}
				}
				if share := float64(faults) / calls; share < want[0] || share > want[1] {
					t.Fatalf("%.3f of the calls were spoiled, want %v: %v", share, want, sim.Counts())
				}
			})
		})
	}
}

func TestUnderHeavyFaultsEveryKeyHasAtMostOneEffectAndEnds(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		// Calls that hang take their hours here: keys must outlive them all.
		sim := stripesim.New(stripesim.Config{Seed: seed, Faults: stripesim.Heavy, Times: stripesim.Times{KeyLife: 10_000 * time.Hour}})
		defer sim.Close()
		w := wire{sim}
		const operations = 400
		stories := drive(w, operations, 8)
		sim.Advance(23 * time.Hour)
		truth := sim.Truth()
		if truth.Pending != 0 {
			t.Fatalf("seed %d: %d effects never came", seed, truth.Pending)
		}
		made := make(map[string]int)
		for _, tr := range truth.Transfers {
			made[tr.IdempotencyKey]++
		}
		for i := range operations {
			key := fmt.Sprintf("op:%d:1", i)
			r := w.operation(i)
			for n := 0; n < 6 && !r.stored(); n++ {
				r = w.operation(i)
			}
			switch {
			case made[key] > 1:
				t.Fatalf("seed %d: key %s made %d transfers: %s", seed, key, made[key], stories[i])
			case r.status == 200 && made[key] != 1:
				t.Fatalf("seed %d: key %s says done, Stripe holds %d: %s", seed, key, made[key], stories[i])
			case r.status == 400 && made[key] != 0:
				t.Fatalf("seed %d: key %s says refused, Stripe holds one: %s", seed, key, stories[i])
			case r.status != 200 && r.status != 400 && r.status != 500:
				t.Fatalf("seed %d: key %s never ends: %d %s, %s", seed, key, r.status, r.body, stories[i])
			}
		}
	})
}

func TestKindsAreAllNamedOnce(t *testing.T) {
	seen := make(map[stripesim.Kind]bool)
	for _, k := range stripesim.Kinds() {
		if seen[k] {
			t.Fatalf("%s twice", k)
		}
		seen[k] = true
	}
	if len(seen) < 30 {
		t.Fatalf("%d kinds", len(seen))
	}
}
