package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/cmd/settled/adapt"
	"github.com/settled/settled/db"
	"github.com/settled/settled/http"
)

type serveCommand struct {
	Sandbox bool `help:"Run against the built-in simulator of Stripe: no key, no network, a throw-away database unless one is named."`
	flags
}

// Run is the daemon, from configuration to exit.
func (c serveCommand) Run(ctx context.Context, w world) error {
	v, problems := gather(c.flags, w.environ, ".env")
	conf, more := v.parse(c.Sandbox)
	if problems = append(problems, more...); len(problems) > 0 {
		return usageError{errors.Join(problems...)}
	}
	log := newLogger(conf, w.stderr)
	defer flush(log)
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
		box, err := openSandbox(&conf, public.Addr().String(), v.source["DATABASE_URL"] == "default", log)
		if err != nil {
			return err
		}
		defer box.Close()
	}
	return serve(ctx, conf, log, public, admin, w.stdout)
}

// serve runs the daemon on two listeners until ctx ends or something makes it wrong to go on.
// What opens first closes last.
func serve(ctx context.Context, conf config, log *slog.Logger, public, admin net.Listener, stdout io.Writer) error {
	store0, err := openLedger(ctx, conf, log)
	if err != nil {
		public.Close()
		admin.Close()
		return err
	}
	defer store0.Close()
	registry := prometheus.NewRegistry()

	client, err := stripe.New(stripe.Config{
		Key: conf.stripeKey, Base: conf.stripeBase, Timeout: conf.callTimeout(), Connections: conf.limits.Concurrency, Log: log,
	})
	if err != nil {
		return usageError{err}
	}
	defer client.Close()

	epoch, since, raised, err := store0.Epoch(ctx)
	if err != nil {
		return err
	}
	if raised {
		log.Error("the database may have lost commits: what is open rests, is looked up at Stripe, and goes on under new keys", "epoch", epoch, "since", since)
	}
	conf.policy.Epoch, conf.policy.EpochSince = epoch, since
	system, err := actors.New(actors.Config{
		Store: store0, Transient: db.Transient, Stripe: client, Policy: conf.policy, Limits: conf.limits,
		TransferSweep: conf.transferSweep, ReversalSweep: conf.reversalSweep, Reconcile: conf.reconcile,
		Verify: verifyAccount(store0, client, log), Passing: func(err error) bool { return !errors.Is(err, db.ErrOtherAccount) },
		Metrics: registry, Log: log,
	})
	if err != nil {
		return usageError{err}
	}
	registerMetrics(registry, store0, log)

	bootstrap, err := bootstrapToken(ctx, conf, store0, stdout)
	if err != nil {
		return err
	}
	live := strings.HasPrefix(conf.stripeKey, "sk_live_") || strings.HasPrefix(conf.stripeKey, "rk_live_")
	server, err := http.New(http.Config{
		Engine: system, Store: adapt.Store{DB: store0}, Tokens: adapt.Store{DB: store0}, Keys: adapt.Store{DB: store0},
		WebhookSecrets: conf.webhookSecrets, Livemode: &live, Bootstrap: bootstrap, Registerer: registry, Logger: log,
	})
	if err != nil {
		return usageError{err}
	}

	system.Start()
	serving := make(chan error, 1)
	go func() { serving <- server.Serve(context.WithoutCancel(ctx), public, admin) }()
	go forgetKeys(ctx, store0, log)
	log.Info("settled is up", "version", version(), "public", public.Addr().String(), "admin", admin.Addr().String(), "database", store0.Dialect(), "epoch", epoch)

	select {
	case <-ctx.Done():
		log.Info("stopping: no new calls to Stripe, calls under way may end", "within", conf.shutdown)
	case err = <-serving:
	case err = <-system.Failed():
	}
	budget, cancel := context.WithTimeout(context.WithoutCancel(ctx), conf.shutdown)
	defer cancel()
	drained := server.Drain(budget)
	stopped := system.Stop(budget)
	closed := server.Shutdown(budget)
	if errors.Is(err, http.ErrClosed) {
		err = nil
	}
	if stopped != nil { // not a failure: the protocol is made for it
		log.Warn("the budget for stopping was too short", "err", stopped)
	}
	return errors.Join(err, drained, closed)
}

// openLedger opens the database and brings its schema up to date.
func openLedger(ctx context.Context, conf config, log *slog.Logger) (*db.DB, error) {
	d, err := db.Open(ctx, conf.databaseURL, db.Options{Log: log})
	if err != nil {
		return nil, err
	}
	applied, err := d.Migrate(ctx)
	if err != nil {
		d.Close()
		return nil, err
	}
	if len(applied) > 0 {
		log.Info("migrated the database", "applied", applied)
	}
	return d, nil
}

// verifyAccount proves that the key is the ledger's account's: keys derived for one account
// mean nothing at another, so the same transfers would be paid again there.
func verifyAccount(d *db.DB, client *stripe.Client, log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		id, _, err := client.Account(ctx)
		var failed *stripe.ReadError
		if errors.As(err, &failed) && failed.HTTPStatus == 403 {
			log.Warn("the restricted key may not read its account, so a key of another account would not be noticed: grant it read access to accounts")
			return nil
		}
		if err != nil {
			return err
		}
		return d.BindAccount(ctx, id)
	}
}

// bootstrapToken returns the configured admin token. When there is none, and none is stored,
// it makes one, stores its hash, and prints it once.
func bootstrapToken(ctx context.Context, conf config, d *db.DB, stdout io.Writer) (map[string]string, error) {
	if conf.adminToken != "" {
		return map[string]string{"bootstrap": conf.adminToken}, nil
	}
	stored, err := d.Tokens(ctx)
	if err != nil || len(stored) > 0 {
		return nil, err
	}
	token, prefix, hash := http.NewToken(rand.Reader)
	if err := d.AddToken(ctx, db.Token{Name: "first", Prefix: prefix, Hash: hash, Role: string(http.RoleAdmin)}); err != nil {
		return nil, err
	}
	fmt.Fprintf(stdout, "Admin token (shown once): %s\n", token)
	return nil, nil
}

// forgetKeys drops stored answers of idempotent requests after a week.
func forgetKeys(ctx context.Context, d *db.DB, log *slog.Logger) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if _, err := d.ForgetKeys(ctx, 7*24*time.Hour); err != nil && ctx.Err() == nil {
				log.Warn("old idempotency keys could not be dropped", "err", err)
			}
		}
	}
}

// throwAway makes a directory for a database that is not kept, and its URL.
func throwAway() (dir, url string, err error) {
	dir, err = os.MkdirTemp("", "settled-")
	return dir, "sqlite:" + filepath.Join(dir, "settled.db"), err
}
