package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/settled/settled/db/dbtest"
)

var passesWanted = flag.Int("passes", 1, "at how many passes of each point of the work the daemon dies: 1 to 3, at the 1st, 2nd and 5th")

// The daemon dies at every named point, at its first pass and at later ones, on either
// database; what is left is taken up by the next one, which dies at the next point. In the end
// the ordinary program settles it all.
func TestDeathAtEveryNamedPoint(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	tagged := filepath.Join(t.TempDir(), "settled-crashpoints")
	if out, err := exec.Command("go", "build", "-tags", "crashpoints", "-o", tagged, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	points := listPoints(t, tagged)
	if n := len(slices.Concat(slices.Collect(maps.Values(points))...)); !strings.Contains(claims(t, "SECURITY.md"), fmt.Sprintf(" %d points on each database", n)) {
		t.Errorf("SECURITY.md does not say that there are %d points", n)
	}
	dbtest.Each(t, func(t *testing.T, url string) {
		t.Parallel()
		seed := seedOf(t)
		ctx, cancel := context.WithTimeout(t.Context(), hang)
		defer cancel()
		passed := coverage{}
		dieAtFirstStarts(ctx, t, url, tagged, seed, points["first"], passed)
		dieAtWork(ctx, t, url, tagged, seed, points, passed)
	})
}

// coverage counts the deaths at each point.
type coverage map[string]int

// of says how many of the points were died at.
func (c coverage) of(points map[string][]string) string {
	all, deaths := slices.Concat(slices.Collect(maps.Values(points))...), 0
	missed := slices.DeleteFunc(slices.Clone(all), func(point string) bool { return c[point] > 0 })
	for _, n := range c {
		deaths += n
	}
	if len(missed) > 0 {
		return fmt.Sprintf("%d kills; %d points, NOT COVERED: %s", deaths, len(all), strings.Join(missed, ", "))
	}
	return fmt.Sprintf("%d kills; %d points, all covered", deaths, len(all))
}

// listPoints asks the program for its points, by kind.
func listPoints(t testing.TB, bin string) map[string][]string {
	t.Helper()
	cmd := exec.Command(bin)
	cmd.Env = []string{"SETTLED_CRASHPOINT=list"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("list the points: %v\n%s", err, out)
	}
	points := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		kind, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		points[kind] = append(points[kind], name)
	}
	for _, kind := range []string{"first", "start", "work", "stop", "restored"} {
		if len(points[kind]) == 0 {
			t.Errorf("no point of the kind %s", kind)
		}
		delete(points, "")
	}
	return points
}

// dieAt starts the node, has it die at a pass of a point, and reports whether it did.
func (n *node) dieAt(ctx context.Context, t testing.TB, point string, pass int, command ...string) bool {
	t.Helper()
	usual := n.worker.env
	defer func() { n.worker.env, n.worker.args = usual, nil }()
	n.worker.env, n.worker.args = append(slices.Clone(usual), fmt.Sprintf("SETTLED_CRASHPOINT=%s:%d", point, pass)), command
	if err := n.launch(); err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(point, "stop.") {
		_ = again(ctx, 5*time.Millisecond, func() (bool, error) { return n.api.ready(ctx), nil })
		n.cmd.Process.Signal(syscall.SIGTERM)
	}
	// A point that nothing passes is to be told by its name, not by a test that never ends.
	longest := time.NewTimer(5 * time.Minute)
	defer longest.Stop()
	select {
	case <-n.done:
	case <-longest.C:
		n.end()
	case <-ctx.Done():
		n.end()
	}
	if n.wasKilled() && n.diedAt.Load() == point {
		return true
	}
	t.Errorf("it does not die at pass %d of %s: %s\n%s", pass, point, n.cmd.ProcessState, lastLog(n.log))
	return false
}

// dieAtFirstStarts kills the first starts on an empty database, one after the other: what one
// leaves behind is the next one's beginning.
func dieAtFirstStarts(ctx context.Context, t *testing.T, url, bin string, seed uint64, points []string, passed coverage) {
	s := prepareStand(t, ctx, url, "none", seed, standSpeed)
	n := s.newNode("first")
	n.worker.bin = bin
	// Without a configured token, so that the first start makes one.
	n.worker.env = slices.DeleteFunc(n.worker.env, func(line string) bool { return strings.HasPrefix(line, "ADMIN_TOKEN=") })
	steps := []step{{"tx.commit.before", 1}}
	for _, point := range points {
		steps = append(steps, step{point, 1})
		if point == "migrate.begun" { // the next one dies in the second migration
			steps = append(steps, step{"tx.commit.after", 1}, step{point, 1})
		}
	}
	for _, x := range steps {
		if n.dieAt(ctx, t, x.point, x.pass) {
			passed[x.point]++
		}
	}
	if err := s.db.Check(ctx); err != nil {
		t.Errorf("after the first starts: %v", err)
	}
}

// step is one death.
type step struct {
	point string
	pass  int
}

// dieAtWork kills a daemon at every other point, while orders, reversals and events come, and
// audits what the ordinary program makes of it.
func dieAtWork(ctx context.Context, t *testing.T, url, bin string, seed uint64, points map[string][]string, passed coverage) {
	s := prepareStand(t, ctx, url, "heavy", seed, standSpeed)
	n := s.newNode("node", "TRANSFER_RETRY_INTERVAL=100ms", "REVERSAL_CHECK_INTERVAL=100ms")
	s.adopt(n)
	p := newPlatform([]*api{n.api}, planTraffic(seed, 100_000), seed)
	p.batch, p.every, p.forbidden = 2, 2, true
	ordered := make(chan error, 1)
	go func() { ordered <- p.run(ctx, func() int { return len(p.plan) }) }()
	awake, sleep := context.WithCancel(ctx)
	defer sleep()
	var operator sync.WaitGroup
	operator.Go(func() {
		_ = again(awake, time.Second, func() (bool, error) { s.operate(awake); return false, nil })
	})

	var steps []step
	for _, point := range slices.Concat(points["start"], points["stop"]) {
		steps = append(steps, step{point, 1})
	}
	passes := []int{1, 2, 5}
	for _, pass := range passes[:max(1, min(*passesWanted, len(passes)))] {
		for _, point := range points["work"] {
			if pass == 1 || !once(point) {
				steps = append(steps, step{point, pass})
			}
		}
	}
	n.worker.bin = bin
	for _, x := range steps {
		from := time.Now()
		if n.dieAt(ctx, t, x.point, x.pass) {
			passed[x.point]++
		}
		if took := time.Since(from); took > time.Second {
			t.Logf("%s:%d came after %s", x.point, x.pass, took.Round(time.Millisecond))
		}
	}
	for _, point := range points["restored"] {
		if n.dieAt(ctx, t, point, 1, "migrate", "restored") {
			passed[point]++
		}
	}
	n.worker.bin = program
	s.begin(ctx)
	p.enough.Store(true)
	err := <-ordered
	sleep()
	operator.Wait()
	if err != nil {
		t.Fatal(err)
	}
	s.settleAll(ctx, len(p.ids))
	s.calm()
	n.stop()
	p.check(ctx, s)
	r := s.auditTwice(ctx)
	s.noDrift(ctx)
	s.figures(r, "%s", passed.of(points))
}

// once reports points of the work that a process may pass only once.
func once(point string) bool {
	for _, p := range []string{"store.receipt.", "store.unfinished.", "store.unhandled_events."} {
		if strings.HasPrefix(point, p) {
			return true
		}
	}
	return false
}
