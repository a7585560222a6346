package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/cmd/settled/adapt"
	"github.com/settled/settled/db"
	"github.com/settled/settled/db/crash"
	"github.com/settled/settled/http"
	"github.com/settled/settled/ledger"
)

type serveCommand struct {
	Sandbox bool `help:"Run against the built-in simulator of Stripe: no key, no network, a throw-away database unless one is named."`
	flags
}

// Run is the daemon, from configuration to exit.
func (c serveCommand) Run(ctx context.Context, proc process) error {
	v, problems := gather(c.flags, proc.environ, ".env")
	conf, more := v.parse(c.Sandbox)
	if problems = append(problems, more...); len(problems) > 0 {
		return usageError{errors.Join(problems...)}
	}
	log := newLogger(conf, proc.stderr)
	defer flush(log, flushMost)
	defer ignoreHangup(log)()
	public, err := net.Listen("tcp", conf.publicAddr)
	if err != nil {
		return usageError{fmt.Errorf("PUBLIC_ADDR: %w", err)}
	}
	admin, err := net.Listen("tcp", conf.adminAddr)
	if err != nil {
		public.Close()
		return usageError{fmt.Errorf("ADMIN_ADDR: %w", err)}
	}
	if c.Sandbox {
		box, err := openSandbox(ctx, &conf, public.Addr().String(), v.source["DATABASE_URL"] == "default", log)
		if err != nil {
			return err
		}
		defer box.Close()
		box.introduce(proc.stdout, conf, admin.Addr().String())
	}
	return serve(ctx, conf, log, public, admin, proc.stdout)
}

// ignoreHangup keeps SIGHUP from ending the daemon. A closed terminal sends it, and who knows other daemons sends it to
// have settings read anew.
func ignoreHangup(log *slog.Logger) (end func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for range hangups {
			log.Warn("SIGHUP is ignored: settings are read at a start; restart to have them read anew")
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(hangups)
	}
}

// serve runs the daemon on two listeners until ctx ends or something makes it wrong to go on.
// The first to open is the last to close.
func serve(ctx context.Context, conf config, log *slog.Logger, public, admin net.Listener, stdout io.Writer) error {
	crash.Point("start.listening")
	began, err := awaitLedger(ctx, conf, log, public, admin, stdout)
	if err != nil {
		public.Close()
		admin.Close()
		if ctx.Err() != nil {
			return nil // told to stop before it could begin
		}
		return misbound(err)
	}
	store0 := began.store
	defer store0.Close()
	registry := prometheus.NewRegistry()

	client, err := stripe.New(stripe.Config{
		Key: conf.stripeKey, Base: conf.stripeBase, Timeout: conf.callTimeout(), Connections: conf.limits.Concurrency,
		Log: log,
	})
	if err != nil {
		return usageError{err}
	}
	defer client.Close()

	conf.policy.Epoch, conf.policy.EpochSince, conf.policy.Account = began.epoch, began.since, began.bound.Account
	system, err := actors.New(actors.Config{
		Store: crashStore(store0), Transient: db.Transient, Exhausted: db.Exhausted, Broken: db.Damaged,
		Stripe: crashStripe(client), Policy: conf.policy, Limits: conf.limits,
		Ceilings: conf.ceilings, HoldNewDestination: conf.holdNew,
		TransferSweep: conf.transferSweep, ReversalSweep: conf.reversalSweep, Reconcile: conf.reconcile,
		Names:   store0.NamesFrom,
		Verify:  adapt.VerifyAccount(store0, client, conf.mode, log),
		Passing: func(err error) bool { return !errors.Is(err, db.ErrMisbound) },
		Metrics: registry, Log: log,
	})
	if err != nil {
		return usageError{err}
	}
	registerMetrics(registry, store0, log)

	for _, n := range conf.notices {
		log.Warn(n.Text, "notice", n.Code)
		system.Notify(n)
	}
	live := conf.mode == ledger.LiveMode
	server, err := http.New(http.Config{
		Engine: crashEngine(system), Store: adapt.Store{DB: store0}, Tokens: adapt.Store{DB: store0},
		Keys:           crashKeys(adapt.Store{DB: store0}),
		WebhookSecrets: conf.webhookSecrets, Hosts: conf.adminHosts, Livemode: &live, Bootstrap: began.bootstrap,
		Registerer: registry, Logger: log,
	})
	if err != nil {
		return usageError{err}
	}

	system.Start()
	crash.Point("start.spawned")
	serving := make(chan error, 1)
	go func() { serving <- server.Serve(context.WithoutCancel(ctx), public, admin) }()
	crash.Point("start.serving")
	go forget(ctx, store0, conf.eventRetention, log)
	anchorHourly(ctx, registry, store0, log)
	log.Info("settled is up", "version", version(), "public", public.Addr().String(), "admin", admin.Addr().String(),
		"database", store0.Dialect(), "epoch", began.epoch,
		"account", cmp.Or(began.bound.Account, "not known yet"), "mode", string(conf.mode),
		"stripe", cmp.Or(conf.stripeBase, "https://api.stripe.com"))

	select {
	case <-ctx.Done():
		log.Info("stopping: no new calls to Stripe, calls under way may end", "within", conf.shutdown)
	case err = <-serving:
	case err = <-system.Failed():
	}
	budget, cancel := context.WithTimeout(context.WithoutCancel(ctx), conf.shutdown)
	defer cancel()
	crash.Point("stop.told")
	drained := server.Drain(budget)
	crash.Point("stop.drained")
	stopped := system.Stop(budget)
	crash.Point("stop.stopped")
	closed := server.Shutdown(budget)
	crash.Point("stop.closed")
	if errors.Is(err, http.ErrClosed) {
		err = nil
	}
	if stopped != nil { // not a failure: the protocol is made for it
		log.Warn("the budget for stopping was too short", "err", stopped)
	}
	return errors.Join(misbound(err), drained, closed)
}

// misbound makes a wrong use of a ledger of another account or mode, which only a person can mend.
func misbound(err error) error {
	if errors.Is(err, db.ErrMisbound) {
		return usageError{err}
	}
	return err
}

// forget drops, once an hour, rows that are not kept for ever: stored answers of idempotent requests after a week,
// the forms by which references are compared after two days, and the payloads of old events.
func forget(ctx context.Context, d *db.DB, eventRetention time.Duration, log *slog.Logger) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			within, cancel := context.WithTimeout(ctx, time.Minute)
			_, keys := d.ForgetKeys(within, 7*24*time.Hour)
			_, skeletons := d.ForgetSkeletons(within)
			_, payloads := d.EmptyEvents(within, eventRetention)
			cancel()
			if err := errors.Join(keys, skeletons, payloads); err != nil && ctx.Err() == nil {
				log.Warn("old idempotency keys, references that look alike, or payloads of events could not be dropped",
					"err", err)
			}
		}
	}
}

// throwAway makes a directory for a database that is not kept, and its URL.
func throwAway() (dir, url string, err error) {
	dir, err = os.MkdirTemp("", "settled-")
	return dir, "sqlite:" + filepath.Join(dir, "settled.db"), err
}
