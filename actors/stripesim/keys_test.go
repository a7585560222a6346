package stripesim_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/settled/settled/actors/stripesim"
)

func TestASameKeyReplaysTheFirstAnswer(t *testing.T) {
	sim, w := local(t, stripesim.Config{})
	first := w.pay(t, 100, "K")
	w.post("/v1/transfers/"+first.id()+"/reversals", "amount=40", "R")
	again := w.post("/v1/transfers", "destination=acct_seller&currency=eur&amount=100", "K")
	if again.body != first.body || again.header.Get("Idempotent-Replayed") != "true" {
		t.Fatalf("the order of parameters does not matter, and the stored body is replayed: %s", again.body)
	}
	if again.header.Get("Original-Request") != first.header.Get("Request-Id") || again.header.Get("Request-Id") == first.header.Get("Request-Id") {
		t.Fatalf("Original-Request names the first: %v", again.header)
	}
	if again.header.Get("Stripe-Should-Retry") != "false" || again.header.Get("Idempotency-Key") != "K" {
		t.Fatalf("headers: %v", again.header)
	}
	if n := len(sim.Truth().Transfers); n != 1 {
		t.Fatalf("%d transfers", n)
	}
	w.pay(t, 100, "")
	w.pay(t, 100, "")
	if n := len(sim.Truth().Transfers); n != 3 {
		t.Fatalf("calls without a key always execute: %d transfers", n)
	}
}

func TestAKeyBelongsToItsParametersAndEndpoint(t *testing.T) {
	sim, w := local(t, stripesim.Config{})
	id := w.pay(t, 100, "K").id()
	r := w.post("/v1/transfers", transferForm(101, ""), "K")
	if r.status != 400 || r.kind() != "idempotency_error" || r.code() != "" ||
		!strings.HasPrefix(r.message(), "Keys for idempotent requests can only be used with the same parameters they were first used with.") {
		t.Fatalf("T10: %d %s", r.status, r.body)
	}
	r = w.post("/v1/transfers/"+id+"/reversals", "amount=1", "K")
	if r.status != 400 || r.kind() != "idempotency_error" || !strings.Contains(r.message(), "'/v1/transfers/"+id+"/reversals' vs '/v1/transfers'") {
		t.Fatalf("T10, other endpoint: %d %s", r.status, r.body)
	}
	if tr := find(t, sim.Truth(), id); tr.AmountReversed != 0 {
		t.Fatalf("nothing was executed: %+v", tr)
	}
	if r := w.post("/v1/transfers", transferForm(1, ""), strings.Repeat("k", 256)); r.status != 400 {
		t.Fatalf("a key of 256 characters: %s", r.body)
	}
}

func TestAKeyIsForgottenAfterItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := stripesim.New(stripesim.Config{})
		defer sim.Close()
		w := wire{sim}
		first := w.pay(t, 100, "K").id()
		time.Sleep(12 * time.Hour)
		sim.Advance(12*time.Hour - time.Second)
		if id := w.pay(t, 100, "K").id(); id != first {
			t.Fatalf("a second before 24 h the key still replays, got %s", id)
		}
		sim.Advance(time.Second)
		if id := w.pay(t, 100, "K").id(); id == first {
			t.Fatal("after 24 h the same key executes anew")
		}
		truth := sim.Truth()
		if len(truth.Transfers) != 2 || !truth.Transfers[1].Created.Equal(truth.Transfers[0].Created.Add(24*time.Hour)) {
			t.Fatalf("two transfers, a day apart: %+v", truth.Transfers)
		}
	})
}

func TestARetryMeetsTheFirstStillRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := stripesim.New(stripesim.Config{})
		defer sim.Close()
		w := wire{sim}
		sim.Inject(stripesim.Rule{Kind: stripesim.KindSlow, Path: "POST /v1/transfers$", Delay: time.Minute})
		answered := make(chan reply, 1)
		go func() { answered <- w.post("/v1/transfers", transferForm(100, ""), "K") }()
		synctest.Wait()
		r := w.post("/v1/transfers", transferForm(100, ""), "K")
		if r.status != http.StatusConflict || r.code() != "idempotency_key_in_use" {
			t.Fatalf("T11: %d %s", r.status, r.body)
		}
		if truth := sim.Truth(); len(truth.Transfers) != 0 || truth.Pending != 1 {
			t.Fatalf("it has not executed yet: %+v", truth)
		}
		sim.Advance(time.Minute)
		if r := <-answered; r.status != 200 {
			t.Fatalf("the first answer: %s", r.body)
		}
		if r := w.post("/v1/transfers", transferForm(100, ""), "K"); r.header.Get("Idempotent-Replayed") != "true" {
			t.Fatalf("and its replay: %s", r.body)
		}
	})
}

func TestASlowReversalHoldsItsTransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := stripesim.New(stripesim.Config{})
		defer sim.Close()
		w := wire{sim}
		id := w.pay(t, 1000, "").id()
		sim.Inject(stripesim.Rule{Kind: stripesim.KindSlow, Key: "first", Delay: time.Minute})
		go w.post("/v1/transfers/"+id+"/reversals", "amount=400", "first")
		synctest.Wait()
		r := w.post("/v1/transfers/"+id+"/reversals", "amount=400", "second")
		if r.status != 429 || r.code() != "lock_timeout" || r.header.Get("Stripe-Should-Retry") != "true" ||
			r.header.Get("Stripe-Rate-Limited-Reason") != "" {
			t.Fatalf("T13: %d %s %v", r.status, r.body, r.header)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		r = w.post("/v1/transfers/"+id+"/reversals", "amount=400", "second")
		if r.status != 200 || r.header.Get("Idempotent-Replayed") != "" {
			t.Fatalf("the claim was given back, so the same key executes: %d %s", r.status, r.body)
		}
		if tr := find(t, sim.Truth(), id); tr.AmountReversed != 800 {
			t.Fatalf("both reversed: %+v", tr)
		}
	})
}

func TestAClientThatGivesUpDoesNotStopAHangingRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := stripesim.New(stripesim.Config{})
		defer sim.Close()
		w := wire{sim}
		sim.Inject(stripesim.Rule{Kind: stripesim.KindHang, Arrival: 1, Delay: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if r := w.ask(ctx, "POST", "/v1/transfers", transferForm(100, ""), "K", ""); r.err == nil {
			t.Fatalf("the client gives up: %+v", r)
		}
		if truth := sim.Truth(); len(truth.Transfers) != 0 || truth.Pending != 1 {
			t.Fatalf("nothing has been executed yet: %+v", truth)
		}
		sim.Advance(time.Hour)
		truth := sim.Truth()
		if len(truth.Transfers) != 1 || truth.Pending != 0 {
			t.Fatalf("it executes all the same: %+v", truth)
		}
		if r := w.post("/v1/transfers", transferForm(100, ""), "K"); r.header.Get("Idempotent-Replayed") != "true" || r.id() != truth.Transfers[0].ID {
			t.Fatalf("the retry replays it: %s", r.body)
		}
	})
}

func TestALateCopyOfAnAnsweredRequestReplays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := stripesim.New(stripesim.Config{})
		defer sim.Close()
		w := wire{sim}
		sim.Inject(stripesim.Rule{Kind: stripesim.KindHang, Arrival: 1, Delay: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w.ask(ctx, "POST", "/v1/transfers", transferForm(100, ""), "K", "")
		w.pay(t, 100, "K")
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if truth := sim.Truth(); len(truth.Transfers) != 1 {
			t.Fatalf("one effect: %+v", truth.Transfers)
		}
	})
}

func TestManyCallersOfOneKeyHaveOneEffect(t *testing.T) {
	sim, api, _ := serve(t, stripesim.Config{Seed: 9})
	_ = api
	w := wire{sim}
	const keys, callers = 50, 8
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := range keys {
				r := w.post("/v1/transfers", transferForm(100+i, ""), fmt.Sprint("K", i))
				if r.status != 200 && r.status != 409 {
					t.Errorf("key %d: %d %s", i, r.status, r.body)
				}
			}
		})
	}
	wg.Wait()
	if n := len(sim.Truth().Transfers); n != keys {
		t.Fatalf("%d transfers for %d keys", n, keys)
	}
}
