package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/settled/settled/cmd/settled/prove"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

type proveCommand struct {
	Seeds     uint64        `default:"100" help:"How many worlds to try."`
	Seed      uint64        `default:"1" help:"The first world's seed; the others follow."`
	Transfers int           `default:"50" help:"Transfers in each world."`
	For       time.Duration `help:"Begin no world after this long; 0: no limit."`
	Workers   int           `help:"Processes that try at once; default: one for each core."`
	Most      int           `default:"3" help:"End after so many worlds that break an invariant."`
	Shrink    time.Duration `default:"1m" help:"How long to look for the smallest world in which the same invariant breaks."`
	Trace     bool          `help:"Print every step of the first world, and try no other."`
	Hashes    bool          `help:"Print the hash of each world's trace: the same seed gives the same, in every build."`
	Worker    bool          `hidden:""`
	flags
}

var errViolations = errors.New("an invariant was broken")

// Run tries worlds, each a whole daemon or several in virtual time with faults that its seed
// decides, under the settings in force: windows, policy, backoffs, limits.
func (c proveCommand) Run(ctx context.Context, proc process) error {
	if c.Worker {
		prove.Answer(os.Stdin, proc.stdout) // does not return
	}
	v, problems := gather(c.flags, proc.environ, ".env")
	conf, more := v.parse(true)
	if problems = append(problems, more...); len(problems) > 0 {
		return usageError{errors.Join(problems...)}
	}
	switch {
	case c.Seeds < 1:
		return usageError{errors.New("--seeds must be at least 1")}
	case c.Transfers < 1:
		return usageError{errors.New("--transfers must be at least 1")}
	case c.Most < 1:
		return usageError{errors.New("--most must be at least 1: after so many worlds that break an invariant it ends")}
	case c.Workers < 0:
		return usageError{errors.New("--workers must be at least 0; 0 is one for each core")}
	case c.For < 0:
		return usageError{errors.New("--for must be at least 0; 0 is no limit")}
	}
	toProve := prove.Config{Policy: conf.policy, Limits: conf.limits, Transfers: c.Transfers}
	toProve.Policy.Epoch = 1
	// Whoever waits for a person by policy waits for ever here.
	toProve.Policy.Transfers.Enabled, toProve.Policy.Reversals.Enabled = true, true
	if c.Trace {
		return c.trace(toProve, proc.stdout)
	}
	return c.try(ctx, proc, toProve)
}

// trace prints every step of one world.
func (c proveCommand) trace(conf prove.Config, out io.Writer) error {
	p, err := startProofWorker(conf)
	if err != nil {
		return err
	}
	o, err := p.ask(prove.Question{Seed: c.Seed, Trace: true})
	if err != nil {
		return err
	}
	p.stop()
	for _, line := range o.Trace {
		fmt.Fprintln(out, line)
	}
	for _, v := range o.Violations {
		fmt.Fprintln(out, v)
	}
	fmt.Fprintf(out, "seed %d: %s: %d steps, trace %016x\nprove: %d violations\n", o.Seed, o.Plan, o.Steps, o.Hash,
		len(o.Violations))
	if len(o.Violations) > 0 {
		return errViolations
	}
	return nil
}

// tally sums up the worlds that were tried.
type tally struct {
	mu        sync.Mutex
	next      uint64
	seeds     uint64
	failed    int
	transfers int
	reversals int
	steps     int
	posts     int
	deaths    int
	walks     int
	outside   int
	losses    int
	virtual   time.Duration
	states    map[ledger.State]int
	faults    map[string]int
}

