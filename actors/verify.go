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

// verify opens the gate once the account is known to be the ledger's. Where Stripe does not tell whose the key is, it
// opens the gate too, and asks again now and then.
func (s *System) verify() {
	var account string
	var err error
	if !retryOutage(s.stopped, verifyMost, func() (again bool) {
		account, err = s.askAccount(true)
		if again = err != nil && !s.closing.Load() && s.passes(err); again {
			s.unverified(err)
			s.log.Warn("the Stripe account cannot be verified yet; nothing is sent before", "err", err)
		}
		return again
	}) {
		return
	}
	if err == nil {
		s.verified(account)
		s.tell(s.gate, gate.Open{})
	}
	for err == nil && account == "" || err != nil && !s.closing.Load() && s.passes(err) {
		if !s.pause(verifyAgain) {
			return
		}
		if account, err = s.askAccount(false); err == nil {
			s.verified(account)
		}
	}
	if err != nil && !s.closing.Load() { // else the stop may have cut it off
		s.fail(err)
	}
}

func (s *System) passes(err error) bool { return s.conf.Passing != nil && s.conf.Passing(err) }

// askAccount asks Stripe whose the key is, and at first the ledger which account names derive from.
func (s *System) askAccount(first bool) (account string, err error) {
	ctx, cancel := context.WithTimeout(s.calls, s.conf.ReadTimeout)
	defer cancel()
	if account, err = s.conf.Verify(ctx); err == nil && first && s.conf.Names != nil {
		var names string
		if names, err = s.conf.Names(ctx); err == nil {
			s.names.Store(&names)
		}
	}
	return account, err
}

// verified takes in whose the key is; empty: Stripe does not tell.
func (s *System) verified(account string) {
	if account == "" {
		s.Notify(ledger.Notice{Code: unverifiedCode, Mover: ledger.MoveOfPlatform, Text: "Stripe does not tell whose the secret key is, so a key of another account would not be noticed: " +
			"give the restricted key read access to accounts."})
		return
	}
	s.account.Store(&account)
	s.Withdraw(unverifiedCode)
	s.metrics.accountVerified.Set(1)
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
