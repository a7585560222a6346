package db

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// exists refuses a path that has no database file. Who only reads must not make one: an audit of a
// mistyped path would find an empty ledger without a difference.
func exists(path string) error {
	if path == memory {
		return nil
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open the database file %s: it does not exist, and nothing was created: give the path of a ledger in DATABASE_URL", path)
	}
	return nil // what else may be wrong with it, opening it tells
}
