package db

import (
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/settled/settled/db/dbtest"
)

func TestBothDialectsHaveTheSameMigrations(t *testing.T) {
	var names [2][]string
	for i, dialect := range []string{"postgres", "sqlite"} {
		list, err := scripts(dialect)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			names[i] = append(names[i], s.name)
		}
		files, err := migrations.ReadDir("migrations/" + dialect)
		if err != nil {
			t.Fatal(err)
		}
		last := 0
		for _, f := range files { // numbers rise; branches that were written side by side leave gaps
			var n int
			if _, err := fmt.Sscanf(f.Name(), "%04d_", &n); err != nil || n <= last || !strings.HasSuffix(f.Name(), suffix) {
				t.Errorf("%s/%s has no number above %d, or is not %s", dialect, f.Name(), last, suffix)
			}
			last = n
		}
		dump, err := Dump(dialect)
		if err != nil || !strings.Contains(dump, "CREATE TABLE transfers") || !strings.Contains(dump, "-- migration "+names[i][0]) {
			t.Errorf("the dump of %s: %v", dialect, err)
		}
	}
	if !slices.Equal(names[0], names[1]) {
		t.Errorf("%v and %v", names[0], names[1])
	}
	if _, err := Dump("oracle"); err == nil {
		t.Error("there are migrations of another database")
	}
}

func TestMigrate(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		d, err := Open(t.Context(), url, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if err := d.Check(t.Context()); !errors.Is(err, ErrPending) {
			t.Errorf("an empty database: %v", err)
		}
		status, err := d.Status(t.Context())
		if err != nil || len(status) == 0 || !status[0].AppliedAt.IsZero() {
			t.Errorf("%v, %v", status, err)
		}
		names, err := d.Migrate(t.Context())
		if err != nil || len(names) != len(status) {
			t.Fatal(names, err)
		}
		if names, err := d.Migrate(t.Context()); err != nil || len(names) != 0 {
			t.Errorf("again: %v, %v", names, err)
		}
		if err := d.Check(t.Context()); err != nil {
			t.Error(err)
		}
		if status, err = d.Status(t.Context()); err != nil || status[0].AppliedAt.IsZero() || status[0].Name != names[0] {
			t.Errorf("%v, %v", status, err)
		}
		if err := exec(t.Context(), d, "DELETE FROM schema_migrations WHERE name = ?", names[len(names)-1]); err != nil {
			t.Fatal(err)
		}
		if err := d.Check(t.Context()); !errors.Is(err, ErrPending) {
			t.Errorf("one is missing: %v", err)
		}
		// It fails, because its tables are there, and leaves no trace.
		if _, err := d.Migrate(t.Context()); err == nil {
			t.Error("it was applied twice")
		}
		if err := d.Check(t.Context()); !errors.Is(err, ErrPending) {
			t.Errorf("a migration that failed: %v", err)
		}
		if err := exec(t.Context(), d, "INSERT INTO schema_migrations VALUES (?, '2040-01-01T00:00:00.000000Z'), ('9999_later', '2040-01-01T00:00:00.000000Z')",
			names[len(names)-1]); err != nil {
			t.Fatal(err)
		}
		if err := d.Check(t.Context()); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "9999_later") {
			t.Errorf("a newer database: %v", err)
		}
		if _, err := d.Migrate(t.Context()); !errors.Is(err, ErrNewer) {
			t.Errorf("a newer database: %v", err)
		}
	})
}

const migrator = "SETTLED_TEST_MIGRATE"

// TestMigrateProcess is what the processes of the next test run.
func TestMigrateProcess(t *testing.T) {
	url := os.Getenv(migrator)
	if url == "" {
		t.Skip("runs within TestMigrateAtOnce")
	}
	d, err := Open(t.Context(), patient(url), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	names, err := d.Migrate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("applied %d\n", len(names))
}

// Many processes start at once; each migration is applied once, and each process finds all.
func TestMigrateAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		list, err := scripts(strings.SplitN(url, ":", 2)[0])
		if err != nil {
			t.Fatal(err)
		}
		var (
			wg    sync.WaitGroup
			mu    sync.Mutex
			total int
		)
		add := func(n int) {
			mu.Lock()
			defer mu.Unlock()
			total += n
		}
		for range 4 {
			wg.Go(func() {
				cmd := osexec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMigrateProcess$")
				cmd.Env = append(os.Environ(), migrator+"="+url)
				out, err := cmd.CombinedOutput()
				var n int
				if _, scan := fmt.Sscanf(string(out), "applied %d", &n); err != nil || scan != nil {
					t.Errorf("%v, %v: %s", err, scan, out)
				}
				add(n)
			})
			wg.Go(func() {
				d, err := Open(t.Context(), patient(url), patience)
				if err != nil {
					t.Error(err)
					return
				}
				defer d.Close()
				names, err := d.Migrate(t.Context())
				if err != nil {
					t.Error(err)
				}
				add(len(names))
			})
		}
		wg.Wait()
		if total != len(list) {
			t.Errorf("%d of %d migrations were applied", total, len(list))
		}
	})
}
