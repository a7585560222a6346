package main

import (
	"context"
	"errors"
	"fmt"
	nethttp "net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/ledger"
)

// Asked to stop in the middle of its work, the daemon starts no new calls, lets those under
// way end, and leaves nothing whose outcome it does not know; the next start goes on.
func TestToldToStopItLeavesNoCallOpen(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	// At a speed at which no call times out because the machine is busy: that would leave it open.
	s := prepareStand(t, ctx, dbtest.SQLite(t), "none", 5, 100)
	s.migrate(ctx)
	s.begin(ctx)
	plan := planTraffic(5, 3000+6000+12_000+24_000)
	over, total := 0, 0
	for size := 3000; ; size *= 2 {
		if len(plan) == 0 {
			t.Fatal("everything was done before each stop: nothing was tested")
		}
		for rest := plan[:size]; len(rest) > 0; rest = rest[1000:] {
			if _, err := s.api.create(ctx, rest[:1000]); err != nil {
				t.Fatal(err)
			}
		}
		plan = plan[size:]
		// Under load: some are done, most are not.
		before := over
		err := again(ctx, time.Millisecond, func() (bool, error) {
			over, _, _ = s.states(ctx)
			return over > before+50, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		s.worker.stop()
		var by map[ledger.State]int
		over, total, by = s.states(ctx)
		t.Logf("stopped with %d of %d at their end: %v", over, total, by)
		if n := by[ledger.Sending] + by[ledger.Unresolved]; n > 0 {
			t.Errorf("%d calls were left open", n)
		}
		if over < total {
			break
		}
		// Nobody looked for as long as it took to do everything: once more, with more.
		if err := s.worker.start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(s.log(), "the budget for stopping was too short") {
		t.Errorf("calls were cut off:\n%s", s.log())
	}
	if err := s.worker.start(ctx); err != nil {
		t.Fatal(err)
	}
	s.settleAll(ctx, total)
	s.worker.stop()
	if report := s.audit(ctx); !strings.HasSuffix(report, "audit: 0 differences\n") {
		t.Error(report)
	}
}

// Told to stop, it is not ready and takes no orders, while a call to Stripe is under way; told again, it ends at once.
func TestASecondSignalEndsItAtOnce(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	s := prepareStand(t, ctx, dbtest.SQLite(t), "none", 7, 1)
	s.worker.env = append(s.worker.env, "SHUTDOWN_TIMEOUT=5m") // the first signal alone would end it no sooner
	s.migrate(ctx)
	s.begin(ctx)
	s.rule("POST", `{"kind": "hang_then_execute", "path": "POST /v1/transfers$", "times": -1}`)
	plan := planTraffic(7, 2)
	ids, err := s.api.create(ctx, plan[:1])
	if err != nil {
		t.Fatal(err)
	}
	if err := again(ctx, 10*time.Millisecond, func() (bool, error) {
		x, err := s.api.get(ctx, ids[0])
		return x.Status == ledger.Sending, err
	}); err != nil {
		t.Fatal(err)
	}
	w := s.worker
	w.cmd.Process.Signal(syscall.SIGTERM)
	if err := again(ctx, 10*time.Millisecond, func() (bool, error) { return !s.api.ready(ctx), nil }); err != nil {
		t.Fatalf("it stays ready: %v", err)
	}
	if _, err := s.api.create(ctx, plan[1:]); err == nil {
		t.Error("it takes an order")
	}
	if status, _ := s.webhook(ctx, largeEvent(1, 100)); status == nethttp.StatusOK {
		t.Error("it takes a webhook")
	}
	select {
	case <-w.done:
		t.Fatalf("it did not wait for the call under way: %s", w.cmd.ProcessState)
	default:
	}
	if err := again(ctx, 50*time.Millisecond, func() (bool, error) {
		w.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-w.done:
			return true, nil
		default:
			return false, nil
		}
	}); err != nil {
		t.Fatalf("a second signal does not end it: %v", err)
	}
	if w.cmd.ProcessState.Success() {
		t.Error("it says that it stopped in order")
	}
	if _, total, by := s.states(ctx); total != 1 || by[ledger.Completed] > 0 {
		t.Errorf("afterwards: %v", by)
	}
}

// Another account's key would pay everything again, so it ends the daemon.
func TestAKeyOfAnotherAccountIsRefused(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	s := newStand(t, ctx, dbtest.SQLite(t), "none", 6)
	if _, err := s.api.create(ctx, planTraffic(6, 5)); err != nil {
		t.Fatal(err)
	}
	s.settleAll(ctx, 5)
	s.worker.stop()
	other := s.startSimulator("--addr", "127.0.0.1:0", "--seed", "6", "--speed", fmt.Sprint(standSpeed))
	for i, line := range s.worker.env {
		if strings.HasPrefix(line, "STRIPE_API_BASE=") {
			s.worker.env[i] = "STRIPE_API_BASE=" + other
		}
	}
	err := s.worker.start(ctx) // it may be ready for a moment, before it has asked whose key it is
	if err == nil {
		select {
		case <-s.worker.done:
		case <-ctx.Done():
			err = errors.New("the daemon went on with another account")
			t.Error(err)
		}
	}
	if !strings.Contains(s.log(), "acct_") {
		t.Errorf("the log does not name the accounts:\n%s", s.log())
	}
}
