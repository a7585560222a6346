package prove

import (
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/ledger"
)

var (
	seeds     = flag.Uint64("seeds", 40, "how many worlds to try")
	first     = flag.Uint64("seed", 1, "the first world's seed")
	transfers = flag.Int("transfers", 20, "transfers in each world")
	tracing   = flag.Bool("trace", false, "print the trace of every world")
)

// defaults are the settings of the command.
func defaults() Config {
	retry := ledger.Retry{Enabled: true, MaxAttempts: 5, MaxAge: 72 * time.Hour, Backoff: ledger.Backoff{Base: time.Minute, Max: time.Hour}}
	return Config{
		Policy:    ledger.Policy{Windows: ledger.DefaultWindows(), Transfers: retry, Reversals: retry, Unresolved: ledger.ParkDoubtful, Epoch: 1},
		Limits:    actors.Limits{Rate: 80, EndpointRate: 20, Concurrency: 32},
		Transfers: *transfers,
	}
}

func TestNoSeedBreaksAnInvariant(t *testing.T) {
	for seed := *first; seed < *first+*seeds; seed++ {
		began := time.Now()
		r := Run(t, defaults(), seed, *tracing)
		if *tracing {
			t.Log(strings.Join(r.Trace, "\n"))
		}
		for _, v := range r.Violations {
			t.Errorf("seed %d: %s", seed, v)
		}
		t.Logf("seed %d: %s: %d steps, %d posts, %d deaths, %d reversals, %v, %s in %s, hash %x", seed, r.Plan, r.Steps, r.Posts, r.Kills, r.Reversals, r.States, r.Virtual, time.Since(began), r.Hash)
	}
}
