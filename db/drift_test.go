package db

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

const stale = time.Minute

// opened opens a walk that must be the owner's.
func opened(t *testing.T, d *DB, owner ledger.ID, every time.Duration) audit.Walk {
	t.Helper()
	w, mine, err := d.OpenWalk(t.Context(), owner, every, stale, time.Minute)
	if err != nil || !mine {
		t.Fatalf("%+v, mine %v, %v", w, mine, err)
	}
	return w
}

func TestAWalkIsOneOwnersAndGoesOnWhereItWas(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		ann, bob := newID(), newID()
		if newest, ended, err := d.Walks(t.Context()); err != nil || newest.No != 0 || ended.No != 0 {
			t.Fatal(newest, ended, err)
		}
		w := opened(t, d, ann, time.Hour)
		if w.No != 1 || w.Until.Sub(w.BeganAt) != time.Minute || w.Ended() {
			t.Errorf("%+v", w)
		}
		if other, mine, err := d.OpenWalk(t.Context(), bob, 0, stale, 0); err != nil || mine || other.No != 1 || other.Owner != ann {
			t.Errorf("another's: %+v, %v, %v", other, mine, err)
		}
		w.Until, w.Reads, w.AtStripe = w.Until.Add(-time.Hour), 3, 250
		saved, ok, err := d.SaveWalk(t.Context(), w)
		if err != nil || !ok || !saved.Until.Equal(w.Until) || saved.Step != w.Step+1 {
			t.Fatalf("%+v, %v, %v", saved, ok, err)
		}
		if _, ok, err := d.SaveWalk(t.Context(), w); err != nil || ok {
			t.Errorf("a step was saved twice: %v", err)
		}
		// Its owner left it, so another goes on at once, where it was; the first has lost it.
		if err := d.LeaveWalk(t.Context(), saved); err != nil {
			t.Fatal(err)
		}
		taken := opened(t, d, bob, time.Hour)
		if taken.No != 1 || !taken.Until.Equal(saved.Until) || taken.Reads != 3 || taken.AtStripe != 250 {
			t.Errorf("%+v", taken)
		}
		saved.Until = time.Time{}
		if _, ok, err := d.SaveWalk(t.Context(), saved); err != nil || ok {
			t.Errorf("saved by an owner that lost it: %v", err)
		}
		taken.Until, taken.InLedger, taken.Different = time.Time{}, 7, 2
		done, ok, err := d.SaveWalk(t.Context(), taken)
		if err != nil || !ok || !done.Ended() {
			t.Fatalf("%+v, %v, %v", done, ok, err)
		}
		newest, ended, err := d.Walks(t.Context())
		if diff := cmp.Diff(newest, ended); err != nil || diff != "" || ended.InLedger != 7 || ended.Different != 2 {
			t.Errorf("%v: %s", err, diff)
		}
		if last, mine, err := d.OpenWalk(t.Context(), ann, time.Hour, stale, 0); err != nil || mine || last.No != 1 || !last.Ended() {
			t.Errorf("too soon: %+v, %v, %v", last, mine, err)
		}
		if w := opened(t, d, ann, 0); w.No != 2 || w.Reads != 0 {
			t.Errorf("%+v", w)
		}
		if err := exec(t.Context(), d, "UPDATE walks SET touched_at = '2020-01-01T00:00:00.000000Z' WHERE no = 2"); err != nil {
			t.Fatal(err)
		}
		if w := opened(t, d, bob, 0); w.No != 2 || w.Owner != bob {
			t.Errorf("one whose owner died: %+v", w)
		}
	})
}

func TestAWalkIsOpenedByOneOfMany(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		n := 0
		for range 8 {
			wg.Go(func() {
				_, mine, err := d.OpenWalk(t.Context(), newID(), time.Hour, stale, time.Minute)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				if mine {
					n++
				}
			})
		}
		wg.Wait()
		if n != 1 {
			t.Errorf("%d opened it", n)
		}
	})
}

// aFinding makes a finding about a transfer at Stripe.
func aFinding(class audit.Class, transfer ledger.ID, object, detail string) audit.Finding {
	return audit.Finding{ID: newID(), Difference: audit.Difference{Class: class, Transfer: transfer, StripeID: object, Detail: detail},
		Object: object, Amount: 12, Currency: "eur", Repair: audit.RepairAdopt}
}

