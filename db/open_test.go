package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/ledger"
)

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "text")
	if err := os.WriteFile(file, []byte(strings.Repeat("this is no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ url, says string }{
		"no URL":                     {"", "sqlite:settled.db"},
		"another database":           {"mysql://root@host/x", "must begin with sqlite: or postgres://"},
		"no file":                    {"sqlite:", "names no file"},
		"a directory that is not":    {"sqlite:" + dir + "/no/where.db", "the directory " + dir + "/no does not exist"},
		"a directory":                {"sqlite:" + dir, "is a directory"},
		"another file":               {"sqlite:" + file, "not a database"},
		"settings of SQLite":         {"sqlite:" + dir + "/a.db?_synchronous=OFF", "has parameters"},
		"a password that is no URL":  {"postgres://ann:s3cret%zz@host/x", "cannot be read"},
		"a port that is none":        {"postgres://ann:s3cret@host:port/x", "cannot be read"},
		"an option that is none":     {"postgres://ann:s3cret@host/x?sslmode=s3cret", "cannot be read"},
		"a password in the options":  {"postgres://ann@host/x?password=s3cret&sslmode=no", "cannot be read"},
		"a server that is not there": {"postgres://ann:s3cret@127.0.0.1:1/x?sslmode=disable", "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Open(t.Context(), c.url, Options{})
			if err == nil {
				d.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v: it should say %q", err, c.says)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the password is shown: %v", err)
			}
		})
	}
}

func TestSQLiteFilesAreTheOwners(t *testing.T) {
	address := dbtest.SQLite(t)
	completed(t, open(t, address))
	path := strings.TrimPrefix(address, "sqlite:")
	for _, f := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", f, info.Mode().Perm())
		}
	}
}

