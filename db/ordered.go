package db

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// Ordered sums what a principal ordered since a moment, by currency.
func (d *DB) Ordered(ctx context.Context, principal string, since time.Time) (map[ledger.Currency]int64, error) {
	if err := checkText("principal", principal); err != nil {
		return nil, err
	}
	var rows []struct {
		Currency ledger.Currency
		Amount   int64
	}
	// The ID begins with the moment of another clock; a day before is beyond all that clocks may differ by, and keeps
	// the statement off the rows of other years.
	err := d.read.NewRaw(`SELECT t.currency, CAST(sum(t.amount) AS bigint) AS amount FROM transfers AS t
		JOIN history AS h ON h.transfer_id = t.id AND h.version = 1
		WHERE t.id >= ? AND t.created_at >= ? AND h.principal = ? GROUP BY t.currency`,
		firstID(since.Add(-24*time.Hour)), toInstant(since), principal).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("sum what %s ordered: %w", principal, err)
	}
	sums := make(map[ledger.Currency]int64, len(rows))
	for _, r := range rows {
		sums[r.Currency] = r.Amount
	}
	return sums, nil
}

// firstID is the least UUIDv7 of a moment.
func firstID(at time.Time) (id ledger.ID) {
	ms := at.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6], id[8] = 0x70, 0x80
	return id
}

// PaidBefore reports whether anything for a seller was let go, or sent, to a destination.
func (d *DB) PaidBefore(ctx context.Context, seller, destination string) (bool, error) {
	if err := checkTexts("seller", seller, "destination", destination); err != nil {
		return false, err
	}
	var ids []uuid.UUID
	err := d.read.NewSelect().Model((*transferRow)(nil)).Column("id").Where("seller = ?", seller).Where("destination = ?", destination).
		Where("status NOT IN (?)", bun.List([]ledger.State{ledger.Held, ledger.Canceled})).Limit(1).Scan(ctx, &ids)
	if err != nil {
		return false, fmt.Errorf("look for what was paid to a destination: %w", err)
	}
	return len(ids) > 0, nil
}
