package main

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/ledger"
)

// On the real program and both databases: rows of which the order was changed past the triggers are not
// sent, and the audit names each of them.
func TestWhatWasAlteredInTheDatabaseIsNotSent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		ctx, cancel := context.WithTimeout(t.Context(), hang)
		defer cancel()
		s := newStand(t, ctx, url, "none", 11)
		sets := []string{"destination = 'acct_thief'", "amount = amount + 1", `metadata = '{"a":"b"}'`, "seller = 'another'"}
		ids := make([]ledger.ID, len(sets))
		for i := range sets {
			p := planTraffic(11, len(sets))[i]
			var made transferJSON
			order := map[string]any{"reference": p.order.Reference, "seller": p.order.Seller, "destination": p.order.Destination,
				"amount": p.order.Money.Amount, "currency": p.order.Money.Currency, "metadata": p.order.Metadata, "not_before": time.Now().Add(24 * time.Hour)}
			if err := s.api.call(ctx, "POST", "/v1/transfers", "", order, &made); err != nil || made.Status != ledger.Held {
				t.Fatalf("%s, %v", made.Status, err)
			}
			ids[i] = made.ID
		}
		s.worker.stop()
		off := []string{"DROP TRIGGER transfers_order", "DROP TRIGGER transfers_guard"}
		if strings.HasPrefix(url, "postgres") {
			off = []string{"ALTER TABLE transfers DISABLE TRIGGER USER"}
		}
		for _, statement := range off {
			s.alter(ctx, url, statement)
		}
		for i, set := range sets {
			s.alter(ctx, url, "UPDATE transfers SET "+set+" WHERE id = '"+ids[i].String()+"'")
		}
		if err := s.worker.start(ctx); err != nil {
			t.Fatal(err)
		}
		for i, id := range ids {
			release := map[string]string{"type": "release", "override": "schedule", "reason": "now"}
			if err := s.api.call(ctx, "POST", "/v1/transfers/"+id.String()+"/messages", "", release, nil); err != nil {
				t.Fatal(err)
			}
			err := again(ctx, 50*time.Millisecond, func() (bool, error) {
				x, err := s.api.get(ctx, id)
				return x.Status == ledger.PermanentlyFailed, err
			})
			if err != nil {
				t.Errorf("with %s it was not set aside: %v", sets[i], err)
			}
		}
		if held := s.truth().Transfers; len(held) > 0 {
			t.Errorf("Stripe made %d transfers", len(held))
		}
		code, out := s.audited(ctx)
		for i, id := range ids {
			if code != exitFailed || !strings.Contains(out, id.String()) {
				t.Errorf("exit %d, and %s is not named, with %s:\n%s", code, id, sets[i], out)
			}
		}
	})
}

// alter runs a statement in the database, past the program.
func (s *stand) alter(ctx context.Context, url, statement string) {
	s.t.Helper()
	driver, name := "pgx", url
	if path, lite := strings.CutPrefix(url, "sqlite:"); lite {
		driver, name = "sqlite", "file:"+path+"?_pragma=busy_timeout(5000)"
	}
	d, err := sql.Open(driver, name)
	if err != nil {
		s.t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.ExecContext(ctx, statement); err != nil {
		s.t.Fatalf("%s: %v", statement, err)
	}
}
