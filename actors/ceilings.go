package actors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/settled/settled/ledger"
)

// guard keeps orders within their ceilings, and holds those to a seller's new destination. It knows what the ledger
// says and what is under way here; of what other daemons take it hears with the next sum.
type guard struct {
	store    Store
	ceilings ledger.Ceilings
	holdNew  bool
	clock    func() time.Time

	mu    sync.Mutex          // never held while the ledger is asked
	today map[string]*ordered // by principal
	known map[payee]bool      // pairs that something was paid to: they stay so
}

// ordered is what one principal ordered on one day.
type ordered struct {
	// turn is taken by whoever reads or changes the fields below. It is held while the ledger is asked, so that no order is counted
	// twice or not at all; other principals have theirs, and wait for nothing.
	turn    chan struct{}
	day     time.Time
	read    time.Time                 // when the ledger was asked
	stored  map[ledger.Currency]int64 // the ledger's sum, and what was stored since
	pending map[ledger.Currency]int64 // orders under way
}

type payee struct{ seller, destination string }

const (
	sumAge    = time.Minute // other daemons' orders count after so long at most
	sumFresh  = time.Second // nothing is refused by an older sum
	payeesMax = 100_000     // remembered; what is forgotten is looked up again
	newPayee  = "the destination is new for this seller: see that it is theirs"
)

func newGuard(c Config) *guard {
	return &guard{store: c.Store, ceilings: c.Ceilings, holdNew: c.HoldNewDestination, clock: time.Now,
		today: map[string]*ordered{}, known: map[payee]bool{}}
}

// admit says which of the orders are above a ceiling. Those that it lets through are counted until done says what became
// of them.
func (g *guard) admit(ctx context.Context, orders []ledger.Order, by ledger.By) (refused []error, done func(created []bool), err error) {
	refused = make([]error, len(orders))
	if g.ceilings.Daily == nil {
		for i, o := range orders {
			refused[i] = g.ceilings.Check(o.Money, 0)
		}
		return refused, func([]bool) {}, nil
	}
	sum := g.of(by.Principal)
	select {
	case sum.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	defer func() { <-sum.turn }()
	counted := make([]bool, len(orders))
	for i, o := range orders {
		c := o.Money.Currency
		for _, age := range []time.Duration{sumAge, sumFresh} {
			if err := g.renew(ctx, by.Principal, sum, age); err != nil {
				sum.settle(orders, counted, nil)
				return nil, nil, err
			}
			if refused[i] = g.ceilings.Check(o.Money, sum.stored[c]+sum.pending[c]); refused[i] == nil {
				sum.pending[c] += o.Money.Amount
				counted[i] = true
				break
			}
		}
	}
	return refused, func(created []bool) {
		sum.turn <- struct{}{}
		defer func() { <-sum.turn }()
		sum.settle(orders, counted, created)
	}, nil
}

// settle takes orders off the pending sum, and counts those that were created. It is the caller's turn.
func (s *ordered) settle(orders []ledger.Order, counted, created []bool) {
	for i, o := range orders {
		if !counted[i] {
			continue
		}
		s.pending[o.Money.Currency] -= o.Money.Amount
		if created != nil && created[i] {
			s.stored[o.Money.Currency] += o.Money.Amount
		}
	}
}

// of returns the sums of a principal's orders today, as far as they are known.
func (g *guard) of(principal string) *ordered {
	day := g.clock().UTC().Truncate(24 * time.Hour)
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.today[principal]
	if s == nil || !s.day.Equal(day) {
		maps.DeleteFunc(g.today, func(_ string, x *ordered) bool { return !x.day.Equal(day) })
		s = &ordered{turn: make(chan struct{}, 1), day: day, pending: map[ledger.Currency]int64{}}
		g.today[principal] = s
	}
	return s
}

// renew asks the ledger, when the sum is as old as age. It is the caller's turn.
func (g *guard) renew(ctx context.Context, principal string, s *ordered, age time.Duration) error {
	now := g.clock()
	if s.stored != nil && now.Sub(s.read) < age {
		return nil
	}
	stored, err := g.store.Ordered(ctx, principal, s.day)
	if err != nil {
		return err
	}
	s.stored, s.read = stored, now
	return nil
}

// reasons says why an order is held from the start; none when it is not.
func (g *guard) reasons(ctx context.Context, o ledger.Order) ([]string, error) {
	if !g.holdNew {
		return nil, nil
	}
	p := payee{o.Seller, o.Destination}
	g.mu.Lock()
	known := g.known[p]
	g.mu.Unlock()
	if known {
		return nil, nil
	}
	known, err := g.store.PaidBefore(ctx, o.Seller, o.Destination)
	if err != nil || !known {
		return []string{newPayee}, err
	}
	g.mu.Lock()
	if len(g.known) >= payeesMax {
		clear(g.known)
	}
	g.known[p] = true
	g.mu.Unlock()
	return nil, nil
}

// create is [System.Create] within the ceilings. An order above one that was taken before is answered as it was then.
func (s *System) create(ctx context.Context, orders []ledger.Order, by ledger.By) ([]ledger.Acceptance, error) {
	refused, done, err := s.guard.admit(ctx, orders, by)
	if err != nil {
		return nil, fmt.Errorf("what %s ordered today cannot be read: %w", by.Principal, s.unavailable(err))
	}
	var taken []ledger.Order
	var at []int // the place of each in orders
	var over []string
	for i, o := range orders {
		if refused[i] != nil {
			over = append(over, o.Reference)
			continue
		}
		taken, at = append(taken, o), append(at, i)
	}
	result := make([]ledger.Acceptance, len(orders))
	created := make([]bool, len(orders))
	defer func() { done(created) }()
	if len(taken) > 0 {
		accepted, err := s.register(ctx, taken, by)
		if err != nil {
			return nil, err
		}
		for k, a := range accepted {
			result[at[k]], created[at[k]] = a, a.Created
		}
	}
	if len(over) == 0 {
		return result, nil
	}
	there, err := s.byReference(ctx, over)
	if err != nil {
		return nil, err
	}
	for i, o := range orders {
		if refused[i] == nil {
			continue
		}
		if t, ok := there[o.Reference]; ok {
			result[i] = ledger.Acceptance{Transfer: t, Conflict: t.Order.Hash() != o.Hash()}
		} else {
			result[i] = ledger.Acceptance{Refused: refused[i]}
			s.log.Warn("an order above a ceiling was refused", "principal", by.Principal, "reference", o.Reference, "why", errors.Unwrap(refused[i]))
		}
	}
	return result, nil
}
