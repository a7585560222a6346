package main

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/ledger"
)

// transfersWanted is the size of the next test.
var transfersWanted = flag.Int("transfers", 600, "how many transfers the daemon drives that is killed twenty times, on each database; a quarter is reversed in part")

// The main promise, on the real program: killed without warning twenty times while it drives
// transfers and partial reversals through a faulty Stripe, it pays each once.
func TestKilledTwentyTimesTheDaemonPaysEachOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute for each database")
	}
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, url string) {
		t.Parallel()
		const kills = 20
		transfers := *transfersWanted
		seed := rand.Uint64N(1_000_000)
		t.Logf("seed %d", seed)
		ctx, cancel := context.WithTimeout(t.Context(), hang)
		defer cancel()
		s := prepareStand(t, ctx, url, "heavy", seed, standSpeed)
		s.migrate(ctx)
		s.begin(ctx)
		plan := planTraffic(seed, transfers)

		var wg sync.WaitGroup
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 3))
			for range kills {
				pause := time.NewTimer(time.Duration(rng.IntN(700)) * time.Millisecond)
				select {
				case <-ctx.Done():
					return
				case <-pause.C:
				}
				if err := s.worker.kill(ctx); err != nil {
					t.Errorf("start again: %v", err)
					return
				}
			}
		})
		ids := make([]ledger.ID, 0, transfers)
		for rest := plan; len(rest) > 0; rest = rest[min(50, len(rest)):] {
			part := rest[:min(50, len(rest))]
			err := again(ctx, 10*time.Millisecond, func() (bool, error) {
				accepted, err := s.api.create(ctx, part)
				if errors.Is(err, errAskAgain) {
					return false, nil
				}
				ids = append(ids, accepted...)
				return true, err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		// A partial reversal of every fourth, as soon as it is paid.
		asked := make(map[int]bool)
		last := time.Now()
		err := again(ctx, 20*time.Millisecond, func() (bool, error) {
			if time.Since(last) > 250*time.Millisecond {
				s.operate(ctx)
				last = time.Now()
			}
			for i := 0; i < transfers; i += 4 {
				if asked[i] {
					continue
				}
				x, err := s.api.get(ctx, ids[i])
				switch {
				case errors.Is(err, errAskAgain):
					continue
				case err != nil:
					return false, err
				case x.Status == ledger.PermanentlyFailed && len(x.Reversals) == 0:
				case len(x.Reversals) == 0 && x.Status != ledger.Completed:
					continue
				default: // asked once more under the same key, when the first answer was lost
					err = s.api.send(ctx, ids[i], plan[i].order.Reference, message{Type: ledger.MessageReverse, Reason: "a refund", Amount: plan[i].order.Money.Amount/3 + 1})
					if errors.Is(err, errAskAgain) {
						continue
					}
					if err != nil {
						return false, err
					}
				}
				asked[i] = true
			}
			return len(asked) == (transfers+3)/4, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		s.settleAll(ctx, transfers)
		if n := s.worker.killed(); n != kills {
			t.Errorf("killed %d times, not %d", n, kills)
		}
		s.calm()
		s.worker.stop()
		report := s.audit(ctx)
		t.Log("\n" + report)
		if !strings.HasSuffix(report, "audit: 0 differences\n") {
			t.Error("the audit found differences")
		}
	})
}
