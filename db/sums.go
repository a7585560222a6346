package db

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// A small table whose rows change has one hash over all of its rows, which is renewed by every
// transaction that writes to it. All of its columns are in it, whatever they are.

// sumRow is the hash of a small table.
type sumRow struct {
	bun.BaseModel `bun:"table:sums"`

	Name string `bun:"name,pk"`
	Hash string `bun:"hash"`
}

// summed lists the tables that have a sum.
var summed = []string{"meta", "tokens", "schema_migrations", "censuses", "trusts"}

// renew renews the sum of a table. It comes last in a transaction: whoever has the lock on a sum waits
// for nobody.
func (d *DB) renew(ctx context.Context, tx bun.Tx, table string) error {
	row := sumRow{Name: table}
	if _, err := tx.NewInsert().Model(&row).On("CONFLICT (name) DO UPDATE").Set("hash = excluded.hash").Returning("NULL").Exec(ctx); err != nil {
		return err
	}
	var err error
	if row.Hash, err = sumOf(ctx, tx, table); err != nil {
		return err
	}
	_, err = tx.NewUpdate().Model(&row).Column("hash").WherePK().Exec(ctx)
	return err
}

// changing is [DB.change] for a transaction that writes to a table with a sum.
func (d *DB) changing(ctx context.Context, table string, do func(bun.Tx) error) error {
	return d.change(ctx, func(tx bun.Tx) error {
		if err := do(tx); err != nil {
			return err
		}
		return d.renew(ctx, tx, table)
	})
}

// sumOf hashes all rows of a table. A column that is NULL is left out, so that a migration may add one.
func sumOf(ctx context.Context, q bun.IDB, table string) (string, error) {
	var rows []map[string]any
	if err := q.NewSelect().TableExpr("?", bun.Ident(table)).ColumnExpr("*").Scan(ctx, &rows); err != nil {
		return "", err
	}
	lines := make([]string, len(rows))
	for i, row := range rows {
		lines[i] = textOf(row)
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:]), nil
}

// textOf writes a row as one line.
func textOf(row map[string]any) string {
	var fields []string
	for name, v := range row {
		switch v := v.(type) {
		case nil:
			continue
		case time.Time:
			fields = append(fields, fmt.Sprintf("%s=%s", name, v.UTC().Format(instantForm)))
		case []byte:
			fields = append(fields, fmt.Sprintf("%s=%x", name, v))
		default:
			fields = append(fields, fmt.Sprintf("%s=%q", name, fmt.Sprint(v)))
		}
	}
	slices.Sort(fields)
	return strings.Join(fields, " ")
}

// renewAll renews every sum after a migration, but for those that did not fit before it.
func (d *DB) renewAll(ctx context.Context, tx bun.Tx, but []string) error {
	if has, err := d.hasTable(ctx, tx, "sums"); err != nil || !has {
		return err
	}
	for _, table := range summed {
		if slices.Contains(but, table) {
			continue
		}
		if has, err := d.hasTable(ctx, tx, table); err != nil {
			return err
		} else if !has { // a later migration makes it
			continue
		}
		if err := d.renew(ctx, tx, table); err != nil {
			return fmt.Errorf("renew the hash of the table %s: %w", table, err)
		}
	}
	return nil
}

// unfit lists the tables that are not as their sums say; before there are sums there are none.
func (d *DB) unfit(ctx context.Context, tx bun.Tx) (tables []string, err error) {
	if has, err := d.hasTable(ctx, tx, "sums"); err != nil || !has {
		return nil, err
	}
	found, err := auditSums(ctx, tx)
	for name := range found {
		has, err := d.hasTable(ctx, tx, name)
		if err != nil {
			return nil, err
		}
		if has {
			tables = append(tables, name)
		}
	}
	return tables, err
}

// auditSums compares each table that has a sum with it.
func auditSums(ctx context.Context, tx bun.Tx) (found map[string]audit.Difference, err error) {
	var sums []sumRow
	if err := tx.NewSelect().Model(&sums).Scan(ctx); err != nil {
		return nil, err
	}
	found = make(map[string]audit.Difference)
	differ := func(table, format string, args ...any) {
		found[table] = audit.Difference{Class: audit.Record, Detail: fmt.Sprintf(format, args...)}
	}
	for _, table := range summed {
		i := slices.IndexFunc(sums, func(s sumRow) bool { return s.Name == table })
		if i < 0 {
			differ(table, "the hash of the table %s is missing", table)
			continue
		}
		is, err := sumOf(ctx, tx, table)
		if err != nil {
			return nil, err
		}
		if is != sums[i].Hash {
			differ(table, "the table %s is not as it was written: found the hash %.16s, expected %.16s", table, is, sums[i].Hash)
		}
	}
	for _, s := range sums {
		if !slices.Contains(summed, s.Name) {
			differ(s.Name, "there is a hash of the table %s, which has none", s.Name)
		}
	}
	return found, nil
}

// rowSeal is the hash of a row that has one of its own.
func rowSeal(table string, values ...any) string {
	var b strings.Builder
	b.WriteString(table)
	for _, v := range values {
		switch v := v.(type) {
		case instant:
			if b.WriteByte(' '); !v.IsZero() {
				b.WriteString(v.time().UTC().Format(instantForm))
			}
		case ledger.ID:
			fmt.Fprintf(&b, " %x", v[:])
		default:
			fmt.Fprintf(&b, " %q", fmt.Sprint(v))
		}
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:])
}
