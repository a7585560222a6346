package actors

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/settled/settled/ledger"
)

// While a machine is suspended its monotonic clock stands still, and a key ages all the same. The
// wall clock tells so, also of a suspension too short for the clocks to disagree.
func TestAKeyThatAgedWhileTheMachineWasSuspendedIsNotSent(t *testing.T) {
	for name, tc := range map[string]struct {
		slept time.Duration // by the wall clock alone
		want  error
	}{
		"the machine went on":                        {0, nil},
		"it was suspended until SAFE was over":       {11 * time.Minute, ledger.ErrTooOld},
		"it was suspended for more than the skew":    {time.Hour, ledger.ErrTooOld},
		"it was suspended, and the key is young yet": {9 * time.Minute, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, slept := ledger.DefaultWindows(), time.Duration(0)
				c := newClocks(w, func() time.Time { return time.Now().Add(slept) }, func(string, *ledger.Trust) {})
				now, wall := c.read()
				c.stored(now, now)
				f := freshness{clocks: c, firstSent: now.Add(10*time.Minute - w.Safe), then: now, at: now, wall: wall, windows: w}
				slept = tc.slept
				if err := f.check(); !errors.Is(err, tc.want) {
					t.Errorf("got %v, want %v", err, tc.want)
				}
			})
		})
	}
}
