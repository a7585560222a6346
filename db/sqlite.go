package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"github.com/uptrace/bun/schema"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// lite is what is SQLite's own.
type lite struct {
	clockNow func() time.Time
	writer   *sql.DB
	path     string
	opened   map[string]fs.FileInfo // the file, its log and its shared memory, by the end of their names; nil: there is none

	mu       sync.Mutex
	prepared map[string]*sql.Stmt // on the writer's one connection
	selects  atomic.Pointer[map[*selection]*sql.Stmt]
}

// lockWait is how long another process that writes is waited for, unless told otherwise.
const lockWait = 5 * time.Second

// memory is the path of a database that ends with the process.
const memory = ":memory:"

// litePath reads what follows sqlite: in a URL.
func litePath(rest string) (string, error) {
	path := strings.TrimPrefix(rest, "//") // sqlite://path is taken as well
	if path == "" {
		return "", fmt.Errorf("the database URL names no file: write sqlite:settled.db, or sqlite::memory: for one that is not kept")
	}
	if strings.ContainsAny(path, "?#\x00") {
		return "", fmt.Errorf("the database URL sqlite:%s has parameters: give the path alone, its settings are not a matter of choice", path)
	}
	return path, nil
}

func openSQLite(ctx context.Context, rest string, opts Options) (*DB, error) {
	path, err := litePath(rest)
	if err != nil {
		return nil, err
	}
	if opts.LockWait <= 0 {
		opts.LockWait = lockWait
	}
	if path != memory {
		if err := prepareFile(path); err != nil {
			return nil, fmt.Errorf("open the database file %s: %w", path, err)
		}
	}
	writer, err := openLite(path, opts, url.Values{"_txlock": {"immediate"}, "_journal_mode": {"WAL"},
		// SQLite's default of 2 MB does not hold the inner pages of the indices of a large ledger.
		"_pragma": {"cache_size(-32768)"}})
	if err != nil {
		return nil, fmt.Errorf("open the database file %s: %w", path, err)
	}
	// SQLite has one writer at a time; one connection makes the others wait here, in order,
	// rather than fail there. The connection is also the whole of a database in memory, so it
	// is never closed for being idle or old.
	writer.SetMaxOpenConns(1)
	writer.SetMaxIdleConns(1)
	if err := reach(ctx, writer, path, opts.LockWait); err != nil {
		writer.Close()
		return nil, fmt.Errorf("open the database file %s: %w", path, sayLocked(err))
	}
	l := &lite{clockNow: opts.Now, writer: writer, path: path, prepared: map[string]*sql.Stmt{}}
	w := bun.NewDB(writer, sqlitedialect.New())
	d := &DB{engine: l, groups: makeGroups(l, w), write: w, read: w, log: opts.Log, seals: newSealer()}
	if path == memory {
		return d, nil
	}
	if err := l.recognizeFiles(); err != nil {
		d.Close()
		return nil, fmt.Errorf("open the database file %s: %w", path, err)
	}
	// Readers see the last commit, and neither wait for the writer nor hold it up.
	reader, err := openLite(path, opts, url.Values{"_query_only": {"true"}})
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("open the database file %s: %w", path, err)
	}
	conns := opts.MaxConns
	if conns <= 0 {
		conns = max(4, runtime.GOMAXPROCS(0))
	}
	reader.SetMaxOpenConns(conns)
	reader.SetMaxIdleConns(conns)
	d.read = bun.NewDB(reader, sqlitedialect.New())
	return d, nil
}

func openLite(path string, opts Options, more url.Values) (*sql.DB, error) {
	more.Set("_busy_timeout", fmt.Sprint(opts.LockWait.Milliseconds()))
	more.Set("_synchronous", "FULL")
	more.Set("_foreign_keys", "true")
	more.Set("_dqs", "false")                    // "text" in double quotes is a name, never a string
	more.Set("_defensive", "true")               // no statement corrupts the file
	more.Add("_pragma", "recursive_triggers(1)") // REPLACE is a DELETE, and append-only tables refuse it
	name := "file:" + (&url.URL{Path: path}).EscapedPath()
	if path == memory {
		name = memory
	}
	c, err := sqlite.NewConnector(name + "?" + more.Encode())
	if err != nil {
		return nil, err
	}
	return opts.pool(c), nil
}

