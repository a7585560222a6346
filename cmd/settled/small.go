package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"text/tabwriter"
	"time"

	"github.com/settled/settled/db"
	"github.com/settled/settled/http"
	"github.com/settled/settled/ledger"
)

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(w world) error {
	_, err := fmt.Fprintln(w.stdout, "settled", version())
	return err
}

// version is the module's version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}

// counted is a number with its noun.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

type configCommand struct {
	Sandbox bool `help:"Check as serve --sandbox would."`
	flags
}

// Run prints every setting in force, where it came from, and every problem at once.
func (c configCommand) Run(w world) error {
	v, problems := gather(c.flags, w.environ, ".env")
	conf, more := v.parse(c.Sandbox)
	problems = append(problems, more...)
	t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	for _, s := range settings {
		fmt.Fprintf(t, "%s\t%s\t%s\n", s.name, v.redacted(s), v.source[s.name])
	}
	fmt.Fprintf(t, "(mode)\t%s\t%s\n", cmp.Or(string(conf.mode), "none"), "key")
	if err := t.Flush(); err != nil {
		return err
	}
	if len(problems) > 0 {
		return usageError{fmt.Errorf("%s:\n%w", counted(len(problems), "problem"), errors.Join(problems...))}
	}
	return nil
}

type healthCommand struct{ flags }

// Run asks the admin listener's /readyz.
func (c healthCommand) Run(ctx context.Context, w world) error {
	v, _ := gather(c.flags, w.environ, ".env")
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return http.Probe(ctx, v.value["ADMIN_ADDR"])
}

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

// openOnly opens the configured database and leaves its schema alone. Only who makes a schema may
// make a missing SQLite file.
func openOnly(ctx context.Context, f flags, w world, makes bool) (*db.DB, error) {
	v, problems := gather(f, w.environ, ".env")
	conf, _ := v.parse(true) // only the database is needed
	if err := v.checkDatabase(); err != nil {
		problems = append(problems, fmt.Errorf("DATABASE_URL: %w", err))
	}
	if len(problems) > 0 {
		return nil, usageError{errors.Join(problems...)}
	}
	return db.Open(ctx, conf.databaseURL, db.Options{Existing: !makes, Log: newLogger(conf, w.stderr)})
}

// openCurrent opens the database, which must be up to date.
func openCurrent(ctx context.Context, f flags, w world) (*db.DB, error) {
	d, err := openOnly(ctx, f, w, false)
	if err != nil {
		return nil, err
	}
	if err := d.Check(ctx); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Run applies the pending migrations.
func (c migrateUp) Run(ctx context.Context, w world) error {
	d, err := openOnly(ctx, c.flags, w, true)
	if err != nil {
		return err
	}
	defer d.Close()
	applied, err := d.Migrate(ctx)
	for _, name := range applied {
		fmt.Fprintln(w.stdout, "applied", name)
	}
	if err == nil && len(applied) == 0 {
		fmt.Fprintln(w.stdout, "nothing to apply")
	}
	return err
}

// Run lists the migrations.
func (c migrateStatus) Run(ctx context.Context, w world) error {
	d, err := openOnly(ctx, c.flags, w, false)
	if err != nil {
		return err
	}
	defer d.Close()
	list, err := d.Status(ctx)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
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
func (c migrateDump) Run(w world) error {
	text, err := db.Dump(c.Dialect)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(w.stdout, text)
	return err
}

// Run takes a person's word for a ledger's mode.
func (c migrateMode) Run(ctx context.Context, w world) error {
	d, err := openCurrent(ctx, c.flags, w)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.DeclareMode(ctx, ledger.Mode(c.Mode)); err != nil {
		return misbound(err)
	}
	fmt.Fprintf(w.stdout, "the ledger is of %s mode\n", c.Mode)
	return nil
}

// Run begins a new epoch.
func (c migrateRestored) Run(ctx context.Context, w world) error {
	d, err := openCurrent(ctx, c.flags, w)
	if err != nil {
		return err
	}
	defer d.Close()
	epoch, err := d.RaiseEpoch(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(w.stdout, "epoch %d begins: open operations rest for QUIET_WINDOW and are looked up at Stripe before they go on\n", epoch)
	return nil
}
