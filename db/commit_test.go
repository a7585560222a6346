package db

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/settled/settled/ledger"
)

// rows counts the rows of a table.
func rows(t testing.TB, d *DB, table string) (n int) {
	t.Helper()
	if err := d.write.NewRaw("SELECT count(*) FROM "+table).Scan(t.Context(), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestATakenReferenceLosesAndStoresNothing(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		o := anOrder()
		first := commit(t, d, accept(o), nil)
		_, won, err := d.Commit(t.Context(), []ledger.Change{accept(o), accept(anOrder()), accept(o)})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]bool{false, true, false}, won); diff != "" {
			t.Fatal(diff)
		}
		for table, want := range map[string]int{"transfers": 2, "history": 2, "postings": 4} {
			if n := rows(t, d, table); n != want {
				t.Errorf("%d rows of %s, not %d", n, table, want)
			}
		}
		records, err := d.ByReference(t.Context(), []string{o.Reference, "nobody's"})
		if err != nil || len(records) != 1 || records[0].Transfer.ID != first.ID {
			t.Errorf("%s names %v: %v", o.Reference, records, err)
		}
	})
}

func TestOfTwoCreationsOfOneReferenceInACallTheFirstWins(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		o := anOrder()
		a, b := accept(o), accept(o)
		if a.After.ID.String() > b.After.ID.String() {
			a, b = b, a // the order is that of the IDs
		}
		_, won, err := d.Commit(t.Context(), []ledger.Change{a, b})
		if err != nil || !won[0] || won[1] {
			t.Errorf("won: %v, %v", won, err)
		}
	})
}

func TestATakenIDLoses(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		x := commit(t, d, accept(anOrder()), nil)
		c := ledger.Accept(anOrder(), x.ID, 1, time.Now(), ledger.By{})
		_, won, err := d.Commit(t.Context(), []ledger.Change{c})
		if err != nil || won[0] {
			t.Errorf("won: %v, %v", won, err)
		}
		if got := load(t, d, x.ID).Transfer; got.Reference != x.Reference {
			t.Errorf("the transfer became that of %s", got.Reference)
		}
	})
}

func TestAStaleChangeLosesAndStoresNothing(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		x := commit(t, d, accept(anOrder()), nil)
		hold, err := x.Hold(ledger.HeldByOperator, time.Time{}, ledger.By{})
		if err != nil {
			t.Fatal(err)
		}
		send, err := x.Begin(policy(), x.CreatedAt)
		held := commit(t, d, hold, err)
		_, won, err := d.Commit(t.Context(), []ledger.Change{send})
		if err != nil || won[0] {
			t.Fatalf("won: %v, %v", won, err)
		}
		if diff := cmp.Diff(held, load(t, d, x.ID).Transfer); diff != "" {
			t.Error(diff)
		}
		if n := rows(t, d, "history"); n != 2 {
			t.Errorf("%d history rows", n)
		}
		if n := rows(t, d, "postings"); n != 2 {
			t.Errorf("%d postings", n)
		}
	})
}

func TestOfTwoChangesOfOneTransferInACallTheLaterLoses(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		x := commit(t, d, accept(anOrder()), nil)
		a, err := x.Hold(ledger.HeldByOperator, time.Time{}, ledger.By{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := x.Begin(policy(), x.CreatedAt)
		if err != nil {
			t.Fatal(err)
		}
		next := a.After
		next.Version = 2
		c, err := next.Release(ledger.By{})
		if err != nil {
			t.Fatal(err)
		}
		_, won, err := d.Commit(t.Context(), []ledger.Change{a, b, c})
		if err != nil || !won[0] || won[1] || won[2] {
			t.Fatalf("won: %v, %v", won, err)
		}
		if got := load(t, d, x.ID).Transfer; got.Status() != ledger.Held {
			t.Errorf("it is %s", got.Status())
		}
	})
}

