package db

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/settled/settled/ledger"
)

// replaced reports that the file under the ledger's path is not the open one any more: by a rename, or a
// removal. What is written goes on to the old one, which nobody will open again.
func (l *lite) replaced() bool {
	if l.opened == nil {
		return false
	}
	now, err := os.Stat(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	return err == nil && !os.SameFile(l.opened[""], now)
}

// recognizeFiles notes which files are open.
func (l *lite) recognizeFiles() error {
	l.opened = make(map[string]fs.FileInfo)
	for _, end := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(l.path + end)
		if err != nil && (end == "" || !errors.Is(err, fs.ErrNotExist)) {
			return err
		}
		if err == nil {
			l.opened[end] = info
		}
	}
	return nil
}

// parted takes the open file's log away from the new file. SQLite knows a log by its name alone, and would
// write it into the new file, which it is not of (sqlite.org/howtocorrupt.html, 1.4). What the log holds goes
// into the old file first.
func (l *lite) parted(ctx context.Context) error {
	var busy, frames, moved int
	if err := l.writer.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &moved); err != nil {
		return err
	}
	for _, end := range []string{"-wal", "-shm"} {
		now, err := os.Stat(l.path + end)
		ours, had := l.opened[end]
		if err != nil || !had || !os.SameFile(ours, now) {
			continue
		}
		if end == "-wal" && busy != 0 { // somebody reads: what could not be moved is kept beside it
			err = os.Rename(l.path+end, l.path+end+".replaced")
		} else {
			err = os.Remove(l.path + end)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// left is the end of a process whose file was replaced. If what is there instead lacks what this process
// was told, a new epoch begins in it, as in a database that was put back: see regressed.
func (d *DB) left(ctx context.Context, l *lite) error {
	err := d.succeed(ctx, l)
	d.log.Error("the file of the ledger was replaced or removed under this process, which writes nothing more", "path", l.path, "new_file", err)
	return fmt.Errorf("%w: its file %s was replaced or removed: %w", ledger.ErrNewEpoch, l.path, err)
}

// succeed hands what this process knows to the file that is there instead of its own.
func (d *DB) succeed(ctx context.Context, l *lite) error {
	if err := l.parted(ctx); err != nil {
		return fmt.Errorf("part its log from the new file: %w", err)
	}
	next, err := Open(ctx, "sqlite:"+l.path, Options{Now: l.clockNow, Existing: true, Log: d.log})
	if err != nil {
		return err
	}
	defer next.Close()
	if err := next.Check(ctx); err != nil {
		return err
	}
	next.epoch.Store(d.epoch.Load())
	next.newest.Store(d.newest.Load())
	return next.regressed(ctx)
}
