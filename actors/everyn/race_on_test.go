//go:build race

package everyn_test

// racing says that the race detector watches, under which SQLite is twenty times slower.
const racing = true
