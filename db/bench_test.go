package db

import (
	"fmt"
	"testing"
	"time"

	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/ledger"
)

// Each iteration commits one batch of changes; a transfer goes through accept, send and
// confirm, all of a batch at the same step, as under a full drain.
func BenchmarkCommit(b *testing.B) {
	for _, dialect := range dialects {
		for _, size := range []int{1, 32, 250} {
			b.Run(fmt.Sprintf("%s/%d", dialect.name, size), func(b *testing.B) {
				d := open(b, dialect.fresh(b))
				life := newLives(size)
				changes := 0
				b.ReportAllocs()
				for b.Loop() {
					changes += life.step(b, d)
				}
				// Of the commits alone, without the making of the changes.
				b.ReportMetric(float64(changes)/life.spent.Seconds(), "changes/s")
			})
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, dialect := range dialects {
		for _, sent := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/sent=%v", dialect.name, sent), func(b *testing.B) {
				d := open(b, dialect.fresh(b))
				life := newLives(500)
				life.step(b, d)
				if sent {
					life.step(b, d)
				}
				ids := make([]ledger.ID, 500)
				for i := range ids {
					ids[i] = life.transfers[i].ID
				}
				b.ReportAllocs()
				for b.Loop() {
					records, err := d.Load(b.Context(), ids)
					if err != nil || len(records) != len(ids) {
						b.Fatal(len(records), err)
					}
				}
				b.ReportMetric(500*float64(b.N)/b.Elapsed().Seconds(), "transfers/s")
			})
		}
	}
}

func BenchmarkStoreEvents(b *testing.B) {
	payload := make([]byte, 2048)
	for i := range payload {
		payload[i] = 'a' + byte(i%26)
	}
	for _, dialect := range dialects {
		b.Run(dialect.name+"/64", func(b *testing.B) {
			d := open(b, dialect.fresh(b))
			events := make([]ledger.StripeEvent, 64)
			n := 0
			for b.Loop() {
				for i := range events {
					n++
					events[i] = ledger.StripeEvent{ID: fmt.Sprintf("evt_%d", n), Type: "transfer.created", Object: "tr_1", Created: time.Unix(1, 0), Payload: payload}
				}
				if _, err := d.StoreEvents(b.Context(), events); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

var dialects = []struct {
	name  string
	fresh func(testing.TB) string
}{{"postgres", dbtest.Postgres}, {"sqlite", dbtest.SQLite}}

// lives is a set of transfers that go through their lives together, again and again.
type lives struct {
	at        int
	spent     time.Duration // on commits
	transfers []ledger.Transfer
	changes   []ledger.Change
}

func newLives(n int) *lives {
	return &lives{transfers: make([]ledger.Transfer, n), changes: make([]ledger.Change, n)}
}

func (l *lives) step(b testing.TB, d *DB) int {
	for i := range l.changes {
		x := &l.transfers[i]
		var err error
		switch l.at {
		case 0:
			l.changes[i] = accept(anOrder())
		case 1:
			l.changes[i], err = x.Begin(policy(), x.CreatedAt)
		case 2:
			l.changes[i], _, err = x.Conclude(x.ID, x.Operation.Epoch, x.Operation.Generation, ledger.Answer{Row: "T1", Verdict: ledger.Done,
				StripeID: "tr_" + short(x.ID), HTTPStatus: 200, RequestID: "req_0123456789"})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	began := time.Now()
	_, won, err := d.Commit(b.Context(), l.changes)
	l.spent += time.Since(began)
	if err != nil {
		b.Fatal(err)
	}
	for i := range l.changes {
		if !won[i] {
			b.Fatal("a change lost")
		}
		l.transfers[i] = l.changes[i].After
	}
	l.at = (l.at + 1) % 3
	return len(l.changes)
}
