package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/settled/settled/ledger"
)

func TestALedgerIsBackedUpAndRestored(t *testing.T) {
	url, _ := ledgerOf(t, ledger.Binding{Account: "acct_1", Mode: ledger.TestMode}, 3) // and its daemon has it open
	backup := filepath.Join(t.TempDir(), "backup.db")
	env := []string{"DATABASE_URL=" + url}
	code, stdout, stderr := call(t, env, "backup", backup)
	if code != exitDone || !strings.Contains(stdout, backup) || !strings.Contains(stdout, "-wal") {
		t.Fatalf("exit %d: %s%s", code, stdout, stderr)
	}
	if code, _, stderr := call(t, env, "backup", backup); code != exitUsage || !strings.Contains(stderr, "exists already") {
		t.Errorf("a second time: exit %d %s", code, stderr)
	}
	if code, _, stderr := call(t, []string{"DATABASE_URL=sqlite:nowhere.db"}, "backup", "x.db"); code != exitFailed || !strings.Contains(stderr, "does not exist") {
		t.Errorf("a ledger that is not there: exit %d %s", code, stderr)
	} else if left, _ := os.ReadDir("."); len(left) > 0 {
		t.Errorf("it made %v", left)
	}
	restored, err := openLedger(t.Context(), config{databaseURL: "sqlite:" + backup}, newLogger(config{logLevel: "error", logFormat: "json"}, os.Stderr))
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	epoch, _, raised, err := restored.Epoch(t.Context())
	if err != nil || epoch != 2 || !raised {
		t.Errorf("epoch %d, begun %v: %v", epoch, raised, err)
	}
	if bound, err := restored.Binding(t.Context()); err != nil || bound.Account != "acct_1" {
		t.Errorf("%v %v", bound, err)
	}
}

// A sandbox that keeps its ledger goes on with it: its simulator has the account that the ledger knows.
func TestASandboxStartsTwiceOverAKeptLedger(t *testing.T) {
	url, _ := ledgerOf(t, ledger.Binding{Account: "acct_sim1", Mode: ledger.SandboxMode}, 1)
	if own := sandboxOf(t.Context(), url); own != "acct_sim1" {
		t.Errorf("the simulator would be %q", own)
	}
	for _, bound := range []ledger.Binding{{}, {Account: "acct_1", Mode: ledger.TestMode}} {
		other, _ := ledgerOf(t, bound, 0)
		if own := sandboxOf(t.Context(), other); own != "" {
			t.Errorf("the ledger of %s is taken for a sandbox's own: %q", bound, own)
		}
	}
}
