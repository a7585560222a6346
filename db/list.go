package db

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// List reads the transfers that a filter selects, newest first; a limit of 0 is none. Their
// digests are left out.
func (d *DB) List(ctx context.Context, f ledger.Filter) ([]ledger.Record, error) {
	err := checkTexts("status", string(f.Status), "seller", f.Seller, "destination", f.Destination,
		"reference", f.Reference, "error_code", f.ErrorCode)
	if err != nil {
		return nil, err
	}
	records, err := d.records(ctx, false, func(q *bun.SelectQuery) *bun.SelectQuery {
		equal := func(column bun.Safe, value string) {
			if value != "" {
				q.Where("? = ?", column, value)
			}
		}
		equal("status", string(f.Status))
		equal("seller", f.Seller)
		equal("destination", f.Destination)
		equal("reference", f.Reference)
		equal("error_code", f.ErrorCode)
		if f.ErrorCode != "" {
			q.Where("error_code <> ''") // the condition of the partial index
		}
		if !f.CreatedAfter.IsZero() {
			q.Where("created_at > ?", toInstant(f.CreatedAfter))
		}
		if !f.CreatedBefore.IsZero() {
			q.Where("created_at < ?", toInstant(f.CreatedBefore))
		}
		if f.Before != uuid.Nil {
			q.Where("id < ?", f.Before)
		}
		return q.OrderExpr("id DESC").Limit(int64(f.Limit))
	})
	if err != nil {
		return nil, fmt.Errorf("list transfers: %w", err)
	}
	return records, nil
}

// Count is how many transfers are in a state, in one currency.
type Count struct {
	Status   ledger.State
	Currency ledger.Currency
	Number   int64
	Amount   int64     // minor units
	Oldest   time.Time // since when the oldest of them is in it
}

// HeldCount is how many transfers are held by one source longest, in one currency.
type HeldCount struct {
	HeldBy   ledger.HoldSource
	Currency ledger.Currency
	Number   int64
}

// HeldCounts counts what is held, by the source of the hold that lasts longest.
func (d *DB) HeldCounts(ctx context.Context) ([]HeldCount, error) {
	var counts []HeldCount
	err := d.read.NewRaw(`SELECT held_by, currency, count(*) AS number FROM transfers
		WHERE status = 'held' AND held_by IS NOT NULL GROUP BY held_by, currency ORDER BY held_by, currency`).Scan(ctx, &counts)
	if err != nil {
		return nil, fmt.Errorf("count what is held: %w", err)
	}
	return counts, nil
}

// Counts counts the transfers by state and currency.
func (d *DB) Counts(ctx context.Context) ([]Count, error) {
	var rows []struct {
		Status   ledger.State
		Currency ledger.Currency
		Number   int64
		Amount   int64
		Oldest   instant
	}
	err := d.read.NewRaw(`SELECT status, currency, count(*) AS number, CAST(sum(amount) AS bigint) AS amount, min(since) AS oldest
		FROM transfers GROUP BY status, currency ORDER BY status, currency`).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("count transfers: %w", err)
	}
	counts := make([]Count, len(rows))
	for i, r := range rows {
		counts[i] = Count{r.Status, r.Currency, r.Number, r.Amount, r.Oldest.time()}
	}
	return counts, nil
}
