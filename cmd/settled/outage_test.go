package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	nethttp "net/http"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/db/dbtest"
)

// outageFor lengthens the outage of the next test, for a run by hand.
var outageFor = flag.Duration("outage", 0, "how long PostgreSQL stays down, beside what is waited for")

// PostgreSQL goes away while transfers are driven: nothing is lost, readiness says why,
// webhooks are not acknowledged, and work resumes by itself.
func TestPostgreSQLGoesAwayAndNothingIsLost(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	server := dbtest.NewServer(t)
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	url, err := server.CreateDatabase(ctx, "outage")
	if err != nil {
		t.Fatal(err)
	}
	s := newStand(t, ctx, url, "light", 11)
	plan := planTraffic(11, 600)
	for rest := plan; len(rest) > 0; rest = rest[100:] {
		if _, err := s.api.create(ctx, rest[:100]); err != nil {
			t.Fatal(err)
		}
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	down := time.Now()
	var why string
	err = again(ctx, 20*time.Millisecond, func() (bool, error) {
		status, body := get(ctx, s.api.base+"/readyz")
		why = body
		return status == nethttp.StatusServiceUnavailable, nil
	})
	if err != nil || !strings.Contains(why, "database") {
		t.Errorf("readyz does not say that the database is away: %v %s", err, why)
	}
	if status, body := s.webhook(ctx, `{"id":"evt_outage","object":"event","type":"payout.failed","api_version":"2023-10-16","created":1,"livemode":false,"data":{"object":{"id":"po_1"}}}`); status != nethttp.StatusServiceUnavailable {
		t.Errorf("a webhook that cannot be stored is answered %d, not 503: %s", status, body)
	}
	if _, err := s.api.create(ctx, planTraffic(12, 1)); err == nil {
		t.Error("an order was accepted that cannot be stored")
	}
	if rest := *outageFor - time.Since(down); rest > 0 {
		timer := time.NewTimer(rest)
		<-timer.C
	}
	if err := server.Start(ctx); err != nil {
		t.Fatal(err)
	}
	up := time.Now()
	if err := again(ctx, 20*time.Millisecond, func() (bool, error) { return s.api.ready(ctx), nil }); err != nil {
		t.Fatalf("it is not ready again: %v", err)
	}
	t.Logf("figures: PostgreSQL was down under load for %s; ready again after %s", up.Sub(down).Round(100*time.Millisecond), time.Since(up).Round(10*time.Millisecond))
	if status, body := s.webhook(ctx, `{"id":"evt_outage","object":"event","type":"payout.failed","api_version":"2023-10-16","created":1,"livemode":false,"data":{"object":{"id":"po_1"}}}`); status != nethttp.StatusOK {
		t.Errorf("after the outage a webhook is answered %d: %s", status, body)
	}
	_, total, _ := s.states(ctx)
	s.settleAll(ctx, total) // the order that was answered 503 may or may not have been accepted
	if total < len(plan) {
		t.Errorf("%d transfers are left of %d", total, len(plan))
	}
	s.calm()
	s.worker.stop()
	if report := s.audit(ctx); !strings.HasSuffix(report, "audit: 0 differences\n") {
		t.Error(report)
	}
}

func get(ctx context.Context, url string) (int, string) {
	r, _ := nethttp.NewRequestWithContext(ctx, "GET", url, nil)
	res, err := nethttp.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(body)
}

// webhook posts an event as Stripe would sign it.
func (s *stand) webhook(ctx context.Context, event string) (int, string) {
	at := fmt.Sprint(time.Now().Unix())
	mac := hmac.New(sha256.New, []byte(s.secret))
	io.WriteString(mac, at+"."+event)
	r, _ := nethttp.NewRequestWithContext(ctx, "POST", "http://"+s.public+"/webhooks/stripe", strings.NewReader(event))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Stripe-Signature", "t="+at+",v1="+hex.EncodeToString(mac.Sum(nil)))
	res, err := nethttp.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(body)
}