func TestAFindingIsSeenAgainClearedAndOpenedAgain(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		transfer := newID()
		judge := func(walk int64, objects []string, found ...audit.Finding) ([]audit.Finding, []bool) {
			t.Helper()
			stored, opened, err := d.StoreFindings(t.Context(), objects, walk, found)
			if err != nil {
				t.Fatal(err)
			}
			return stored, opened
		}
		find := func(id ledger.ID) audit.Finding {
			t.Helper()
			f, err := d.Finding(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		a, foreign := aFinding(audit.Amount, transfer, "tr_1", "it's off"), aFinding(audit.Foreign, ledger.ID{}, "tr_2", "strange")
		foreign.Repair = audit.RepairNone
		stored, opened := judge(1, []string{"tr_1", "tr_2"}, a, foreign)
		want := []audit.Finding{a, foreign}
		for i := range want {
			s := &stored[i]
			if s.FirstSeen.IsZero() || !s.FirstSeen.Equal(s.OpenedAt) || !s.Open(s.LastSeen) || !opened[i] {
				t.Errorf("%+v, opened %v", s, opened[i])
			}
			want[i].FirstSeen, want[i].LastSeen, want[i].OpenedAt = s.FirstSeen, s.LastSeen, s.OpenedAt
		}
		if diff := cmp.Diff(want, stored); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(stored[0], find(a.ID)); diff != "" {
			t.Error(diff)
		}

		by := ledger.By{Message: newID(), Principal: "ann", Reason: "it is right"}
		for _, who := range []ledger.By{by, {Message: newID(), Principal: "bob"}, {Message: newID(), Principal: "eve"}} { // the first word stands, and the second
			if err := d.MarkAccepted(t.Context(), a.ID, who, time.Time{}); err != nil {
				t.Fatal(err)
			}
			if err := d.MarkApplied(t.Context(), a.ID, who); err != nil {
				t.Fatal(err)
			}
		}
		again := aFinding(audit.Amount, transfer, "tr_1", "it's off")
		stored, opened = judge(2, []string{"tr_1"}, again)
		f := stored[0]
		if f.ID != a.ID || opened[0] || f.AcceptedBy != by || f.AppliedBy != by || f.AppliedAt.IsZero() || f.Open(f.LastSeen) || f.SecondedBy.Principal != "bob" || !f.FirstSeen.Equal(want[0].FirstSeen) {
			t.Errorf("seen again: %+v", f)
		}
		if f := find(foreign.ID); !f.Open(f.LastSeen) {
			t.Error("a look at another object cleared it")
		}
		// What was accepted was what it said.
		again.Detail, again.Amount = "it is more off", 13
		if stored, opened = judge(2, []string{"tr_1"}, again); stored[0].Detail != again.Detail || stored[0].Amount != 13 || !stored[0].Open(stored[0].LastSeen) || opened[0] {
			t.Errorf("says something else: %+v", stored[0])
		}
		judge(2, []string{"tr_1"})
		cleared := find(a.ID)
		if cleared.ClearedAt.IsZero() || cleared.AppliedBy != by {
			t.Errorf("not seen: %+v", cleared)
		}
		if stored, opened = judge(3, []string{"tr_1"}, again); stored[0].ID != a.ID || !opened[0] || !stored[0].Open(stored[0].LastSeen) || !stored[0].AppliedAt.IsZero() ||
			stored[0].OpenedAt.Before(cleared.ClearedAt) || !stored[0].FirstSeen.Equal(want[0].FirstSeen) {
			t.Errorf("it came back: %+v, opened %v", stored[0], opened)
		}
		if _, err := d.Finding(t.Context(), newID()); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("an unknown finding: %v", err)
		}
	})
}

func TestAWalkClearsWhatItDidNotSee(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		w := opened(t, d, newID(), 0)
		all := []audit.Finding{aFinding(audit.Amount, newID(), "tr_gone", ""), aFinding(audit.Amount, newID(), "tr_moves", ""), aFinding(audit.Amount, newID(), "tr_there", "")}
		if _, _, err := d.StoreFindings(t.Context(), nil, w.No-1, all); err != nil {
			t.Fatal(err)
		}
		if err := d.KeepFindings(t.Context(), []string{"tr_moves"}, w.No); err != nil {
			t.Fatal(err)
		}
		if err := d.KeepFindings(t.Context(), nil, w.No); err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.StoreFindings(t.Context(), []string{"tr_there"}, w.No, all[2:]); err != nil {
			t.Fatal(err)
		}
		w.Until = time.Time{}
		if _, ok, err := d.SaveWalk(t.Context(), w); !ok || err != nil {
			t.Fatal(ok, err)
		}
		for i, f := range all {
			got, err := d.Finding(t.Context(), f.ID)
			if err != nil || got.ClearedAt.IsZero() != (i > 0) {
				t.Errorf("%s: %+v, %v", f.Object, got, err)
			}
		}
	})
}

