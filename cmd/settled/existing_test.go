package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhoOnlyReadsCreatesNoDatabase(t *testing.T) {
	for _, args := range [][]string{{"audit"}, {"migrate", "status"}, {"migrate", "restored"}, {"token", "list"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.CommandContext(t.Context(), program, args...)
			cmd.Dir, cmd.Env = dir, []string{"DATABASE_URL=sqlite:" + filepath.Join(dir, "typo.db"), "STRIPE_SECRET_KEY=sk_test_none", "STRIPE_API_BASE=http://127.0.0.1:1"}
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(string(out), "typo.db: it does not exist") {
				t.Errorf("it ended with %d and says:\n%s", code, out)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("it created %v, %v", left, err)
			}
		})
	}
}
