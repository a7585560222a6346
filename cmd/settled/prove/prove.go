// Package prove tries to break the promise: whole daemons, all that is above the sockets, in
// virtual time, against a simulated Stripe, with faults that one seed decides.
//
//	story ──── platform, operator, power cuts          what is asked for, and what befalls whom
//	driver ─── one step at a time, the seed picks      mailbox runs, statements, calls, answers, events
//	nodes ──── tree + HTTP handlers, one to three      all own every transfer at the same time
//	seams ──── database, Stripe, webhooks, clocks      where things fail, and processes die
//	watch ──── invariants at every step; audit at rest ledger/audit, by the numbers of its list
//
// A world has two phases. In the first anything fails: processes die between any two steps,
// commits fail or are acknowledged too late, answers and events are lost, doubled, delayed and
// reordered, every fault of the simulator strikes, clocks differ by the skew. Then faults end,
// and everything must come to its end, agree with Stripe to the cent, and stay as it is when
// the daemons are started again.
//
// The same seed gives the same run, to the last step, in every build: nothing in a bubble of
// testing/synctest runs beside the one step that the driver lets happen, and what may happen next
// is told apart by names, never by addresses or by who came first. (PostgreSQL, sockets and real processes
// cannot be in a bubble; the tests of cmd/settled are for them.)
package prove

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// Config is what is to be proved: the settings of a daemon.
type Config struct {
	Policy    ledger.Policy
	Limits    actors.Limits
	Transfers int // lifecycles in one world
}

// Result is one world's outcome.
type Result struct {
	Seed       uint64
	Plan       string // what the seed drew
	Violations []audit.Violation
	Transfers  int
	Reversals  int
	States     map[ledger.State]int // where the transfers ended
	Steps      int
	Posts      int
	Kills      int
	Walks      int            // of the reconcilers, over Stripe and the ledger
	Outside    int            // transfers made, and reversals, in Stripe's dashboard
	Losses     int            // times that the database was put back to an older copy
	Faults     map[string]int // by kind
	Virtual    time.Duration
	Hash       uint64   // of the trace
	Trace      []string // when it was asked for
	Alike      []string // steps that came at once and that nothing told apart: it was up to Go's scheduler which went first
}

// Run runs the world of a seed, in a bubble of its own. It fails no test: what was found is
// in the result.
func Run(t *testing.T, conf Config, seed uint64, trace bool) (result Result) {
	return run(t, conf, seed, makePlan(seed, conf.Transfers, conf.Policy.Windows), trace)
}

func run(t *testing.T, conf Config, seed uint64, p plan, trace bool) (result Result) {
	synctest.Test(t, func(*testing.T) {
		w := &world{
			conf: conf, seed: seed, plan: p, driver: newDriver(seed, trace), chance: newChance(seed), began: time.Now(),
			watch: audit.NewWatch(conf.Policy.Windows), faults: map[string]int{}, acked: map[string]bool{}, rows: map[ledger.State]int{},
			nodes: make([]*node, p.Nodes),
		}
		w.watch.Patient(patienceOf(conf.Policy.Transfers), patienceOf(conf.Policy.Reversals))
		for range p.orders {
			w.orders = append(w.orders, &asked{asked: map[string]bool{}, granted: map[string]planned{}})
		}
		w.log = w.quietLog()
		if err := w.open(); err != nil {
			w.breaks(18, "%v", err)
		} else {
			go w.story()
			w.driver.run()
		}
		result = w.result()
	})
	return result
}

func patienceOf(r ledger.Retry) audit.Patience {
	return audit.Patience{Attempts: r.MaxAttempts, Age: r.MaxAge, ConditionAge: r.ConditionMaxAge}
}

func (w *world) result() Result {
	faults := maps.Clone(w.faults)
	for name, n := range w.sim.Counts() {
		if kind, ok := strings.CutPrefix(name, "fault "); ok {
			faults["stripe "+kind] += n
		}
	}
	transfers := 0
	for _, n := range w.rows {
		transfers += n
	}
	return Result{
		Seed: w.seed, Plan: w.plan.String(), Violations: w.Violations(), Transfers: transfers, Reversals: w.returned, States: w.rows,
		Steps: w.driver.steps, Posts: w.posts, Kills: int(w.kills.Load()), Walks: int(w.walks), Outside: w.foreign + w.outside, Losses: w.losses, Faults: faults, Virtual: time.Since(w.began),
		Hash: w.driver.hash, Trace: w.driver.lines, Alike: w.driver.alike,
	}
}

// String tells the plan in a line.
func (p plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d daemons, %d orders, %d messages, Stripe's faults %s, %d power cuts, %d stops, trouble for %s",
		p.Nodes, len(p.orders), len(p.messages), p.Faults, p.Kills, p.Stops, p.Troubled)
	if p.Walk > 0 {
		fmt.Fprintf(&b, ", a walk every %s", p.Walk)
	}
	if p.PageMax > 0 {
		fmt.Fprintf(&b, ", pages of %d", p.PageMax)
	}
	if n := len(p.charges); n > 0 {
		fmt.Fprintf(&b, ", %d charges", n)
	}
	for _, o := range p.Outages {
		fmt.Fprintf(&b, ", %s", o)
	}
	for _, l := range p.Losses {
		fmt.Fprintf(&b, ", %s", l)
	}
	if p.Listless.For > 0 {
		fmt.Fprintf(&b, ", %s", p.Listless)
	}
	if n := len(p.meddling); n > 0 {
		fmt.Fprintf(&b, ", %d acts in the dashboard", n)
	}
	for _, x := range []struct {
		what  string
		share float64
	}{
		{"statements fail", p.FailBefore}, {"acknowledgements are lost", p.FailAfter}, {"deaths before", p.DieBefore}, {"deaths after", p.DieAfter},
		{"statements fail inside", p.FailInside}, {"deaths inside", p.DieInside}, {"slow", p.Slow}, {"events lost", p.LoseEvent}, {"events doubled", p.TwiceEvent}, {"events lie", p.LieEvent}, {"answers lost", p.LoseAnswer},
	} {
		if x.share > 0 {
			fmt.Fprintf(&b, ", %s %.1f %%", x.what, 100*x.share)
		}
	}
	return b.String()
}