// creating is held while a file is made. The file must be closed before SQLite opens it:
// closing it later would drop the locks that this process has on it (sqlite.org/howtocorrupt.html, 2.2).
var creating sync.Mutex

// prepareFile creates the file if it is missing, for its owner alone, with errors that say
// more than SQLite's.
func prepareFile(path string) error {
	creating.Lock()
	defer creating.Unlock()
	// The log first: another process may be making both, and makes the file first.
	log, noLog := os.Stat(path + "-wal")
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("it is a directory: name a file in it")
	case noLog == nil && log.Size() > 0 && (errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0):
		// SQLite would take it for a new database and throw the log away.
		return fmt.Errorf("%w: it is missing or empty, and its log %s-wal is not: put the file back from a copy (then run settled migrate restored), or move the log away to begin with nothing", ErrDamaged, path)
	case err == nil:
		if err := keepClosed(path); err != nil {
			return err
		}
		return checkFileSystem(path)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the directory %s does not exist", filepath.Dir(path))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission to create it")
	case err != nil:
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return checkFileSystem(path)
}

// keepClosed takes from others what they may do with an existing file, its log and its shared memory. In
// them are names, amounts and the hashes of tokens; SQLite gives new ones the database's own mode.
func keepClosed(path string) error {
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		case runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0:
			continue
		}
		if err := os.Chmod(name, info.Mode().Perm()&0o700); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("others may open %s (mode %o), and it cannot be closed to them: give it to who runs settled, or run chmod 600: %w", name, info.Mode().Perm(), err)
		}
	}
	return nil
}

// reach makes the first connection. Of processes that begin with an empty file at once, one
// sets its journal to WAL; the others may meet it at that, and try again.
func reach(ctx context.Context, db *sql.DB, path string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := durable(context.WithoutCancel(ctx), db, path)
		var e *sqlite.Error
		if !errors.As(err, &e) || e.Code()&0xff != sqlite3.SQLITE_BUSY && e.Code() != sqlite3.SQLITE_IOERR_DELETE_NOENT {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// durable holds SQLite to what it was asked for: it says nothing when it does otherwise.
func durable(ctx context.Context, db *sql.DB, path string) error {
	var journal string
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&journal); err != nil {
		return err
	}
	if journal != "wal" && path != memory {
		return fmt.Errorf("the journal is in mode %q and cannot be set to WAL: the file system may lack shared memory or locks", journal)
	}
	var sync int
	if err := db.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&sync); err != nil {
		return err
	}
	if sync != 2 {
		return fmt.Errorf("synchronous is %d, not FULL: a power failure would lose payments that were acknowledged", sync)
	}
	// A write, because a lock that another process holds shows only then.
	_, err := db.ExecContext(ctx, "BEGIN IMMEDIATE; ROLLBACK")
	return err
}

// sayLocked names the cause that people meet.
func sayLocked(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) && (e.Code()&0xff == sqlite3.SQLITE_BUSY || e.Code()&0xff == sqlite3.SQLITE_LOCKED) {
		return fmt.Errorf("another process has locked it: stop that one first: %w", err)
	}
	return err
}

func (*lite) Dialect() string { return "sqlite" }

func (l *lite) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.prepared {
		s.Close()
	}
	clear(l.prepared)
	if s := l.selects.Swap(nil); s != nil {
		closeAll(*s)
	}
}

func (l *lite) now() schema.QueryAppender { return l.ago(0) }

func (l *lite) ago(d time.Duration) schema.QueryAppender {
	return bun.SafeQuery("?", toInstant(l.clockNow().Add(-d)))
}

