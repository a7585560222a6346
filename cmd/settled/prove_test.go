package main

import (
	"os/exec"
	"strings"
	"testing"
)

func TestProveTriesWorldsAndSaysWhatItTried(t *testing.T) {
	out, err := exec.Command(program, "prove", "--seeds", "4", "--transfers", "5", "--seed", "7").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"4 worlds, 20 transfers", "\nfaults: ", "\nprove: 0 violations\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

func TestProveTracesAWorld(t *testing.T) {
	trace := func() string {
		out, err := exec.Command(program, "prove", "--transfers", "3", "--seed", "9", "--trace").CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	first := trace()
	for _, want := range []string{"commit accept", "faults end", "\nseed 9: ", "\nprove: 0 violations\n"} {
		if !strings.Contains(first, want) {
			t.Errorf("there is no %q in its %d lines", want, strings.Count(first, "\n"))
		}
	}
	if trace() != first {
		t.Error("the same seed gave another trace")
	}
}

func TestProveRefusesWhatItCannotTry(t *testing.T) {
	for _, args := range [][]string{{"--seeds", "0"}, {"--transfers", "0"}, {"--most", "0"}, {"--workers", "-1"}, {"--for", "-1s"}} {
		cmd := exec.Command(program, append([]string{"prove"}, args...)...)
		out, _ := cmd.CombinedOutput() // its exit code is looked at
		if code := cmd.ProcessState.ExitCode(); code != exitUsage || !strings.Contains(string(out), args[0]) {
			t.Errorf("prove %v ends with %d: %s", args, code, out)
		}
	}
}
