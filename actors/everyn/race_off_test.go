//go:build !race

package everyn_test

// racing says that the race detector watches.
const racing = false
