//go:build !race

package actors_test

// racing says that the race detector watches.
const racing = false
