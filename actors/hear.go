package actors

import (
	"context"
	"fmt"
	"time"

	"github.com/settled/settled/actors/gate"
	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/ledger"
)

// While the clocks forbid every send, who wants to send waits in the gate, and nobody else may
// have a reason to ask the database or Stripe anything. So the gate has the clocks heard, until
// they agree again.

// hearMost is how long after one hearing the next begins; less where the windows are shorter.
const hearMost = time.Minute

// clockTrouble tells people when the clocks part, when somebody says which is right, and when they agree
// again: each once an episode. Clocks that part while a word was believed are another episode.
func (s *System) clockTrouble(trouble string, word *ledger.Trust) {
	n := ledger.Notice{Code: ledger.CodeClocks, Mover: ledger.MoveOfPlatform,
		Text: "The clocks disagree: nothing is proved by time, and no request is sent again under its key. " + trouble}
	switch {
	case trouble == "":
		s.log.Info("the clocks agree again")
		s.Withdraw(ledger.CodeClocks)
		return
	case word != nil:
		n.Text = "The clocks disagree. " + trouble
		n.Detail = fmt.Sprintf("%s said so at %s: %s", word.By.Principal, word.At.UTC().Format(time.RFC3339), word.By.Reason)
	default:
		s.alarm("clocks", "trouble", trouble)
	}
	s.Notify(n)
}

// hearing is the gate's Hear.
func (s *System) hearing(no uint64, of ledger.ID, done func()) {
	go func() {
		s.hear(no, of)
		time.AfterFunc(min(hearMost, s.conf.Policy.Windows.Skew), done)
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
		s.tell(s.gate, gate.AfterRead(no, gate.Lists, err))
	}()
	err = s.query(func(context.Context) error {
		_, err := s.load(ctx, []ledger.ID{of})
		return err
	})
	if err == nil {
		_, err = s.conf.Stripe.Page(ctx, stripe.PageQuery{Limit: 1})
	}
	if err == nil {
		s.exchange()
	}
	if err != nil {
		s.log.Info("the clocks could not be heard", "err", err)
	}
}
