package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/settled/settled/actors/gate"
	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/ledger/audit"
)

// walker is the goroutine of a walk, and of the rechecks between walks.
type walker struct {
	Config
	self    *actor.PID // the reconciler
	inc     uint64
	permits chan uint64
	ctx     context.Context
	cancel  context.CancelFunc
	walking atomic.Bool

	at      audit.Walk          // how far it is
	saved   time.Time           // when that was last stored
	seen    map[string]struct{} // Stripe's IDs in this window that were compared with their rows
	before  map[string]struct{} // those of the window before
	debt    int                 // calls that reads made beyond their permits
	listed  map[string]struct{} // Stripe's IDs on the page before
	foreign int                 // findings about others' transfers that nobody was told of yet

	mu    sync.Mutex
	queue []Recheck
}

// oddTries is how often one transfer is read that cannot be read; then it is passed over.
const oddTries = 3

// store asks the ledger, waiting an outage out.
func (w *walker) store(call func(context.Context) error) error {
	err := w.Persist(w.ctx, call)
	if w.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return errStopping
	}
	return err
}

// read reads Stripe, by one permit of the gate for each call that it takes. A read that fails is made
// again, so many times: an outage passes, and the gate waits for its end.
func (w *walker) read(tries int, call func(context.Context) (calls int, err error)) error {
	for n := 1; ; n++ {
		for ; w.debt > 0; w.debt-- { // calls that the last read made beyond its permit
			no, err := w.permit()
			if err != nil {
				return err
			}
			w.Tell(w.Gate, gate.Release{No: no, Unused: true})
		}
		no, err := w.permit()
		if err != nil {
			return err
		}
		calls, err := w.call(no, call)
		switch {
		case err == nil || errors.Is(err, stripe.ErrNotThere):
			w.debt = max(calls-1, 0)
			return err
		case w.ctx.Err() != nil:
			return errStopping
		case n == tries:
			return err
		}
		if !w.Pause(w.Cooldown*time.Duration(min(1<<n, 100)), w.ctx.Done()) {
			return errStopping
		}
	}
}

// call makes one read with a permit, and gives the permit back with the lesson of the read.
func (w *walker) call(no uint64, call func(context.Context) (int, error)) (calls int, err error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(w.ctx, w.ReadTimeout)
	defer cancel()
	defer func() {
		if bug := recover(); bug != nil {
			w.Bug("reconciler's read", bug)
			err = fmt.Errorf("read: %v", bug)
		}
		n := int64(max(calls, 1))
		w.at.Reads += n
		w.Metrics.reads.Add(float64(n))
		w.Seconds.Observe(time.Since(began).Seconds())
		w.Tell(w.Gate, gate.AfterRead(no, gate.Walks, err))
	}()
	return call(ctx)
}

// permit waits for the gate.
func (w *walker) permit() (no uint64, err error) {
	w.Tell(w.Gate, gate.Ask{Endpoint: gate.Walks, From: w.self, Inc: w.inc})
	select {
	case no = <-w.permits:
		return no, nil
	case <-w.ctx.Done():
		return 0, errStopping
	}
}

func (w *walker) push(g Recheck) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) < rechecksMost {
		w.queue = append(w.queue, g)
	}
}

// left returns the rechecks that nobody came to, and forgets them.
func (w *walker) left() []Recheck {
	w.mu.Lock()
	defer w.mu.Unlock()
	left := w.queue
	w.queue = nil
	return left
}

// rechecks makes the rechecks that wait. One that fails is left to the next walk.
func (w *walker) rechecks() {
	for _, g := range w.left() {
		if err := w.recheck(g.Operation, g.StripeID, g.Reference); err != nil && !errors.Is(err, errStopping) {
			w.Log.Warn("a transfer could not be compared; the next walk does", "stripe_id", g.StripeID, "err", err)
		}
	}
}
