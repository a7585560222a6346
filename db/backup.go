package db

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/uptrace/bun"
)

// ErrNoBackup reports a database that [DB.Backup] is not for.
var ErrNoBackup = errors.New("no backup is made")

// backupMark begins the identity of a copy that [DB.Backup] made: a ledger that goes on from it has lost
// what was committed since, and begins a new epoch by itself.
const backupMark = "backup of "

// Backup writes a copy of an SQLite ledger to a file that does not exist yet, and returns its size. The copy
// is of one moment, whoever writes meanwhile; nobody waits for it.
//
// A plain copy of the files is none: SQLite writes the file and its log one after the other, so it may hold
// half of a commit, or lose all that is in the log (sqlite.org/howtocorrupt.html, 1.2 and 1.4).
func (d *DB) Backup(ctx context.Context, path string) (size int64, err error) {
	l, ok := d.engine.(*lite)
	if !ok {
		return 0, fmt.Errorf("%w: PostgreSQL makes its own, by pg_basebackup or pg_dump", ErrNoBackup)
	}
	if l.path == memory {
		return 0, fmt.Errorf("%w: the database is in memory alone", ErrNoBackup)
	}
	if _, err := litePath(path); err != nil {
		return 0, fmt.Errorf("%w: %s cannot be a database's path", ErrNoBackup, path)
	}
	if _, err := os.Lstat(path); err == nil {
		return 0, fmt.Errorf("%w: %s exists already: name a new file", ErrNoBackup, path)
	}
	// Under the name that was asked for there is a whole backup or none.
	partial := path + ".partial"
	f, err := os.OpenFile(partial, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return 0, fmt.Errorf("%w: %s is there: another backup is being made, or one was cut off; then remove it", ErrNoBackup, partial)
	case err != nil:
		return 0, fmt.Errorf("back up the ledger: %w", err)
	}
	if err := f.Close(); err != nil { // before SQLite opens it: see creating
		return 0, fmt.Errorf("back up the ledger: %w", err)
	}
	defer func() {
		for _, end := range []string{"", "-wal", "-shm"} {
			if e := os.Remove(partial + end); err == nil && !errors.Is(e, fs.ErrNotExist) {
				err = e
			}
		}
	}()
	if err := l.copyTo(ctx, partial); err != nil {
		return 0, fmt.Errorf("back up the ledger to %s: %w", partial, err)
	}
	if err := l.markCopy(ctx, partial); err != nil {
		return 0, fmt.Errorf("mark the backup %s: %w", partial, err)
	}
	if size, err = syncFile(partial); err != nil {
		return 0, fmt.Errorf("sync the backup: %w", err)
	}
	if err := os.Link(partial, path); err != nil {
		return 0, fmt.Errorf("name the backup: %w", err)
	}
	if _, err := syncFile(filepath.Dir(path)); err != nil {
		return 0, fmt.Errorf("sync the backup's directory: %w", err)
	}
	return size, nil
}

// copyTo reads the ledger in one transaction of a connection of its own: the writer's would keep commits
// waiting, and the readers' may write nothing, not even another file.
func (l *lite) copyTo(ctx context.Context, path string) error {
	c, err := openLite(l.path, Options{LockWait: lockWait}, url.Values{})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.ExecContext(ctx, "VACUUM INTO ?", path)
	return err
}

// markCopy writes into a copy that it is one, after a look at every page of it.
func (l *lite) markCopy(ctx context.Context, path string) error {
	copied, err := Open(ctx, "sqlite:"+path, Options{Now: l.clockNow, Existing: true})
	if err != nil {
		return err
	}
	defer copied.Close()
	var says string
	if err := copied.write.NewRaw("PRAGMA quick_check(1)").Scan(ctx, &says); err != nil {
		return err
	}
	if says != "ok" {
		return fmt.Errorf("%w: %s", ErrDamaged, says)
	}
	mark := backupMark + l.clockNow().UTC().Format(time.RFC3339)
	err = copied.change(ctx, func(tx bun.Tx) error {
		_, err := tx.NewInsert().Model(&metaRow{Key: metaIdentity, Value: mark}).On("CONFLICT (key) DO UPDATE").Set("value = excluded.value").Exec(ctx)
		if err != nil {
			return err
		}
		if has, err := copied.hasTable(ctx, tx, "sums"); err != nil || !has { // a copy of what is older
			return err
		}
		return copied.renew(ctx, tx, "meta")
	})
	if err != nil {
		return err
	}
	return copied.Close()
}

// syncFile has a file, or a directory's names, on the disk before it returns.
func syncFile(path string) (size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), f.Sync()
}

// identity tells a ledger that begins on a backup from all others. Any other copy of a file looks like the
// file that it is a copy of: see [DB.RaiseEpoch].
func (*lite) identity(ctx context.Context, tx bun.Tx) (string, error) {
	known, err := readMeta(ctx, tx, metaIdentity)
	if err != nil || !strings.HasPrefix(known, backupMark) {
		return "", err
	}
	return "restored from a " + known, nil
}