func TestALostReversalLeavesNoRow(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		x := completed(t, d)
		a, err := x.Reverse(newID(), newID().String(), 300, 1, ledger.By{Reason: "refund 1"})
		if err != nil {
			t.Fatal(err)
		}
		b, err := x.Reverse(newID(), newID().String(), 300, 1, ledger.By{Reason: "refund 2"})
		if err != nil {
			t.Fatal(err)
		}
		commit(t, d, a, nil)
		_, won, err := d.Commit(t.Context(), []ledger.Change{b})
		if err != nil || won[0] {
			t.Fatalf("won: %v, %v", won, err)
		}
		got := load(t, d, x.ID).Transfer
		if len(got.Reversals) != 1 || got.Reversals[0].Cause != "refund 1" {
			t.Errorf("the reversals are %+v", got.Reversals)
		}
	})
}

// Each version has one winner, whoever races for it.
func TestRace(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		const racers, versions = 8, 12
		x := commit(t, d, accept(anOrder()), nil)
		for range versions {
			var (
				wg   sync.WaitGroup
				mu   sync.Mutex
				wins []ledger.Transfer
			)
			for i := range racers {
				wg.Go(func() {
					c, err := x.Hold(ledger.HeldByOperator, time.Time{}, ledger.By{Principal: fmt.Sprint(i)})
					if err != nil {
						t.Error(err)
						return
					}
					changes := []ledger.Change{c, accept(anOrder())}
					_, won, err := d.Commit(t.Context(), changes)
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err != nil:
						t.Error(err)
					case !won[1]:
						t.Error("a creation lost")
					case won[0]:
						wins = append(wins, changes[0].After)
					}
				})
			}
			wg.Wait()
			if len(wins) != 1 {
				t.Fatalf("version %d has %d winners", x.Version+1, len(wins))
			}
			x = wins[0]
			if diff := cmp.Diff(x, load(t, d, x.ID).Transfer); diff != "" {
				t.Fatal(diff)
			}
		}
		if n := rows(t, d, "history"); n != 1+versions+versions*racers {
			t.Errorf("%d history rows", n)
		}
	})
}

// Creations race for references too.
func TestRaceForAReference(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		o := anOrder()
		var wg sync.WaitGroup
		wins := make(chan ledger.ID, 16)
		for range 16 {
			wg.Go(func() {
				c := accept(o)
				_, won, err := d.Commit(t.Context(), []ledger.Change{c})
				if err != nil {
					t.Error(err)
				} else if won[0] {
					wins <- c.After.ID
				}
			})
		}
		wg.Wait()
		if len(wins) != 1 {
			t.Fatalf("%d won", len(wins))
		}
		if r, err := d.ByReference(t.Context(), []string{o.Reference}); err != nil || r[0].Transfer.ID != <-wins {
			t.Errorf("another is stored: %v", err)
		}
	})
}

// A batch with a row that the database refuses leaves nothing at all.
func TestAWrongRowFailsTheWholeCall(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		x, done, taken := commit(t, d, accept(anOrder()), nil), completed(t, d), completed(t, d)
		before := map[string]int{}
		tables := []string{"transfers", "reversals", "history", "postings"}
		for _, table := range tables {
			before[table] = rows(t, d, table)
		}
		good := func() []ledger.Change {
			send, err := x.Begin(policy(), x.CreatedAt)
			if err != nil {
				t.Fatal(err)
			}
			reverse, err := done.Reverse(newID(), newID().String(), 100, 1, ledger.By{})
			if err != nil {
				t.Fatal(err)
			}
			return []ledger.Change{accept(anOrder()), send, reverse}
		}
		wrong := map[string]func() ledger.Change{
			"an amount of nothing": func() ledger.Change {
				c := accept(anOrder())
				c.After.Money.Amount = 0
				return c
			},
			"a state that there is not": func() ledger.Change {
				c := accept(anOrder())
				c.After.Operation.State = "lost"
				return c
			},
			"another transfer's Stripe ID": func() ledger.Change {
				y := commit(t, d, accept(anOrder()), nil)
				c, err := y.Begin(policy(), y.CreatedAt)
				y = commit(t, d, c, err)
				c, _, err = y.Found(y.ID, taken.Operation.StripeID, "")
				if err != nil {
					t.Fatal(err)
				}
				return c
			},
			"a history row that is there": func() ledger.Change {
				c := accept(anOrder())
				c.History.Transfer, c.History.Version = x.ID, 1
				return c
			},
			"a posting to no account": func() ledger.Change {
				c := accept(anOrder())
				c.Postings[0].Account = "pocket"
				return c
			},
			"another transfer's reversal": func() ledger.Change {
				y := completed(t, d)
				c, err := y.Reverse(newID(), newID().String(), 1, 1, ledger.By{})
				y = commit(t, d, c, err)
				c, err = taken.Reverse(newID(), newID().String(), 1, 1, ledger.By{})
				if err != nil {
					t.Fatal(err)
				}
				c.After.Reversals[0].ID, c.History.Subject = y.Reversals[0].ID, y.Reversals[0].ID
				return c
			},
			"a text that cannot be stored": func() ledger.Change {
				c := accept(anOrder())
				c.History.Detail = "zero\x00"
				return c
			},
		}
		for name, make := range wrong {
			t.Run(name, func(t *testing.T) {
				bad := make()
				before := map[string]int{}
				for _, table := range tables {
					before[table] = rows(t, d, table)
				}
				_, won, err := d.Commit(t.Context(), append(good(), bad))
				if err == nil || won != nil {
					t.Fatalf("won: %v, %v", won, err)
				}
				if Transient(err) {
					t.Errorf("transient: %v", err)
				}
				for _, table := range tables {
					if n := rows(t, d, table); n != before[table] {
						t.Errorf("%d rows of %s, before %d", n, table, before[table])
					}
				}
			})
		}
		// What was good is good on its own.
		for i, c := range good() {
			if _, won, err := d.Commit(t.Context(), []ledger.Change{c}); err != nil || !won[0] {
				t.Errorf("good change %d: %v, %v", i, won, err)
			}
		}
	})
}

