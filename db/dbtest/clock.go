package dbtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// ErrNoFaketime reports a machine without libfaketime (Debian's package of that name).
var ErrNoFaketime = errors.New("libfaketime is not installed here")

// Clock is a server's clock, which a test can step. Monotonic time goes on as it is, and so do
// the server's own timers.
type Clock struct{ file string }

// UseClock restarts the server with a clock of the test's own.
func (s *Server) UseClock(ctx context.Context) (*Clock, error) {
	found, _ := filepath.Glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
	if len(found) == 0 {
		return nil, ErrNoFaketime
	}
	// Beside the data, which a test may put back.
	c := &Clock{filepath.Join(s.dir, "clock")}
	if err := c.Step(0); err != nil {
		return nil, err
	}
	s.Env = append(s.Env, "LD_PRELOAD="+found[0], "FAKETIME_TIMESTAMP_FILE="+c.file,
		"FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1")
	return c, s.Restart(ctx)
}

// Step sets how far the clock is ahead of this machine's, or behind it.
func (c *Clock) Step(off time.Duration) error {
	// Renamed into place: the server reads the file at each look at its clock.
	next := c.file + ".next"
	if err := os.WriteFile(next, fmt.Appendf(nil, "%+.3f\n", off.Seconds()), 0o644); err != nil {
		return err
	}
	return os.Rename(next, c.file)
}
