package actors

import (
	"context"
	"time"

	"github.com/settled/settled/actors/gate"
	"github.com/settled/settled/ledger"
)

const (
	verifyMost  = 10 * time.Second // the longest pause while nothing may be sent
	verifyAgain = 10 * time.Minute // while sending may go on although the account is not known
	// unverifiedCode is the notice's while the account was not verified.
	unverifiedCode = "account_unverified"
)

// verify opens the gate once the account is known to be the ledger's.
func (s *System) verify() {
	open := false
	for wait := outageBackoff; ; wait = min(2*wait, verifyMost) {
		ctx, cancel := context.WithTimeout(s.calls, s.conf.ReadTimeout)
		account, err := s.conf.Verify(ctx)
		if err == nil && !open && s.conf.Names != nil {
			var names string
			if names, err = s.conf.Names(ctx); err == nil {
				s.names.Store(&names)
			}
		}
		cancel()
		switch {
		case err == nil:
			if account != "" {
				s.account.Store(&account)
				s.Withdraw(unverifiedCode)
				s.metrics.accountVerified.Set(1)
			}
			if !open {
				s.tell(s.gate, gate.Open{})
			}
			if account != "" {
				return
			}
			open = true
			s.Notify(ledger.Notice{Code: unverifiedCode, Mover: ledger.MoveOfPlatform, Text: "Stripe does not tell whose the secret key is, so a key of another account would not be noticed: " +
				"give the restricted key read access to accounts."})
		case s.closing.Load():
			return // the stop may have cut it off
		case s.conf.Passing == nil || !s.conf.Passing(err):
			s.fail(err)
			return
		case !open:
			s.unverified(err)
			s.log.Warn("the Stripe account cannot be verified yet; nothing is sent before", "err", err)
		}
		if open {
			wait = verifyAgain
		}
		if !s.pause(wait) {
			return
		}
	}
}

// unverified has people know why nothing is sent.
func (s *System) unverified(err error) {
	n := ledger.Notice{Code: unverifiedCode, Bars: true, Mover: ledger.MoveOfSettled,
		Text: "Nothing is sent before Stripe was asked whose the secret key is: the ledger belongs to one account."}
	if err != nil {
		n.Mover, n.Detail = ledger.MoveOfPlatform, "The last try: "+err.Error()
		n.Text = "Nothing is sent before Stripe says whose the secret key is: the ledger belongs to one account. Check the key, and the way to Stripe."
	}
	s.Notify(n)
}
