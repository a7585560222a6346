package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// The parts of a demo beside the daemon: who orders, who looks after parked transfers, and who
// kills. Each copes with a daemon that is gone for a moment by asking again.

// again calls f until it says that it is done.
func again(ctx context.Context, every time.Duration, f func() (done bool, err error)) error {
	for tick := time.NewTicker(every); ; {
		done, err := f()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// order is the platform: it orders the transfers in batches, and asks for reversals of those
// that were paid.
func (d *demo) order(ctx context.Context) error {
	const batch = 20
	ids := make([]ledger.ID, 0, len(d.plan))
	for rest := d.plan; len(rest) > 0; {
		part := rest[:min(batch, len(rest))]
		err := again(ctx, 20*time.Millisecond, func() (bool, error) {
			accepted, err := d.api.create(ctx, part)
			if errors.Is(err, errAskAgain) {
				return false, nil
			}
			ids = append(ids, accepted...)
			return true, err
		})
		if err != nil {
			return fmt.Errorf("order transfers: %w", err)
		}
		rest = rest[len(part):]
	}
	left := make(map[int]int) // of the plan's transfers: how many reversals were asked for
	for i, p := range d.plan {
		if len(p.reversals) > 0 {
			left[i] = 0
		}
	}
	return again(ctx, 50*time.Millisecond, func() (bool, error) {
		for i, asked := range left {
			t, err := d.api.get(ctx, ids[i])
			if errors.Is(err, errAskAgain) {
				return false, nil
			}
			if err != nil {
				return false, fmt.Errorf("read a transfer: %w", err)
			}
			switch t.Status {
			// Reversed: it was asked once more, when the first answer was lost.
			case ledger.Completed, ledger.PartiallyReversed, ledger.ReversalPending, ledger.Reversed:
			case ledger.PermanentlyFailed, ledger.Canceled:
				delete(left, i)
				continue
			default:
				continue
			}
			err = d.api.send(ctx, ids[i], fmt.Sprintf("%s-reversal-%d", d.plan[i].order.Reference, asked), message{
				Type: ledger.MessageReverse, Reason: "refunded to the buyer", Amount: d.plan[i].reversals[asked],
			})
			if errors.Is(err, errAskAgain) {
				return false, nil
			}
			if err != nil {
				return false, fmt.Errorf("ask for a reversal: %w", err)
			}
			if left[i] = asked + 1; left[i] == len(d.plan[i].reversals) {
				delete(left, i)
			}
		}
		return len(left) == 0, nil
	})
}

// operate is the person on call: it looks parked operations up at Stripe, and says how they
// ended.
func (d *demo) operate(ctx context.Context) {
	again(ctx, 300*time.Millisecond, func() (bool, error) {
		for _, status := range []ledger.State{ledger.Parked, ledger.ReversalPending} {
			parked, err := d.api.list(ctx, status)
			if err != nil {
				continue
			}
			for _, t := range parked {
				reversal, ok := t.parked()
				if !ok {
					continue
				}
				m := message{Type: ledger.MessageResolve, Reason: "looked it up in the dashboard",
					Outcome: ledger.OutcomeFailed}
				if id := heldAs(d.sim.Truth(), t.Reference, reversal); id != "" {
					m.Outcome, m.StripeID = ledger.OutcomeCompleted, id
				}
				// Too early, or the daemon is gone: another round will come.
				_ = d.api.send(ctx, t.ID, "", m)
			}
		}
		return false, nil
	})
}

// heldAs looks a transfer up by its reference, or a reversal of it by its own, as a person would, among
// the simulator's objects.
func heldAs(truth stripesim.Truth, transfer, reversal string) string {
	for _, t := range truth.Transfers {
		if t.Metadata[ledger.MetaReference] != transfer {
			continue
		}
		if reversal == "" {
			return t.ID
		}
		for _, r := range t.Reversals {
			if r.Metadata[ledger.MetaReference] == reversal {
				return r.ID
			}
		}
	}
	return ""
}

// killer kills the worker without warning and starts it again: each time when a random part
// of the transfers is at its end, so that every kill of a fast run meets work as well.
func (d *demo) killer(ctx context.Context) error {
	rng := rand.New(rand.NewPCG(d.seed, 2))
	moments := make([]int, d.conf.Kills)
	for i := range moments {
		moments[i] = rng.IntN(len(d.plan)*9/10 + 1)
	}
	slices.Sort(moments)
	for _, over := range moments {
		err := again(ctx, time.Duration(1+rng.IntN(50))*time.Millisecond,
			func() (bool, error) { return int(d.over.Load()) >= over, nil })
		if err != nil {
			return err
		}
		if err := d.worker.kill(ctx); err != nil {
			return fmt.Errorf("kill the worker and start it again: %w", err)
		}
	}
	return nil
}
