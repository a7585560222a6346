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

	mu    sync.Mutex
	today map[string]*ordered // by principal
	known map[payee]bool      // pairs that something was paid to: they stay so
}

// ordered is what one principal ordered on one day.
type ordered struct {
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
	counted := make([]*ordered, len(orders)) // where each is counted: a day may end meanwhile
	done = func(created []bool) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.settle(orders, counted, created)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, o := range orders {
		c := o.Money.Currency
		for _, age := range []time.Duration{sumAge, sumFresh} {
			sum, err := g.sum(ctx, by.Principal, age)
			if err != nil {
				g.settle(orders, counted, nil)
				return nil, nil, err
			}
			if refused[i] = g.ceilings.Check(o.Money, sum.stored[c]+sum.pending[c]); refused[i] == nil {
				sum.pending[c] += o.Money.Amount
				counted[i] = sum
				break
			}
		}
	}
	return refused, done, nil
}

// settle takes orders off what is under way, and counts those that were created. The lock is held.
func (g *guard) settle(orders []ledger.Order, counted []*ordered, created []bool) {
	for i, o := range orders {
		if counted[i] == nil {
			continue
		}
		counted[i].pending[o.Money.Currency] -= o.Money.Amount
		if created != nil && created[i] {
			counted[i].stored[o.Money.Currency] += o.Money.Amount
		}
	}
}

// sum returns what a principal ordered today, by a sum that is not older than age.
func (g *guard) sum(ctx context.Context, principal string, age time.Duration) (*ordered, error) {
	now := g.clock()
	day := now.UTC().Truncate(24 * time.Hour)
	s := g.today[principal]
	if s == nil || !s.day.Equal(day) {
		maps.DeleteFunc(g.today, func(_ string, x *ordered) bool { return !x.day.Equal(day) })
		s = &ordered{day: day, pending: map[ledger.Currency]int64{}}
		g.today[principal] = s
	}
	if s.stored == nil || now.Sub(s.read) >= age {
		stored, err := g.store.Ordered(ctx, principal, day)
		if err != nil {
			return nil, err
		}
		s.stored, s.read = stored, now
	}
	return s, nil
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
	records, err := s.conf.Store.ByReference(ctx, over)
	if err != nil {
		return nil, fmt.Errorf("read transfers by reference: %w", s.unavailable(err))
	}
	there := make(map[string]ledger.Transfer, len(records))
	for _, r := range records {
		there[r.Transfer.Reference] = r.Transfer
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
