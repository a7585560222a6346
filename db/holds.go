package db

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// holdRow is a hold: a row for good, which is ended once.
type holdRow struct {
	bun.BaseModel `bun:"table:holds,alias:ho"`

	ID         ledger.ID         `bun:"id,pk"`
	TransferID ledger.ID         `bun:"transfer_id"`
	Operation  ledger.ID         `bun:"operation"`
	Source     ledger.HoldSource `bun:"source"`
	Reason     string            `bun:"reason"`
	Principal  string            `bun:"principal"`
	Since      instant           `bun:"since"`
	Until      instant           `bun:"until"`
	Begun      int64             `bun:"begun"`
	Ended      int64             `bun:"ended,nullzero"`
	EndedAt    instant           `bun:"ended_at"`
}

func toHoldRow(transfer ledger.ID, h *ledger.Hold) holdRow {
	return holdRow{ID: h.ID, TransferID: transfer, Operation: h.Operation, Source: h.Source, Reason: h.Reason, Principal: h.By,
		Since: toInstant(h.Since), Until: toInstant(h.Until), Begun: h.Begun, Ended: h.Ended, EndedAt: toInstant(h.EndedAt)}
}

func (r *holdRow) hold() ledger.Hold {
	return ledger.Hold{ID: r.ID, Operation: r.Operation, Source: r.Source, Reason: r.Reason, By: r.Principal,
		Since: r.Since.time(), Until: r.Until.time(), Begun: r.Begun, Ended: r.Ended, EndedAt: r.EndedAt.time()}
}

// addHolds reads the holds that stand at the transfers named, in the order in which they began.
func (d *DB) addHolds(ctx context.Context, tx bun.Tx, index map[ledger.ID]*ledger.Record, of []ledger.ID) error {
	if len(of) == 0 {
		return nil
	}
	var rows []holdRow
	err := tx.NewSelect().Model(&rows).Where("transfer_id IN (?)", bun.List(of)).Where("ended IS NULL").OrderExpr("transfer_id, begun, id").Scan(ctx)
	if err != nil {
		return fmt.Errorf("read holds: %w", err)
	}
	for i := range rows {
		t := &index[rows[i].TransferID].Transfer
		t.Holds = append(t.Holds, rows[i].hold())
	}
	return nil
}

// holdsOfAll reads every hold that there ever was of some transfers, in the order in which they
// began.
func holdsOfAll(ctx context.Context, tx bun.Tx, ids []ledger.ID) (map[ledger.ID][]ledger.Hold, error) {
	var rows []holdRow
	if err := tx.NewSelect().Model(&rows).Where("transfer_id IN (?)", bun.List(ids)).OrderExpr("transfer_id, begun, id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read holds: %w", err)
	}
	holds := make(map[ledger.ID][]ledger.Hold)
	for i := range rows {
		holds[rows[i].TransferID] = append(holds[rows[i].TransferID], rows[i].hold())
	}
	return holds, nil
}

// attach puts each hold into the history rows that began and ended it. A hold that a row should
// have written, and that has no such row, is an error.
func attach(history []ledger.History, holds []ledger.Hold) error {
	for _, h := range holds {
		if h.Ended == 0 && !h.EndedAt.IsZero() {
			return fmt.Errorf("hold %s stands, and ended at %s; expected no end", h.ID, h.EndedAt.Format(instantForm))
		}
		for _, version := range []int64{h.Begun, h.Ended} {
			switch {
			case version == 0: // it stands, or is older than the table of holds
			case version > int64(len(history)):
				return fmt.Errorf("hold %s names version %d of its history, which has %d", h.ID, version, len(history))
			default:
				row := &history[version-1]
				row.Holds = append(row.Holds, h)
			}
		}
	}
	return nil
}

// addHoldsToHistory reads the holds of one transfer into the rows that began and ended them.
func addHoldsToHistory(ctx context.Context, tx bun.Tx, history []ledger.History, id ledger.ID) error {
	holds, err := holdsOfAll(ctx, tx, []ledger.ID{id})
	if err != nil {
		return err
	}
	attach(history, holds[id]) // what is wrong with them is for the audit to tell
	return nil
}
