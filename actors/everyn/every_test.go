package everyn_test

import (
	"testing"

	"github.com/settled/settled/ledger"
)

// TestEveryPoint fails every point of a life, in every way, on both databases.
func TestEveryPoint(t *testing.T) {
	for _, w := range worlds {
		t.Run(w.name, func(t *testing.T) {
			on := w.open(t)
			s := newSweep(t)
			for _, k := range kinds {
				s.loop(k, on, func(l *life) {
					l.live(1)
					l.restart()
					l.holds(ledger.Reversed, returned, amount-returned)
				})
			}
			s.report()
		})
	}
}

// TestEveryPointWithTwoOwners is TestEveryPoint for what decides about money, while a second
// daemon, which nothing fails, drives the same transfer.
func TestEveryPointWithTwoOwners(t *testing.T) {
	on := onSQLite(t)
	s := newSweep(t)
	for _, k := range moneyKinds {
		s.loop(k, on, func(l *life) {
			l.live(2)
			l.restart()
			l.holds(ledger.Reversed, returned, amount-returned)
		})
	}
	s.report()
}

// TestEveryPairOfPoints fails every two points of a payment's way from the order to its record,
// the second wherever the first has led to.
func TestEveryPairOfPoints(t *testing.T) {
	if *every == 0 && (testing.Short() || racing) {
		t.Skip("64 pairs of kinds, in nothing that TestEveryPoint does not run")
	}
	on := onSQLite(t)
	s := newSweep(t)
	for _, a := range moneyKinds {
		for _, b := range moneyKinds {
			s.pairs(a, b, on, func(l *life) {
				l.pay()
				l.restart()
				l.holds(ledger.Completed)
			})
		}
	}
	s.report()
}
