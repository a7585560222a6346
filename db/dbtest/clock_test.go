package dbtest

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// A test that steps a clock which does not step would prove nothing.
func TestTheClockOfAServerSteps(t *testing.T) {
	ctx := t.Context()
	s := NewServer(t)
	clock, err := s.UseClock(ctx)
	if errors.Is(err, ErrNoFaketime) && os.Getenv("CI") != "true" {
		t.Skipf("NOT TESTED WITH A CLOCK THAT STEPS: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	c, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	for _, off := range []time.Duration{0, 11 * time.Hour, -11 * time.Hour, 0} {
		if err := clock.Step(off); err != nil {
			t.Fatal(err)
		}
		var now time.Time
		if err := c.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now); err != nil {
			t.Fatal(err)
		}
		if ahead := time.Until(now); ahead < off-time.Minute || ahead > off+time.Minute {
			t.Errorf("stepped by %s the clock is %s ahead", off, ahead)
		}
	}
}
