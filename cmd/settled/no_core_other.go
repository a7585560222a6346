//go:build !unix

package main

// noCore has nothing to do: core files are Unix's.
func noCore() {}
