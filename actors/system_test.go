package actors_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/db"
	"github.com/settled/settled/ledger"
)

// rig is a tree over a real SQLite file and a simulated Stripe behind real HTTP, whose time
// runs fast.
type rig struct {
	t      testing.TB
	db     *db.DB
	sim    *stripesim.Sim
	client *stripe.Client
	policy ledger.Policy
	system *actors.System
}

// A key lives for 11 s, absence is proved after 4.7 s: what a busy machine delays by a second is late at none of them.
const speed = 8000

func fastPolicy() ledger.Policy {
	w := ledger.DefaultWindows()
	for _, d := range []*time.Duration{&w.Safe, &w.Quiet, &w.Skew, &w.Wire, &w.Late, &w.Lag, &w.KeyLife} {
		*d /= speed
	}
	retry := ledger.Retry{Enabled: true, MaxAttempts: 5, MaxAge: time.Hour, Backoff: ledger.Backoff{Base: 3 * time.Millisecond, Max: 180 * time.Millisecond}}
	return ledger.Policy{Windows: w, Transfers: retry, Reversals: retry, Unresolved: ledger.ParkDoubtful, Epoch: 1}
}

func newRig(t testing.TB, sim stripesim.Config) *rig {
	t.Helper()
	ctx := context.Background()
	d, err := db.Open(ctx, "sqlite:"+t.TempDir()+"/ledger.db", db.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if _, err := d.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	times := stripesim.DefaultTimes()
	for _, x := range []*time.Duration{&times.KeyLife, &times.LateMax, &times.WireMax, &times.ListLag, &times.EventDelayMax, &times.SlowMax} {
		*x /= speed
	}
	sim.Times = times
	world := stripesim.New(sim)
	t.Cleanup(world.Close)
	server := httptest.NewServer(world.Handler())
	t.Cleanup(server.Close)
	client, err := stripe.New(stripe.Config{Key: "sk_test_rig", Base: server.URL, Timeout: 400 * time.Millisecond, Log: quietLog()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	r := &rig{t: t, db: d, sim: world, client: client, policy: fastPolicy()}
	r.start()
	t.Cleanup(func() {
		if r.system != nil {
			r.stop()
		}
	})
	return r
}

func quietLog() *slog.Logger {
	if os.Getenv("SETTLED_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.DiscardHandler)
}

func (r *rig) start() {
	r.t.Helper()
	system, err := actors.New(actors.Config{
		Store: r.db, Transient: db.Transient, Stripe: r.client, Policy: r.policy,
		Limits: actors.Limits{Concurrency: 32}, TransferSweep: time.Second, Log: quietLog(),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.system = system
	system.Start()
}

func (r *rig) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := r.system.Stop(ctx); err != nil {
		r.t.Errorf("stop: %v", err)
	}
	r.system = nil
}

func order(i int) ledger.Order {
	return ledger.Order{
		Reference: fmt.Sprintf("order-%d", i), Seller: fmt.Sprintf("seller-%d", i%7), Destination: fmt.Sprintf("acct_seller%d", i%7),
		Money: ledger.Money{Amount: int64(1000 + i), Currency: "eur"},
	}
}

// create orders n transfers and returns their IDs.
func (r *rig) create(n int) []ledger.ID {
	r.t.Helper()
	orders := make([]ledger.Order, n)
	for i := range orders {
		orders[i] = order(i)
	}
	accepted, err := r.system.Create(context.Background(), orders, ledger.By{Principal: "test"})
	if err != nil {
		r.t.Fatal(err)
	}
	ids := make([]ledger.ID, n)
	for i, a := range accepted {
		if !a.Created {
			r.t.Fatalf("order %d was not accepted", i)
		}
		ids[i] = a.Transfer.ID
	}
	return ids
}

// await waits until every transfer is in one of the states.
func (r *rig) await(ids []ledger.ID, states ...ledger.State) []ledger.Transfer {
	r.t.Helper()
	deadline := time.After(5 * time.Minute)
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		records, err := r.db.Load(context.Background(), ids)
		if err != nil {
			r.t.Fatal(err)
		}
		there := 0
		out := make([]ledger.Transfer, len(ids))
		for _, rec := range records {
			for _, s := range states {
				if rec.Transfer.Status() == s {
					there++
				}
			}
			for i, id := range ids {
				if id == rec.Transfer.ID {
					out[i] = rec.Transfer
				}
			}
		}
		if there == len(ids) {
			return out
		}
		select {
		case <-tick.C:
		case <-deadline:
			for _, rec := range records {
				d, _ := r.db.Dossier(context.Background(), rec.Transfer.ID, 0)
				r.t.Logf("%s is %s (%s %s); %+v", rec.Transfer.ID, rec.Transfer.Status(), rec.Transfer.Operation.ErrorCode, rec.Transfer.Operation.ErrorMessage, r.system.Live(context.Background(), rec.Transfer.ID))
				for _, h := range d.History {
					r.t.Logf("   %d %s %s: %s -> %s gen %d open %d %s %s %s", h.Version, h.At.Format("05.000"), h.Event, h.From, h.To, h.Generation, h.OpenSends, h.Answer.Row, h.Answer.Code, h.Detail)
				}
			}
			r.t.Fatalf("%d of %d transfers came to %v", there, len(ids), states)
		}
	}
}

func (r *rig) inject(id ledger.ID, m ledger.Message) (ledger.Record, error) {
	m.ID, m.Transfer = uuid.Must(uuid.NewV7()), id
	if m.Type == ledger.MessageReverse {
		m.Reference = m.ID.String()
	}
	m.By = ledger.By{Message: m.ID, Principal: "test", Reason: "a test"}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return r.system.Inject(ctx, m)
}

func TestATransferIsPaidAndReversedInParts(t *testing.T) {
	r := newRig(t, stripesim.Config{Seed: 1})
	id := r.create(1)
	paid := r.await(id, ledger.Completed)[0]
	if paid.Operation.StripeID == "" || paid.Operation.Generation != 1 {
		t.Fatalf("paid as %q in generation %d", paid.Operation.StripeID, paid.Operation.Generation)
	}
	if _, err := r.inject(id[0], ledger.Message{Type: ledger.MessageReverse, Amount: 300}); err != nil {
		t.Fatal(err)
	}
	if got := r.await(id, ledger.PartiallyReversed)[0]; got.AmountReversed != 300 {
		t.Fatalf("reversed %d, want 300", got.AmountReversed)
	}
	if _, err := r.inject(id[0], ledger.Message{Type: ledger.MessageReverse}); err != nil {
		t.Fatal(err)
	}
	r.await(id, ledger.Reversed)
	truth := r.sim.Truth()
	if len(truth.Transfers) != 1 || truth.Transfers[0].AmountReversed != 1000 || len(truth.Transfers[0].Reversals) != 2 {
		t.Fatalf("Stripe holds %+v", truth.Transfers)
	}
}

func TestHeavyFaultsEndInFinalStatesPaidOnce(t *testing.T) {
	r := newRig(t, stripesim.Config{Seed: 7, Faults: stripesim.Heavy})
	ids := r.create(60)
	done := r.await(ids, ledger.Completed, ledger.Parked, ledger.PermanentlyFailed)
	times := map[string]int{}
	for _, s := range r.sim.Truth().Transfers {
		times[s.Metadata[ledger.MetaOperation]]++
	}
	for _, x := range done {
		n := times[x.Operation.Name.String()]
		if n > 1 || x.Status() == ledger.Completed && n != 1 || x.Status() == ledger.PermanentlyFailed && n != 0 {
			t.Errorf("%s is %s, and Stripe holds %d", x.ID, x.Status(), n)
		}
	}
}
