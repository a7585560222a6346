package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	nethttp "net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/cmd/settled/adapt"
	"github.com/settled/settled/db"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

type demoCommand struct {
	Transfers int     `default:"200" help:"How many transfers."`
	Seed      *uint64 `help:"Seed of traffic, faults and kills; random, and printed, when absent."`
	Kills     int     `default:"3" help:"How often the worker process is killed without warning."`
	Faults    string  `enum:"none,light,heavy" default:"heavy" help:"How much goes wrong at Stripe: none, light or heavy."`
	Exit      bool    `help:"End after the audit instead of staying up; the default when the output is no terminal."`
	Database  string  `placeholder:"URL" help:"sqlite:path of a new file, or postgres://… of a server in which a throw-away database is made. Default: a throw-away SQLite file."`
}

const (
	// demoSpeed is how much faster than Stripe's the demo's time passes: a key lives for
	// 17 s instead of a day, and absence is proved after 8 s instead of half a day.
	demoSpeed = 5000
	// demoPatience bounds the demo, should something be stuck.
	demoPatience = 5 * time.Minute
)

// demo is one run: a simulated Stripe in this process, the daemon in another that is killed
// again and again, a platform that orders transfers and reversals, and an operator who decides
// where the machine may not.
type demo struct {
	proc   process
	conf   demoCommand
	seed   uint64
	plan   []planned
	sim    *stripesim.Sim
	ledger *db.DB // only to watch
	worker *worker
	api    *api
	show   *progress
	over   atomic.Int64 // transfers at their end
}

// Run plays the demo and audits it.
func (c demoCommand) Run(ctx context.Context, proc process) error {
	if c.Transfers < 1 || c.Kills < 0 {
		return usageError{fmt.Errorf("--transfers must be at least 1, and --kills at least 0")}
	}
	if db.HasPassword(c.Database) {
		return usageError{fmt.Errorf("--database: a flag may hold no password, for every process of this machine can read it: use PGPASSWORD or a passfile")}
	}
	seed := seedOr(c.Seed)
	d := &demo{proc: proc, conf: c, seed: seed, plan: planTraffic(seed, c.Transfers)}
	fmt.Fprintf(proc.stdout, "settled demo: %d transfers, faults %s, %d kills, seed %d\n", c.Transfers, c.Faults,
		c.Kills, seed)

	dir, err := os.MkdirTemp("", "settled-demo-")
	if err != nil {
		return err
	}
	keep := false
	defer func() {
		if !keep {
			os.RemoveAll(dir)
		}
	}()
	url, drop, err := demoDatabase(ctx, c.Database, dir)
	if err != nil {
		return err
	}
	defer drop()
	if d.ledger, err = openLedger(ctx, config{databaseURL: url}, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	defer d.ledger.Close()

	faults, err := stripesim.ParseFaults(c.Faults)
	if err != nil {
		return usageError{err}
	}
	public, admin, err := freeAddrs()
	if err != nil {
		return err
	}
	secret := "whsec_" + rand.Text()
	d.sim = stripesim.New(stripesim.Config{
		Seed: seed, Faults: faults, Times: simulatedTimes(demoSpeed), AccountID: randomAccount(),
		WebhookURL: "http://" + public + "/webhooks/stripe", WebhookSecret: secret,
	})
	defer d.sim.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	stripe := &nethttp.Server{Handler: d.sim.Handler(), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	defer stripe.Close()
	go stripe.Serve(ln)

	token := rand.Text()
	d.api = newAPI("http://"+admin, token)
	d.worker = &worker{dir: dir, log: filepath.Join(dir, "worker.log"), ready: d.api.ready, env: []string{
		"DATABASE_URL=" + url, "STRIPE_SECRET_KEY=sk_test_demo", "STRIPE_API_BASE=http://" + ln.Addr().String(),
		"STRIPE_WEBHOOK_SECRET=" + secret,
		"PUBLIC_ADDR=" + public, "ADMIN_ADDR=" + admin, "ADMIN_TOKEN=" + token,
		fmt.Sprintf("SIMULATED_SPEED=%d", demoSpeed),
		"STRIPE_RATE_LIMIT=0", "STRIPE_ENDPOINT_RATE_LIMIT=0", "TRANSFER_RETRY_INTERVAL=5s",
		"REVERSAL_CHECK_INTERVAL=5s", "LOG_FORMAT=json",
	}}
	for _, x := range proc.environ {
		if strings.HasPrefix(x, "PGPASS") { // PGPASSWORD, PGPASSFILE
			d.worker.env = append(d.worker.env, x)
		}
	}
	defer d.worker.stop()
	d.show = newProgress(proc.stdout, len(d.plan))

	began := time.Now()
	patient, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	err = d.play(patient)
	d.show.end()
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		fmt.Fprintf(proc.stdout, "not everything came to its end within %s\n", demoPatience)
		err = nil // the audit tells
	}
	if err != nil {
		keep = ctx.Err() == nil
		if keep {
			err = fmt.Errorf("%w (the worker's log: %s)", err, d.worker.log)
		}
		return err
	}
	fmt.Fprintf(proc.stdout, "done in %s: the worker was killed %d times; Stripe was made to fail in these ways: %s\n",
		time.Since(began).Round(100*time.Millisecond), d.worker.killed(), faultsOf(d.sim.Counts()))
	staying := !c.Exit && isTerminal(proc.stdout)
	err = d.audit(ctx, staying, admin, token)
	keep = err != nil && !errors.Is(err, context.Canceled)
	if keep {
		fmt.Fprintf(proc.stderr, "settled: the database and the worker's log are kept in %s\n", dir)
	}
	return err
}

// play runs the parts side by side until every planned thing has come to its end.
func (d *demo) play(ctx context.Context) error {
	if err := d.worker.start(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	parts := make(chan error, 2)
	wg.Go(func() { parts <- d.order(ctx) })
	wg.Go(func() { parts <- d.killer(ctx) })
	wg.Go(func() { d.operate(ctx) })
	err := d.watch(ctx, parts, cap(parts))
	cancel()
	wg.Wait()
	return err
}

// watch shows the progress, and returns when all parts have done their work and nothing
// is left unfinished.
func (d *demo) watch(ctx context.Context, parts <-chan error, left int) error {
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-parts:
			if err != nil {
				return err
			}
			left--
		case <-tick.C:
		}
		counts, err := d.ledger.Counts(ctx)
		if err != nil {
			continue // the database may be down for a moment, and that is part of the show
		}
		total, over := 0, 0
		byState := map[ledger.State]int{}
		for _, n := range counts {
			byState[n.Status] += int(n.Number)
			total += int(n.Number)
			if ended(n.Status) {
				over += int(n.Number)
			}
		}
		d.over.Store(int64(over))
		d.show.set(over, byState, d.worker.killed())
		if left == 0 && total == len(d.plan) && over == total {
			return nil
		}
	}
}

