package actors

import (
	"context"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/ledger"
)

// While the clocks forbid every send, who wants to send waits in the gate, and nobody else may
// have a reason to ask the database or Stripe anything. So the gate has the clocks heard, until
// they agree again.

// hearMost is how long after one hearing the next begins; less where the windows are shorter.
const hearMost = time.Minute

type gateHear struct{} // the clocks may be heard again

// clockTrouble tells people when the clocks part, and when they agree again: once an episode.
func (s *System) clockTrouble(trouble string) {
	if trouble == "" {
		s.log.Info("the clocks agree again")
		s.Withdraw(ledger.CodeClocks)
		return
	}
	s.alarm("clocks", "trouble", trouble)
	s.Notify(ledger.Notice{Code: ledger.CodeClocks, Mover: ledger.MoveOfPlatform,
		Text: "The clocks disagree: nothing is proved by time, and no request is sent again under its key. " + trouble})
}

// halted reports that the clocks forbid the calls of an endpoint.
func (g *gate) halted(e endpoint) bool { return g.halt && (e == reversals || e == transfers) }

// listen has the clocks heard while somebody waits for them.
func (g *gate) listen(c actor.Context) {
	g.halt = g.sys.clocks.state().Halt
	if !g.halt || g.hearing || g.queues[transfers].n+g.queues[reversals].n == 0 {
		return
	}
	g.hearing = true
	q := &g.queues[transfers]
	if q.n == 0 {
		q = &g.queues[reversals]
	}
	of := q.turns[0].asks[0].age
	g.no++
	g.out[g.no], g.outOf[g.no] = time.Now(), lists
	no, self, sys := g.no, c.Self(), g.sys
	go func() {
		sys.hear(no, of)
		time.AfterFunc(min(hearMost, sys.conf.Policy.Windows.Skew), func() { sys.tell(self, gateHear{}) })
	}()
}

// hear asks the database, by a transfer, and Stripe, by the smallest page, what time it is there.
func (s *System) hear(no uint64, of ledger.ID) {
	ctx, cancel := context.WithTimeout(s.calls, s.conf.ReadTimeout)
	defer cancel()
	var err error
	defer func() {
		if bug := recover(); bug != nil {
			s.bug("hear", bug)
			err = fmt.Errorf("hear: %v", bug)
		}
		s.tell(s.gate, released(no, lists, err))
	}()
	err = s.query(func(context.Context) error {
		_, err := s.load(ctx, []ledger.ID{of})
		return err
	})
	if err == nil {
		_, err = s.conf.Stripe.Page(ctx, stripe.PageQuery{Limit: 1})
	}
	if err != nil {
		s.log.Info("the clocks could not be heard", "err", err)
	}
}
