//go:build unix && !linux

package main

// undumpable has nothing to do: the call is Linux's.
func undumpable() {}
