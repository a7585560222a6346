package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/settled/settled/ledger"
)

func TestAPrincipalGetsASecondTokenAndLosesTheFirst(t *testing.T) {
	url, d := ledgerOf(t, ledger.Binding{}, 0)
	settled := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		code, stdout, stderr := call(t, []string{"DATABASE_URL=" + url}, args...)
		if code != want {
			t.Fatalf("settled %s: exit %d, %s%s", strings.Join(args, " "), code, stdout, stderr)
		}
		return stdout, stderr
	}
	first, _ := settled(exitDone, "token", "create", "shop", "--role", "operator")
	second, _ := settled(exitDone, "token", "create", "shop", "--role", "operator", "--expires", "1h")
	if first == second || !strings.HasPrefix(first, "Token of shop, operator (shown once): settled_") {
		t.Errorf("%q, %q", first, second)
	}
	if _, says := settled(exitUsage, "token", "create", "shop", "--role", "admin"); !strings.Contains(says, "another role") {
		t.Errorf("%s", says)
	}
	if _, says := settled(exitUsage, "token", "create", "shор", "--role", "viewer"); !strings.Contains(says, `easily taken for "shop"`) {
		t.Errorf("a principal that looks like another: %s", says)
	}
	for _, name := range []string{"", "shop ", "sh\u200bop", "cafe\u0301", "settled", "bootstrap", "first", "sеttled", "Settled", strings.Repeat("x", 101)} {
		if _, says := settled(exitUsage, "token", "create", name); !strings.Contains(says, "principal") {
			t.Errorf("%+q: %s", name, says)
		}
	}
	_, rest, _ := strings.Cut(first, "settled_")
	prefix, _, _ := strings.Cut(rest, "_")
	if out, _ := settled(exitDone, "token", "revoke", "shop", "--prefix", prefix); !strings.HasPrefix(out, "1 token of") {
		t.Errorf("%s", out)
	}
	list, _ := settled(exitDone, "token", "list")
	for _, line := range strings.Split(strings.TrimSpace(list), "\n") {
		if strings.Contains(line, prefix) != strings.Contains(line, "revoked") {
			t.Errorf("%s", line)
		}
	}
	if strings.Count(list, "in force until") != 1 || strings.Count(list, "shop ") != 2 || strings.Contains(list, strings.TrimSpace(rest)) {
		t.Errorf("%s", list)
	}
	if out, _ := settled(exitDone, "token", "revoke", "shop"); !strings.HasPrefix(out, "1 token of") {
		t.Errorf("%s", out)
	}
	settled(exitUsage, "token", "revoke", "nobody")
	if tokens, err := d.Tokens(t.Context()); err != nil || len(tokens) != 2 {
		t.Errorf("%d tokens, %v", len(tokens), err)
	}
	empty := filepath.Join(t.TempDir(), "new.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, says := call(t, []string{"DATABASE_URL=sqlite:" + empty}, "token", "list"); code != exitFailed || !strings.Contains(says, "migrate up") {
		t.Errorf("a database without tables: exit %d, %s", code, says)
	}
}
