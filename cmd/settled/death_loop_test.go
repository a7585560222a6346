package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	nethttp "net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/settled/settled/cmd/settled/adapt"
	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// The size of the kill loops, for which .ci/death has the one that CI runs:
//
//	go test ./cmd/settled -run TestDeath -v -timeout 30m -args -kills 1000 -crashes 20 -passes 3
var (
	killsWanted   = flag.Int("kills", 40, "how often the daemon is killed in the kill loops, on both databases together")
	crashesWanted = flag.Int("crashes", 1, "how often PostgreSQL crashes meanwhile")
	deathSeed     = flag.Uint64("seed", 0, "seed of the tests that kill and break; 0: random, and printed")
)

// seedOf draws a test's seed, unless it is given, and prints it.
func seedOf(t testing.TB) uint64 {
	seed := *deathSeed
	if seed == 0 {
		seed = rand.Uint64N(1_000_000)
	}
	t.Logf("seed %d", seed)
	return seed
}

// patience bounds a loop by its size.
func patience(kills int) time.Duration {
	return hang + time.Duration(kills)*3*time.Second
}

// Three daemons on one PostgreSQL database, and so rivals for every transfer, are killed at
// random moments; PostgreSQL crashes, and loses connections; Stripe fails in all its ways.
// Nothing is lost, nothing is paid twice, and nobody has to look after it.
func TestDeathOfDaemonsAndPostgreSQL(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel() // most of it is waiting
	seed := seedOf(t)
	kills := *killsWanted - *killsWanted/5
	server := dbtest.NewServer(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience(kills))
	defer cancel()
	url, err := server.CreateDatabase(ctx, "death")
	if err != nil {
		t.Fatal(err)
	}
	count := &deaths{most: kills}
	deathLoop(t, ctx, url, seed, 3, count, func(ctx context.Context) {
		var wg sync.WaitGroup
		wg.Go(func() { crashServer(ctx, t, server, seed, *crashesWanted, count) })
		wg.Go(func() { terminateBackends(ctx, server, seed, count) })
		wg.Wait()
	})
	if n := count.crashes.Load(); n != int64(*crashesWanted) {
		t.Errorf("PostgreSQL crashed %d times, not %d", n, *crashesWanted)
	}
}

// The same on SQLite, whose file has one owner.
func TestDeathOfADaemonOnSQLite(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel() // most of it is waiting
	seed := seedOf(t)
	kills := *killsWanted / 5
	ctx, cancel := context.WithTimeout(t.Context(), patience(kills))
	defer cancel()
	deathLoop(t, ctx, dbtest.SQLite(t), seed, 1, &deaths{most: kills}, func(context.Context) {})
}

// deathLoop runs nodes over a database, kills them while orders arrive and trouble is made,
// then leaves them alone until all is settled, and audits.
func deathLoop(t *testing.T, ctx context.Context, url string, seed uint64, size int, count *deaths, trouble func(context.Context)) {
	s := prepareStand(t, ctx, url, "heavy", seed, standSpeed)
	s.migrate(ctx)
	nodes := make([]*node, size)
	apis := make([]*api, size)
	for i := range nodes {
		nodes[i] = s.newNode(fmt.Sprintf("node-%d", i), "TRANSFER_RETRY_INTERVAL=1s", "REVERSAL_CHECK_INTERVAL=1s", "LOG_LEVEL=info",
			// A walk over all of Stripe is taken up by whoever starts next; in a long loop they
			// would do little else.
			"RECONCILE_INTERVAL=6h")
		apis[i] = nodes[i].api
	}
	s.adopt(nodes[0])

	// So much work for each kill, and more whenever a daemon that is to die has none left.
	const atFirst, perKill = 200, 4
	p := newPlatform(apis, planTraffic(seed, atFirst+5*perKill*count.most), seed)
	p.batch, p.least = 16, atFirst+perKill*count.most
	var wg sync.WaitGroup
	storm, over := context.WithCancel(ctx)
	defer over()
	wg.Go(func() { trouble(storm) })
	ordered := make(chan error, 1)
	go func() {
		ordered <- p.run(ctx, func() int { return atFirst + perKill*int(count.done.Load()+count.idle.Load()) })
	}()
	var operator sync.WaitGroup
	awake, sleep := context.WithCancel(ctx)
	defer sleep()
	operator.Go(func() { // a person looks after parked transfers, all the time
		_ = again(awake, time.Second, func() (bool, error) { s.operate(awake); return false, nil })
	})
	count.idles = func(ctx context.Context) bool {
		open, err := s.db.UnfinishedIDs(ctx, ledger.ID{}, 1)
		return err == nil && len(open) == 0 // a ledger that cannot be read keeps its work
	}
	dieAll(ctx, t, nodes, seed, count)
	p.enough.Store(true)
	over()
	wg.Wait()
	stormed := time.Since(s.began)
	t.Cleanup(func() {
		for _, n := range nodes {
			n.stop()
		}
	})
	err := <-ordered
	sleep()
	operator.Wait()
	if err != nil {
		t.Fatal(err, "\n", lastLog(nodes[0].log))
	}
	s.settleAll(ctx, len(p.ids))
	if n := count.done.Load(); n != int64(count.most) {
		t.Errorf("%d kills, not %d", n, count.most)
	}
	faults := s.faults()
	s.calm()
	for _, n := range nodes {
		n.stop()
		if !n.cleanly {
			t.Errorf("a daemon did not stop cleanly:\n%s", lastLog(n.log))
		}
	}
	p.check(ctx, s)
	r := s.auditTwice(ctx)
	s.noDrift(ctx)
	if epoch, _, _, err := s.db.Epoch(ctx); err != nil || epoch != 1 {
		t.Errorf("no commit was lost, and the epoch is %d: %v", epoch, err)
	}
	t.Logf("%d requests asked again; %d transfers at Stripe, %d reversals there; %d faults at Stripe: %s", p.again, r.StripeTransfers, r.StripeReversals, faults.total, faults.text)
	s.figures(r, "%s, in %s, %.1f a second", count, stormed.Round(time.Second), float64(count.done.Load())/stormed.Seconds())
}

