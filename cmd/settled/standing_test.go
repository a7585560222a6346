package main

import (
	"context"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/settled/settled/db/dbtest"
)

// lockedFor lengthens the lock of a row, for a measurement by hand.
var lockedFor = flag.Duration("locked", 0, "how long one row stays locked, beside what is waited for")

// PostgreSQL goes away, all who ordered meanwhile give up, and it comes back: the daemon is ready
// without anybody asking it for anything.
func TestAfterAnOutageItIsReadyWithoutAnOrder(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	t.Parallel()
	server := dbtest.NewServer(t)
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	url, err := server.CreateDatabase(ctx, "ready")
	if err != nil {
		t.Fatal(err)
	}
	s := newStand(t, ctx, url, "none", 31)
	if _, err := s.api.create(ctx, planTraffic(31, 20)); err != nil {
		t.Fatal(err)
	}
	s.settleAll(ctx, 20) // from here on nothing is committed but orders
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	down := time.Now()
	for n := 0; n < 2 || time.Since(down) < *outageFor; n++ {
		if _, err := s.api.create(ctx, planTraffic(32, 1)); err == nil {
			t.Fatal("an order was accepted that cannot be stored")
		}
	}
	if err := server.Start(ctx); err != nil {
		t.Fatal(err)
	}
	up := time.Now()
	if err := again(ctx, 20*time.Millisecond, func() (bool, error) { return s.api.ready(ctx), nil }); err != nil {
		_, body := get(context.Background(), s.api.base+"/readyz")
		t.Fatalf("it is not ready: %v\n%s", err, body)
	}
	t.Logf("figures: down for %s; ready again after %s", up.Sub(down).Round(100*time.Millisecond), time.Since(up).Round(10*time.Millisecond))
}

// Somebody holds a row by hand: its transfer waits, and no other.
func TestOneLockedRowHoldsUpNobodyElse(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	address := dbtest.Postgres(t)
	s := newStand(t, ctx, address, "none", 33)
	ids, err := s.api.create(ctx, planTraffic(33, 5))
	if err != nil {
		t.Fatal(err)
	}
	s.settleAll(ctx, 5)
	c, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	tx, err := c.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, "SELECT 1 FROM transfers WHERE id = $1 FOR UPDATE", ids[0].String()); err != nil {
		t.Fatal(err)
	}
	locked := time.Now()
	reversed := make(chan error, 1)
	go func() {
		patient := newAPI(s.api.base, standToken)
		reversed <- again(ctx, 50*time.Millisecond, func() (bool, error) {
			return patient.send(ctx, ids[0], "reverse-while-locked", message{Type: "reverse", Reason: "a test", Amount: 1}) == nil, nil
		})
	}()
	var times []time.Duration
	traffic := planTraffic(34, 100_000)
	for n := 0; n < 100 || time.Since(locked) < *lockedFor; n++ {
		from := time.Now()
		if _, err := s.api.create(ctx, traffic[n:n+1]); err != nil {
			t.Fatalf("%s after the row was locked: %v\n%s", from.Sub(locked), err, s.log())
		}
		times = append(times, time.Since(from))
		pause := time.NewTimer(20 * time.Millisecond)
		<-pause.C
	}
	select {
	case err := <-reversed:
		t.Errorf("the locked transfer was reversed: %v", err)
	default:
	}
	if !s.api.ready(ctx) {
		_, body := get(ctx, s.api.base+"/readyz")
		t.Errorf("it is not ready: %s", body)
	}
	slices.Sort(times)
	t.Logf("figures: locked for %s: %d orders, p50 %s, p99 %s, the slowest %s", time.Since(locked).Round(time.Second), len(times),
		times[len(times)/2].Round(time.Millisecond/10), times[len(times)*99/100].Round(time.Millisecond/10), times[len(times)-1].Round(time.Millisecond))
	err = again(ctx, 50*time.Millisecond, func() (bool, error) {
		text, err := os.ReadFile(s.worker.log)
		return strings.Contains(string(text), "another session may hold it"), err
	})
	if err != nil {
		t.Errorf("the log does not tell: %v\n%s", err, s.log())
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-reversed; err != nil {
		t.Errorf("after the lock: %v", err)
	}
}
