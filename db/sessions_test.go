package db

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun"

	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/ledger"
)

// warm makes n connections, and leaves them in the pool.
func warm(t *testing.T, d *DB, n int) {
	t.Helper()
	var all []bun.Conn
	for range n { // each is held while the next one is made
		c, err := d.write.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	for _, c := range all {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if have := d.Stats().OpenConnections; have < n {
		t.Fatalf("%d connections are open, not %d", have, n)
	}
}

// flipRole has every session of before answer a write as a server does that became a standby.
func flipRole(t *testing.T, d *DB) {
	t.Helper()
	for _, statement := range []string{
		"CREATE TABLE flipped AS SELECT clock_timestamp() AS at",
		`CREATE FUNCTION flip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()) < (SELECT at FROM flipped) THEN
				RAISE EXCEPTION 'cannot execute INSERT in a read-only transaction' USING ERRCODE = '25006';
			END IF; RETURN NULL; END $$`,
		"CREATE TRIGGER flip BEFORE INSERT ON transfers FOR EACH STATEMENT EXECUTE FUNCTION flip()",
	} {
		if err := exec(t.Context(), d, statement); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAfterARoleFlipOneSessionAnswersForAllOfBefore(t *testing.T) {
	d := open(t, dbtest.Postgres(t))
	const conns = 8
	warm(t, d, conns)
	flipRole(t, d)
	x := accept(anOrder())
	_, _, err := d.Commit(t.Context(), []ledger.Change{x})
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "25006" || !Transient(err) {
		t.Fatalf("the first commit says: %v", err)
	}
	if _, won, err := d.Commit(t.Context(), []ledger.Change{x}); err != nil || !won[0] {
		t.Errorf("the next one meets a session of before: %v", err)
	}
	if err := d.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestASessionThatIsSpoiledIsClosedAlone(t *testing.T) {
	d := open(t, dbtest.Postgres(t))
	warm(t, d, 3)
	before := d.Stats().OpenConnections
	if err := exec(t.Context(), d, "DO $$ BEGIN RAISE EXCEPTION 'spoiled' USING ERRCODE = '08006'; END $$"); err == nil {
		t.Fatal("it raises nothing")
	}
	warm(t, d, 1)
	if after := d.Stats().OpenConnections; after != before-1 {
		t.Errorf("%d connections are left of %d", after, before)
	}
}

func TestACommitThatChangesNothingShowsWhetherTheLedgerCanBeWritten(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		if _, _, _, err := d.Epoch(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, won, err := d.Commit(t.Context(), nil); err != nil || len(won) != 0 {
			t.Fatalf("won %v: %v", won, err)
		}
		if _, err := d.RaiseEpoch(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.Commit(t.Context(), nil); !errors.Is(err, ledger.ErrNewEpoch) {
			t.Errorf("behind the ledger's epoch: %v", err)
		}
	})
	t.Run("a table is locked", func(t *testing.T) {
		d := open(t, dbtest.Postgres(t))
		tx, err := d.write.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(t.Context(), "LOCK TABLE history IN SHARE MODE"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.Commit(t.Context(), nil); err == nil || !Transient(err) {
			t.Errorf("it can be written: %v", err)
		}
		if err := d.Ping(t.Context()); err != nil {
			t.Errorf("and a ping says: %v", err)
		}
	})
	t.Run("two daemons ask at once", func(t *testing.T) {
		d := open(t, patient(dbtest.Postgres(t)))
		if _, _, _, err := d.Epoch(t.Context()); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 20 {
					if _, _, err := d.Commit(t.Context(), nil); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
	})
}

func TestACommitGivesUpWaitingForARowThatAnotherSessionHolds(t *testing.T) {
	d := open(t, dbtest.Postgres(t))
	x := commit(t, d, accept(anOrder()), nil)
	tx, err := d.write.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "SELECT 1 FROM transfers WHERE id = ? FOR UPDATE", x.ID); err != nil {
		t.Fatal(err)
	}
	change, err := x.Begin(policy(), x.CreatedAt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // ends a hang
	defer cancel()
	_, _, err = d.Commit(ctx, []ledger.Change{change})
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "55P03" || !Transient(err) {
		t.Fatalf("it says: %v", err)
	}
	if _, _, err := d.Commit(ctx, nil); err != nil {
		t.Errorf("the ledger cannot be written: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	commit(t, d, change, nil)
}

// A migration of a busy database waits for longer than other statements do.
func TestAMigrationWaitsForItsLocks(t *testing.T) {
	url := dbtest.Postgres(t)
	d := open(t, url)
	tx, err := d.write.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if err := d.lockMigrations(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	var patience string
	if err := tx.NewRaw("SHOW lock_timeout").Scan(t.Context(), &patience); err != nil || patience != "0" {
		t.Errorf("a migration waits for a lock for %s: %v", patience, err)
	}
	if err := d.write.NewRaw("SHOW lock_timeout").Scan(t.Context(), &patience); err != nil || patience != "500ms" {
		t.Errorf("another statement waits for %s: %v", patience, err)
	}
	theirs := open(t, url+"&lock_timeout=3s")
	if err := theirs.write.NewRaw("SHOW lock_timeout").Scan(t.Context(), &patience); err != nil || patience != "3s" {
		t.Errorf("who says otherwise in the URL gets %s: %v", patience, err)
	}
}