func TestACommitOfNothing(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		at, won, err := d.Commit(t.Context(), nil)
		if err != nil || len(won) != 0 || at.IsZero() {
			t.Errorf("%v, %v, %v", at, won, err)
		}
	})
}

func TestALargeCommit(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		l := newLives(2000)
		for range 3 {
			l.step(t, d)
		}
		ids := make([]ledger.ID, len(l.transfers))
		for i, x := range l.transfers {
			ids[i] = x.ID
		}
		records, err := d.Load(t.Context(), append(ids, newID()))
		if err != nil || len(records) != len(ids) {
			t.Fatalf("%d records: %v", len(records), err)
		}
		for _, r := range records {
			if r.Transfer.Status() != ledger.Completed {
				t.Fatalf("%s is %s", r.Transfer.ID, r.Transfer.Status())
			}
		}
	})
}

func TestTheDatabasesClockStampsWhatIsCommitted(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		c := accept(anOrder())
		changes := []ledger.Change{c}
		at, _, err := d.Commit(t.Context(), changes)
		if err != nil {
			t.Fatal(err)
		}
		x := changes[0].After
		for name, got := range map[string]time.Time{"created": x.CreatedAt, "since": x.Operation.Since, "history": changes[0].History.At} {
			if !got.Equal(at) || got.Location() != time.UTC || got.Nanosecond()%1000 != 0 {
				t.Errorf("%s is %s, and the commit was at %s", name, got, at)
			}
		}
		r := load(t, d, x.ID)
		if !r.Transfer.CreatedAt.Equal(at) || r.ReadAt.Before(at) {
			t.Errorf("read %s at %s, committed at %s", r.Transfer.CreatedAt, r.ReadAt, at)
		}
	})
}

func TestAMissingTransfer(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		if _, err := d.Dossier(t.Context(), newID(), 0); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("the dossier of nothing: %v", err)
		}
		if r, err := d.Load(t.Context(), []ledger.ID{newID(), uuid.Nil}); err != nil || len(r) != 0 {
			t.Errorf("%v, %v", r, err)
		}
		if r, err := d.Load(t.Context(), nil); err != nil || len(r) != 0 {
			t.Errorf("%v, %v", r, err)
		}
		// A change of it loses.
		id := newID()
		x := ledger.Transfer{ID: id, Operation: ledger.Operation{ID: id, State: ledger.Pending}, Order: anOrder(), Version: 4}
		c, err := x.Hold(ledger.HeldByOperator, time.Time{}, ledger.By{})
		if err != nil {
			t.Fatal(err)
		}
		if _, won, err := d.Commit(t.Context(), []ledger.Change{c}); err != nil || won[0] {
			t.Errorf("%v, %v", won, err)
		}
	})
}

