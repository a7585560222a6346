package ledger_test

import (
	"encoding/binary"
	"errors"
	"maps"
	"testing"
	"time"

	. "github.com/settled/settled/ledger"
)

// dawn is when every test's clock starts.
var dawn = time.Date(2026, 3, 29, 0, 30, 0, 0, time.UTC)

var person = By{Principal: "ops", Reason: "asked for"}

func id(n uint64) ID {
	var x ID
	binary.BigEndian.PutUint64(x[8:], n)
	return x
}

func policy() Policy {
	retry := Retry{Enabled: true, MaxAttempts: 5, MaxAge: 72 * time.Hour, Backoff: Backoff{Base: time.Minute, Max: time.Hour}}
	return Policy{Windows: DefaultWindows(), Transfers: retry, Reversals: retry, Unresolved: ParkDoubtful}
}

func order() Order {
	return Order{Reference: "inv-1", Seller: "s-1", Destination: "acct_1", Money: Money{Amount: 1000, Currency: "eur"},
		Metadata: map[string]string{"invoice": "7"}}
}

// The answers that stories are made of.
var (
	paid         = Answer{Row: "T1", Verdict: Done, HTTPStatus: 200, StripeID: "tr_1"}
	refused      = Answer{Row: "T2", Verdict: Failed, HTTPStatus: 400, Code: "balance_insufficient"}
	storedNo     = Answer{Row: "T28", Verdict: Failed, HTTPStatus: 400, Code: "balance_insufficient", Replayed: true}
	rateLimited  = Answer{Row: "T12", Verdict: NotExecuted, HTTPStatus: 429, Code: "rate_limit"}
	timedOut     = Answer{Row: "T25", Verdict: Unknown, Code: "timeout"}
	serverError  = Answer{Row: "T20", Verdict: Unknown, HTTPStatus: 500, Code: "api_error"}
	storedError  = Answer{Row: "T28", Verdict: Unknown, HTTPStatus: 500, Code: "api_error", Replayed: true}
	otherRequest = Answer{Row: "T10", Verdict: Unknown, Reaction: LookFirst, HTTPStatus: 400, Code: "idempotency_error", Alert: true}
	reversedAll  = Answer{Row: "R2", Verdict: Failed, Reaction: LookFirst, HTTPStatus: 400, Message: "is already fully reversed."}
)

// story drives one transfer, commits what it is given, and holds every commit to what must be
// true of any: one version, one row, one balanced entry, books that agree with the states.
type story struct {
	testing.TB
	x     Transfer
	rows  []History
	books Books
	now   time.Time
	p     Policy
}

func begin(t testing.TB) *story {
	s := &story{TB: t, now: dawn, p: policy(), books: Books{}}
	s.commit(Accept(order(), id(1), 0, s.now, By{}))
	return s
}

func (s *story) commit(c Change) {
	s.Helper()
	c.Stamp(s.now)
	for _, problem := range flaws(s.x, c, s.rows, s.books) {
		s.Errorf("version %d (%s): %s", c.After.Version, c.History.Event, problem)
	}
	s.x, s.rows = c.After, append(s.rows, c.History)
}

// did commits a step that must be legal.
func (s *story) did(c Change, err error) *story {
	s.Helper()
	if err != nil {
		s.Fatalf("in %s: %v", s.x.Status(), err)
	}
	s.commit(c)
	return s
}

// refuses wants a step to fail, and for this reason.
func (s *story) refuses(want error, _ Change, err error) *story {
	s.Helper()
	if !errors.Is(err, want) {
		s.Fatalf("in %s: got %v, want %v", s.x.Status(), err, want)
	}
	return s
}

func (s *story) passes(d time.Duration) *story { s.now = s.now.Add(d); return s }
func (s *story) sends() *story                 { s.Helper(); return s.did(s.x.Begin(s.p, s.now)) }
func (s *story) loses() *story                 { s.Helper(); return s.did(s.x.Lost("cut off")) }

// answers concludes an answer to the generation in use.
func (s *story) answers(a Answer) *story {
	s.Helper()
	op, _ := s.x.Current()
	return s.hears(op.ID, op.Epoch, op.Generation, a)
}

func (s *story) hears(op ID, epoch, gen int, a Answer) *story {
	s.Helper()
	c, changed, err := s.x.Conclude(op, epoch, gen, a)
	if err == nil && !changed {
		s.Fatalf("in %s: %s changed nothing", s.x.Status(), a.Row)
	}
	return s.did(c, err)
}

