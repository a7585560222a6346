// Package dbtest gives tests a database of their own: a file for SQLite, and for PostgreSQL a
// database in a server named by SETTLED_TEST_DATABASE_URL or, without it, in one throw-away
// server that each test process starts for itself.
//
//	func TestMain(m *testing.M) { dbtest.Main(m) }
//
//	func TestLedger(t *testing.T) {
//		dbtest.Each(t, func(t *testing.T, url string) { … })
//	}
package dbtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// Environment names a PostgreSQL server to use instead of a throw-away one. Its user must be
// allowed to create databases.
const Environment = "SETTLED_TEST_DATABASE_URL"

// patience bounds what a test waits for a server; far more than it takes.
const patience = 5 * time.Minute

var shared struct {
	sync.Once
	server *Server
	err    error
}

// Main runs a package's tests, ends the server that they shared, and exits.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is [Main] for callers that have something else to tidy away: it returns the exit code. Of
// tests that passed, no goroutine may be left but those that the options name.
func Run(m *testing.M, options ...goleak.Option) (code int) {
	code = m.Run()
	if s := shared.server; s != nil {
		if err := s.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "dbtest:", err)
		}
	}
	if code != 0 {
		return code
	}
	if err := goleak.Find(options...); err != nil {
		fmt.Fprintln(os.Stderr, "goroutines are left:", err)
		return 1
	}
	return 0
}

// Each runs a test on both databases.
func Each(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, Postgres(t)) })
}

// SQLite returns the URL of a fresh file.
func SQLite(t testing.TB) string {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "settled.db")
}

// Postgres returns the URL of a fresh PostgreSQL database, which is dropped after the test.
// Without PostgreSQL the test is skipped, loudly; in CI it fails.
func Postgres(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	server, err := address(ctx)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no PostgreSQL: %v", err)
		}
		t.Skipf("NOT TESTED ON POSTGRESQL: %v", err)
	}
	name := "settled_test_" + strings.ToLower(rand.Text()[:12])
	if err := execute(ctx, server, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		t.Fatalf("create a database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := execute(ctx, server, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)"); err != nil {
			t.Errorf("drop a database: %v", err)
		}
	})
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("%s cannot be read", Environment)
	}
	u.Path = "/" + name
	return u.String()
}

// address returns the URL of the server that tests share.
func address(ctx context.Context) (string, error) {
	if given := os.Getenv(Environment); given != "" {
		return given, nil
	}
	shared.Do(func() { shared.server, shared.err = StartServer(ctx, "") })
	if shared.err != nil {
		return "", shared.err
	}
	return shared.server.URL("postgres"), nil
}

// NewServer returns a server of the test's own, to be taken down as it likes. Without
// PostgreSQL the test is skipped, or fails in CI.
func NewServer(t testing.TB) *Server {
	t.Helper()
	return NewServerIn(t, "")
}

// NewServerIn is [NewServer] below a directory of the test's: see [StartServer].
func NewServerIn(t testing.TB, dir string) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := StartServer(ctx, dir)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no PostgreSQL: %v", err)
		}
		t.Skipf("NOT TESTED ON POSTGRESQL: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("end the server: %v", err)
		}
	})
	return s
}
