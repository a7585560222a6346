package actors

import (
	"context"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/settled/settled/actors/gate"
	"github.com/settled/settled/actors/reconcile"
	"github.com/settled/settled/ledger"
)

// The parts of the tree that are packages of their own, and all that each is handed of the System.

func (s *System) newGate() actor.Actor {
	return gate.New(gate.Config{
		Log: s.log, Metrics: s.gated, Limits: s.conf.Limits, WalkRate: s.conf.Reconcile.Rate, Barred: s.conf.Verify != nil,
		Tell: s.tell, Notify: s.Notify, Withdraw: s.Withdraw, Alarm: s.alarm,
		Outage: func() bool { return s.outage.Load() != nil },
		Halted: func() bool { return s.clocks.state().Halt },
		Hear:   s.hearing,
	})
}

func (s *System) newConditions() actor.Actor {
	return gate.NewConditions(gate.ConditionsConfig{Metrics: s.gated, Tell: s.tell, Alarm: s.alarm, Retry: func(r ledger.Reaction) ledger.Retry {
		if r == ledger.AwaitSellerFunds {
			return s.conf.Policy.Reversals
		}
		return s.conf.Policy.Transfers
	}})
}

func (s *System) newReconciler() actor.Actor {
	return reconcile.New(reconcile.Config{
		Settings: s.conf.Reconcile, Log: s.log, Metrics: s.walked, Seconds: s.metrics.stripeSeconds.WithLabelValues(gate.Walks.String()),
		Store: s.conf.Store, Stripe: s.conf.Stripe, Windows: s.conf.Policy.Windows,
		Owner: s.conf.NewID(), Cooldown: s.conf.Limits.Cooldown, ReadTimeout: s.conf.ReadTimeout,
		Gate: s.gate, Calls: s.calls, Incarnation: func() uint64 { return s.incarnations.Add(1) }, NewID: s.conf.NewID, Policy: s.Policy,
		Tell: s.tell, Alarm: s.alarm, Bug: s.bug, Query: s.query, Persist: s.persist, Pause: pause, Find: s.named,
		Hint:   func(id ledger.ID, stripeID string) { s.tell(s.shard(id), deliver{id, hint{stripeID: stripeID}}) },
		Inject: s.Inject,
		Rebuilt: func(c *ledger.Change) {
			s.metrics.transitions.WithLabelValues(ledger.CreateTransfer.String(), string(c.After.Status())).Inc()
		},
		Outlived: s.outlived,
	})
}

// persist queries the store until that answers, or ctx ends.
func (s *System) persist(ctx context.Context, call func(context.Context) error) (err error) {
	if !retryOutage(ctx.Done(), outageMost, func() (again bool) {
		if err = ctx.Err(); err != nil {
			return false
		}
		err = s.query(call)
		return err != nil && s.transient(err)
	}) {
		return ctx.Err()
	}
	return err
}