// ended reports the states in which nothing more happens by itself, nor should.
func ended(s ledger.State) bool {
	switch s {
	case ledger.Completed, ledger.Reversed, ledger.PartiallyReversed, ledger.Canceled, ledger.PermanentlyFailed:
		return true
	}
	return false
}

// audit compares the ledger with the simulator's truth. Every transfer must be at its end.
func (d *demo) audit(ctx context.Context, staying bool, admin, token string) error {
	if !staying {
		d.worker.stop() // gracefully, so that nothing is under way
	}
	a := audit.New()
	truth := d.sim.Truth()
	for _, t := range truth.Transfers {
		a.Stripe(adapt.Witnessed(t))
	}
	report, err := auditLedger(ctx, d.ledger, a)
	if err != nil {
		return err
	}
	report.Differences = append(report.Differences, d.unfinished(ctx)...)
	if staying {
		fmt.Fprintf(d.proc.stdout,
			"the daemon stays up: curl -H 'Authorization: Bearer %s' http://%s/v1/transfers (end with Ctrl-C)\n", token,
			admin)
		defer func() { <-ctx.Done() }()
	}
	return printReport(d.proc.stdout, report, nil)
}

// unfinished lists the orders that were lost on the way: they are at no end.
func (d *demo) unfinished(ctx context.Context) []audit.Difference {
	var lost []audit.Difference
	for _, p := range d.plan {
		records, err := d.ledger.ByReference(ctx, []string{p.order.Reference})
		switch {
		case err != nil:
			lost = append(lost, audit.Difference{Class: "unfinished", Detail: err.Error()})
		case len(records) == 0:
			lost = append(lost, audit.Difference{Class: "unfinished",
				Detail: p.order.Reference + " was never accepted"})
		case !ended(records[0].Transfer.Status()):
			lost = append(lost, audit.Difference{Class: "unfinished", Transfer: records[0].Transfer.ID,
				Detail: "is " + string(records[0].Transfer.Status())})
		}
	}
	return lost
}

// faultsOf lists the faults that happened, by kind.
func faultsOf(counts map[string]int) string {
	var b bytes.Buffer
	for _, kind := range stripesim.Kinds() {
		if n := counts["fault "+string(kind)]; n > 0 {
			fmt.Fprintf(&b, "%s %d, ", kind, n)
		}
	}
	if b.Len() == 0 {
		return "none"
	}
	return strings.TrimSuffix(b.String(), ", ")
}
