//go:build race

package actors_test

// racing says that the race detector watches, under which SQLite is twenty times slower.
const racing = true
