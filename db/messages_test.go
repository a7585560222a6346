package db

import (
	"sync"
	"testing"
	"time"

	"github.com/settled/settled/ledger"
)

// said stores a message.
func said(t testing.TB, d *DB, transfer ledger.ID) ledger.By {
	t.Helper()
	m := ledger.Message{ID: newID(), Transfer: transfer, Type: ledger.MessageHold, By: ledger.By{Principal: "ann", Reason: "because"}}
	if _, err := d.StoreMessage(t.Context(), m, ledger.Pending); err != nil {
		t.Fatal(err)
	}
	m.By.Message = m.ID
	return m.By
}

func TestAMessageActsOnceAndItsReceiptIsInTheSameCommit(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		x := commit(t, d, accept(anOrder()), nil)
		by := said(t, d, x.ID)
		hold := func(x ledger.Transfer) ledger.Change {
			t.Helper()
			c, err := x.Hold(ledger.HeldByOperator, time.Time{}, by)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		// One that loses the guard leaves the message as it was.
		stale := hold(x)
		stale.After.Version += 5
		if _, won, err := d.Commit(t.Context(), []ledger.Change{stale}); err != nil || won[0] {
			t.Fatalf("%v, %v", won, err)
		}
		if _, done, err := d.Receipt(t.Context(), by.Message); done || err != nil {
			t.Fatalf("what lost has a receipt: %v", err)
		}
		first := hold(x)
		if _, won, err := d.Commit(t.Context(), []ledger.Change{first}); err != nil || !won[0] {
			t.Fatalf("%v, %v", won, err)
		}
		r, done, err := d.Receipt(t.Context(), by.Message)
		if want := (ledger.Receipt{Message: by.Message, Before: ledger.Pending, After: ledger.Held}); err != nil || !done || r != want {
			t.Errorf("%+v, %v, %v", r, done, err)
		}
		again := hold(first.After)
		other, err := commit(t, d, accept(anOrder()), nil).Hold(ledger.HeldByOperator, time.Time{}, ledger.By{Principal: "bob"})
		if err != nil {
			t.Fatal(err)
		}
		if _, won, err := d.Commit(t.Context(), []ledger.Change{again, other}); err != nil || won[0] || !won[1] {
			t.Errorf("a message acted twice, or kept another from acting: %v, %v", won, err)
		}
		refused := said(t, d, x.ID)
		if err := d.StoreReceipt(t.Context(), ledger.Receipt{Message: refused.Message, Refusal: "no", Class: ledger.RefusedConflict}); err != nil {
			t.Fatal(err)
		}
		by = refused
		if _, won, err := d.Commit(t.Context(), []ledger.Change{hold(first.After)}); err != nil || won[0] {
			t.Errorf("a refused message acted: %v, %v", won, err)
		}
	})
}

func TestARefusalThatMayPassIsWrittenDownAndDoesNotSettleTheMessage(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		for _, class := range []ledger.RefusalClass{ledger.RefusedEarly, ledger.RefusedMove} {
			x := commit(t, d, accept(anOrder()), nil)
			by := said(t, d, x.ID)
			if err := d.StoreReceipt(t.Context(), ledger.Receipt{Message: by.Message, Before: x.Status(), After: x.Status(), Refusal: "not yet", Class: class}); err != nil {
				t.Fatal(err)
			}
			var refusal string
			if err := d.write.NewRaw("SELECT refusal FROM messages WHERE id = ?", by.Message).Scan(t.Context(), &refusal); err != nil || refusal != "not yet" {
				t.Errorf("%q, %v", refusal, err)
			}
			if r, done, err := d.Receipt(t.Context(), by.Message); done || err != nil {
				t.Errorf("%s: every repetition would hear %+v, %v", class, r, err)
			}
			c, err := x.Hold(ledger.HeldByOperator, time.Time{}, by)
			commit(t, d, c, err)
			if r, done, err := d.Receipt(t.Context(), by.Message); !done || err != nil || r.Refusal != "" || r.Class != "" || r.After != ledger.Held {
				t.Errorf("it acted, and its receipt is %+v, %t, %v", r, done, err)
			}
		}
	})
}

// Two transfers, so that no version keeps them apart: only the message does.
func TestManyCallersActOnOneMessageOnce(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		const callers = 6
		for range 10 {
			var changes [callers]ledger.Change
			var by ledger.By
			for i := range changes {
				x := commit(t, d, accept(anOrder()), nil)
				if i == 0 {
					by = said(t, d, x.ID)
				}
				var err error
				if changes[i], err = x.Hold(ledger.HeldByOperator, time.Time{}, by); err != nil {
					t.Fatal(err)
				}
			}
			var wg sync.WaitGroup
			var acted [callers]bool
			for i := range changes {
				wg.Go(func() {
					_, won, err := d.Commit(t.Context(), changes[i:i+1])
					if err != nil {
						t.Errorf("commit: %v", err)
						return
					}
					acted[i] = won[0]
				})
			}
			wg.Wait()
			n := 0
			for _, a := range acted {
				if a {
					n++
				}
			}
			if n != 1 {
				t.Fatalf("it acted %d times", n)
			}
		}
	})
}
