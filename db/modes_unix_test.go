//go:build unix

package db

import (
	"os"
	"path/filepath"
	"testing"
)

// A file that was copied, or restored, may be open to others; so may what is beside it.
func TestAnExistingFileIsClosedToOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "open.db")
	d, err := Open(t.Context(), "sqlite:"+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer d.Close() // so that its log and its shared memory stay
	names := []string{path, path + "-wal", path + "-shm"}
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("a new %s: %v %v", filepath.Base(name), info.Mode(), err)
		}
		if err := os.Chmod(name, 0o664); err != nil {
			t.Fatal(err)
		}
	}
	again, err := Open(t.Context(), "sqlite:"+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", filepath.Base(name), info.Mode(), err)
		}
	}
}
