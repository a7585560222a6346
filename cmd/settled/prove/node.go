package prove

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/cmd/settled/adapt"
	"github.com/settled/settled/db"
	"github.com/settled/settled/http"
)

// node is one daemon from its start to its death or stop: all of it above the sockets.
type node struct {
	w             *world
	name          string // of this incarnation
	slot          int    // which of the daemons it is
	system        *actors.System
	server        *http.Server
	public, admin fasthttp.RequestHandler
	metrics       *prometheus.Registry

	dead    atomic.Bool // its process has died: nothing it does has an effect
	leaving atomic.Bool // it was told to stop
	over    chan struct{}

	newest   int    // the number of the newest commit that it was told of
	outlived bool   // the database has lost that one
	end      func() // closes over
}

var (
	errDead   = errors.New("the process is dead")
	errOutage = errors.New("the connection to the database broke")
)

// start starts a daemon in a slot.
func (w *world) start(slot int) (*node, error) {
	w.starts++
	n := &node{w: w, slot: slot, name: fmt.Sprintf("node%d.%d", slot, w.starts), over: make(chan struct{})}
	n.end = sync.OnceFunc(func() { close(n.over) })
	// What a process knows of the ledger's epoch, it reads once.
	view, policy := w.db.View(), w.conf.Policy
	var err error
	if policy.Epoch, policy.EpochSince, _, err = view.Epoch(context.Background()); err != nil {
		return nil, err
	}
	client, err := stripe.New(stripe.Config{Key: secretKey, Base: "http://stripe.test", Log: w.log, Transport: wire{n}})
	if err != nil {
		return nil, err
	}
	store := &seam{DB: view, n: n}
	n.metrics = prometheus.NewRegistry()
	n.system, err = actors.New(actors.Config{
		Store: store, Transient: func(err error) bool {
			return errors.Is(err, errOutage) || errors.Is(err, errDead) || db.Transient(err)
		},
		Stripe: client, Policy: policy, Limits: w.conf.Limits, TransferSweep: w.plan.Sweep,
		Reconcile: actors.Reconcile{Interval: w.plan.Walk, Rate: -1},
		Wall:      w.wall,
		Verify: func(ctx context.Context) (string, error) { // and so hears Stripe's clock before anything is sent
			id, _, err := client.Account(ctx)
			return id, err
		},
		Passing: func(error) bool { return true },
		Metrics: n.metrics, Log: w.log, NewID: w.newID, Dispatcher: dispatcher{w.driver, n.name}, Turn: n.turn,
	})
	if err != nil {
		return nil, err
	}
	back := &httpSeam{Store: adapt.Store{DB: view}, n: n}
	n.server, err = http.New(http.Config{
		Engine: n.system, Store: back, Tokens: back, Keys: back, WebhookSecrets: []string{webhookSecret},
		Bootstrap: map[string]string{"platform": adminToken}, Registerer: n.metrics, Logger: w.log,
	})
	if err != nil {
		return nil, err
	}
	n.public, n.admin = n.server.Handlers()
	n.system.Start()
	go n.supervise()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[slot] = n
	w.every = append(w.every, n)
	return n, nil
}

// supervise ends the daemon, in order, when it says that it must not go on, and has it started again.
func (n *node) supervise() {
	select {
	case <-n.system.Failed():
	case <-n.over:
		return
	}
	n.w.turn(n.name + " must not go on")
	if n.dead.Load() || n.leaving.Load() {
		return
	}
	n.w.met("daemon that must not go on")
	n.stop()
	n.w.background(func() { n.w.revive(n.slot, n.w.chance.within(20*time.Minute, "revive after "+n.name)) })
}

// turn lets one message at a time come from the daemon's goroutines and timers.
func (n *node) turn(to string, message any) {
	kind := strings.TrimPrefix(fmt.Sprintf("%T", message), "actors.")
	kind = strings.ReplaceAll(kind, "github.com/settled/settled/actors.", "") // of a generic type's argument
	n.w.driver.park(context.Background(), n.name+" "+strings.TrimPrefix(to, "settled/")+" is told "+kind, message)
}

// die ends the process as a power cut does. What is left of it in memory is swept up, without
// any effect; after a while it is started again.
func (n *node) die(why string) {
	if n.dead.Swap(true) || n.leaving.Load() {
		return
	}
	w := n.w
	n.end()
	w.kills.Add(1)
	w.driver.note(n.name + " dies " + why)
	w.gone(n)
	w.background(func() {
		at, cancel := context.WithCancel(context.Background())
		cancel()
		n.system.Stop(at)
		n.server.Shutdown(at)
	})
	w.background(func() { w.revive(n.slot, w.chance.within(20*time.Minute, "revive after "+n.name)) })
}

// stop ends the daemon in order.
func (n *node) stop() {
	if n.dead.Load() || n.leaving.Swap(true) {
		return
	}
	n.end()
	n.w.driver.note(n.name + " stops")
	n.w.gone(n)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	n.system.Stop(ctx)
	n.server.Shutdown(ctx)
	n.dead.Store(true) // what was cut off has no effect any more
}

// gauge reads a metric of the daemon's that has no labels.
func (n *node) gauge(name string) float64 {
	families, err := n.metrics.Gather()
	if err != nil {
		n.w.breaks(24, "the metrics cannot be read: %v", err)
		return 0
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	panic("no metric is called " + name)
}

// revive starts the daemon of a slot again after a while.
func (w *world) revive(slot int, after time.Duration) {
	time.Sleep(after)
	w.turn(fmt.Sprintf("start node%d", slot))
	if w.closing.Load() {
		return
	}
	if _, err := w.start(slot); err != nil {
		w.breaks(18, "a daemon does not start: %v", err)
	}
}

// quietLog takes log lines, and looks for secrets in them.
func (w *world) quietLog() *slog.Logger {
	return slog.New(slog.NewJSONHandler(canary{w}, &slog.HandlerOptions{Level: slog.LevelWarn}))
}
