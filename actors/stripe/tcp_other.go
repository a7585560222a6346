//go:build !linux

package stripe

import "syscall"

// setUserTimeout has no equivalent outside Linux.
func setUserTimeout(_, _ string, _ syscall.RawConn) error { return nil }