// figures prints the result of a test, in one line, which .ci/death shows.
func (s *stand) figures(r audit.Report, format string, args ...any) {
	s.t.Helper()
	verdict := ""
	if s.t.Failed() {
		verdict = "; FAILED"
	}
	s.t.Logf("figures: %s: %s; %d transfers, %d reversals; %s in all; %d differences; seed %d%s", s.t.Name(), fmt.Sprintf(format, args...),
		r.Transfers, r.Reversals, time.Since(s.began).Round(time.Second), len(r.Differences), s.seed, verdict)
}

// crashServer crashes PostgreSQL at random moments of the loop, evenly over its kills.
func crashServer(ctx context.Context, t testing.TB, server *dbtest.Server, seed uint64, crashes int, count *deaths) {
	rng := rand.New(rand.NewPCG(seed, 11))
	for i := range crashes {
		due := int64(float64(count.most) * (float64(i) + rng.Float64()) / float64(crashes+1))
		err := again(ctx, 5*time.Millisecond, func() (bool, error) { return count.done.Load() >= due, nil })
		if err != nil {
			return // missing ones are counted
		}
		if err := server.Stop(); err != nil {
			t.Errorf("crash PostgreSQL: %v", err)
			return
		}
		// Down for a while, in which daemons start, die, and start.
		down := time.NewTimer(time.Duration(rng.IntN(300)) * time.Millisecond)
		<-down.C
		if err := server.Start(context.WithoutCancel(ctx)); err != nil {
			t.Errorf("start PostgreSQL after a crash: %v", err)
			return
		}
		count.crashes.Add(1)
	}
}

// terminateBackends ends connections on the server's side, a few at a time.
func terminateBackends(ctx context.Context, server *dbtest.Server, seed uint64, count *deaths) {
	rng := rand.New(rand.NewPCG(seed, 13))
	var c *pgx.Conn
	_ = again(ctx, 200*time.Millisecond, func() (bool, error) {
		var err error
		if c == nil || c.IsClosed() {
			if c, err = pgx.Connect(ctx, server.URL("postgres")); err != nil {
				return false, nil // it is down
			}
		}
		var n int64
		err = c.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
			WHERE datname = 'death' AND application_name = 'settled' ORDER BY random() LIMIT $1) AS few`, 1+rng.IntN(4)).Scan(&n)
		if err == nil {
			count.terminated.Add(n)
		}
		return false, nil
	})
	if c != nil {
		c.Close(context.WithoutCancel(ctx))
	}
}

// faultCount counts the simulator's faults.
type faultCount struct {
	total int
	text  string
}

func (s *stand) faults() (f faultCount) {
	s.t.Helper()
	res, err := nethttp.Get(s.sim + "/_sim/counts")
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var counts map[string]int
	if err := json.NewDecoder(res.Body).Decode(&counts); err != nil {
		s.t.Fatal(err)
	}
	for kind, n := range counts {
		if strings.HasPrefix(kind, "fault ") {
			f.total += n
		}
	}
	f.text = faultsOf(counts)
	return f
}

// adopt makes a node the stand's own daemon, which is asked and audited.
func (s *stand) adopt(n *node) {
	// Stripe's events go where they went; the node has to listen there.
	n.worker.env = append(n.worker.env, "PUBLIC_ADDR="+s.public)
	n.public = s.public
	s.worker, s.api = n.worker, n.api
}

// noDrift fails for every alarm that the reconciler ever raised: nobody else was at Stripe, so
// each would be false. That something is parked is none.
func (s *stand) noDrift(ctx context.Context) {
	s.t.Helper()
	found, err := s.db.Findings(ctx, audit.Filter{Limit: 1000})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range found {
		if f.Class != audit.Parked {
			s.t.Errorf("the reconciler reported at %s: %s", f.OpenedAt, f.Difference)
		}
	}
}

// auditTwice has the program audit the ledger against Stripe's lists, and compares it once
// more with the simulator's own truth. Nothing may be open, unfinished, or different.
func (s *stand) auditTwice(ctx context.Context) audit.Report {
	s.t.Helper()
	if report := s.audit(ctx); !strings.HasSuffix(report, "audit: 0 differences\n") {
		s.t.Error(report)
	}
	a := audit.New()
	for _, x := range s.truth().Transfers {
		a.Stripe(adapt.Witnessed(x))
	}
	r, err := auditLedger(ctx, s.db, a)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, x := range r.Differences {
		s.t.Error(x)
	}
	if r.Open > 0 || r.Unfinished > 0 || r.Foreign > 0 {
		s.t.Errorf("%d are open, %d unfinished, %d foreign", r.Open, r.Unfinished, r.Foreign)
	}
	return r
}
