package actors_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// walks has the reconciler walk when it is told, and only then.
func walks(change ...func(*actors.Reconcile)) settings {
	return func(c *actors.Config) {
		c.Reconcile = actors.Reconcile{Interval: -1}
		for _, f := range change {
			f(&c.Reconcile)
		}
	}
}

func reports(r *actors.Reconcile) { r.ReportOnly = true }

// hourly has it walk by itself, and heed events.
func hourly(r *actors.Reconcile) { r.Interval = time.Hour }

// walk has a daemon make a walk from now, and waits for its end.
func (n *node) walk() audit.Walk {
	n.w.Helper()
	n.w.passes(time.Second) // the walk before this one began earlier
	began := time.Now()
	if _, err := n.system.Reconcile(context.Background(), ledger.By{Message: uuid.Must(uuid.NewV7()), Principal: "test"}); err != nil {
		n.w.Fatal(err)
	}
	return n.walked(began)
}

// walked waits for the end of a walk that began no earlier.
func (n *node) walked(began time.Time) audit.Walk {
	n.w.Helper()
	for time.Since(began) < 48*time.Hour {
		synctest.Wait()
		if _, ended, err := n.w.db.Walks(context.Background()); err != nil {
			n.w.Fatal(err)
		} else if !ended.BeganAt.Before(began.Truncate(time.Microsecond)) {
			return ended
		}
		time.Sleep(time.Second)
	}
	n.w.Fatal("the walk never ended")
	return audit.Walk{}
}

// control does what a person does in Stripe's dashboard.
func (w *world) control(name, body string) (id string) {
	w.Helper()
	rec := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "http://localhost/_sim/"+name, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w.sim.Handler().ServeHTTP(rec, r)
	var shown struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &shown); err != nil || rec.Code != 200 {
		w.Fatalf("%s %s: %d %s", name, body, rec.Code, rec.Body)
	}
	return shown.ID
}

// dashboard makes a transfer by hand; op, when given, is what its metadata name.
func (w *world) dashboard(op string, amount int64, currency, destination string) string {
	w.Helper()
	w.forged = true
	metadata := "{}"
	if id, err := ledger.ParseID(op); err == nil {
		if rows, err := w.db.Load(context.Background(), []ledger.ID{id}); err == nil && len(rows) == 1 {
			op = w.name(id).String()
		}
	}
	if op != "" {
		metadata = fmt.Sprintf(`{"settled_operation": %q}`, op)
	}
	return w.control("transfer", fmt.Sprintf(`{"destination": %q, "amount": %d, "currency": %q, "metadata": %s}`, destination, amount, currency, metadata))
}

func (w *world) reverseByHand(stripeID string, amount int64) string {
	w.Helper()
	return w.control("reverse", fmt.Sprintf(`{"transfer": %q, "amount": %d}`, stripeID, amount))
}

// drift lists the findings that are there.
func (w *world) drift() []audit.Finding {
	w.Helper()
	list, err := w.db.Findings(context.Background(), audit.Filter{Open: true})
	if err != nil {
		w.Fatal(err)
	}
	return list
}

// finds wants exactly one finding, of this class and about this object.
func (w *world) finds(class audit.Class, transfer ledger.ID, stripeID string) audit.Finding {
	w.Helper()
	list := w.drift()
	if len(list) != 1 || list[0].Class != class || list[0].Transfer != transfer || list[0].StripeID != stripeID {
		w.Fatalf("found %+v, want one %s of %s, %s", list, class, transfer, stripeID)
	}
	return list[0]
}

func (w *world) findsNothing() {
	w.Helper()
	if list := w.drift(); len(list) > 0 {
		w.Errorf("found %+v", list)
	}
}

// spoil writes into a row, past everything: what no code of ours does.
func (w *world) spoil(id ledger.ID, set string) {
	w.Helper()
	w.spoiled = true
	raw, err := sql.Open("sqlite", "file:"+w.path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		w.Fatal(err)
	}
	defer raw.Close()
	for _, s := range []string{"DROP TRIGGER IF EXISTS transfers_order", "DROP TRIGGER IF EXISTS transfers_guard",
		"UPDATE transfers SET " + set + " WHERE id = '" + id.String() + "'"} {
		if _, err := raw.Exec(s); err != nil {
			w.Fatalf("%s: %v", s, err)
		}
	}
}

// pretend has the ledger say that Stripe holds a transfer, which it never did.
func (w *world) pretend(o ledger.Order, stripeID string) ledger.ID {
	w.Helper()
	w.forged = true
	commit := func(c ledger.Change, err error) ledger.Transfer {
		changes := []ledger.Change{c}
		_, won, lost := w.db.Commit(context.Background(), changes)
		if err = errors.Join(err, lost); err != nil || !won[0] {
			w.Fatal(won, err)
		}
		return changes[0].After
	}
	x := commit(ledger.Accept(o, uuid.Must(uuid.NewV7()), 1, time.Now(), ledger.By{}), nil)
	x = commit(x.Begin(w.policy, time.Now()))
	c, _, err := x.Conclude(x.ID, 1, 1, ledger.Answer{Row: "T1", Verdict: ledger.Done, StripeID: stripeID, HTTPStatus: 200})
	return commit(c, err).ID
}

