package prove

import (
	"flag"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	seeds     = flag.Uint64("seeds", 40, "how many worlds to try")
	firstSeed = flag.Uint64("seed", 1, "the first world's seed")
	transfers = flag.Int("transfers", 20, "transfers in each world")
	tracing   = flag.Bool("trace", false, "print the trace of every world")
)

// defaults are the settings of the command.
func defaults() Config {
	retry := ledger.Retry{Enabled: true, MaxAttempts: 5, MaxAge: 72 * time.Hour, Backoff: ledger.Backoff{Base: time.Minute, Max: time.Hour}, ConditionMaxAge: 30 * 24 * time.Hour}
	return Config{
		Policy:    ledger.Policy{Windows: ledger.DefaultWindows(), Transfers: retry, Reversals: retry, Unresolved: ledger.ParkDoubtful, Epoch: 1},
		Limits:    actors.Limits{Rate: 80, EndpointRate: 20, Concurrency: 32},
		Transfers: *transfers,
	}
}

// What cannot be run again cannot be understood.
func TestTheSameSeedGivesTheSameRun(t *testing.T) {
	conf := defaults()
	worlds := uint64(16)
	if testing.Short() {
		worlds = 2
	}
	for seed := range worlds {
		a := Run(t, conf, 100+seed, true)
		previous := runtime.GOMAXPROCS(1 + int(seed)%2)
		b := Run(t, conf, 100+seed, true)
		runtime.GOMAXPROCS(previous)
		for _, name := range a.Alike {
			t.Errorf("seed %d: two steps are called %q, and came at once", 100+seed, name)
		}
		if a.Hash == b.Hash && a.Steps == b.Steps && a.Hash != 0 {
			continue
		}
		i := 0
		for i < min(len(a.Trace), len(b.Trace)) && a.Trace[i] == b.Trace[i] {
			i++
		}
		around := func(trace []string) string { return strings.Join(trace[max(0, i-20):min(i+20, len(trace))], "\n") }
		t.Errorf("seed %d: step %d of %d differs:\n%s\n\nand was\n%s", 100+seed, i, len(a.Trace), around(b.Trace), around(a.Trace))
	}
}

func TestNoSeedBreaksAnInvariant(t *testing.T) {
	if testing.Short() {
		*seeds = min(*seeds, 5)
	}
	for seed := *firstSeed; seed < *firstSeed+*seeds; seed++ {
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
