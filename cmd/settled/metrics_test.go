package main

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/db/dbtest"
)

// named are the metrics that the README tells people to look at, with the labels that it writes out.
var named = regexp.MustCompile("`?(settled_[a-z_]+)(\\{([a-z_]+)=\"([a-z_]+)\"\\})?")

// noMetrics are names in the metadata of objects at Stripe, and the database's roles.
var noMetrics = []string{"settled_reference", "settled_operation", "settled_migrate", "settled_serve"}

func TestEachMetricThatTheReadmeNamesExistsFromTheStart(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	names := named.FindAllStringSubmatch(string(readme), -1)
	dbtest.Each(t, func(t *testing.T, url string) {
		ctx, cancel := context.WithTimeout(t.Context(), hang)
		defer cancel()
		s := newStand(t, ctx, url, "none", 7)
		_, metrics := get(ctx, s.api.base+"/metrics")
		n := 0
		for _, m := range names {
			name, label := m[1], ""
			if slices.Contains(noMetrics, name) || strings.HasSuffix(name, "_") {
				continue
			}
			if m[2] != "" {
				label = m[3] + `="` + m[4] + `"`
			}
			n++
			if !regexp.MustCompile(`(?m)^` + name + `(\{[^}]*` + label + `[^}]*\})? [0-9]`).MatchString(metrics) {
				t.Errorf("%s is not there from the start", m[0])
			}
		}
		if n < 6 {
			t.Errorf("only %d metrics are named: %v", n, names)
		}
		for _, kind := range []string{"gave_up", "parked", "bug", "conflict"} {
			if !strings.Contains(metrics, `settled_alarms_total{kind="`+kind+`"} 0`) {
				t.Errorf("no alarm %s at 0", kind)
			}
		}
	})
}

func TestOnlyWhatIsUnfinishedHasAnAge(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, url string) {
		ctx, cancel := context.WithTimeout(t.Context(), hang)
		defer cancel()
		s := newStand(t, ctx, url, "none", 8)
		if _, err := s.api.create(ctx, planTraffic(8, 3)); err != nil {
			t.Fatal(err)
		}
		later := map[string]any{"reference": "later", "seller": "s", "destination": "acct_later", "amount": 100, "currency": "eur", "not_before": time.Now().Add(240 * time.Hour)}
		if err := s.api.call(ctx, "POST", "/v1/transfers", "", later, nil); err != nil {
			t.Fatal(err)
		}
		err := again(ctx, 200*time.Millisecond, func() (bool, error) { // it is counted every few seconds
			_, metrics := get(ctx, s.api.base+"/metrics")
			return regexp.MustCompile(`settled_transfers\{currency="[a-z]+",state="completed"\} [1-9]`).MatchString(metrics) &&
				regexp.MustCompile(`settled_transfers_held\{currency="[a-z]+",held_by="schedule"\} 1`).MatchString(metrics), nil
		})
		_, metrics := get(ctx, s.api.base+"/metrics")
		if err != nil {
			t.Fatalf("%v\n%s", err, metrics)
		}
		if strings.Contains(metrics, `settled_transfer_oldest_seconds{currency="eur",state="completed"}`) ||
			regexp.MustCompile(`settled_transfer_oldest_seconds\{[^}]*state="(held|completed|canceled|reversed|partially_reversed|permanently_failed)"`).MatchString(metrics) {
			t.Error("what is at its end grows old")
		}
	})
}
