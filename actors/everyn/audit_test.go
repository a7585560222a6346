package everyn_test

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// sees holds a POST, as it goes out, to the protocol: its intent is durable, its key is the one
// of that intent, and young, and was never used for anything else.
func (l *life) sees(r *http.Request, body string) {
	key, path := r.Header.Get("Idempotency-Key"), r.URL.Path
	now := time.Now()
	l.mu.Lock()
	first, again := l.posts[key]
	if !again {
		l.posts[key] = post{now, path, body}
	}
	alone := len(l.daemons) == 1
	l.mu.Unlock()
	if again && (first.path != path || first.body != body) {
		l.Errorf("key %s was used for\n%s %s\nand for\n%s %s", key, first.path, first.body, path, body)
	}
	// The skew is what it may be late by, here as there: a busy machine stops between the last check of a key and the call.
	if w := l.pace.policy.Windows; again && now.Sub(first.at) >= w.Safe+w.Skew {
		l.Errorf("key %s was sent %s after it was first", key, now.Sub(first.at))
	}
	records, err := l.watch.ByReference(context.Background(), []string{l.order.Reference})
	if err != nil || len(records) != 1 {
		l.Errorf("%s was sent for %d transfers of the ledger, %v", key, len(records), err)
		return
	}
	op, _ := records[0].Transfer.Current()
	// Where two daemons own the transfer, the other may have settled it a moment ago.
	if alone && (op == nil || op.State != ledger.Sending || op.OpenSends < 1 || ledger.Key(op.Name, op.Epoch, op.Generation) != key) {
		l.Errorf("%s was sent, and the ledger does not know:\n%s", key, l.story())
	}
}

// rest waits until nothing is to come of Stripe any more, and its events were delivered and applied.
func (l *life) rest() {
	l.Helper()
	l.wait("at rest", func() bool {
		l.first()
		emitted := 0
		counts := l.sim.Counts()
		for name, n := range counts {
			if strings.HasPrefix(name, "event ") {
				emitted += n
			}
		}
		if counts["webhook given_up"] > 0 {
			l.Fatalf("an event was refused until Stripe gave it up: %v", counts)
		}
		open, err := l.watch.UnhandledEvents(context.Background(), "", 10)
		if err != nil {
			l.Fatal(err)
		}
		return l.sim.Truth().Pending == 0 && counts["webhook delivered"] == emitted && len(open) == 0
	})
}

// restart ends the daemons in order, and starts one that nothing fails, which must find nothing
// to do.
func (l *life) restart() {
	l.Helper()
	for _, d := range l.daemons {
		d.stop()
		l.retire(d)
	}
	before, sent := l.transfer(), l.sim.Counts()["request POST /v1/transfers"]
	d := l.start(&points{})
	l.mu.Lock()
	l.daemons = []*daemon{d}
	l.mu.Unlock()
	l.wait("ready", func() bool { return d.system.Ready(context.Background()) == nil })
	l.rest()
	if x := l.transfer(); x.Version != before.Version {
		l.Errorf("a restart that had nothing to do made of version %d version %d:\n%s", before.Version, x.Version, l.story())
	}
	if n := l.sim.Counts()["request POST /v1/transfers"]; n != sent {
		l.Errorf("a restart that had nothing to do sent %d", n-sent)
	}
	l.retire(d)
}

// holds audits the world at its end: one transfer at Stripe, and these reversals of it, each
// once; the books add up; and nobody was called.
func (l *life) holds(state ledger.State, reversals ...int64) {
	l.Helper()
	ctx := context.Background()
	client, err := stripe.New(stripe.Config{Key: "sk_test_audit", Base: "http://stripe.test", Log: l.log, Transport: wire{l, nil}})
	if err != nil {
		l.Fatal(err)
	}
	defer client.Close()
	a := audit.New()
	err = client.List(ctx, time.Time{}, time.Time{}, func(t ledger.StripeTransfer) error {
		a.Stripe(t)
		return nil
	})
	if err != nil {
		l.Fatal(err)
	}
	rows, err := l.watch.AuditPage(ctx, ledger.ID{}, 10)
	if err != nil {
		l.Fatal(err)
	}
	for _, r := range rows {
		a.Ledger(r)
	}
	sums, err := l.watch.Unbalanced(ctx)
	if err != nil {
		l.Fatal(err)
	}
	a.Unbalanced(sums)
	seals, err := l.watch.AuditSeals(ctx)
	if err != nil {
		l.Fatal(err)
	}
	a.Add(seals)
	records, err := l.watch.AuditRecords(ctx)
	if err != nil {
		l.Fatal(err)
	}
	a.Add(records)
	report := a.Report()
	for _, d := range report.Differences {
		l.Errorf("audit: %s", d)
	}
	if report.Transfers != 1 || report.StripeTransfers != 1 || report.Foreign != 0 || report.Open != 0 ||
		report.Reversals != len(reversals) || report.StripeReversals != len(reversals) {
		l.Errorf("audit: %+v", report)
	}

	truth := l.sim.Truth()
	if len(truth.Transfers) != 1 || truth.Transfers[0].Amount != amount || truth.Pending != 0 {
		l.Fatalf("Stripe holds %+v, and %d are to come", truth.Transfers, truth.Pending)
	}
	var back int64
	for i, r := range truth.Transfers[0].Reversals {
		if i < len(reversals) && r.Amount != reversals[i] {
			l.Errorf("reversal %d is of %d, not %d", i, r.Amount, reversals[i])
		}
		back += r.Amount
	}
	x := l.transfer()
	if x.Status() != state || x.AmountReversed != back || len(x.Reversals) != len(reversals) {
		l.Errorf("it is %s, %d came back, by %d reversals", x.Status(), x.AmountReversed, len(x.Reversals))
	}
	for kind, n := range l.alarmed {
		// A 5xx is an answer that people are told of; and so is a balance of the platform that is still
		// too low when somebody asks again, and what the machine leaves to people.
		if kind != "answer" && kind != "platform_funds" && kind != "parked" && kind != "gave_up" {
			l.Errorf("%d alarms: %s", n, kind)
		}
	}
	if l.Failed() {
		l.Logf("its history:\n%s", l.story())
	}
}