func TestSQLitePathsAreTakenAsTheyAre(t *testing.T) {
	for _, name := range []string{"a b.db", "100%25.db", "ü&=+.db", "mode=memory.db"} {
		path := filepath.Join(t.TempDir(), name)
		completed(t, open(t, "sqlite:"+path))
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestSQLiteIsSetToKeepWhatItAcknowledged(t *testing.T) {
	d := open(t, dbtest.SQLite(t))
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "recursive_triggers": "1"} {
		var got string
		if err := d.write.NewRaw("PRAGMA "+pragma).Scan(t.Context(), &got); err != nil || got != want {
			t.Errorf("%s is %s: %v", pragma, got, err)
		}
	}
	if _, err := d.read.ExecContext(t.Context(), "DELETE FROM meta"); err == nil {
		t.Error("a reader can write")
	}
}

func TestALockedSQLiteFileSaysSo(t *testing.T) {
	address := dbtest.SQLite(t)
	open(t, address)
	d, err := Open(t.Context(), address, Options{LockWait: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	other, err := sql.Open("sqlite", strings.TrimPrefix(address, "sqlite:"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	c, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), address, Options{LockWait: time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "another process has locked it") || !Transient(err) {
		t.Errorf("it says: %v", err)
	}
	// One that is open reads on, and writes when the other is done.
	if _, err := d.Counts(t.Context()); err != nil {
		t.Error(err)
	}
	if _, _, err := d.Commit(t.Context(), []ledger.Change{accept(anOrder())}); !Transient(err) {
		t.Errorf("a commit while locked: %v", err)
	}
	if _, err := c.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	completed(t, d)
}

func TestPostgresThatWouldLoseCommitsIsRefused(t *testing.T) {
	address := dbtest.Postgres(t)
	d := open(t, address)
	name := databaseName(t, address)
	if err := exec(t.Context(), d, "ALTER DATABASE "+name+" SET synchronous_commit = off"); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), address, Options{})
	if err == nil || !strings.Contains(err.Error(), "synchronous_commit is off") {
		t.Errorf("it says: %v", err)
	}
	if _, err := Open(t.Context(), address+"&synchronous_commit=off", Options{}); err == nil {
		t.Error("the URL may turn it off")
	}
	e, err := Open(t.Context(), address+"&synchronous_commit=local", Options{})
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
}

// A client that vanishes in a transaction does not hold its locks for ever, whatever the
// server's default is; a server that was told so itself is left alone.
func TestPostgresEndsATransactionWhoseClientVanished(t *testing.T) {
	address := dbtest.Postgres(t)
	for options, want := range map[string]string{"": "20s", "&idle_in_transaction_session_timeout=7s": "7s"} {
		d := open(t, address+options)
		var got string
		if err := d.write.NewRaw("SHOW idle_in_transaction_session_timeout").Scan(t.Context(), &got); err != nil || got != want {
			t.Errorf("it waits %s, not %s: %v", got, want, err)
		}
	}
}

func databaseName(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

func TestPostgresOfAnotherEncodingIsRefused(t *testing.T) {
	address := dbtest.Postgres(t)
	d := open(t, address)
	name := databaseName(t, address) + "_latin"
	if err := exec(t.Context(), d, "CREATE DATABASE "+name+" ENCODING LATIN1 LOCALE 'C' TEMPLATE template0"); err != nil {
		t.Fatal(err)
	}
	defer exec(t.Context(), d, "DROP DATABASE "+name+" WITH (FORCE)") // the server goes too
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	if _, err := Open(t.Context(), u.String(), Options{}); err == nil || !strings.Contains(err.Error(), "LATIN1") {
		t.Errorf("it says: %v", err)
	}
}

// Also a role that may do nothing special can tell whether the data are where they were.
func TestAnOrdinaryRoleSeesTheIdentity(t *testing.T) {
	address := dbtest.Postgres(t)
	d := open(t, address)
	role := databaseName(t, address)
	for _, s := range []string{
		"CREATE ROLE " + role + " LOGIN PASSWORD 'x'",
		"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO " + role,
	} {
		if err := exec(t.Context(), d, s); err != nil {
			t.Fatal(err)
		}
	}
	defer exec(t.Context(), d, "DROP OWNED BY "+role+"; DROP ROLE "+role) // a role more does no harm
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "x")
	var said strings.Builder
	e, err := Open(t.Context(), u.String(), Options{Log: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if epoch, _, raised, err := e.Epoch(t.Context()); err != nil || epoch != 1 || raised || said.Len() > 0 {
		t.Errorf("epoch %d, %v, %v, %s", epoch, raised, err, said.String())
	}
	identity, err := readMeta(t.Context(), e.read, metaIdentity)
	if err != nil || strings.Count(identity, "/") != 2 {
		t.Errorf("the identity is %q: %v", identity, err)
	}
	// A server that does not tell leaves the epoch as it is, and the log says so.
	if err := exec(t.Context(), d, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM public"); err != nil {
		t.Fatal(err)
	}
	if epoch, _, raised, err := e.Epoch(t.Context()); err != nil || epoch != 1 || raised || !strings.Contains(said.String(), "by hand") {
		t.Errorf("epoch %d, %v, %v, %s", epoch, raised, err, said.String())
	}
}

func TestTransient(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"none":                      {nil, false},
		"some other":                {errors.New("x"), false},
		"a wrong field":             {ledger.FieldError{Field: "a"}, false},
		"a check":                   {&pgconn.PgError{Code: "23514"}, false},
		"a unique index":            {&pgconn.PgError{Code: "23505"}, false},
		"a trigger":                 {&pgconn.PgError{Code: "23000"}, false},
		"a missing table":           {&pgconn.PgError{Code: "42P01"}, false},
		"a deadlock":                {&pgconn.PgError{Code: "40P01"}, true},
		"a serialization failure":   {&pgconn.PgError{Code: "40001"}, true},
		"a shutdown":                {&pgconn.PgError{Code: "57P01"}, true},
		"starting up":               {&pgconn.PgError{Code: "57P03"}, true},
		"a statement's time-out":    {&pgconn.PgError{Code: "57014"}, true},
		"a full disk":               {&pgconn.PgError{Code: "53100"}, true},
		"too many connections":      {&pgconn.PgError{Code: "53300"}, true},
		"a lock's time-out":         {&pgconn.PgError{Code: "55P03"}, true},
		"a standby":                 {&pgconn.PgError{Code: "25006"}, true},
		"a connection that is gone": {&pgconn.PgError{Code: "08006"}, true},
		"a code of nothing":         {&pgconn.PgError{}, false},
		"an end of file":            {io.ErrUnexpectedEOF, true},
		"a refused connection":      {&os.SyscallError{Err: syscall.ECONNREFUSED}, true},
		"a deadline":                {context.DeadlineExceeded, true},
		"a cancellation":            {context.Canceled, true},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.err
			if err != nil {
				err = fmt.Errorf("commit: %w", err)
			}
			if got := Transient(err); got != c.want {
				t.Errorf("it is %v", got)
			}
		})
	}
}

// A server that goes away and comes back costs time, and nothing else.
func TestOutage(t *testing.T) {
	s := dbtest.NewServer(t)
	address, err := s.CreateDatabase(t.Context(), "ledger")
	if err != nil {
		t.Fatal(err)
	}
	d := open(t, address)
	x := completed(t, d)
	send := accept(anOrder())
	for range 3 {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.Commit(t.Context(), []ledger.Change{send}); !Transient(err) {
			t.Errorf("a commit without a server: %v", err)
		}
		if _, err := d.Load(t.Context(), []ledger.ID{x.ID}); !Transient(err) {
			t.Errorf("a read without a server: %v", err)
		}
		if err := d.Ping(t.Context()); !Transient(err) {
			t.Errorf("a ping without a server: %v", err)
		}
		if _, err := Open(t.Context(), address, Options{}); !Transient(err) {
			t.Errorf("an open without a server: %v", err)
		}
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := d.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		if got := load(t, d, x.ID).Transfer; got.Status() != ledger.Completed {
			t.Errorf("it is %s", got.Status())
		}
		x = completed(t, d)
	}
	commit(t, d, send, nil)
}

// A server recovered from a backup may lack commits: the ledger begins a new epoch.
func TestARecoveredServerBeginsAnEpoch(t *testing.T) {
	s := dbtest.NewServer(t)
	address, err := s.CreateDatabase(t.Context(), "ledger")
	if err != nil {
		t.Fatal(err)
	}
	d := open(t, address)
	x := completed(t, d)
	for range 2 { // also after a mere crash it is the first
		if epoch, _, raised, err := d.Epoch(t.Context()); err != nil || epoch != 1 || raised {
			t.Fatal(epoch, raised, err)
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := d.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, d, accept(anOrder()), nil)
	if err := s.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Who had it open knows of an epoch that is over, and may do nothing more.
	if err := d.Ping(t.Context()); !errors.Is(err, ErrMoved) {
		t.Fatalf("it is reached: %v", err)
	}
	if _, _, err := d.Commit(t.Context(), []ledger.Change{accept(anOrder())}); !errors.Is(err, ErrMoved) || !Transient(err) {
		t.Fatalf("it takes a commit: %v", err)
	}
	d = open(t, address)
	epoch, since, raised, err := d.Epoch(t.Context())
	if err != nil || epoch != 2 || !raised || since.IsZero() {
		t.Fatal(epoch, since, raised, err)
	}
	again, sinceAgain, raised, err := d.Epoch(t.Context())
	if err != nil || again != 2 || raised || !sinceAgain.Equal(since) {
		t.Fatal(again, sinceAgain, raised, err)
	}
	if got := load(t, d, x.ID).Transfer; got.Status() != ledger.Completed {
		t.Errorf("it is %s", got.Status())
	}
}

// Backends that are killed in the middle leave all of a commit, or nothing.
func TestKilledBackends(t *testing.T) {
	address := dbtest.Postgres(t)
	d := open(t, address)
	c, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background()) // the test is over
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			// Only those at work, so that not every call dies.
			if _, err := c.Exec(context.Background(), `SELECT pg_sleep(0.01); SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND application_name = 'settled' AND state <> 'idle'`); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	failed, stored := 0, 0
	for range 150 {
		changes := []ledger.Change{accept(anOrder()), accept(anOrder()), accept(anOrder())}
		_, won, err := d.Commit(t.Context(), changes)
		if err != nil {
			if !Transient(err) {
				t.Errorf("not transient: %v", err)
			}
			failed++
		} else if !won[0] || !won[1] || !won[2] {
			t.Errorf("won: %v", won)
		} else {
			stored += 3
		}
	}
	close(stop)
	<-stopped
	d = open(t, address) // a backend may hear of its end only now
	n := rows(t, d, "transfers")
	if n < stored || n%3 != 0 || rows(t, d, "history") != n || rows(t, d, "postings") != 2*n {
		t.Errorf("%d transfers, at least %d were acknowledged; %d history rows, %d postings", n, stored, rows(t, d, "history"), rows(t, d, "postings"))
	}
	t.Logf("%d commits of 150 were cut off", failed)
}
