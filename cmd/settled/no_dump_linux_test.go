package main

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestTheProcessLeavesNoCoreAndLetsNobodyReadItsMemory(t *testing.T) {
	was, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(was), 0, 0, 0) })
	noCore()
	if now, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || now != 0 {
		t.Errorf("dumpable is %d: %v", now, err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil || limit.Max != 0 {
		t.Errorf("a core may have %d bytes: %v", limit.Max, err)
	}
}