// paid orders transfers, and waits until Stripe holds them.
func (w *world) paid(first, n int) []ledger.ID {
	w.Helper()
	var orders []ledger.Order
	for i := range n {
		orders = append(orders, order(first+i))
	}
	ids := w.orders(orders...)
	for _, id := range ids {
		w.becomes(id, ledger.Completed)
	}
	return ids
}

func (w *world) stories(ids []ledger.ID) string {
	var all []string
	for _, id := range ids {
		all = append(all, w.story(id))
	}
	return strings.Join(all, "\n")
}

// Each difference is found within one walk, and nothing else is.
func TestAWalkFindsADifferenceAndNothingElse(t *testing.T) {
	type subject struct {
		id       ledger.ID // of a transfer that was paid
		stripeID string
	}
	for name, tc := range map[string]struct {
		class  audit.Class
		inject func(w *world, s subject) (transfer ledger.ID, stripeID string)
		amount int64
		repair audit.Repair
	}{
		"a transfer made in the dashboard": {audit.Foreign, func(w *world, s subject) (ledger.ID, string) {
			return ledger.ID{}, w.dashboard("", 700, "eur", "acct_seller1")
		}, 700, ""},
		"a transfer that names an operation which the ledger does not have": {audit.MissingHere, func(w *world, s subject) (ledger.ID, string) {
			op := uuid.Must(uuid.NewV7())
			return op, w.dashboard(op.String(), 700, "eur", "acct_seller1")
		}, 700, ""},
		"a transfer that names something unreadable": {audit.MissingHere, func(w *world, s subject) (ledger.ID, string) {
			return ledger.ID{}, w.dashboard("no'thing", 700, "eur", "acct_seller1")
		}, 700, ""},
		"paid twice": {audit.PaidTwice, func(w *world, s subject) (ledger.ID, string) {
			return s.id, w.dashboard(s.id.String(), 1000, "eur", "acct_seller0")
		}, 1000, ""},
		"reversed in the dashboard": {audit.ReversedOutside, func(w *world, s subject) (ledger.ID, string) {
			return s.id, w.reverseByHand(s.stripeID, 300)
		}, 300, audit.RepairAdopt},
		"reversed in the dashboard, eight months after it was paid": {audit.ReversedOutside, func(w *world, s subject) (ledger.ID, string) {
			w.passes(240 * 24 * time.Hour)
			w.paid(100, 30) // and much was paid since
			return s.id, w.reverseByHand(s.stripeID, 0)
		}, 1000, audit.RepairAdopt},
		"another amount": {audit.Amount, func(w *world, s subject) (ledger.ID, string) {
			w.spoil(s.id, "amount = 1400")
			return s.id, s.stripeID
		}, 400, ""},
		"another currency": {audit.Currency, func(w *world, s subject) (ledger.ID, string) {
			w.spoil(s.id, "currency = 'usd'")
			return s.id, s.stripeID
		}, 1000, ""},
		"another destination": {audit.Destination, func(w *world, s subject) (ledger.ID, string) {
			w.spoil(s.id, "destination = 'acct_thief'")
			return s.id, s.stripeID
		}, 1000, ""},
		"Stripe does not have it": {audit.MissingAtStripe, func(w *world, s subject) (ledger.ID, string) {
			id := w.pretend(order(60), "tr_gone")
			w.passes(time.Hour)
			return id, "tr_gone"
		}, 1060, ""},
		"said to have failed": {audit.FalseFailed, func(w *world, s subject) (ledger.ID, string) {
			w.script(refusal(creating, "account_invalid", 1))
			id := w.orders(order(50))[0]
			w.becomes(id, ledger.PermanentlyFailed)
			return id, w.dashboard(id.String(), 1050, "eur", "acct_seller1")
		}, 1050, ""},
		"parked, and Stripe holds it": {audit.Parked, func(w *world, s subject) (ledger.ID, string) {
			w.script(stripesim.Rule{Kind: stripesim.KindLate500, Delay: 12 * time.Hour})
			id := w.orders(order(50))[0]
			w.becomes(id, ledger.Parked)
			w.passes(2 * time.Hour)
			return id, w.held()[w.name(id).String()][0].ID
		}, 1050, audit.RepairResolve},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(name, "months") {
				long(t)
			}
			t.Parallel()
			inWorld(t, stripesim.Config{}, func(w *world) {
				w.deaf()
				ids := w.paid(0, 5)
				w.passes(time.Hour)
				w.node.walk()
				w.findsNothing()
				transfer, stripeID := tc.inject(w, subject{ids[0], w.transfer(ids[0]).Operation.StripeID})
				before := w.stories(ids)
				for range 2 { // it is found, and then it is still there
					w.node.walk()
					f := w.finds(tc.class, transfer, stripeID)
					if f.Amount != tc.amount || f.Repair != tc.repair || f.Currency == "" || f.Detail == "" {
						w.Errorf("%+v", f)
					}
				}
				if after := w.stories(ids); after != before {
					w.Errorf("a report changed\n%s\nto\n%s", before, after)
				}
			}, walks(reports))
		})
	}
}
