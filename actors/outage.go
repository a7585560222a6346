package actors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/settled/settled/ledger"
)

const (
	outageBackoff = 50 * time.Millisecond // before the second try
	outageMost    = 2 * time.Second       // between any two
)

// retryOutage tries again while try says so, after pauses that double up to most. It reports
// false when done was closed during one.
func retryOutage(done <-chan struct{}, most time.Duration, try func() (again bool)) bool {
	for wait := outageBackoff; try(); wait = min(2*wait, most) {
		if !pause(wait, done) {
			return false
		}
	}
	return true
}

// pause waits, and reports false when done is closed meanwhile.
func pause(d time.Duration, done <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-done:
		return false
	}
}

// pause waits, and reports false when the system stops meanwhile.
func (s *System) pause(d time.Duration) bool { return pause(d, s.stopped) }

// query calls the store with a time limit. A panic below it is a bug that must not end the
// process: it is reported, and returned as an error that no waiting mends.
func (s *System) query(call func(context.Context) error) error {
	return s.queryWithin(s.conf.CommitTimeout, call)
}

func (s *System) queryWithin(limit time.Duration, call func(context.Context) error) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	defer func() {
		if bug := recover(); bug != nil {
			s.bug("store", bug)
			err = &storePanic{bug}
		}
	}()
	err = call(ctx)
	// A daemon behind the ledger's epoch needs a new start: that learns the epoch, and looks up at
	// Stripe what was open. To go on would be to change the policy under actors that planned by
	// the old one.
	if errors.Is(err, ledger.ErrNewEpoch) || err != nil && s.conf.Broken(err) {
		s.fail(fmt.Errorf("the ledger cannot be gone on with: %w", err))
	}
	return err
}

// storePanic is a panic of the store, as an error.
type storePanic struct{ reason any }

func (p *storePanic) Error() string { return fmt.Sprintf("the store panicked: %v", p.reason) }

// transient reports an error of the store that passes by waiting.
func (s *System) transient(err error) bool {
	var bug *storePanic
	return !errors.As(err, &bug) && s.conf.Transient(err)
}

// unavailable marks an error of the store that passes by waiting as such.
func (s *System) unavailable(err error) error {
	if err != nil && (s.transient(err) || errors.Is(err, context.DeadlineExceeded)) {
		return fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
	}
	return err
}
