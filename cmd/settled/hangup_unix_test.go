//go:build unix

package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
)

// Without the handler the signal would end this test's process.
func TestAHangupDoesNotEndTheDaemon(t *testing.T) {
	t.Chdir(t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	said, log := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"serve", "--sandbox"}, process{io.Discard, log, []string{"PUBLIC_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0", "LOG_FORMAT=text"}})
		log.Close()
	}()
	lines := bufio.NewScanner(said)
	until := func(text string) (line string) {
		for lines.Scan() {
			if strings.Contains(lines.Text(), text) {
				return lines.Text()
			}
		}
		t.Fatalf("the daemon ended, and did not say %q", text)
		return ""
	}
	up := until("settled is up")
	for _, name := range []string{"account=", "mode=sandbox", "stripe=http"} {
		if !strings.Contains(up, name) {
			t.Errorf("the start does not say %s: %s", name, up)
		}
	}
	for range 2 {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		until("SIGHUP is ignored")
	}
	cancel()
	go io.Copy(io.Discard, said)
	if c := <-code; c != exitDone {
		t.Errorf("exit %d", c)
	}
}
