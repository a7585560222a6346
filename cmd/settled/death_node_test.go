package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// phase is how far a daemon's process is, as its log tells.
type phase int32

const (
	startingUp phase = iota // nothing is served yet
	recovering              // it serves, and spawns the actors of unfinished transfers
	driving
	phases
)

func (p phase) String() string {
	return [...]string{"start-up", "recovery", "drive"}[p]
}

// node is a daemon that is killed again and again.
type node struct {
	*worker
	api    *api
	public string
	phase  atomic.Int32
	diedAt atomic.Value // the named point, a string
	// reached is closed as the process comes to a phase.
	reached [phases]chan struct{}
}

// newNode makes a daemon of the stand's cluster: the same database, the same Stripe.
func (s *stand) newNode(name string, env ...string) *node {
	n := &node{}
	n.worker, n.api, n.public = s.newWorker(name)
	n.worker.env = slices.Concat(n.worker.env, s.shared, env)
	n.worker.out = n
	n.api.client.Timeout = 2 * time.Second // a death is noticed at once; this is for those who hang
	return n
}

// Write reads the process's log for its phase.
func (n *node) Write(line []byte) (int, error) {
	_, point, died := bytes.Cut(line, []byte("crash point "))
	switch {
	case died:
		n.diedAt.Store(string(bytes.TrimSpace(point)))
	case bytes.Contains(line, []byte(`"msg":"settled is up"`)):
		n.reach(recovering)
	case bytes.Contains(line, []byte(`"msg":"recovered`)):
		n.reach(recovering) // the two lines may come in either order
		n.reach(driving)
	}
	return len(line), nil
}

func (n *node) reach(p phase) {
	if n.phase.Load() < int32(p) {
		n.phase.Store(int32(p))
		close(n.reached[p])
	}
}

// launch starts the process.
func (n *node) launch() error {
	n.phase.Store(int32(startingUp))
	n.diedAt.Store("")
	for p := range n.reached {
		n.reached[p] = make(chan struct{})
	}
	return n.worker.launch()
}

// wasKilled reports that the process ended by SIGKILL and nothing else.
func (n *node) wasKilled() bool {
	status, ok := n.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// deaths counts the troubles of the nodes.
type deaths struct {
	most  int // kills in all
	begun atomic.Int64
	done  atomic.Int64
	by    [phases]atomic.Int64

	crashes    atomic.Int64 // of PostgreSQL
	terminated atomic.Int64 // of its backends

	// idles reports that there is nothing to do; a death would be one of a process that has
	// nothing to lose.
	idles func(context.Context) bool
	idle  atomic.Int64 // so often there was nothing to do, and more was asked for
}

// doom is when a process is to die: so long after it has come to a phase.
type doom struct {
	in    phase
	after time.Duration
}

// doomed draws a death: a third of them as the process starts, a third as it recovers, and a
// third at work.
func doomed(rng *rand.Rand) doom {
	most := [phases]time.Duration{70 * time.Millisecond, 8 * time.Millisecond, 250 * time.Millisecond}
	p := phase(rng.IntN(int(phases)))
	return doom{p, time.Duration(rng.Int64N(int64(most[p])))}
}

// await waits for the moment. One that never comes, because the database is away, is not
// waited for longer than a while; false: the process has ended by itself, or ctx has.
func (n *node) await(ctx context.Context, d doom) bool {
	const longest = 2 * time.Second
	patience := time.NewTimer(longest)
	defer patience.Stop()
	for p := range d.in {
		select {
		case <-n.reached[p+1]:
		case <-patience.C:
			return true
		case <-n.done:
			return false
		case <-ctx.Done():
			return false
		}
	}
	life := time.NewTimer(d.after)
	defer life.Stop()
	select {
	case <-life.C:
		return true
	case <-n.done:
	case <-ctx.Done():
	}
	return false
}

// die starts the node and kills it, until enough were killed. It is left running. A process
// that ends by itself is a violation: it would need a person, or at least a supervisor.
func (n *node) die(ctx context.Context, t testing.TB, seed uint64, count *deaths) {
	rng := rand.New(rand.NewPCG(seed, 5))
	for {
		if err := n.launch(); err != nil {
			t.Errorf("start: %v", err)
			return
		}
		if count.begun.Add(1) > int64(count.most) {
			return
		}
		n.await(ctx, doomed(rng))
		if count.idles(ctx) {
			count.idle.Add(1)
			_ = again(ctx, time.Millisecond, func() (bool, error) { return !count.idles(ctx), nil })
		}
		if ctx.Err() != nil {
			return
		}
		at := n.phase.Load()
		n.end()
		if !n.wasKilled() {
			t.Errorf("a daemon ended by itself, in its %s: %s\n%s", phase(at), n.cmd.ProcessState, lastLog(n.log))
			return
		}
		count.by[at].Add(1)
		count.done.Add(1)
	}
}

// dieAll has every node die until enough were killed, and returns when all that are left run.
func dieAll(ctx context.Context, t testing.TB, nodes []*node, seed uint64, count *deaths) {
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { n.die(ctx, t, seed+uint64(i), count) })
	}
	wg.Wait()
}

func (c *deaths) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d kills", c.done.Load())
	for p := range phases {
		fmt.Fprintf(&b, ", %d in %s", c.by[p].Load(), p)
	}
	fmt.Fprintf(&b, "; %d had to be given work first; %d crashes of PostgreSQL, %d backends terminated", c.idle.Load(), c.crashes.Load(), c.terminated.Load())
	return b.String()
}
