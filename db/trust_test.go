package db

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

func TestOneWordOnTheClocksStandsAtATimeAndEndsOnce(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		ctx := t.Context()
		stands := func(want *ledger.Trust) {
			t.Helper()
			got, at, err := d.Trust(ctx)
			if err != nil || time.Since(at).Abs() > time.Minute || (got == nil) != (want == nil) {
				t.Fatalf("it stands: %v, %v", got, err)
			}
			if got == nil {
				return
			}
			if want.At = got.At; *got != *want || time.Since(got.At).Abs() > time.Minute {
				t.Errorf("%+v, and not %+v", got, want)
			}
		}
		word := func(c ledger.Clock) *ledger.Trust {
			id := newID()
			return &ledger.Trust{ID: id, Clock: c, By: ledger.By{Message: id, Principal: "ann", Reason: "because"}, Database: 11 * time.Hour, Stripe: -time.Nanosecond}
		}
		ok := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		first, second := word(ledger.ClockDatabase), word(ledger.ClockStripe)
		stands(nil)
		ok(d.StoreTrust(ctx, *first))
		ok(d.StoreTrust(ctx, *first))
		stands(first)
		ok(d.StoreTrust(ctx, *second))
		stands(second)
		ok(d.StoreTrust(ctx, *second))
		ok(d.EndTrust(ctx, first.ID, "again"))
		stands(second)
		ok(d.EndTrust(ctx, second.ID, "it is over"))
		ok(d.EndTrust(ctx, second.ID, "again"))
		ok(d.StoreTrust(ctx, *second)) // a repetition does not bring it back
		stands(nil)
		if found := audited(t, d); len(found) > 0 {
			t.Fatal(found)
		}
		for _, s := range []string{"UPDATE trusts SET ended = 'x'", "UPDATE trusts SET ended_at = NULL, ended = NULL", "DELETE FROM trusts"} {
			if err := exec(ctx, d, s); err == nil {
				t.Errorf("%s is taken", s)
			}
		}
		unguarded(t, d)
		ok(exec(ctx, d, "UPDATE trusts SET ended_at = NULL, ended = NULL WHERE id = ?", second.ID))
		if found := audited(t, d); !slices.ContainsFunc(found, func(x audit.Difference) bool {
			return x.Class == audit.Record && strings.Contains(x.Detail, "the table trusts is not as it was written")
		}) {
			t.Errorf("a word that was brought back is not noticed: %v", found)
		}
	})
}
