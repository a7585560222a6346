package main

import (
	"context"
	"flag"
	nethttp "net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/ledger"
)

// listsFor lengthens the time in which lists fail, for a measurement by hand.
var listsFor = flag.Duration("lists", 0, "how long Stripe's lists answer 500, beside what is waited for")

// Some PostgreSQLs change their role and leave sockets open: sessions of before cannot write any more, and new
// ones can. Orders succeed again by themselves.
func TestAfterARoleFlipOrdersSucceed(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	address := dbtest.Postgres(t)
	s := newStand(t, ctx, address, "none", 35)
	if _, err := s.api.create(ctx, planTraffic(35, 100)); err != nil { // many sessions
		t.Fatal(err)
	}
	s.settleAll(ctx, 100)
	c, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, flipped.begin); err != nil {
		t.Fatal(err)
	}
	flip := time.Now()
	order := planTraffic(36, 1)
	refused := 0
	if err := again(ctx, 20*time.Millisecond, func() (bool, error) {
		_, err := s.api.create(ctx, order)
		if err != nil {
			refused++
		}
		return err == nil, nil
	}); err != nil {
		t.Fatalf("no order succeeds: %v", err)
	}
	accepted := time.Since(flip)
	s.settleAll(ctx, 101)
	t.Logf("figures: after a role flip an order succeeded after %s (%d were refused), and was paid after %s", accepted.Round(time.Millisecond), refused, time.Since(flip).Round(time.Millisecond))
}

// Stripe's lists answer 500, and nothing else does: what is ordered meanwhile is paid.
func TestWhileListsFailOrdersArePaid(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	s := newStand(t, ctx, dbtest.SQLite(t), "none", 37)
	if _, err := s.api.create(ctx, planTraffic(37, 20)); err != nil {
		t.Fatal(err)
	}
	s.settleAll(ctx, 20)
	const failing = `{"kind": "list_500", "path": "GET /v1/transfers$", "times": -1}`
	s.rule("POST", failing)
	s.rule("POST", `{"kind": "answer_lost", "path": "POST /v1/transfers$", "times": -1}`)
	// Whether these are paid only a list can tell, once their keys are too old.
	if _, err := s.api.create(ctx, planTraffic(39, 10)); err != nil {
		t.Fatal(err)
	}
	down := func() bool {
		_, metrics := get(ctx, s.api.base+"/metrics")
		return strings.Contains(metrics, `settled_gate_down{endpoint="lists"} 1`)
	}
	if err := again(ctx, 20*time.Millisecond, func() (bool, error) { return down(), nil }); err != nil {
		t.Fatalf("nobody notices that lists are down: %v\n%s", err, s.log())
	}
	s.rule("DELETE", "")
	s.rule("POST", failing)
	began := time.Now()
	var times []time.Duration
	traffic := planTraffic(38, 100_000)
	for n := 0; n < 30 || time.Since(began) < *listsFor; n++ {
		from := time.Now()
		ids, err := s.api.create(ctx, traffic[n:n+1])
		if err != nil {
			t.Fatalf("%s after lists began to fail: %v\n%s", time.Since(began), err, s.log())
		}
		if err := again(ctx, 5*time.Millisecond, func() (bool, error) {
			x, err := s.api.get(ctx, ids[0])
			return x.Status == ledger.Completed, err
		}); err != nil {
			t.Fatalf("%s after lists began to fail an order is not paid: %v\n%s", time.Since(began), err, s.log())
		}
		times = append(times, time.Since(from))
		pause := time.NewTimer(20 * time.Millisecond)
		<-pause.C
	}
	if !down() {
		t.Error("lists were not down to the end")
	}
	s.rule("DELETE", "")
	s.settleAll(ctx, 30+len(times))
	slices.Sort(times)
	t.Logf("figures: lists answered 500 for %s: %d orders, all paid, p50 %s, p99 %s, the slowest %s", time.Since(began).Round(time.Second), len(times),
		times[len(times)/2].Round(time.Millisecond), times[len(times)*99/100].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond))
}

// rule sets, or with DELETE takes away, how the simulator fails.
func (s *stand) rule(method, body string) {
	s.t.Helper()
	r, err := nethttp.NewRequest(method, s.sim+"/_sim/rules", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := nethttp.DefaultClient.Do(r)
	if err != nil || res.StatusCode != nethttp.StatusOK {
		s.t.Fatal(err, res)
	}
	res.Body.Close()
}
