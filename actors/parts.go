package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/settled/settled/actors/gate"
	"github.com/settled/settled/ledger"
)

// The parts of the tree that are packages of their own, and all that each is handed of the System.

func (s *System) newGate() actor.Actor {
	return gate.New(gate.Config{
		Log: s.log, Metrics: s.paced, Limits: s.conf.Limits, WalkRate: s.conf.Reconcile.Rate, Barred: s.conf.Verify != nil,
		Tell: s.tell, Notify: s.Notify, Withdraw: s.Withdraw, Alarm: s.alarm,
		Outage: func() bool { return s.outage.Load() != nil },
		Halted: func() bool { return s.clocks.state().Halt },
		Hear:   s.hearing,
	})
}

func (s *System) newConditions() actor.Actor {
	return gate.NewConditions(gate.ConditionsConfig{Metrics: s.paced, Tell: s.tell, Alarm: s.alarm, Retry: func(r ledger.Reaction) ledger.Retry {
		if r == ledger.AwaitSellerFunds {
			return s.conf.Policy.Reversals
		}
		return s.conf.Policy.Transfers
	}})
}
