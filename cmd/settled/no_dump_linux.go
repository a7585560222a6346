package main

import "golang.org/x/sys/unix"

// undumpable keeps other processes of the same user from reading the memory, by a debugger or /proc; and
// a core from being piped to a program, for which no limit of size counts (core(5)).
func undumpable() { unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }
