package db

import (
	"context"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// Dossier reads all that is known of one transfer, at one moment; [ledger.ErrNotFound] when there is none. Of its
// history it reads the latest entries, with their postings; 0: all.
func (d *DB) Dossier(ctx context.Context, id ledger.ID, latest int) (dossier ledger.Dossier, err error) {
	err = d.snapshot(ctx, func(tx bun.Tx) error {
		records, err := d.recordsIn(ctx, tx, true, func(q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where("id = ?", id)
		})
		if err != nil {
			return err
		}
		if len(records) == 0 {
			return ledger.ErrNotFound
		}
		dossier.Record = records[0]
		dossier.Chapter, err = chapterOf(ctx, tx, id, 0, latest)
		return err
	})
	if err != nil {
		return ledger.Dossier{}, fmt.Errorf("read transfer %s: %w", id, err)
	}
	return dossier, nil
}

// Chapter reads at most limit entries of a transfer's history, the latest before a version; [ledger.ErrNotFound] when
// there are none.
func (d *DB) Chapter(ctx context.Context, id ledger.ID, before int64, limit int) (c ledger.Chapter, err error) {
	err = d.snapshot(ctx, func(tx bun.Tx) (err error) {
		c, err = chapterOf(ctx, tx, id, before, limit)
		if err == nil && len(c.History) == 0 {
			err = ledger.ErrNotFound
		}
		return err
	})
	if err != nil {
		return ledger.Chapter{}, fmt.Errorf("read the history of transfer %s: %w", id, err)
	}
	return c, nil
}

func chapterOf(ctx context.Context, tx bun.Tx, id ledger.ID, before int64, limit int) (c ledger.Chapter, err error) {
	var history []historyRow
	q := tx.NewSelect().Model(&history).Where("transfer_id = ?", id).OrderExpr("version DESC").Limit(int64(limit))
	if before > 0 {
		q.Where("version < ?", before)
	}
	if err := q.Scan(ctx); err != nil {
		return c, err
	}
	for _, row := range slices.Backward(history) {
		h, err := row.history()
		if err != nil {
			return c, err
		}
		c.History = append(c.History, h)
	}
	if len(c.History) == 0 {
		return c, nil
	}
	if err := addHoldsToHistory(ctx, tx, c.History, id); err != nil {
		return c, err
	}
	var postings []postingRow
	err = tx.NewSelect().Model(&postings).Where("transfer_id = ?", id).OrderExpr("version, no").
		Where("version BETWEEN ? AND ?", c.History[0].Version, c.History[len(c.History)-1].Version).Scan(ctx)
	for i := range postings {
		c.Postings = append(c.Postings, postings[i].posting())
	}
	return c, err
}
