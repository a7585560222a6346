package prove

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	nethttp "net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/cmd/settled/adapt"
	"github.com/settled/settled/db"
	"github.com/settled/settled/ledger"
)

// stranger is a daemon that somebody starts over the ledger with a key of another account. It must send nothing: keys
// mean nothing at another account, so everything would be paid again there.
type stranger struct {
	From, For time.Duration // zero: there is none
	Answer    int           // how the account of its key is hidden: see [abroad]
}

const (
	ownAccount   = "acct_1prove"
	otherAccount = "acct_1elsewhere"
)

// abroad are the answers to GET /v1/account with the other account's key.
var abroad = []struct {
	what   string
	status int
	stripe bool // it carries Stripe's headers
	body   string
}{
	{"tells it", 200, true, `{"object":"account","id":"` + otherAccount + `"}`},
	{"withholds it", 403, true, `{"error":{"type":"invalid_request_error","message":"The provided key does not have the required permissions for this endpoint on account '` + otherAccount + `'."}}`},
	{"says no", 403, true, `{"error":{"type":"invalid_request_error","message":"The provided key does not have the required permissions for this endpoint."}}`},
	{"is behind a firewall", 403, false, "<html>Forbidden</html>"},
}

func (p *plan) drawStranger(rng *rand.Rand) {
	if rng.IntN(3) > 0 {
		return
	}
	p.Stranger = stranger{
		From: time.Duration(rng.Float64() * float64(p.Troubled) / 2), For: time.Duration(1+rng.IntN(30)) * time.Minute, Answer: rng.IntN(len(abroad)),
	}
}

// intrude starts the stranger at its time, and ends it.
func (w *world) intrude() {
	s := w.plan.Stranger
	if s.For == 0 {
		return
	}
	w.background(func() {
		time.Sleep(s.From)
		w.turn("a stranger starts")
		w.met("key of another account")
		end, err := w.strange()
		if err != nil {
			w.breaks(18, "a stranger does not start: %v", err)
			return
		}
		time.Sleep(s.For)
		w.turn("the stranger ends")
		end()
	})
}

func (w *world) strange() (end func(), err error) {
	n := &node{w: w, slot: -1, name: "stranger"}
	n.leaving.Store(true) // when it dies nobody starts it again
	client, err := stripe.New(stripe.Config{Key: secretKey, Base: "http://elsewhere.test", Log: w.log, Transport: elsewhere{n}})
	if err != nil {
		return nil, err
	}
	n.system, err = actors.New(actors.Config{
		Store: &seam{DB: w.db, n: n}, Transient: func(err error) bool {
			return errors.Is(err, errOutage) || errors.Is(err, errDead) || db.Transient(err)
		},
		Stripe: client, Policy: w.conf.Policy, Limits: w.conf.Limits, TransferSweep: w.plan.Sweep,
		Wall:      w.wall,
		Reconcile: actors.Reconcile{Interval: -1}, Metrics: prometheus.NewRegistry(), Log: w.log, NewID: w.newID,
		Dispatcher: dispatcher{w.driver, n.name}, Turn: n.turn,
		Verify:  adapt.VerifyAccount(w.db, client, ledger.TestMode, w.log),
		Passing: func(err error) bool { return !errors.Is(err, db.ErrMisbound) },
	})
	if err != nil {
		return nil, err
	}
	n.system.Start()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		n.system.Stop(ctx)
		n.dead.Store(true)
	}, nil
}

// elsewhere is the other account at Stripe.
type elsewhere struct{ n *node }

func (x elsewhere) RoundTrip(r *nethttp.Request) (*nethttp.Response, error) {
	w := x.n.w
	if err := w.driver.park(r.Context(), fmt.Sprintf("stranger %s %s %s", r.Method, r.URL.Path, r.Header.Get("Idempotency-Key"))); err != nil {
		return nil, err
	}
	if r.URL.Path != "/v1/account" {
		w.breaks(30, "%s %s goes to another account", r.Method, r.URL.Path)
		return nil, errNoDial
	}
	a := abroad[w.plan.Stranger.Answer]
	w.met("account " + a.what)
	header := nethttp.Header{"Content-Type": {"application/json"}}
	if a.stripe {
		header.Set("Request-Id", "req_elsewhere")
		header.Set("Date", time.Now().UTC().Format(nethttp.TimeFormat))
	}
	return &nethttp.Response{StatusCode: a.status, Header: header, Body: io.NopCloser(bytes.NewReader([]byte(a.body))), ContentLength: int64(len(a.body)), Request: r}, nil
}
