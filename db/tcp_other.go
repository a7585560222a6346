//go:build !linux

package db

import "syscall"

// Elsewhere the kernel's own patience counts.
func setUserTimeout(string, string, syscall.RawConn) error { return nil }
