package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/settled/settled/db"
	"github.com/settled/settled/ledger"
)

type migrateCommand struct {
	Up       migrateUp       `cmd:"" help:"Apply what is pending (serve does so too)."`
	Status   migrateStatus   `cmd:"" help:"List the migrations and when each was applied."`
	Dump     migrateDump     `cmd:"" help:"Print the SQL of all migrations."`
	Mode     migrateMode     `cmd:"" help:"Say which mode (live or test) the orders of an old ledger are of, which was bound before modes were written down."`
	Restored migrateRestored `cmd:"" help:"Say that the database was restored from a copy: a new ledger epoch begins, in which open operations are looked up at Stripe before they go on. PostgreSQL shows a restore by itself; SQLite cannot."`
}

type (
	migrateUp     struct{ flags }
	migrateStatus struct{ flags }
	migrateDump   struct {
		Dialect string `arg:"" enum:"postgres,sqlite" help:"postgres or sqlite."`
	}
	migrateRestored struct{ flags }
	migrateMode     struct {
		Mode string `arg:"" enum:"live,test" help:"live or test."`
		flags
	}
)

// Run applies the pending migrations.
func (c migrateUp) Run(ctx context.Context, proc process) error {
	d, err := openOnly(ctx, c.flags, proc, true)
	if err != nil {
		return err
	}
	defer d.Close()
	applied, err := d.Migrate(ctx)
	for _, name := range applied {
		fmt.Fprintln(proc.stdout, "applied", name)
	}
	if err == nil && len(applied) == 0 {
		fmt.Fprintln(proc.stdout, "nothing to apply")
	}
	return err
}

// Run lists the migrations.
func (c migrateStatus) Run(ctx context.Context, proc process) error {
	d, err := openOnly(ctx, c.flags, proc, false)
	if err != nil {
		return err
	}
	defer d.Close()
	list, err := d.Status(ctx)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(proc.stdout, 0, 0, 2, ' ', 0)
	for _, m := range list {
		at := "pending"
		if !m.AppliedAt.IsZero() {
			at = m.AppliedAt.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(t, "%s\t%s\n", m.Name, at)
	}
	return t.Flush()
}

// Run prints the schema.
func (c migrateDump) Run(proc process) error {
	text, err := db.Dump(c.Dialect)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(proc.stdout, text)
	return err
}

// Run takes a person's word for a ledger's mode.
func (c migrateMode) Run(ctx context.Context, proc process) error {
	d, err := openCurrent(ctx, c.flags, proc)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.DeclareMode(ctx, ledger.Mode(c.Mode)); err != nil {
		return misbound(err)
	}
	fmt.Fprintf(proc.stdout, "the ledger is of %s mode\n", c.Mode)
	return nil
}

// Run begins a new epoch.
func (c migrateRestored) Run(ctx context.Context, proc process) error {
	d, err := openCurrent(ctx, c.flags, proc)
	if err != nil {
		return err
	}
	defer d.Close()
	epoch, err := d.RaiseEpoch(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(proc.stdout,
		"epoch %d begins: open operations rest for QUIET_WINDOW and are looked up at Stripe before they go on\n", epoch)
	return nil
}
