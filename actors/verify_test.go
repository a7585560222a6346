package actors_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// verifying has the daemon verify its account as told.
func verifying(verify func() (string, error)) settings {
	return func(c *actors.Config) {
		c.Verify = func(context.Context) (string, error) { return verify() }
		c.Passing = func(err error) bool { return errors.Is(err, errOutage) }
	}
}

func (w *world) notice(code string) (n ledger.Notice, there bool) {
	for _, n := range w.node.system.Notices() {
		if n.Code == code {
			return n, true
		}
	}
	return n, false
}

func TestWhileTheAccountIsNotVerifiedNothingIsSentAndPeopleAreToldWhy(t *testing.T) {
	var closed atomic.Bool
	var tries atomic.Int32
	closed.Store(true)
	inWorld(t, stripesim.Config{}, func(w *world) {
		id := w.one()
		w.passes(time.Hour)
		n, told := w.notice("account_unverified")
		if !told || !n.Bars || n.Mover != ledger.MoveOfPlatform || n.Text == "" || !strings.Contains(n.Detail, errOutage.Error()) || strings.Contains(n.Text, errOutage.Error()) {
			w.Errorf("%+v", n)
		}
		if w.sent() != 0 || w.count("account_verified") != 0 {
			w.Errorf("sent %d", w.sent())
		}
		if n := tries.Load(); n < 300 || n > 500 {
			w.Errorf("tried %d times in an hour", n)
		}
		closed.Store(false)
		w.becomes(id, ledger.Completed)
		if n, told := w.notice("account_unverified"); told {
			w.Errorf("it is still told: %+v", n)
		}
		if w.count("account_verified") != 1 || w.node.system.Policy().Account != "acct_1" {
			w.Errorf("the account is %q", w.node.system.Policy().Account)
		}
	}, verifying(func() (string, error) {
		if tries.Add(1); closed.Load() {
			return "", errOutage
		}
		return "acct_1", nil
	}))
}

func TestWhatPassesUnverifiedIsToldUntilTheAccountIsKnown(t *testing.T) {
	var known atomic.Bool
	var tries atomic.Int32
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.becomes(w.one(), ledger.Completed)
		w.passes(2 * time.Hour)
		if n, told := w.notice("account_unverified"); !told || n.Bars || w.count("account_verified") != 0 {
			w.Errorf("%t %+v", told, n)
		}
		if n := tries.Load(); n < 5 || n > 20 {
			w.Errorf("tried %d times in two hours", n)
		}
		known.Store(true)
		w.passes(time.Hour)
		if n, told := w.notice("account_unverified"); told || w.count("account_verified") != 1 {
			w.Errorf("%t %+v", told, n)
		}
	}, verifying(func() (string, error) {
		if tries.Add(1); known.Load() {
			return "acct_1", nil
		}
		return "", nil
	}))
}
