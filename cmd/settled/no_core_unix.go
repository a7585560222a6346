//go:build unix

package main

import "golang.org/x/sys/unix"

// noCore keeps the secrets in memory out of core files. A process may always lower its limit.
func noCore() {
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	undumpable()
}
