package db

import (
	"strings"
	"testing"

	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/ledger"
)

func ordered(t *testing.T, d *DB, reference string) {
	t.Helper()
	o := anOrder()
	o.Reference = reference
	commit(t, d, accept(o), nil)
}

func TestAReferenceFindsThoseOfTheLastDayThatLookLikeIt(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		for _, r := range []string{"order-1001", "оrder-1001", "order-1002", strings.Repeat("ﷺ", 200)} {
			ordered(t, d, r)
		}
		alike, err := d.Alike(t.Context(), []string{"order-1001", "оrder-1001", "order-1002", "order-l00l"})
		if err != nil || len(alike) != 3 || alike["order-1001"] != "оrder-1001" || alike["оrder-1001"] != "order-1001" || alike["order-l00l"] == "" {
			t.Errorf("%q, %v", alike, err)
		}
		if err := exec(t.Context(), d, "UPDATE skeletons SET at = '2020-01-01T00:00:00.000000Z' WHERE reference = ?", "order-1001"); err != nil {
			t.Fatal(err)
		}
		if alike, err := d.Alike(t.Context(), []string{"оrder-1001"}); err != nil || len(alike) != 0 {
			t.Errorf("after years: %q, %v", alike, err)
		}
		if n, err := d.ForgetSkeletons(t.Context()); n != 1 || err != nil {
			t.Errorf("%d were dropped, %v", n, err)
		}
	})
}

func TestAnOrderThatLostItsReferenceLeavesNoTraceOfIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		d := open(t, url)
		ordered(t, d, "order-1")
		o := anOrder()
		o.Reference = "order-1"
		changes := []ledger.Change{accept(o)}
		if _, won, err := d.Commit(t.Context(), changes); err != nil || won[0] {
			t.Fatal(won, err)
		}
		var rows int
		if err := d.write.NewRaw("SELECT count(*) FROM skeletons").Scan(t.Context(), &rows); err != nil || rows != 1 {
			t.Errorf("%d rows, %v", rows, err)
		}
		if alike, err := d.Alike(t.Context(), []string{"order-1"}); err != nil || len(alike) != 0 {
			t.Errorf("a reference is taken for itself: %q, %v", alike, err)
		}
	})
}
