package db

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// What is older than the seals gets its hashes and its seals in one transaction, once all migrations are
// applied, because the rows are read by today's columns. A hash that is there already is checked first;
// where it does not fit, nothing is changed, and the audit tells of it.

// oldPage is how many transfers are sealed at a time.
const oldPage = 500

// sealOld seals what is older than the seals, once.
func (d *DB) sealOld(ctx context.Context) error {
	if text, err := readMeta(ctx, d.write, metaUnsealed); err != nil || text == "" {
		return err
	}
	if err := d.prepareCommit(ctx); err != nil {
		return err
	}
	var sealed, left int
	err := d.sealing(ctx, func(tx bun.Tx) error {
		if err := d.lockMigrations(ctx, tx); err != nil {
			return err
		}
		// Another process may have been first.
		res, err := tx.NewDelete().Model((*metaRow)(nil)).Where("key = ?", metaUnsealed).Exec(ctx)
		if err != nil {
			return err
		}
		if mine, err := one(res); !mine || err != nil {
			return err
		}
		on, err := d.engine.free(ctx, tx, "transfers", "reversals", "history", "events", "messages", "drift")
		if err != nil {
			return err
		}
		for after := (ledger.ID{}); ; {
			last, n, broken, err := d.sealPage(ctx, tx, after)
			if err != nil {
				return err
			}
			if sealed, left = sealed+n, left+broken; n < oldPage {
				break
			}
			after = last
		}
		if err := sealRecords(ctx, tx); err != nil {
			return err
		}
		for _, put := range on {
			if _, err := tx.Tx.ExecContext(ctx, put); err != nil {
				return err
			}
		}
		return d.renew(ctx, tx, "meta")
	})
	if err != nil {
		return fmt.Errorf("seal what is older than the seals: %w", err)
	}
	if sealed > 0 {
		d.log.Warn("what is older than the seals was sealed as it is; the audit tells of what was not as it was written", "transfers", sealed, "not_as_written", left)
	}
	return nil
}

// sealPage seals the transfers that follow an ID.
func (d *DB) sealPage(ctx context.Context, tx bun.Tx, after ledger.ID) (last ledger.ID, n, broken int, err error) {
	at, err := d.clock(ctx, tx.Tx)
	if err != nil {
		return last, 0, 0, err
	}
	old, ids, err := oldTransfers(ctx, tx, after)
	if err != nil || len(old) == 0 {
		return last, 0, 0, err
	}
	all, err := stories(ctx, tx, ids)
	if err != nil {
		return last, 0, 0, err
	}
	asked, err := reversalsAsked(ctx, tx, ids)
	if err != nil {
		return last, 0, 0, err
	}
	byVersion := make(map[int64][]historyRow) // a seal names a transfer once
	for i := range old {
		t, s := &old[i], all[ids[i]]
		t.Holds = s.standing()
		named, err := d.rechain(ctx, tx, t, s, asked)
		if err != nil {
			return last, 0, 0, err
		}
		if !named {
			broken++
		}
		for _, h := range s.history {
			byVersion[h.Version] = append(byVersion[h.Version], historyRow{TransferID: h.Transfer, Version: h.Version, Chain: h.Chain})
		}
	}
	for v := int64(1); len(byVersion) > 0; v++ {
		if rows, has := byVersion[v]; has {
			if err := d.seal(ctx, tx, at, rows); err != nil {
				return last, 0, 0, err
			}
			delete(byVersion, v)
		}
	}
	return ids[len(ids)-1], len(ids), broken, nil
}

// oldTransfers reads transfers with their reversals, in a transaction that writes.
func oldTransfers(ctx context.Context, tx bun.Tx, after ledger.ID) (old []ledger.Transfer, ids []ledger.ID, err error) {
	var rows []transferRow
	if err := tx.NewSelect().Model(&rows).Where("id > ?", after).OrderExpr("id").Limit(oldPage).Scan(ctx); err != nil || len(rows) == 0 {
		return nil, nil, err
	}
	index := make(map[ledger.ID]int, len(rows))
	for i := range rows {
		t, err := rows[i].transfer()
		if err != nil {
			return nil, nil, err
		}
		index[t.ID], old, ids = i, append(old, t), append(ids, t.ID)
	}
	var reversals []reversalRow
	if err := tx.NewSelect().Model(&reversals).Where("transfer_id IN (?)", bun.List(ids)).OrderExpr("transfer_id, no").Scan(ctx); err != nil {
		return nil, nil, err
	}
	for i := range reversals {
		t := &old[index[reversals[i].TransferID]]
		t.Reversals = append(t.Reversals, reversals[i].reversal())
	}
	return old, ids, nil
}

