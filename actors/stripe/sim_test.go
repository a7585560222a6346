package stripe

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// simulated is a client of a simulator over HTTP.
func simulated(t *testing.T, cfg stripesim.Config, change ...func(*Config)) (*stripesim.Sim, *Client) {
	sim := stripesim.New(cfg)
	base := serve(t, sim.Handler())
	t.Cleanup(sim.Close) // before the server, which waits for its calls
	return sim, client(t, base, change...)
}

// order is a transfer of its own operation that needs no charge.
func order(n byte) ledger.Request {
	r := transferRequest()
	r.Operation = uuid.UUID{15: n}
	r.Key = ledger.Key(r.Operation, 0, 1)
	r.SourceTransaction = ""
	r.Metadata = map[string]string{ledger.MetaOperation: r.Operation.String(), ledger.MetaGeneration: "1", ledger.MetaEpoch: "0"}
	return r
}

// takeBack is a reversal of its own operation.
func takeBack(n byte, transfer string, amount int64) ledger.Request {
	r := reversalRequest()
	r.Operation = uuid.UUID{0: 1, 15: n}
	r.Key = ledger.Key(r.Operation, 0, 1)
	r.Transfer, r.Amount = transfer, amount
	r.Metadata = map[string]string{ledger.MetaOperation: r.Operation.String(), ledger.MetaGeneration: "1", ledger.MetaEpoch: "0"}
	return r
}

// nextGeneration is the same request under the next key.
func nextGeneration(r ledger.Request) ledger.Request {
	r.Key = ledger.Key(r.Operation, 0, 2)
	meta := map[string]string{}
	for k, v := range r.Metadata {
		meta[k] = v
	}
	meta[ledger.MetaGeneration] = "2"
	r.Metadata = meta
	return r
}

func expect(t *testing.T, a ledger.Answer, row string, v ledger.Verdict) ledger.Answer {
	t.Helper()
	if a.Row != row || a.Verdict != v {
		t.Fatalf("want %s %s, got %+v", row, v, a)
	}
	return a
}

func TestATransfersLifeAgainstTheSimulator(t *testing.T) {
	sim, c := simulated(t, stripesim.Config{Seed: 1})
	ctx := t.Context()
	since := sim.Now()

	made := expect(t, c.Send(ctx, order(1), always), "T1", done)
	again := expect(t, c.Send(ctx, order(1), always), "T28", done)
	if again.StripeID != made.StripeID || !again.Replayed {
		t.Errorf("a replay made another transfer: %+v", again)
	}
	drifted := order(1)
	drifted.Amount++
	expect(t, c.Send(ctx, drifted, always), "T10", unknown)

	for i := range byte(13) {
		expect(t, c.Send(ctx, takeBack(i, made.StripeID, 300), always), "R1", done)
	}
	expect(t, c.Send(ctx, takeBack(13, made.StripeID, 301), always), "R3", failed)
	got, err := c.Transfer(ctx, made.StripeID)
	if err != nil || got.AmountReversed != 3900 || len(got.Reversals) != 13 || !ledger.Names(got.Reversals[0].Metadata, takeBack(12, "", 0).Operation) {
		t.Fatalf("%+v, %v", got, err)
	}
	expect(t, c.Send(ctx, takeBack(14, made.StripeID, 300), always), "R1", done)
	expect(t, c.Send(ctx, takeBack(15, made.StripeID, 1), always), "R2", notExecuted)
	expect(t, c.Send(ctx, takeBack(16, "tr_nobody", 1), always), "R6", failed)

	for i := byte(2); i < 130; i++ {
		expect(t, c.Send(ctx, order(i), always), "T1", done)
	}
	found, err := search(ctx, c, order(1).Operation, PageQuery{Destination: "acct_9Seller1", Group: "order_77", Since: since.Add(-time.Minute)})
	if err != nil || len(found) != 1 || found[0].ID != made.StripeID {
		t.Errorf("%+v, %v", found, err)
	}
	none, err := search(ctx, c, uuid.UUID{9: 9}, PageQuery{Destination: "acct_9Seller1", Since: since.Add(-time.Minute)})
	if err != nil || len(none) != 0 {
		t.Errorf("%+v, %v", none, err)
	}
	n := 0
	err = c.List(ctx, since.Add(-time.Minute), sim.Now().Add(time.Hour), func(tr ledger.StripeTransfer) error {
		n++
		return nil
	})
	if err != nil || n != 129 || len(sim.Truth().Transfers) != 129 {
		t.Errorf("listed %d of %d, %v", n, len(sim.Truth().Transfers), err)
	}
	if _, err := c.Transfer(ctx, "tr_nobody"); !errors.Is(err, ErrNotThere) {
		t.Errorf("a transfer that never was: %v", err)
	}
	if id, live, err := c.Account(ctx); err != nil || id != sim.Truth().Account || live {
		t.Errorf("%s, %t, %v", id, live, err)
	}
}

