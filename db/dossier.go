package db

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// Dossier reads all that is known of one transfer, at one moment; [ledger.ErrNotFound] when
// there is none.
func (d *DB) Dossier(ctx context.Context, id ledger.ID) (dossier ledger.Dossier, err error) {
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
		var history []historyRow
		if err := tx.NewSelect().Model(&history).Where("transfer_id = ?", id).OrderExpr("version").Scan(ctx); err != nil {
			return err
		}
		for i := range history {
			h, err := history[i].history()
			if err != nil {
				return err
			}
			dossier.History = append(dossier.History, h)
		}
		if err := addHoldsToHistory(ctx, tx, dossier.History, id); err != nil {
			return err
		}
		var postings []postingRow
		if err := tx.NewSelect().Model(&postings).Where("transfer_id = ?", id).OrderExpr("version, no").Scan(ctx); err != nil {
			return err
		}
		for i := range postings {
			dossier.Postings = append(dossier.Postings, postings[i].posting())
		}
		return nil
	})
	if err != nil {
		return ledger.Dossier{}, fmt.Errorf("read transfer %s: %w", id, err)
	}
	return dossier, nil
}
