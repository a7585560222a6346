package db

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// selection is a statement of the hot path that selects rows by lists of IDs. bun writes values
// into the text of a statement, and SQLite takes longer to parse such a text than to run it: so
// there these are prepared once, and take a list as one JSON array.
type selection struct {
	model any
	by    []string // columns, each of which is in a list of its own
	order string
}

var (
	transfersByID = &selection{(*transferRow)(nil), []string{"id"}, "id"}
	reversalsOf   = &selection{(*reversalRow)(nil), []string{"transfer_id"}, "transfer_id, no"}
	historyOf     = &selection{(*historyRow)(nil), []string{"transfer_id", "subject"}, "transfer_id, version"}
	selections    = []*selection{transfersByID, reversalsOf, historyOf}
)

// query is the statement over lists, which are something that bun can write.
func (s *selection) query(db bun.IDB, model any, lists []any) *bun.SelectQuery {
	q := db.NewSelect().Model(model)
	for i, column := range s.by {
		q.Where("? IN (?)", bun.Ident(column), lists[i])
	}
	return q.OrderExpr(s.order)
}

// readied comes before the snapshot that runs selections.
func (*postgres) readied(context.Context, *bun.DB) error { return nil }

// selected runs a selection.
func (*postgres) selected(ctx context.Context, tx bun.Tx, s *selection, dest any, ids ...[]ledger.ID) error {
	lists := make([]any, len(ids))
	for i, list := range ids {
		lists[i] = bun.List(list)
	}
	return s.query(tx, dest, lists).Scan(ctx)
}

// readied prepares the selections once, outside of any transaction: in memory that would hold
// the only connection.
func (l *lite) readied(ctx context.Context, read *bun.DB) error {
	if l.selects.Load() != nil {
		return nil
	}
	statements := make(map[*selection]*sql.Stmt, len(selections))
	for _, s := range selections {
		text := s.query(read, s.model, []any{bun.Safe("SELECT value FROM json_each(?1)"), bun.Safe("SELECT value FROM json_each(?2)")}).String()
		stmt, err := read.DB.PrepareContext(ctx, text)
		if err != nil {
			closeAll(statements)
			return fmt.Errorf("prepare: %w", err)
		}
		statements[s] = stmt
	}
	if !l.selects.CompareAndSwap(nil, &statements) { // another caller was first
		closeAll(statements)
	}
	return nil
}

func closeAll(statements map[*selection]*sql.Stmt) {
	for _, s := range statements {
		s.Close()
	}
}

func (l *lite) selected(ctx context.Context, tx bun.Tx, s *selection, dest any, ids ...[]ledger.ID) error {
	args := make([]any, len(ids))
	for i, list := range ids {
		text, err := json.Marshal(list)
		if err != nil {
			return err
		}
		args[i] = string(text)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// See run: the driver starts a goroutine for each statement whose context can end.
	within := context.WithoutCancel(ctx)
	prepared := l.selects.Load()
	if prepared == nil {
		return sql.ErrConnDone // closed meanwhile
	}
	rows, err := tx.Tx.StmtContext(within, (*prepared)[s]).QueryContext(within, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	if err := tx.NewSelect().DB().ScanRows(within, rows, dest); err != nil {
		return err
	}
	return rows.Err()
}
