package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/settled/settled/db"
)

type backupCommand struct {
	Path string `arg:"" help:"The new file. It must not exist."`
	flags
}

// Run backs an SQLite ledger up, while a daemon runs or not.
func (c backupCommand) Run(ctx context.Context, proc process) error {
	d, err := openCurrent(ctx, c.flags, proc)
	if err != nil {
		return err
	}
	defer d.Close()
	size, err := d.Backup(ctx, c.Path)
	if errors.Is(err, db.ErrNoBackup) {
		return usageError{err}
	} else if err != nil {
		return err
	}
	_, err = fmt.Fprintf(proc.stdout, "%s holds the ledger of this moment, in %d bytes.\n"+
		"To restore it: stop every daemon, remove the ledger's file with its -wal and its -shm, and put the backup there (keep a copy).\n"+
		"The daemon then begins a new epoch by itself: what is open rests for QUIET_WINDOW and is looked up at Stripe.\n", c.Path, size)
	return err
}
