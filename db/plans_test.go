package db

import (
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/uptrace/bun"
)

// Each query that grows with the ledger is served by the index that was made for it.
func TestQueriesUseTheirIndices(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		l := newLives(200)
		for range 3 {
			l.step(t, d)
		}
		l.step(t, d)
		if err := exec(t.Context(), d, "ANALYZE"); err != nil {
			t.Fatal(err)
		}
		select1 := func(where func(*bun.SelectQuery) *bun.SelectQuery) string {
			return d.read.NewSelect().Model((*transferRow)(nil)).Apply(where).String()
		}
		id := newID()
		for index, statement := range map[string]string{
			"transfers_unfinished": select1(func(q *bun.SelectQuery) *bun.SelectQuery {
				return q.Where(unfinished).Where("id > ?", uuid.Nil).OrderExpr("id").Limit(100)
			}),
			"transfers_seller": select1(func(q *bun.SelectQuery) *bun.SelectQuery {
				return q.Where("seller = 'x'").Where("id < ?", id).OrderExpr("id DESC").Limit(100)
			}),
			"transfers_destination": select1(func(q *bun.SelectQuery) *bun.SelectQuery {
				return q.Where("destination = 'x'").OrderExpr("id DESC").Limit(100)
			}),
			"transfers_by_status": select1(func(q *bun.SelectQuery) *bun.SelectQuery {
				return q.Where("status = 'parked'").OrderExpr("id DESC").Limit(100)
			}),
			"transfers_error_code": select1(func(q *bun.SelectQuery) *bun.SelectQuery {
				return q.Where("error_code = 'x'").Where("error_code <> ''").OrderExpr("id DESC").Limit(100)
			}),
			"events_payload":   "SELECT seq FROM events WHERE handled_at IS NOT NULL AND length(payload) > 0 AND handled_at < '2020-01-01T00:00:00.000000Z' ORDER BY handled_at LIMIT 10",
			"events_unhandled": "SELECT * FROM events WHERE handled_at IS NULL ORDER BY seq LIMIT 10",
			"reversals_no":     "SELECT * FROM reversals WHERE transfer_id IN ('" + id.String() + "') ORDER BY transfer_id, no",
		} {
			plan := planOf(t, d, statement)
			if d.Dialect() == "sqlite" && index == "reversals_no" {
				index = "sqlite_autoindex_reversals" // SQLite names the index of a constraint itself
			}
			if !strings.Contains(plan, index) {
				t.Errorf("%s is not used by %s:\n%s", index, statement, plan)
			}
			if strings.Contains(plan, "Sort") || strings.Contains(plan, "TEMP B-TREE") {
				t.Errorf("%s does not give the order:\n%s", index, plan)
			}
		}
		counts := planOf(t, d, "SELECT status, currency, count(*), sum(amount), min(since) FROM transfers GROUP BY status, currency")
		if !strings.Contains(counts, "Index Only Scan") && !strings.Contains(counts, "COVERING INDEX") {
			t.Errorf("the counts read the table:\n%s", counts)
		}
	})
}

func planOf(t *testing.T, d *DB, statement string) string {
	t.Helper()
	var lines []string
	err := d.read.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		if d.Dialect() == "postgres" {
			// Tables of a test are so small that reading all of them is cheapest.
			for _, off := range []string{"enable_seqscan", "enable_bitmapscan"} {
				if _, err := tx.ExecContext(ctx, "SET LOCAL "+off+" = off"); err != nil {
					return err
				}
			}
			return tx.NewRaw("EXPLAIN "+statement).Scan(ctx, &lines)
		}
		var steps []struct {
			ID, Parent, Notused int64
			Detail              string
		}
		err := tx.NewRaw("EXPLAIN QUERY PLAN "+statement).Scan(ctx, &steps)
		for _, s := range steps {
			lines = append(lines, s.Detail)
		}
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return strings.Join(lines, "\n")
}
