package db

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/uptrace/bun"
)

// probe does all that a commit of changes does, with no change in it, and so shows whether the
// ledger can be written. A ping shows less: it succeeds at a server that became read-only, and
// while a table is locked.
func (d *DB) probe(ctx context.Context) (at time.Time, err error) {
	g := &d.groups
	err = d.change(ctx, func(tx bun.Tx) error {
		if at, err = d.abreast(ctx, tx); err != nil {
			return err
		}
		if err := d.touch(ctx, tx); err != nil {
			return fmt.Errorf("write a row as it is: %w", err)
		}
		for _, x := range []struct {
			group *group
			rows  any
		}{
			{&g.createTransfers, []transferRow{}}, {&g.changeTransfers, []transferRow{}}, {&g.putReversals, []reversalRow{}},
			{&g.addHistory, []historyRow{}}, {&g.addPostings, []postingRow{}}, {&g.addSeals, []sealRow{}},
		} {
			if _, err := d.engine.run(ctx, tx.Tx, x.group, reflect.ValueOf(x.rows)); err != nil {
				return fmt.Errorf("write no row of %s: %w", x.group.table, err)
			}
		}
		return nil
	})
	return at, err
}

// touch has nothing to do: PostgreSQL refuses a statement that may write, or has it wait for the
// table, also when it comes to no row. A row of its own would be one more to be held by others.
func (*postgres) touch(context.Context, bun.Tx) error { return nil }

// touch has a page written: for no rows SQLite runs no statement.
func (*lite) touch(ctx context.Context, tx bun.Tx) error {
	_, err := tx.NewUpdate().Model((*metaRow)(nil)).Set("value = value").Where("key = ?", metaEpoch).Exec(ctx)
	return err
}
