package db

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/settled/settled/db/crash"
)

// The migrations of each database, with the same names in both. A released one never changes.
//
//go:embed migrations
var migrations embed.FS

// bun/migrate was weighed and left: its lock is a row, which a process that dies leaves behind
// for a person to remove; a migration and the note of it are two transactions; and it knows
// nothing of a database that is newer than the program. Ours are a few lines: one transaction
// each, under a lock that ends with it.
//
// goose (v3.29) was weighed and left too. It does put a migration and the note of it into one transaction. But it has
// no lock for SQLite, and without being asked none for PostgreSQL; its lock there is a session's, outside of the
// transaction that it guards; it ignores a database that is newer than the program; and gives no hook inside of an
// SQL migration's transaction, where the hashes are made anew with the columns they cover. Around it, all of this file
// but one function would stay.

// Migration is one step of the schema.
type Migration struct {
	Name      string
	AppliedAt time.Time // zero: not yet
}

const suffix = ".up.sql"

// script is a migration with its text.
type script struct{ name, sql string }

// scripts reads the migrations of a database, in order.
func scripts(dialect string) ([]script, error) {
	dir := "migrations/" + dialect
	files, err := fs.ReadDir(migrations, dir)
	if err != nil {
		return nil, fmt.Errorf("there are no migrations for %q: use postgres or sqlite", dialect)
	}
	var list []script
	for _, f := range files { // sorted by name
		text, err := fs.ReadFile(migrations, dir+"/"+f.Name())
		if err != nil {
			return nil, err
		}
		list = append(list, script{strings.TrimSuffix(f.Name(), suffix), string(text)})
	}
	return list, nil
}

// Dump returns the text of all migrations of a database ("postgres" or "sqlite").
func Dump(dialect string) (string, error) {
	list, err := scripts(dialect)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, "-- migration %s\n\n%s\n", s.name, s.sql)
	}
	return b.String(), nil
}

type migrationRow struct {
	bun.BaseModel `bun:"table:schema_migrations"`

	Name      string  `bun:"name,pk"`
	AppliedAt instant `bun:"applied_at"`
}

// Migrate applies what is missing, and returns its names. Any number of processes may do so at
// once. It is [ErrNewer] when the database has migrations that the program does not know.
func (d *DB) Migrate(ctx context.Context) ([]string, error) {
	list, err := scripts(d.Dialect())
	if err != nil {
		return nil, err
	}
	// A daemon that starts over a database that is up to date takes no lock and writes nothing.
	switch err := d.Check(ctx); {
	case err == nil:
		return nil, d.sealOld(ctx)
	case errors.Is(err, ErrNewer):
		return nil, fmt.Errorf("migrate: %w", err)
	}
	var names []string
	for _, s := range list {
		applied, err := d.apply(ctx, list, s)
		if err != nil {
			return names, fmt.Errorf("migrate %s: %w", s.name, err)
		}
		if applied {
			names = append(names, s.name)
		}
	}
	return names, d.sealOld(ctx)
}

// apply applies one migration, unless it was applied.
func (d *DB) apply(ctx context.Context, list []script, s script) (applied bool, err error) {
	err = d.change(ctx, func(tx bun.Tx) error {
		if err := d.lockMigrations(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema_migrations (name text NOT NULL PRIMARY KEY, applied_at text NOT NULL)`)
		if err != nil {
			return err
		}
		have, err := d.applied(ctx, tx)
		if err != nil {
			return err
		}
		if err := known(list, have); err != nil {
			return err
		}
		if slices.ContainsFunc(have, func(m migrationRow) bool { return m.Name == s.name }) {
			return nil
		}
		unfit, err := d.unfit(ctx, tx)
		if err != nil {
			return err
		}
		crash.Point("migrate.begun")
		if _, err := tx.Tx.ExecContext(ctx, s.sql); err != nil { // past bun, which would look for its own marks
			return err
		}
		crash.Point("migrate.applied")
		at, err := d.clock(ctx, tx.Tx)
		if err != nil {
			return err
		}
		applied = true
		_, err = tx.NewInsert().Model(&migrationRow{Name: s.name, AppliedAt: toInstant(at)}).Exec(ctx)
		crash.Point("migrate.noted")
		if err != nil {
			return err
		}
		return d.renewAll(ctx, tx, unfit)
	})
	return applied && err == nil, err
}

// applied reads what was applied, in order.
func (d *DB) applied(ctx context.Context, q bun.IDB) ([]migrationRow, error) {
	has, err := d.hasTable(ctx, q, "schema_migrations")
	if err != nil || !has {
		return nil, err
	}
	var rows []migrationRow
	err = q.NewSelect().Model(&rows).OrderExpr("name").Scan(ctx)
	return rows, err
}

// known reports a database that has more than the program knows.
func known(list []script, have []migrationRow) error {
	for _, m := range have {
		if !slices.ContainsFunc(list, func(s script) bool { return s.name == m.Name }) {
			return fmt.Errorf("%w: it has migration %s; install the program that made it", ErrNewer, m.Name)
		}
	}
	return nil
}

// Status lists the migrations that the program or the database has, by name.
func (d *DB) Status(ctx context.Context) ([]Migration, error) {
	list, err := scripts(d.Dialect())
	if err != nil {
		return nil, err
	}
	have, err := d.applied(ctx, d.read)
	if err != nil {
		return nil, fmt.Errorf("read what was migrated: %w", err)
	}
	var status []Migration
	for _, m := range have {
		status = append(status, Migration{m.Name, m.AppliedAt.time()})
	}
	for _, s := range list {
		if !slices.ContainsFunc(have, func(m migrationRow) bool { return m.Name == s.name }) {
			status = append(status, Migration{Name: s.name})
		}
	}
	slices.SortFunc(status, func(a, b Migration) int { return strings.Compare(a.Name, b.Name) })
	return status, nil
}

// Check reports [ErrPending] when migrations are missing, and [ErrNewer] when there are more
// than the program knows.
func (d *DB) Check(ctx context.Context) error {
	list, err := scripts(d.Dialect())
	if err != nil {
		return err
	}
	have, err := d.applied(ctx, d.read)
	if err != nil {
		return fmt.Errorf("read what was migrated: %w", err)
	}
	if err := known(list, have); err != nil {
		return err
	}
	if missing := len(list) - len(have); missing > 0 {
		return fmt.Errorf("%w (%d of %d)", ErrPending, missing, len(list))
	}
	return nil
}
