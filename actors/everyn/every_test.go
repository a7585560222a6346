package everyn_test

import (
	"testing"

	"github.com/settled/settled/ledger"
)

// owned is a life with so many owners, and its audit.
func owned(owners int) func(*life) {
	return func(l *life) {
		l.live(owners)
		l.restart()
		l.holds(ledger.Reversed, returned, amount-returned)
	}
}

// TestEveryPoint fails every point of a life, in every way, on both databases.
func TestEveryPoint(t *testing.T) {
	for _, w := range worlds {
		t.Run(w.name, func(t *testing.T) {
			s := newSweep(t, stride(w.dear), w.open(t), owned(1))
			for _, k := range kinds {
				s.loop(k)
			}
			s.report()
		})
	}
}

// TestEveryPointWithTwoOwners is TestEveryPoint for what decides about money, while a second
// daemon, which nothing fails, drives the same transfer.
func TestEveryPointWithTwoOwners(t *testing.T) {
	s := newSweep(t, stride(1), onSQLite(t), owned(2))
	for _, k := range moneyKinds {
		s.loop(k)
	}
	s.report()
}

// TestEveryPairOfPoints fails every two points of a payment's way from the order to its record,
// the second wherever the first has led to.
func TestEveryPairOfPoints(t *testing.T) {
	if *every == 0 && (testing.Short() || racing) {
		t.Skip("64 pairs of kinds, in nothing that TestEveryPoint does not run")
	}
	s := newSweep(t, stride(1), onSQLite(t), func(l *life) {
		l.pay()
		l.restart()
		l.holds(ledger.Completed)
	})
	for _, a := range moneyKinds {
		for _, b := range moneyKinds {
			s.pairs(a, b)
		}
	}
	s.report()
}
