package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/settled/settled/db"
)

// openOnly opens the configured database and leaves its schema alone. Only who makes a schema may
// make a missing SQLite file.
func openOnly(ctx context.Context, f flags, proc process, makes bool) (*db.DB, error) {
	v, problems := gather(f, proc.environ, ".env")
	conf, _ := v.parse(true) // only the database is needed
	if err := v.checkDatabase(); err != nil {
		problems = append(problems, fmt.Errorf("DATABASE_URL: %w", err))
	}
	if len(problems) > 0 {
		return nil, usageError{errors.Join(problems...)}
	}
	return db.Open(ctx, conf.databaseURL, db.Options{Existing: !makes, Log: newLogger(conf, proc.stderr)})
}

// openCurrent opens the database, which must be up to date.
func openCurrent(ctx context.Context, f flags, proc process) (*db.DB, error) {
	d, err := openOnly(ctx, f, proc, false)
	if err != nil {
		return nil, err
	}
	if err := d.Check(ctx); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}