func (l *lite) clock(context.Context, querier) (time.Time, error) {
	return l.clockNow().UTC().Truncate(instantGrain), nil
}

// clockAndEpoch need not lock: every transaction of the writer excludes all others.
func (l *lite) clockAndEpoch(ctx context.Context, q querier) (at time.Time, epoch string, err error) {
	if at, err = l.clock(ctx, q); err == nil {
		err = q.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = 'epoch'").Scan(&epoch)
	}
	return at, epoch, err
}

// lockMigrations has nothing to do: every transaction of the writer begins IMMEDIATE.
func (*lite) lockMigrations(context.Context, bun.Tx) error { return nil }

func (*lite) hasTable(ctx context.Context, q bun.IDB, name string) (bool, error) {
	var has bool
	err := q.NewRaw("SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?)", name).Scan(ctx, &has)
	return has, err
}

func (*lite) insertText(s sheet, onConflict string) string {
	return strings.TrimSuffix("INSERT INTO "+s.table+" ("+strings.Join(s.names(), ", ")+") VALUES (?"+
		strings.Repeat(", ?", len(s.columns)-1)+") "+onConflict, " ")
}

func (*lite) updateText(s sheet) string {
	// Numbered, because two of the columns are also the guard.
	var set []string
	at := make(map[string]int, len(s.columns))
	for i, c := range s.columns {
		at[c.name] = i + 1
		if c.name != "id" {
			set = append(set, fmt.Sprintf("%s = ?%d", c.name, i+1))
		}
	}
	return fmt.Sprintf("UPDATE %s SET %s WHERE id = ?%d AND version = ?%d - 1", s.table, strings.Join(set, ", "), at["id"], at["version"])
}

func (l *lite) run(ctx context.Context, tx *sql.Tx, g *group, rows reflect.Value) ([]bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// The driver starts a goroutine for each statement whose context can end. A group takes
	// milliseconds; its beginning and its commit look at the context.
	within := context.WithoutCancel(ctx)
	stmt := tx.StmtContext(within, l.statement(g))
	stored := make([]bool, rows.Len())
	args := make([]any, len(g.columns))
	for i := range stored {
		row := rows.Index(i)
		for j, c := range g.columns {
			args[j] = c.value(row)
		}
		res, err := stmt.ExecContext(within, args...)
		if err != nil {
			return nil, err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return nil, err
		}
		stored[i] = n == 1
	}
	return stored, nil
}

// prepare prepares the groups once, outside of any transaction: those hold the only connection.
// The lock is not held while it waits for that connection, because whoever has the connection
// takes the lock to get at what is prepared.
func (l *lite) prepare(ctx context.Context, list ...*group) error {
	for _, g := range list {
		if l.statement(g) != nil {
			continue
		}
		s, err := l.writer.PrepareContext(ctx, g.sql)
		if err != nil {
			return err
		}
		l.mu.Lock()
		if l.prepared[g.sql] == nil {
			l.prepared[g.sql], s = s, nil
		}
		l.mu.Unlock()
		if s != nil { // another caller was first
			s.Close()
		}
	}
	return nil
}

// statement returns a group's prepared statement, or nil.
func (l *lite) statement(g *group) *sql.Stmt {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.prepared[g.sql]
}

// value is a row's value of a column.
func (c column) value(row reflect.Value) any {
	v := row.FieldByIndex(c.path)
	switch c.kind {
	case integer:
		if n := v.Int(); n != 0 || !c.null {
			return n
		}
		return nil
	case boolean:
		if b := v.Bool(); b || !c.null {
			return b
		}
		return nil
	case moment:
		t, _ := v.Addr().Interface().(*instant).Value()
		return t
	case uid:
		if id := v.Addr().Interface().(*uuid.UUID); *id != uuid.Nil || !c.null {
			return id.String()
		}
		return nil
	case blob:
		return v.Bytes()
	}
	if s := v.String(); s != "" || !c.null {
		return s
	}
	return nil
}