// TestFaultsOfTheSimulatorComeToTheirRows scripts each fault, once, and then tries again with
// the same key: what is true at the simulator is compared with what was concluded.
func TestFaultsOfTheSimulatorComeToTheirRows(t *testing.T) {
	for _, f := range []struct {
		rule      stripesim.Rule
		row       string
		verdict   ledger.Verdict
		again     string // row of a second send under the same key
		transfers int    // that exist after both
	}{
		{stripesim.Rule{Kind: stripesim.KindDrop}, "T25", unknown, "T1", 1},
		{stripesim.Rule{Kind: stripesim.KindLoseAnswer}, "T25", unknown, "T28", 1},
		{stripesim.Rule{Kind: stripesim.KindTruncated}, "T24", unknown, "T28", 1},
		{stripesim.Rule{Kind: stripesim.KindEmpty}, "T24", unknown, "T28", 1},
		{stripesim.Rule{Kind: stripesim.KindBadGateway, Execute: true}, "T23", unknown, "T28", 1},
		{stripesim.Rule{Kind: stripesim.KindBadGateway}, "T23", unknown, "T1", 1},
		{stripesim.Rule{Kind: stripesim.KindUnavailable}, "T22", unknown, "T1", 1},
		{stripesim.Rule{Kind: stripesim.KindGatewayTimeout, Execute: true}, "T21", unknown, "T28", 1},
		{stripesim.Rule{Kind: stripesim.KindDependency}, "T19", unknown, "T1", 1},
		{stripesim.Rule{Kind: stripesim.KindAuth}, "T14", notExecuted, "T1", 1},
		{stripesim.Rule{Kind: stripesim.KindRateLimit}, "T12", notExecuted, "T1", 1},
		{stripesim.Rule{Kind: stripesim.KindLockTimeout}, "T13", notExecuted, "T1", 1},
		{stripesim.Rule{Kind: stripesim.KindStored500}, "T20", unknown, "T28", 1},
		{stripesim.Rule{Kind: stripesim.KindRolledBack500}, "T20", unknown, "T28", 0},
		{stripesim.Rule{Kind: stripesim.KindBalance}, "T2", failed, "T28", 0},
		{stripesim.Rule{Kind: stripesim.KindCapability}, "T3", failed, "T28", 0},
		{stripesim.Rule{Kind: stripesim.KindAnswer, Status: http.StatusForbidden, Type: invalidRequest, Message: "no"}, "T15", notExecuted, "T1", 1},
	} {
		t.Run(fmt.Sprintf("%s, executed %t", f.rule.Kind, f.rule.Execute), func(t *testing.T) {
			t.Parallel()
			sim, c := simulated(t, stripesim.Config{Seed: 1})
			sim.Inject(f.rule)
			first := expect(t, c.Send(t.Context(), order(1), always), f.row, f.verdict)
			second := c.Send(t.Context(), order(1), always)
			if second.Row != f.again {
				t.Errorf("the second: want %s, got %+v", f.again, second)
			}
			if n := len(sim.Truth().Transfers); n != f.transfers {
				t.Errorf("%d transfers exist, not %d", n, f.transfers)
			}
			if (second.Verdict == ledger.Done) && f.transfers == 0 || first.Verdict == ledger.Failed && second.Verdict != ledger.Failed {
				t.Errorf("the truth is %d transfers; the second: %+v", f.transfers, second)
			}
		})
	}
}

func TestARefusalEndsWithItsKeyAtTheSimulator(t *testing.T) {
	sim, c := simulated(t, stripesim.Config{Seed: 1})
	sim.Inject(stripesim.Rule{Kind: stripesim.KindBalance})
	if a := expect(t, c.Send(t.Context(), order(1), always), "T2", failed); a.Reaction != ledger.AwaitFunds {
		t.Errorf("%+v", a)
	}
	expect(t, c.Send(t.Context(), nextGeneration(order(1)), always), "T1", done)

	tr := sim.Truth().Transfers[0].ID
	sim.Inject(stripesim.Rule{Kind: stripesim.KindSellerDrained})
	if a := expect(t, c.Send(t.Context(), takeBack(1, tr, 10), always), "R4", failed); a.Reaction != ledger.AwaitSellerFunds {
		t.Errorf("%+v", a)
	}
}

func TestATimeoutIsFollowedByAConflictAtTheSimulator(t *testing.T) {
	sim, c := simulated(t, stripesim.Config{Seed: 1}, func(c *Config) { c.Timeout = tiny })
	sim.Inject(stripesim.Rule{Kind: stripesim.KindSlow, Delay: time.Hour})
	if a := expect(t, c.Send(t.Context(), order(1), always), "T25", unknown); a.Code != "timeout" {
		t.Errorf("%+v", a)
	}
	expect(t, c.Send(t.Context(), order(1), always), "T11", unknown)
	sim.Advance(2 * time.Hour)
	expect(t, c.Send(t.Context(), order(1), always), "T28", done)
	if n := len(sim.Truth().Transfers); n != 1 {
		t.Errorf("%d transfers exist", n)
	}
}

func TestBrokenListsOfTheSimulatorAreNoEvidence(t *testing.T) {
	sim, c := simulated(t, stripesim.Config{Seed: 1})
	expect(t, c.Send(t.Context(), order(1), always), "T1", done)
	q := PageQuery{Destination: "acct_9Seller1", Since: sim.Now().Add(-time.Minute)}
	sim.Inject(stripesim.Rule{Kind: stripesim.KindList500})
	_, err := search(t.Context(), c, order(1).Operation, q)
	if e := readError(t, err); e.Scope != down || e.HTTPStatus != 500 {
		t.Errorf("%+v", e)
	}
	if found, err := search(t.Context(), c, order(1).Operation, q); err != nil || len(found) != 1 {
		t.Errorf("%+v, %v", found, err)
	}
}
