package db

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/settled/settled/ledger"
)

// aFile is a migrated ledger in a file, of which this process knows the epoch.
func aFile(t *testing.T) (path string, d *DB) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "settled.db")
	return path, reopened(t, path, 1, false)
}

// reopened opens a ledger as a daemon does, and checks its epoch.
func reopened(t *testing.T, path string, epoch int, raised bool) *DB {
	t.Helper()
	d, err := Open(t.Context(), "sqlite:"+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if _, err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if is, _, began, err := d.Epoch(t.Context()); err != nil || is != epoch || began != raised {
		t.Errorf("epoch %d, begun %v (%v), want %d, %v", is, began, err, epoch, raised)
	}
	return d
}

func (d *DB) transfersIn(t *testing.T) (n int) {
	t.Helper()
	if err := d.read.NewRaw("SELECT count(*) FROM transfers").Scan(t.Context(), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A backup is of one moment while others write, each commit whole or not in it; and a ledger that goes on
// from it begins a new epoch, once.
func TestABackupUnderLoadIsOfOneMomentAndBeginsANewEpoch(t *testing.T) {
	path, d := aFile(t)
	stop, ended := make(chan struct{}), make(chan error, 1)
	began := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if _, _, err := d.Commit(t.Context(), []ledger.Change{accept(anOrder()), accept(anOrder()), accept(anOrder())}); err != nil {
				ended <- err
				return
			}
			if n == 20 {
				close(began)
			}
		}
	}()
	<-began
	backup := filepath.Join(t.TempDir(), "backup.db")
	size, err := d.Backup(t.Context(), backup)
	if err != nil {
		t.Fatal(err)
	}
	at := d.transfersIn(t)
	close(stop)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(backup); err != nil || info.Size() != size || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v, of %d bytes", info, err, size)
	}
	if left, err := filepath.Glob(backup + "?*"); err != nil || len(left) > 0 {
		t.Errorf("beside it there is %v", left)
	}
	copied := reopened(t, backup, 2, true)
	if n := copied.transfersIn(t); n < 60 || n > at || n%3 != 0 {
		t.Errorf("%d transfers are in it, of %d", n, at)
	}
	if _, _, err := copied.Commit(t.Context(), []ledger.Change{accept(anOrder())}); err != nil {
		t.Errorf("the ledger does not go on from it: %v", err)
	}
	reopened(t, backup, 2, false)
	if _, _, err := d.Commit(t.Context(), []ledger.Change{accept(anOrder())}); err != nil {
		t.Errorf("the ledger does not go on after it: %v", err)
	}
	d.Close()
	reopened(t, path, 1, false)
	// A backup of what began with a backup is one too.
	again := filepath.Join(t.TempDir(), "again.db")
	if _, err := copied.Backup(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	reopened(t, again, 3, true)
}

func TestABackupReplacesNothingAndLeavesNothingHalf(t *testing.T) {
	_, d := aFile(t)
	dir := t.TempDir()
	there := filepath.Join(dir, "there.db")
	if err := os.WriteFile(there, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link.db")
	if err := os.Symlink(filepath.Join(dir, "nowhere"), link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{there, link, dir, "", "a?b"} {
		if _, err := d.Backup(t.Context(), path); !errors.Is(err, ErrNoBackup) {
			t.Errorf("%q: %v", path, err)
		}
	}
	if text, err := os.ReadFile(there); err != nil || string(text) != "mine" {
		t.Errorf("%q %v", text, err)
	}
	if _, err := d.Backup(t.Context(), filepath.Join(dir, "no", "such", "place.db")); err == nil {
		t.Error("a backup was made in a directory that is not there")
	}
	cut := filepath.Join(dir, "cut.db")
	if err := os.WriteFile(cut+".partial", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Backup(t.Context(), cut); !errors.Is(err, ErrNoBackup) {
		t.Errorf("beside another that is being made: %v", err)
	}
	if _, err := os.Lstat(cut); err == nil {
		t.Error("there is half a backup")
	}
	m, err := Open(t.Context(), "sqlite::memory:", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Backup(t.Context(), filepath.Join(dir, "memory.db")); !errors.Is(err, ErrNoBackup) {
		t.Errorf("of memory: %v", err)
	}
}

// A daemon whose file is replaced goes on writing to the old one, which nobody sees: it must stop, and the new
// file must know that commits were lost.
func TestAFileThatIsReplacedUnderADaemonIsNoticed(t *testing.T) {
	for name, write := range map[string]func(*DB) error{
		"at a commit":       func(d *DB) error { _, _, err := d.Commit(t.Context(), []ledger.Change{accept(anOrder())}); return err },
		"at a look at time": func(d *DB) error { _, _, err := d.Commit(t.Context(), nil); return err },
	} {
		t.Run(name, func(t *testing.T) {
			path, d := aFile(t)
			older := filepath.Join(t.TempDir(), "older.db")
			if _, err := d.Backup(t.Context(), older); err != nil {
				t.Fatal(err)
			}
			// As a plain copy has it, which nothing tells from the ledger.
			o, err := Open(t.Context(), "sqlite:"+older, Options{})
			if err != nil {
				t.Fatal(err)
			}
			byForce(t, o, "DELETE FROM meta WHERE key = 'identity'")
			if err := o.Close(); err != nil {
				t.Fatal(err)
			}
			completed(t, d)
			away := filepath.Join(t.TempDir(), "away.db")
			if err := errors.Join(os.Rename(path, away), os.Rename(older, path)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := write(d); !errors.Is(err, ledger.ErrNewEpoch) {
					t.Fatalf("it goes on: %v", err)
				}
			}
			d.Close()
			if n := reopened(t, path, 2, false).transfersIn(t); n != 0 {
				t.Errorf("%d transfers of the old file are in the new one", n)
			}
			// The old file is whole, for whoever put it away.
			if n := reopened(t, away, 1, false).transfersIn(t); n != 1 {
				t.Errorf("the old file has %d transfers", n)
			}
		})
	}
}

func TestAFileThatIsRemovedUnderADaemonIsNoticed(t *testing.T) {
	path, d := aFile(t)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Commit(t.Context(), []ledger.Change{accept(anOrder())}); !errors.Is(err, ledger.ErrNewEpoch) {
		t.Errorf("it goes on: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("an empty ledger was made in its place")
	}
}