func TestFinerTimesAreCutOff(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		o := anOrder()
		o.NotBefore = time.Date(2090, 1, 2, 3, 4, 5, 123456789, time.FixedZone("", -7200))
		x := commit(t, d, accept(o), nil)
		got := load(t, d, x.ID).Transfer
		want := time.Date(2090, 1, 2, 5, 4, 5, 123456000, time.UTC)
		if !got.NotBefore.Equal(want) || !got.HoldEndsAt.Equal(want) {
			t.Errorf("stored as %s and %s", got.NotBefore, got.HoldEndsAt)
		}
	})
}

func TestATimeThatDoesNotSortIsRefused(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		x := commit(t, d, accept(anOrder()), nil)
		for _, year := range []int{-1, 10_000} {
			c, err := x.Hold(ledger.HeldByOperator, time.Time{}, ledger.By{})
			if err != nil {
				t.Fatal(err)
			}
			c.After.HoldEndsAt = time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
			_, _, err = d.Commit(t.Context(), []ledger.Change{c})
			var wrong ledger.FieldError
			if !errors.As(err, &wrong) || wrong.Field != "hold_ends_at" || Transient(err) {
				t.Errorf("the year %d: %v", year, err)
			}
		}
	})
}

func TestListsAreFiltered(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		var all []ledger.Transfer
		for i := range 6 {
			o := anOrder()
			o.Seller, o.Destination = fmt.Sprintf("seller-%d", i%2), fmt.Sprintf("acct_%d", i%3)
			x := commit(t, d, accept(o), nil)
			if i == 4 {
				c, err := x.Begin(policy(), x.CreatedAt)
				x = commit(t, d, c, err)
				c, _, err = x.Conclude(x.ID, 1, 1, ledger.Answer{Row: "T5", Verdict: ledger.Failed, Code: "balance_insufficient"})
				x = commit(t, d, c, err)
			}
			all = append(all, x)
		}
		third := all[3].CreatedAt
		for name, c := range map[string]struct {
			f    ledger.Filter
			want []int
		}{
			"all":            {ledger.Filter{}, []int{5, 4, 3, 2, 1, 0}},
			"two":            {ledger.Filter{Limit: 2}, []int{5, 4}},
			"the next two":   {ledger.Filter{Limit: 2, Before: all[4].ID}, []int{3, 2}},
			"by state":       {ledger.Filter{Status: ledger.FailedState}, []int{4}},
			"by seller":      {ledger.Filter{Seller: "seller-1"}, []int{5, 3, 1}},
			"by destination": {ledger.Filter{Destination: "acct_0"}, []int{3, 0}},
			"by reference":   {ledger.Filter{Reference: all[2].Reference}, []int{2}},
			"by error":       {ledger.Filter{ErrorCode: "balance_insufficient"}, []int{4}},
			"created after":  {ledger.Filter{CreatedAfter: third}, []int{5, 4}},
			"created before": {ledger.Filter{CreatedBefore: third}, []int{2, 1, 0}},
			"by all":         {ledger.Filter{Status: ledger.Pending, Seller: "seller-1", Destination: "acct_0", CreatedAfter: all[0].CreatedAt, Limit: 9}, []int{3}},
			"by nothing":     {ledger.Filter{Seller: "' OR 1=1 --"}, nil},
		} {
			t.Run(name, func(t *testing.T) {
				records, err := d.List(t.Context(), c.f)
				if err != nil {
					t.Fatal(err)
				}
				var want, got []string
				for _, i := range c.want {
					want = append(want, all[i].Reference)
				}
				for _, r := range records {
					got = append(got, r.Transfer.Reference)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	})
}

// Values that statements cannot carry never reach one; all others pass unchanged.
func TestTextIsRefusedOrKept(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		for _, bad := range []string{"a\x00b", "\x00", "a\xff", "\xed\xa0\x80"} {
			for field, call := range map[string]func() error{
				"reference":   func() error { _, err := d.ByReference(t.Context(), []string{bad}); return err },
				"seller":      func() error { _, err := d.List(t.Context(), ledger.Filter{Seller: bad}); return err },
				"status":      func() error { _, err := d.List(t.Context(), ledger.Filter{Status: ledger.State(bad)}); return err },
				"error_code":  func() error { _, err := d.List(t.Context(), ledger.Filter{ErrorCode: bad}); return err },
				"destination": func() error { _, err := d.List(t.Context(), ledger.Filter{Destination: bad}); return err },
				"after":       func() error { _, err := d.UnhandledEvents(t.Context(), bad, 1); return err },
				"id":          func() error { return d.HandleEvents(t.Context(), []string{bad}) },
				"reason": func() error {
					_, err := d.StoreMessage(t.Context(), ledger.Message{ID: newID(), By: ledger.By{Reason: bad}}, ledger.Pending)
					return err
				},
				"refusal":     func() error { return d.StoreReceipt(t.Context(), ledger.Receipt{Refusal: bad}) },
				"key":         func() error { _, err := d.ClaimKey(t.Context(), bad, "", time.Hour); return err },
				"fingerprint": func() error { _, err := d.ClaimKey(t.Context(), "", bad, time.Hour); return err },
				"name":        func() error { return d.AddToken(t.Context(), Token{Name: bad}) },
				"role":        func() error { return d.AddToken(t.Context(), Token{Role: bad}) },
				"account":     func() error { return d.Bind(t.Context(), ledger.Binding{Account: bad, Mode: ledger.TestMode}) },
				"type": func() error {
					_, err := d.StoreEvents(t.Context(), []ledger.StripeEvent{{ID: "evt_1", Type: bad}})
					return err
				},
				"description": func() error {
					c := accept(anOrder())
					c.After.Description = bad
					_, _, err := d.Commit(t.Context(), []ledger.Change{c})
					return err
				},
				"error_message": func() error {
					c := accept(anOrder())
					c.After.Operation.ErrorMessage = bad
					_, _, err := d.Commit(t.Context(), []ledger.Change{c})
					return err
				},
				"answer_message": func() error {
					c := accept(anOrder())
					c.History.Answer.Message = bad
					_, _, err := d.Commit(t.Context(), []ledger.Change{c})
					return err
				},
				"cause": func() error {
					x := completed(t, d)
					c, err := x.Reverse(newID(), newID().String(), 0, 1, ledger.By{Reason: bad})
					if err != nil {
						return err
					}
					_, _, err = d.Commit(t.Context(), []ledger.Change{c})
					return err
				},
			} {
				err := call()
				var wrong ledger.FieldError
				if !errors.As(err, &wrong) || wrong.Field != field || Transient(err) {
					t.Errorf("%q as %s: %v", bad, field, err)
				}
			}
		}
		for _, good := range texts {
			name := good + newID().String()
			if err := d.AddToken(t.Context(), Token{Name: name, Prefix: good, Role: good, Hash: hash(name)}); err != nil {
				t.Fatalf("%q: %v", good, err)
			}
			tokens, err := d.Tokens(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, k := range tokens {
				found = found || k.Name == name && k.Prefix == good && k.Role == good && string(k.Hash) == string(hash(name))
			}
			if !found {
				t.Errorf("%q was not kept: %+v", good, tokens)
			}
		}
	})
}

func FuzzFilterChangesNothing(f *testing.F) {
	for _, s := range texts {
		f.Add(s)
	}
	d, err := Open(f.Context(), "sqlite::memory:", Options{})
	if err != nil {
		f.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Migrate(f.Context()); err != nil {
		f.Fatal(err)
	}
	x := commit(f, d, accept(anOrder()), nil)
	f.Fuzz(func(t *testing.T, s string) {
		records, err := d.List(t.Context(), ledger.Filter{Seller: s, Destination: s, ErrorCode: s, Status: ledger.State(s), Reference: s, Limit: 5})
		if wrong := (ledger.FieldError{}); err != nil && !errors.As(err, &wrong) {
			t.Errorf("%q: %v", s, err)
		}
		if s != "" && len(records) > 0 {
			t.Errorf("%q found %v", s, records)
		}
		if got := load(t, d, x.ID).Transfer; !strings.HasPrefix(got.Reference, "order-") {
			t.Errorf("%q changed the transfer", s)
		}
	})
}