// try hands seeds to worker processes: one that a world kills, by a deadlock or a panic, takes
// no other with it.
func (c proveCommand) try(ctx context.Context, proc process, conf prove.Config) error {
	began := time.Now()
	workers := c.Workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	fmt.Fprintf(proc.stdout, "settled prove: %d worlds of %d transfers from seed %d, %d at once\n", c.Seeds,
		c.Transfers, c.Seed, workers)
	all := &tally{next: c.Seed, states: map[ledger.State]int{}, faults: map[string]int{}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	show := newProgressLine(proc.stdout, 10*time.Second)
	var wg sync.WaitGroup
	failures := make(chan error, workers)
	for range workers {
		wg.Go(func() { failures <- c.drive(ctx, proc.stdout, conf, all, show, began) })
	}
	wg.Wait()
	show.end()
	close(failures)
	for err := range failures {
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	c.summary(proc.stdout, all, time.Since(began))
	if all.failed > 0 {
		return errViolations
	}
	return ctx.Err()
}

// take returns the next seed, if there is to be one.
func (c proveCommand) take(ctx context.Context, all *tally, began time.Time) (uint64, bool) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if ctx.Err() != nil || all.next == c.Seed+c.Seeds || all.failed >= c.Most ||
		c.For > 0 && time.Since(began) > c.For {
		return 0, false
	}
	all.next++
	return all.next - 1, true
}

// drive keeps one worker process at work.
func (c proveCommand) drive(ctx context.Context, out io.Writer, conf prove.Config, all *tally, show *progressLine,
	began time.Time) error {
	var p *proofWorker
	defer func() {
		if p != nil {
			p.stop()
		}
	}()
	for {
		seed, more := c.take(ctx, all, began)
		if !more {
			return nil
		}
		if p == nil {
			var err error
			if p, err = startProofWorker(conf); err != nil {
				return err
			}
			kill := context.AfterFunc(ctx, p.kill)
			defer kill()
		}
		o, err := p.ask(prove.Question{Seed: seed, Shrink: c.Shrink})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil { // the world took its process with it
			o = prove.Outcome{Result: prove.Result{Seed: seed,
				Violations: []audit.Violation{{Invariant: 25, Detail: err.Error()}}}}
			p = nil
		}
		c.count(out, all, o, show)
	}
}

// count adds an outcome, and tells of one that is not good.
func (c proveCommand) count(out io.Writer, all *tally, o prove.Outcome, show *progressLine) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.seeds++
	all.transfers += o.Transfers
	all.reversals += o.Reversals
	all.steps += o.Steps
	all.posts += o.Posts
	all.deaths += o.Kills
	all.walks += o.Walks
	all.outside += o.Outside
	all.losses += o.Losses
	all.virtual += o.Virtual
	for s, n := range o.States {
		all.states[s] += n
	}
	for f, n := range o.Faults {
		all.faults[f] += n
	}
	if c.Hashes {
		show.clear()
		fmt.Fprintf(out, "seed %d: trace %016x of %d steps\n", o.Seed, o.Hash, o.Steps)
	}
	if len(o.Violations) > 0 {
		all.failed++
		show.clear()
		c.report(out, o)
	}
	show.show("", fmt.Sprintf("%d of %d worlds, %d transfers, %d violations", all.seeds, c.Seeds, all.transfers,
		all.failed))
}

// report tells of a world that broke an invariant, how to see it again, and the shortest way
// there that was found.
func (c proveCommand) report(out io.Writer, o prove.Outcome) {
	fmt.Fprintf(out, "seed %d breaks an invariant: %s\n", o.Seed, o.Plan)
	for _, v := range o.Violations {
		fmt.Fprintf(out, "  %s\n", v)
	}
	fmt.Fprintf(out, "  again: settled prove --seed %d --seeds 1 --transfers %d (every step: --trace)\n", o.Seed,
		c.Transfers)
	if s := o.Smallest; s != nil {
		fmt.Fprintf(out, "  the smallest world found: %s\n", s.Plan)
		for _, v := range s.Violations {
			fmt.Fprintf(out, "    %s\n", v)
		}
		for _, line := range about(s.Trace, s.Violations) {
			fmt.Fprintf(out, "    %s\n", line)
		}
	}
}

// traceMost bounds the lines of a trace that are shown.
const traceMost = 150

// about picks the steps of a trace that concern the violated operations, and those that concern all.
func about(trace []string, violations []audit.Violation) []string {
	var lines []string
	for _, line := range trace {
		idle := strings.Contains(line, "unfinished") || strings.HasSuffix(line, " gate") ||
			strings.HasSuffix(line, " inbox") || strings.HasSuffix(line, " handler")
		if !idle {
			lines = append(lines, line)
		}
	}
	if len(lines) > traceMost {
		var few []string
		for _, line := range lines {
			common := strings.Contains(line, " dies ") || strings.Contains(line, " stops") ||
				strings.Contains(line, "start ") || strings.Contains(line, "faults end") ||
				strings.Contains(line, "commit")
			if common || slices.ContainsFunc(violations,
				func(v audit.Violation) bool { return strings.Contains(line, v.Operation.String()) }) {
				few = append(few, line)
			}
		}
		lines = few
	}
	if more := len(lines) - traceMost; more > 0 {
		lines = append([]string{fmt.Sprintf("… %d steps before", more)}, lines[more:]...)
	}
	return lines
}

// summary prints the figures; its last line counts the violations.
func (c proveCommand) summary(out io.Writer, all *tally, took time.Duration) {
	fmt.Fprintf(out,
		"%d worlds, %d transfers and %d reversals driven to their end, %d steps, %d calls to move money, %d deaths of a process, %d walks, %d acts of others at Stripe, the database put back %d times, %.1f years of virtual time, in %s\n",
		all.seeds, all.transfers, all.reversals, all.steps, all.posts, all.deaths, all.walks, all.outside, all.losses,
		all.virtual.Hours()/24/365, took.Round(100*time.Millisecond))
	var parts []string
	for _, s := range ledger.States {
		if n := all.states[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", s, n))
		}
	}
	fmt.Fprintf(out, "ended: %s\n", strings.Join(parts, ", "))
	parts = parts[:0]
	for _, f := range slices.SortedFunc(maps.Keys(all.faults), func(a, b string) int {
		if d := all.faults[b] - all.faults[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	}) {
		parts = append(parts, fmt.Sprintf("%s %d", f, all.faults[f]))
	}
	fmt.Fprintf(out, "faults: %s\n", strings.Join(parts, ", "))
	fmt.Fprintf(out, "prove: %d violations\n", all.failed)
}
