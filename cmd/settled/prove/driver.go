package prove

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// driver decides what happens next. Whatever may happen — an actor's mailbox runs, a goroutine or
// a timer sends a message, a statement reaches the database, a request reaches Stripe or its
// answer the daemon — waits as a step, and the seed picks one. One step runs at a time until
// everything is still again, so that Go's scheduler has nothing to decide, and the same seed gives
// the same run.
//
// Steps that come while one runs, or at one moment of time, come in any order. They are sorted by
// name, and those of one name by what they carry. Neither depends on addresses: another build
// gives the same run.
type driver struct {
	mu    sync.Mutex
	ready []step // sorted: goroutines that woke at one instant come in any order
	wake  chan struct{}
	over  bool

	order *rand.Rand
	began time.Time
	steps int
	alike []string // steps that came at once and that nothing tells apart
	hash  uint64
	lines []string // the trace, when it is kept
	keep  bool
}

// step is one thing that may happen.
type step struct {
	name  string
	about any // what it carries, for steps of one name
	run   func()

	came int       // in the turn of which step
	at   time.Time // and when
}

// compare orders steps. What is equal in all is told apart by who came first; compare says 0
// only when that is up to Go's scheduler.
func compare(a, b step) int {
	if c := strings.Compare(a.name, b.name); c != 0 {
		return c
	}
	if c := strings.Compare(content(a.about), content(b.about)); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.came, b.came), a.at.Compare(b.at))
}

func newDriver(seed uint64, keep bool) *driver {
	return &driver{wake: make(chan struct{}, 1), order: rand.New(rand.NewPCG(seed, 7)), began: time.Now(), keep: keep}
}

// offer adds a step. It never blocks.
func (d *driver) offer(s step) {
	s.at = time.Now()
	d.mu.Lock()
	s.came = d.steps
	at, alike := slices.BinarySearchFunc(d.ready, s, compare)
	if alike {
		d.alike = append(d.alike, s.name)
	}
	d.ready = slices.Insert(d.ready, at, s)
	d.mu.Unlock()
	d.nudge()
}

func (d *driver) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// park waits until the driver lets the caller go on, or ctx ends.
func (d *driver) park(ctx context.Context, name string, about ...any) error {
	on := make(chan struct{})
	d.offer(step{name: name, about: about, run: func() { close(on) }})
	select {
	case <-on:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run lets steps happen until finish was called and none is left. While there is none, time passes.
func (d *driver) run() {
	for {
		synctest.Wait()
		d.mu.Lock()
		n := len(d.ready)
		if n == 0 {
			over := d.over
			d.mu.Unlock()
			if over {
				return
			}
			<-d.wake
			continue
		}
		i := 0
		if n > 1 {
			i = d.order.IntN(n)
		}
		s := d.ready[i]
		d.ready = slices.Delete(d.ready, i, i+1)
		d.mu.Unlock()
		d.note(s.name)
		s.run()
	}
}

func (d *driver) finish() {
	d.mu.Lock()
	d.over = true
	d.mu.Unlock()
	d.nudge()
}

// note adds a step to the trace. It is called by whoever runs, and only one does.
func (d *driver) note(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.steps++
	at := time.Since(d.began)
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %d %s", d.hash, at, what)
	d.hash = h.Sum64()
	if d.keep {
		d.lines = append(d.lines, fmt.Sprintf("%12s  %s", at.Round(time.Millisecond), what))
	}
}

// dispatcher makes each run of a mailbox a step.
type dispatcher struct {
	driver *driver
	name   string
}

func (x dispatcher) Schedule(run func()) { x.driver.offer(step{name: x.name, run: run}) }

// Throughput has each message be a step: whoever hears of one, and sends another at once, must
// not find the mailbox at work or at rest as the machine's load has it.
func (x dispatcher) Throughput() int { return 1 }

// For names a mailbox by its daemon and its actor.
func (x dispatcher) For(name string) actor.Dispatcher {
	return dispatcher{x.driver, x.name + " " + strings.TrimPrefix(name, "settled/")}
}

// chance decides what goes wrong: a function of the seed, of what it is asked about, and of
// how often that was asked before, so that what happens elsewhere does not change it.
type chance struct {
	seed uint64
	mu   sync.Mutex
	seen map[string]uint64
}

func newChance(seed uint64) *chance { return &chance{seed: seed, seen: map[string]uint64{}} }

// unit draws from [0, 1).
func (c *chance) unit(about string) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[about]++
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %d %s", c.seed, c.seen[about], about)
	x := h.Sum64()
	x ^= x >> 33 // FNV's high bits mix little of the last bytes
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return float64(x>>11) / (1 << 53)
}

// hits draws whether something of that probability happens.
func (c *chance) hits(p float64, about string) bool { return p > 0 && c.unit(about) < p }

// within draws a duration below most.
func (c *chance) within(most time.Duration, about string) time.Duration {
	return time.Duration(c.unit(about) * float64(most))
}

// below draws from [0, n).
func (c *chance) below(n int, about string) int { return int(c.unit(about) * float64(n)) }
