package actors_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/db"
	"github.com/settled/settled/ledger"
)

// instant is a Stripe that takes no time and never refuses.
type instant struct{ n atomic.Int64 }

func (s *instant) Send(context.Context, ledger.Request, func() error) ledger.Answer {
	return ledger.Answer{Row: "T1", Verdict: ledger.Done, HTTPStatus: 200, StripeID: fmt.Sprintf("tr_%d", s.n.Add(1))}
}

func (s *instant) Transfer(context.Context, string) (ledger.StripeTransfer, error) {
	return ledger.StripeTransfer{}, stripe.ErrNotThere
}

func (s *instant) Page(context.Context, stripe.PageQuery) (stripe.TransferPage, error) {
	return stripe.TransferPage{}, nil
}

// finals counts the commits that made a transfer final.
type finals struct {
	actors.Store
	left atomic.Int64
	done chan struct{}
}

func (f *finals) Commit(ctx context.Context, changes []ledger.Change) (at time.Time, won []bool, err error) {
	at, won, err = f.Store.Commit(ctx, changes)
	n := int64(0)
	for i := range won {
		if won[i] && changes[i].History.Event == ledger.EventConfirm {
			n++
		}
	}
	if n > 0 && f.left.Add(-n) == 0 {
		close(f.done)
	}
	return at, won, err
}

func benchSystem(b testing.TB, store func(*db.DB) actors.Store, with ...settings) *actors.System {
	ctx := context.Background()
	d, err := db.Open(ctx, "sqlite:"+b.TempDir()+"/ledger.db", db.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { d.Close() })
	if _, err := d.Migrate(ctx); err != nil {
		b.Fatal(err)
	}
	conf := actors.Config{Store: store(d), Transient: db.Transient, Stripe: &instant{}, Policy: realPolicy(), Limits: actors.Limits{Concurrency: 512}, TransferSweep: time.Hour}
	for _, f := range with {
		f(&conf)
	}
	s, err := actors.New(conf)
	if err != nil {
		b.Fatal(err)
	}
	s.Start()
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			b.Error(err)
		}
	})
	return s
}

// BenchmarkDrive takes transfers from their registration to completed: an intent, a call that
// takes no time, an outcome, each durable in SQLite.
func BenchmarkDrive(b *testing.B) {
	f := &finals{done: make(chan struct{})}
	f.left.Store(int64(b.N))
	s := benchSystem(b, func(d *db.DB) actors.Store { f.Store = d; return f })
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += 500 {
		orders := make([]ledger.Order, min(500, b.N-i))
		for k := range orders {
			orders[k] = order(i + k)
		}
		if _, err := s.Create(context.Background(), orders, ledger.By{Principal: "bench"}); err != nil {
			b.Fatal(err)
		}
	}
	<-f.done
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "transfers/s")
}

// BenchmarkWaiting measures what an actor holds while it waits for its date.
func BenchmarkWaiting(b *testing.B) {
	const n = 100_000
	for range b.N {
		s := benchSystem(b, func(d *db.DB) actors.Store { return d })
		heap := func() uint64 {
			runtime.GC()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		before := heap()
		for i := 0; i < n; i += 500 {
			orders := make([]ledger.Order, 500)
			for k := range orders {
				orders[k] = order(i + k)
				orders[k].NotBefore = time.Now().Add(24 * time.Hour)
			}
			accepted, err := s.Create(context.Background(), orders, ledger.By{Principal: "bench"})
			if err != nil {
				b.Fatal(err)
			}
			for _, a := range accepted { // its actor waits
				for s.Live(context.Background(), a.Transfer.ID).Doing != "waiting" {
					runtime.Gosched()
				}
			}
		}
		b.ReportMetric(float64(heap()-before)/n, "B/actor")
		runtime.KeepAlive(s)
	}
}
