package everyn_test

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/db"
	"github.com/settled/settled/db/faulty"
	"github.com/settled/settled/ledger"
)

// daemon is one process of the daemon, from its start to its end.
type daemon struct {
	life    *life
	points  *points
	faults  *faulty.Faults
	ledger  *db.DB
	client  *stripe.Client
	system  *actors.System
	metrics *prometheus.Registry
}

// errDied is the end of a process that died as it started.
var errDied = errors.New("the process died")

// startsMost bounds the starts that may fail in a row. A single trouble fails one.
const startsMost = 4

// start starts a daemon. One that fails to start is started again, as its service manager would.
func (l *life) start(p *points) *daemon {
	l.Helper()
	var err error
	for range startsMost {
		d := &daemon{life: l, points: p, faults: faulty.New(p.database), metrics: prometheus.NewRegistry()}
		if err = d.open(); err == nil {
			return d
		}
		d.crash()
		if !db.Transient(err) && !errors.Is(err, errDied) {
			l.Errorf("the daemon refused to start: %v", err)
		}
	}
	l.Fatalf("the daemon does not start: %v", err)
	return nil
}

// open is what the command does, in its order: see cmd/settled/serve.go.
func (d *daemon) open() (err error) {
	ctx := context.Background()
	l := d.life
	if d.ledger, err = db.Open(ctx, l.url, db.Options{Connector: d.faults.Connector, MaxConns: 2, LockWait: time.Minute}); err != nil {
		return err
	}
	if _, err := d.ledger.Migrate(ctx); err != nil {
		return err
	}
	d.client, err = stripe.New(stripe.Config{Key: "sk_test_every", Base: "http://stripe.test", Timeout: l.pace.timeout, Log: l.log, Transport: wire{l, d}})
	if err != nil {
		return err
	}
	policy := l.pace.policy
	var raised bool
	if policy.Epoch, policy.EpochSince, raised, err = d.ledger.Epoch(ctx); err != nil {
		return err
	}
	if raised || policy.Epoch != 1 {
		l.Errorf("a new epoch began, though the database lost nothing: %d", policy.Epoch)
	}
	d.system, err = actors.New(actors.Config{
		Store: d.ledger, Transient: db.Transient, Stripe: d.client, Policy: policy,
		Limits:        actors.Limits{Concurrency: 32, Cooldown: l.pace.cooldown},
		TransferSweep: l.pace.sweep, Metrics: d.metrics, Log: l.log,
		Verify: func(ctx context.Context) (string, error) {
			id, _, err := d.client.Account(ctx)
			if err != nil {
				return "", err
			}
			return id, d.ledger.Bind(ctx, ledger.Binding{Account: id, Mode: ledger.TestMode})
		},
		Passing: func(err error) bool { return !errors.Is(err, db.ErrMisbound) },
	})
	if err != nil {
		return err
	}
	if d.isDead() { // of what it has opened nothing would notice
		return errDied
	}
	d.system.Start()
	return nil
}

// isDead reports that the process has died: nothing that it does has an effect.
func (d *daemon) isDead() bool {
	select {
	case <-d.faults.Dead():
		return true
	default:
		return false
	}
}

// crash ends the process without warning, and returns when the database has noticed.
func (d *daemon) crash() {
	d.faults.Kill()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if d.system != nil {
		d.system.Stop(ctx)
	}
	d.close()
	<-d.faults.Gone()
}

// stop ends the process in order, if it does not die of that.
func (d *daemon) stop() {
	d.life.Helper()
	if d.isDead() {
		d.crash()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), d.life.pace.patience)
	defer cancel()
	defer context.AfterFunc(deadOf(d), cancel)()
	if err := d.system.Stop(ctx); err != nil && !d.isDead() {
		d.life.Errorf("stop: %v", err)
	}
	d.close()
	if d.isDead() {
		<-d.faults.Gone()
	}
}

func (d *daemon) close() {
	if d.client != nil {
		d.client.Close()
	}
	if d.ledger != nil {
		d.ledger.Close() // a dead one's connections may be
	}
}

// alarms counts what the daemon called somebody for, by kind.
func (d *daemon) alarms() map[string]int {
	families, err := d.metrics.Gather()
	if err != nil {
		d.life.Fatal(err)
	}
	alarms := map[string]int{}
	for _, f := range families {
		if f.GetName() != "settled_alarms_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if n := m.GetCounter().GetValue(); n > 0 {
				alarms[m.GetLabel()[0].GetValue()] += int(n)
			}
		}
	}
	return alarms
}