func TestTwoWhoSeeTheSameKeepOneFinding(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		transfer := newID()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				f := aFinding(audit.Amount, transfer, "tr_1", "off")
				if _, _, err := d.StoreFindings(t.Context(), []string{"tr_1"}, 1, []audit.Finding{f}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if all, err := d.Findings(t.Context(), audit.Filter{}); err != nil || len(all) != 1 {
			t.Errorf("%d findings, %v", len(all), err)
		}
	})
}

func TestFindingsAreListedAndCounted(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		var all []audit.Finding
		for i := range 6 {
			f := aFinding([]audit.Class{audit.Amount, audit.Foreign}[i%2], newID(), fmt.Sprintf("tr_%d", i), "")
			f.Currency = []ledger.Currency{"eur", "usd"}[i/4]
			all = append(all, f)
		}
		if _, _, err := d.StoreFindings(t.Context(), nil, 1, all); err != nil {
			t.Fatal(err)
		}
		for _, who := range []string{"ann", "bob"} {
			if err := d.MarkAccepted(t.Context(), all[3].ID, ledger.By{Message: newID(), Principal: who}, time.Time{}); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := d.StoreFindings(t.Context(), []string{"tr_0"}, 1, nil); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			f    audit.Filter
			want []int
		}{
			"all":          {audit.Filter{}, []int{5, 4, 3, 2, 1, 0}},
			"two":          {audit.Filter{Limit: 2}, []int{5, 4}},
			"the next two": {audit.Filter{Limit: 2, Before: all[4].ID}, []int{3, 2}},
			"by class":     {audit.Filter{Class: audit.Foreign}, []int{5, 3, 1}},
			"open":         {audit.Filter{Open: true}, []int{5, 4, 2, 1}},
			"accepted":     {audit.Filter{Accepted: true}, []int{3}},
			"cleared":      {audit.Filter{Cleared: true}, []int{0}},
			"by nothing":   {audit.Filter{Class: "' OR 1=1 --"}, nil},
		} {
			list, err := d.Findings(t.Context(), c.f)
			var got []int
			for _, f := range list {
				got = append(got, slices.IndexFunc(all, func(x audit.Finding) bool { return x.ID == f.ID }))
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s: %v, want %v: %v", name, got, c.want, err)
			}
		}
		counts, err := d.DriftCounts(t.Context())
		want := []audit.Count{{Class: audit.Amount, Currency: "eur", Number: 1, Amount: 12}, {Class: audit.Amount, Currency: "usd", Number: 1, Amount: 12}, {Class: audit.Foreign, Currency: "eur", Number: 1, Amount: 12}, {Class: audit.Foreign, Currency: "usd", Number: 1, Amount: 12}}
		if diff := cmp.Diff(want, counts); err != nil || diff != "" {
			t.Errorf("%v: %s", err, diff)
		}
		for _, call := range []func() error{
			func() error { _, err := d.Findings(t.Context(), audit.Filter{Class: "a\x00"}); return err },
			func() error { _, _, err := d.StoreFindings(t.Context(), []string{"a\x00"}, 1, nil); return err },
			func() error {
				_, _, err := d.StoreFindings(t.Context(), nil, 1, []audit.Finding{aFinding(audit.Amount, newID(), "tr_1", "\xff")})
				return err
			},
			func() error { return d.MarkApplied(t.Context(), newID(), ledger.By{Reason: "\x00"}) },
			func() error { _, err := d.ByStripeID(t.Context(), []string{"\xff"}); return err },
		} {
			var wrong ledger.FieldError
			if err := call(); !errors.As(err, &wrong) {
				t.Errorf("a text that no statement carries: %v", err)
			}
		}
	})
}

