package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"

	"github.com/settled/settled/db/crash"
	"github.com/settled/settled/ledger"
)

// Options are what a URL does not say. The zero value is good.
type Options struct {
	// Now is the database's clock of SQLite, which has none of its own (default time.Now).
	// PostgreSQL uses the server's.
	Now func() time.Time
	// MaxConns bounds PostgreSQL's connections, and SQLite's readers (default 16, and 4).
	MaxConns int
	// LockWait is how long SQLite waits for another process that writes (default 5 s).
	LockWait time.Duration
	// Existing refuses a missing SQLite file, which is created otherwise.
	Existing bool
	// Log hears of what an operator should know (default: nobody does).
	Log *slog.Logger
	// Connector stands between database/sql and what makes its connections, of which SQLite has
	// two (default: nothing does). Tests put faults there: see package faulty.
	Connector func(driver.Connector) driver.Connector
}

// pool makes a pool of connections.
func (o Options) pool(c driver.Connector) *sql.DB {
	if o.Connector != nil {
		c = o.Connector(c)
	}
	return sql.OpenDB(c)
}

// DB is an open database.
type DB struct {
	engine
	groups groups
	write  *bun.DB
	read   *bun.DB // the same as write where that is as good
	log    *slog.Logger
	epoch  atomic.Int64 // that this process goes by; 0: it did not ask
	newest atomic.Pointer[witness]
	seals  sealer
}

// engine is where the two databases differ.
type engine interface {
	// Dialect names the database: "postgres" or "sqlite".
	Dialect() string
	// now and ago are the database's clock in a statement.
	now() schema.QueryAppender
	ago(time.Duration) schema.QueryAppender
	// clock reads it. In a transaction it stands still.
	clock(context.Context, querier) (time.Time, error)

	insertText(s sheet, onConflict string) string
	updateText(s sheet) string
	// prepare comes before the transaction that runs the groups.
	prepare(ctx context.Context, list ...*group) error
	run(ctx context.Context, tx *sql.Tx, g *group, rows reflect.Value) (stored []bool, err error)

	// touch writes something that changes nothing, where writing no rows shows nothing.
	touch(context.Context, bun.Tx) error

	// readied comes before the snapshot in which selections are run.
	readied(ctx context.Context, read *bun.DB) error
	selected(ctx context.Context, tx bun.Tx, s *selection, dest any, ids ...[]ledger.ID) error

	// lockMigrations lets one transaction at a time migrate.
	lockMigrations(context.Context, bun.Tx) error
	// free lets one transaction change what triggers keep.
	free(ctx context.Context, tx bun.Tx, tables ...string) (on []string, err error)
	// hasTable reports a table of the given name.
	hasTable(ctx context.Context, q bun.IDB, name string) (bool, error)
	// identity names this copy of the data; it changes when commits may have been lost. It is
	// empty when that cannot be told.
	identity(context.Context, bun.Tx) (string, error)
	// clockAndEpoch reads both, and keeps the epoch from being raised until the transaction ends.
	clockAndEpoch(context.Context, querier) (at time.Time, epoch string, err error)
	close()
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Open opens the database of a URL: "sqlite:path", "sqlite::memory:", or "postgres://…". It
// reaches the database, and refuses one that is not set to keep what it has acknowledged.
// It creates a missing SQLite file, and no tables: see [DB.Migrate].
func Open(ctx context.Context, url string, opts Options) (*DB, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if err := CheckURL(url); err != nil {
		return nil, err
	}
	if rest, ok := strings.CutPrefix(url, "sqlite:"); ok {
		if path, err := litePath(rest); err == nil && opts.Existing {
			if err := exists(path); err != nil {
				return nil, err
			}
		}
		return openSQLite(ctx, rest, opts)
	}
	return openPostgres(ctx, url, opts)
}

// Close closes every connection; calls under way fail.
func (d *DB) Close() error {
	d.engine.close()
	err := d.write.Close()
	if d.read != d.write {
		if e := d.read.Close(); err == nil {
			err = e
		}
	}
	return err
}

// Ping reaches the database.
func (d *DB) Ping(ctx context.Context) error {
	// After a restart of the server the idle connections are dead, and a ping finds out about
	// one of them at a time.
	for dead := d.read.Stats().Idle; ; dead-- {
		err := d.read.PingContext(ctx)
		if err == nil {
			return nil
		}
		if dead <= 0 || !errors.Is(err, driver.ErrBadConn) {
			return fmt.Errorf("reach the database: %w", err)
		}
	}
}

// Stats tells of the connections, those of readers and of SQLite's writer together.
func (d *DB) Stats() sql.DBStats {
	s := d.write.Stats()
	if d.read == d.write {
		return s
	}
	r := d.read.Stats()
	s.MaxOpenConnections += r.MaxOpenConnections
	s.OpenConnections += r.OpenConnections
	s.InUse += r.InUse
	s.Idle += r.Idle
	s.WaitCount += r.WaitCount
	s.WaitDuration += r.WaitDuration
	s.MaxIdleClosed += r.MaxIdleClosed
	s.MaxIdleTimeClosed += r.MaxIdleTimeClosed
	s.MaxLifetimeClosed += r.MaxLifetimeClosed
	return s
}

// change runs a transaction that writes.
func (d *DB) change(ctx context.Context, do func(bun.Tx) error) error {
	// Guards are re-checked under the row's lock at this level, whatever the server's default is.
	return inTx(ctx, d.write, &sql.TxOptions{Isolation: sql.LevelReadCommitted}, do)
}

// snapshot runs a transaction that reads, all of it at one moment.
func (d *DB) snapshot(ctx context.Context, do func(bun.Tx) error) error {
	if err := d.readied(ctx, d.read); err != nil {
		return err
	}
	return inTx(ctx, d.read, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, do)
}

func inTx(ctx context.Context, db *bun.DB, opts *sql.TxOptions, do func(bun.Tx) error) error {
	tx, err := db.BeginTx(ctx, opts)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() // after a commit there is nothing to roll back
	if err := do(tx); err != nil {
		return err
	}
	crash.Point("tx.commit.before")
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	crash.Point("tx.commit.after")
	return nil
}