// rechain gives a transfer's history, and the reversals of it that have none, their hashes. It reports
// false when the history is not as it was written.
func (d *DB) rechain(ctx context.Context, tx bun.Tx, t *ledger.Transfer, s *story, asked map[ledger.ID]int64) (bool, error) {
	hashed := t.HashReversals(s.history, s.postings, asked)
	if s.broken != nil || t.Rechain(s.history, s.postings) != nil {
		return false, nil
	}
	for _, i := range hashed {
		r := &t.Reversals[i]
		if _, err := tx.NewUpdate().Model(&reversalRow{operationRow: operationRow{ID: r.ID}, OrderHash: r.OrderHash}).Column("order_hash").WherePK().Exec(ctx); err != nil {
			return false, err
		}
	}
	for i := range s.history {
		h := toHistoryRow(&s.history[i])
		if _, err := tx.NewUpdate().Model(&h).Column("chain", "content").WherePK().Exec(ctx); err != nil {
			return false, err
		}
	}
	_, err := tx.NewUpdate().Model(&transferRow{operationRow: operationRow{ID: t.ID}, Chain: t.Chain}).Column("chain").WherePK().Exec(ctx)
	return err == nil, err
}

// reversalsAsked reads the amounts of the messages that asked for reversals; 0: all that remained.
func reversalsAsked(ctx context.Context, tx bun.Tx, ids []ledger.ID) (map[ledger.ID]int64, error) {
	var rows []messageRow
	err := tx.NewSelect().Model(&rows).Column("id", "amount").Where("transfer_id IN (?)", bun.List(ids)).Where("type = ?", ledger.MessageReverse).Scan(ctx)
	asked := make(map[ledger.ID]int64, len(rows))
	for _, r := range rows {
		asked[r.ID] = r.Amount
	}
	return asked, err
}

// sealRecords seals what is kept beside the transfers.
func sealRecords(ctx context.Context, tx bun.Tx) error {
	var fail error
	set := func(q *bun.UpdateQuery) {
		if fail == nil {
			_, fail = q.WherePK().Exec(ctx)
		}
	}
	err := allMessages(ctx, tx, func(m *messageRow) {
		if m.Seal = m.seal(); m.ActedBefore != "" || m.Refusal != "" || !m.DoneAt.IsZero() {
			m.ReceiptSeal = m.receiptSeal()
		}
		set(tx.NewUpdate().Model(m).Column("seal", "receipt_seal"))
	})
	if err == nil {
		err = allFindings(ctx, tx, func(f *driftRow) {
			f.Seal = f.seal()
			set(tx.NewUpdate().Model(f).Column("seal"))
		})
	}
	if err == nil {
		err = allEvents(ctx, tx, func(e *eventKey) {
			if fail == nil {
				_, fail = tx.NewUpdate().Table("events").Set("seal = ?", e.seal()).Where("seq = ?", e.Seq).Exec(ctx)
			}
		})
	}
	return errors.Join(err, fail)
}

// free lets a transaction change what triggers keep, and returns the statements that put them back.
func (*postgres) free(ctx context.Context, tx bun.Tx, tables ...string) (on []string, err error) {
	for _, table := range tables {
		if _, err := tx.NewRaw("ALTER TABLE ? DISABLE TRIGGER USER", bun.Ident(table)).Exec(ctx); err != nil {
			return nil, err
		}
		on = append(on, "ALTER TABLE "+table+" ENABLE TRIGGER USER") // a name of ours
	}
	return on, nil
}

func (*lite) free(ctx context.Context, tx bun.Tx, tables ...string) (on []string, err error) {
	var triggers []struct{ Name, TblName, SQL string }
	if err := tx.NewRaw("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'").Scan(ctx, &triggers); err != nil {
		return nil, err
	}
	for _, t := range triggers {
		if !slices.Contains(tables, t.TblName) {
			continue
		}
		if _, err := tx.NewRaw("DROP TRIGGER ?", bun.Ident(t.Name)).Exec(ctx); err != nil {
			return nil, err
		}
		on = append(on, t.SQL)
	}
	return on, nil
}
