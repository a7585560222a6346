package db

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// Load reads transfers with their reversals, and what the history of the operation being
// driven says about waiting. What is not there is simply absent.
func (d *DB) Load(ctx context.Context, ids []ledger.ID) ([]ledger.Record, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var records []ledger.Record
	err := d.snapshot(ctx, func(tx bun.Tx) (err error) {
		records, err = d.recordsOf(ctx, tx, true, func(rows *[]transferRow) error {
			return d.selected(ctx, tx, transfersByID, rows, ids)
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load %d transfers: %w", len(ids), err)
	}
	return records, nil
}

// transfersByName is one of the selections that are prepared once.
var transfersByName = &selection{(*transferRow)(nil), []string{"name"}, "id"}

func init() { selections = append(selections, transfersByName) }

// ByName is [DB.Load] by what transfers are called at Stripe.
func (d *DB) ByName(ctx context.Context, names []ledger.ID) (records []ledger.Record, err error) {
	if len(names) == 0 {
		return nil, nil
	}
	err = d.snapshot(ctx, func(tx bun.Tx) (err error) {
		records, err = d.recordsOf(ctx, tx, true, func(rows *[]transferRow) error {
			return d.selected(ctx, tx, transfersByName, rows, names)
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load %d transfers by name: %w", len(names), err)
	}
	return records, nil
}

// ByReference is [DB.Load] by the platform's own names.
func (d *DB) ByReference(ctx context.Context, refs []string) ([]ledger.Record, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	for _, r := range refs {
		if err := checkText("reference", r); err != nil {
			return nil, err
		}
	}
	records, err := d.records(ctx, true, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("reference IN (?)", bun.List(refs))
	})
	if err != nil {
		return nil, fmt.Errorf("load %d transfers by reference: %w", len(refs), err)
	}
	return records, nil
}

// unfinished is the condition of the index transfers_unfinished, to the letter: only so does
// either database use it.
const unfinished = `(status = 'pending' OR status = 'sending' OR status = 'failed' OR status = 'unresolved' OR status = 'reversal_pending'
	OR (status = 'held' AND hold_ends_at IS NOT NULL))`

// Unfinished reads a page of the transfers that something is still to happen to by itself, in
// the order of their IDs; after is the last ID of the page before, or zero.
func (d *DB) Unfinished(ctx context.Context, after ledger.ID, limit int) ([]ledger.Record, error) {
	records, err := d.records(ctx, true, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where(unfinished).Where("id > ?", after).OrderExpr("id").Limit(int64(limit))
	})
	if err != nil {
		return nil, fmt.Errorf("read unfinished transfers: %w", err)
	}
	return records, nil
}

// UnfinishedIDs is [DB.Unfinished] for callers that need no more than the IDs.
func (d *DB) UnfinishedIDs(ctx context.Context, after ledger.ID, limit int) ([]ledger.ID, error) {
	var ids []ledger.ID
	err := d.read.NewSelect().Model((*transferRow)(nil)).Column("id").
		Where(unfinished).Where("id > ?", after).OrderExpr("id").Limit(int64(limit)).Scan(ctx, &ids)
	if err != nil {
		return nil, fmt.Errorf("read the IDs of unfinished transfers: %w", err)
	}
	return ids, nil
}

// records reads what a condition selects, all of it at one moment.
func (d *DB) records(ctx context.Context, digest bool, where func(*bun.SelectQuery) *bun.SelectQuery) (records []ledger.Record, err error) {
	err = d.snapshot(ctx, func(tx bun.Tx) error {
		records, err = d.recordsIn(ctx, tx, digest, where)
		return err
	})
	return records, err
}

func (d *DB) recordsIn(ctx context.Context, tx bun.Tx, digest bool, where func(*bun.SelectQuery) *bun.SelectQuery) ([]ledger.Record, error) {
	return d.recordsOf(ctx, tx, digest, func(rows *[]transferRow) error {
		return tx.NewSelect().Model(rows).Apply(where).Scan(ctx)
	})
}

// recordsOf makes records of the rows that read reads.
func (d *DB) recordsOf(ctx context.Context, tx bun.Tx, digest bool, read func(*[]transferRow) error) ([]ledger.Record, error) {
	at, err := d.clock(ctx, tx.Tx)
	if err != nil {
		return nil, err
	}
	var rows []transferRow
	if err := read(&rows); err != nil {
		return nil, err
	}
	records := make([]ledger.Record, len(rows))
	index := make(map[ledger.ID]*ledger.Record, len(rows))
	var sent, held []ledger.ID // only a transfer that Stripe holds has reversals; only two statuses have holds
	for i := range rows {
		r := &records[i]
		if r.Transfer, err = rows[i].transfer(); err != nil {
			return nil, err
		}
		r.ReadAt = at
		index[r.Transfer.ID] = r
		if r.Transfer.Operation.StripeID != "" {
			sent = append(sent, r.Transfer.ID)
		}
	}
	if err := d.addReversals(ctx, tx, index, sent); err != nil {
		return nil, err
	}
	for i := range records { // by the status as it is derived: the stored one is for lists
		if s := records[i].Transfer.Status(); s == ledger.Held || s == ledger.ReversalPending {
			held = append(held, records[i].Transfer.ID)
		}
	}
	if err := d.addHolds(ctx, tx, index, held); err != nil {
		return nil, err
	}
	if digest {
		err = d.addDigests(ctx, tx, records, index)
	}
	return records, err
}

// addReversals reads the reversals of the transfers named, oldest first.
func (d *DB) addReversals(ctx context.Context, tx bun.Tx, index map[ledger.ID]*ledger.Record, of []ledger.ID) error {
	if len(of) == 0 {
		return nil
	}
	var rows []reversalRow
	if err := d.selected(ctx, tx, reversalsOf, &rows, of); err != nil {
		return fmt.Errorf("read reversals: %w", err)
	}
	for i := range rows {
		t := &index[rows[i].TransferID].Transfer
		t.Reversals = append(t.Reversals, rows[i].reversal())
	}
	return nil
}

// addReversalsTo is addReversals for rows to be audited.
func (d *DB) addReversalsTo(ctx context.Context, tx bun.Tx, rows map[ledger.ID]*ledger.AuditRow, of []ledger.ID) error {
	index := make(map[ledger.ID]*ledger.Record, len(of))
	for _, id := range of {
		index[id] = &ledger.Record{}
	}
	err := d.addReversals(ctx, tx, index, of)
	for _, id := range of {
		rows[id].Transfer.Reversals = index[id].Transfer.Reversals
	}
	return err
}

// addDigests folds the history of each operation that is being driven. What was never sent
// has no setback to tell of.
func (d *DB) addDigests(ctx context.Context, tx bun.Tx, records []ledger.Record, index map[ledger.ID]*ledger.Record) error {
	var transfers, subjects []ledger.ID
	for i := range records {
		t := &records[i].Transfer
		if op, _ := t.Current(); op != nil && op.Generation > 0 {
			transfers, subjects = append(transfers, t.ID), append(subjects, op.ID)
		}
	}
	if len(transfers) == 0 {
		return nil
	}
	var rows []historyRow
	if err := d.selected(ctx, tx, historyOf, &rows, transfers, subjects); err != nil {
		return fmt.Errorf("read history: %w", err)
	}
	for i := range rows {
		h, err := rows[i].history()
		if err != nil {
			return err
		}
		r := index[h.Transfer]
		r.Digest = r.Digest.Add(h)
	}
	return nil
}