func TestWhatWasSentIsReadInOrder(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		var all []ledger.Transfer
		for range 5 {
			all = append(all, completed(t, d))
		}
		commit(t, d, accept(anOrder()), nil) // was never sent
		// One that the ledger does not know as sent: by the date of its order.
		lost := commit(t, d, accept(anOrder()), nil)
		c, changed, err := lost.Found(lost.ID, "tr_found", "read at Stripe")
		if !changed {
			t.Fatal(err)
		}
		all = append(all, commit(t, d, c, err))
		var got []string
		for after := (audit.Sent{}); ; {
			page, err := d.Sent(t.Context(), time.Time{}, time.Now().Add(time.Hour), after, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range page {
				got = append(got, s.StripeID)
			}
			if len(page) < 2 {
				break
			}
			after = page[1]
		}
		var want []string
		for _, x := range all {
			want = append(want, x.Operation.StripeID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		from, to := all[1].Operation.FirstSentAt, all[3].Operation.FirstSentAt
		page, err := d.Sent(t.Context(), from, to, audit.Sent{}, 10)
		if err != nil || len(page) == 0 || page[0].ID != all[1].ID || !page[len(page)-1].At.Before(to) {
			t.Errorf("%+v, %v", page, err)
		}
		records, err := d.ByStripeID(t.Context(), []string{all[2].Operation.StripeID, "tr_unknown"})
		if err != nil || len(records) != 1 || records[0].Transfer.ID != all[2].ID {
			t.Errorf("%v, %v", records, err)
		}
		if records, err := d.ByStripeID(t.Context(), nil); err != nil || len(records) != 0 {
			t.Errorf("%v, %v", records, err)
		}
	})
}

func TestQueriesOfAWalkUseTheirIndices(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		for range 50 {
			completed(t, d)
		}
		var many []audit.Finding
		for i := range 500 {
			many = append(many, aFinding([]audit.Class{audit.Amount, audit.Foreign}[min(i%50, 1)], newID(), fmt.Sprintf("tr_%d", i), "off"))
		}
		if _, _, err := d.StoreFindings(t.Context(), nil, 1, many); err != nil {
			t.Fatal(err)
		}
		if err := exec(t.Context(), d, "UPDATE drift SET cleared_at = last_seen WHERE class = 'foreign'"); err != nil {
			t.Fatal(err)
		}
		if err := exec(t.Context(), d, "ANALYZE"); err != nil {
			t.Fatal(err)
		}
		const at, id = "'2026-01-01T00:00:00.000000Z'", "'00000000-0000-7000-8000-000000000000'"
		for index, statement := range map[string]string{
			"transfers_sent": "SELECT id, stripe_id, " + sentAt + " AS sent_at FROM transfers WHERE (stripe_id IS NOT NULL) AND (" + sentAt + " < '2090-01-01T00:00:00.000000Z') AND (" +
				sentAt + " >= " + at + ") AND ((" + sentAt + ", id) > (" + at + ", " + id + ")) ORDER BY " + sentAt + ", id LIMIT 1000",
			"transfers_stripe_id": "SELECT * FROM transfers WHERE stripe_id IN ('tr_1', 'tr_2')",
			"drift_there":         "SELECT * FROM drift WHERE cleared_at IS NULL AND object IN ('tr_1', 'tr_2')",
			"drift_class":         "SELECT * FROM drift WHERE class = 'amount' ORDER BY id DESC LIMIT 21",
			"drift_open":          "SELECT * FROM drift WHERE cleared_at IS NULL AND (accepted_at IS NULL OR accepted_until <= '2026-01-01T00:00:00.000000Z') ORDER BY id DESC LIMIT 21",
		} {
			plan := planOf(t, d, statement)
			if !strings.Contains(plan, index) || strings.Contains(plan, "Sort") || strings.Contains(plan, "TEMP B-TREE") {
				t.Errorf("%s is not used, or does not give the order:\n%s", index, plan)
			}
		}
	})
}

func TestTheDatabaseRefusesToForgetDrift(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		w := opened(t, d, newID(), 0)
		if _, _, err := d.StoreFindings(t.Context(), nil, 1, []audit.Finding{aFinding(audit.Amount, newID(), "tr_1", "")}); err != nil {
			t.Fatal(err)
		}
		w.Until = time.Time{}
		if _, ok, err := d.SaveWalk(t.Context(), w); !ok || err != nil {
			t.Fatal(ok, err)
		}
		for _, statement := range []string{
			"DELETE FROM drift", "DELETE FROM walks", "UPDATE walks SET reads = 0", "UPDATE drift SET class = 'foreign'",
			"UPDATE drift SET stripe_id = 'tr_2'", "UPDATE drift SET first_seen = '2020-01-01T00:00:00.000000Z'",
			"INSERT INTO drift SELECT * FROM drift",
		} {
			if err := exec(t.Context(), d, statement); err == nil || Transient(err) {
				t.Errorf("%s: %v", statement, err)
			}
		}
	})
}