func (s *story) ignores(op ID, epoch, gen int, a Answer) *story {
	s.Helper()
	if _, changed, err := s.x.Conclude(op, epoch, gen, a); changed || err != nil {
		s.Fatalf("in %s: %s changed it (%v)", s.x.Status(), a.Row, err)
	}
	return s
}

func (s *story) finds(op ID, stripeID string) *story {
	s.Helper()
	c, changed, err := s.x.Found(op, stripeID, "read")
	if err == nil && !changed {
		s.Fatalf("in %s: finding %s changed nothing", s.x.Status(), stripeID)
	}
	return s.did(c, err)
}

func (s *story) reverses(n uint64, amount int64) *story {
	s.Helper()
	return s.did(s.x.Reverse(id(n), id(n).String(), amount, s.p.Epoch, person))
}

func (s *story) is(want State) *story {
	s.Helper()
	if s.x.Status() != want {
		s.Fatalf("the transfer is %s, want %s", s.x.Status(), want)
	}
	return s
}

func (s *story) drives(want State, generation, open int) *story {
	s.Helper()
	op, _ := s.x.Current()
	if op.State != want || op.Generation != generation || op.OpenSends != open {
		s.Fatalf("the operation is %s, generation %d, %d open; want %s, %d, %d", op.State, op.Generation, op.OpenSends, want, generation, open)
	}
	return s
}

func (s *story) digest() Digest {
	op, _ := s.x.Current()
	if op == nil {
		return Digest{}
	}
	return NewDigest(s.rows, op.ID)
}

func (s *story) plan() Step { return Plan(&s.x, s.digest(), s.p, s.now, time.Time{}) }

// flaws lists what is wrong with a change, whatever it is; books are brought up to date.
func flaws(before Transfer, c Change, rows []History, books Books) (wrong []string) {
	expect := func(ok bool, what string) {
		if !ok {
			wrong = append(wrong, what)
		}
	}
	h := c.History
	expect(c.After.Version == before.Version+1 && h.Version == c.After.Version, "the version does not grow by one")
	expect(int64(len(rows))+1 == c.After.Version, "history rows are not one a version")
	expect(h.Status == c.After.Status() && h.To == c.Subject().State, "the row does not say where it led")
	expect(h.Generation == c.Subject().Generation && h.Epoch == c.Subject().Epoch && h.OpenSends == c.Subject().OpenSends, "the row does not tell the operation's key")
	for _, old := range rows {
		if old.Subject == h.Subject {
			expect(h.Generation >= old.Generation && h.Epoch >= old.Epoch, "a generation or epoch fell")
		}
	}
	var sum int64
	for _, p := range c.Postings {
		sum += p.Amount
		books[p.Account] += p.Amount
		expect(p.Currency == c.After.Money.Currency, "a posting of another currency")
	}
	expect(sum == 0, "the entry does not sum to zero")
	expect(sameBooks(books, c.After.Books()), "the postings do not add up to the states' books")
	expect(sameBooks(books, replayBooks(append(rows[:len(rows):len(rows)], h), c.After)), "the history does not replay to the books")
	for i := range c.After.Reversals {
		r := &c.After.Reversals[i]
		expect(!r.Since.IsZero() && !r.CreatedAt.IsZero(), "a reversal has no date")
	}
	expect(!c.After.Operation.Since.IsZero() && !c.After.CreatedAt.IsZero(), "the transfer has no date")
	return wrong
}

func sameBooks(a, b Books) bool {
	nonzero := func(b Books) Books {
		b = maps.Clone(b)
		maps.DeleteFunc(b, func(_ Account, n int64) bool { return n == 0 })
		return b
	}
	return maps.Equal(nonzero(a), nonzero(b))
}

// replayBooks derives the books from where the history says that each operation is, knowing
// only their amounts. Reversals that no row names came with another's: made outside, or
// taken up or replaced together.
func replayBooks(rows []History, x Transfer) Books {
	at := map[ID]State{}
	for _, h := range rows {
		at[h.Subject] = h.To
	}
	b := Books{Clearing: -x.Money.Amount}
	switch s := at[x.ID]; s {
	case Sending, Unresolved, Parked:
		b[InFlight] += x.Money.Amount
	case Completed:
		b[Paid] += x.Money.Amount
	case Canceled:
		b[Clearing] += x.Money.Amount
	default:
		b[Owed] += x.Money.Amount
	}
	for _, r := range x.Reversals {
		s, named := at[r.ID]
		if !named {
			s = Completed // made outside: it was never anything else
		}
		switch s {
		case Sending, Unresolved, Parked:
			b[Paid] -= r.Amount
			b[Returning] += r.Amount
		case Completed:
			b[Paid] -= r.Amount
			b[Clearing] += r.Amount
		}
	}
	return b
}
