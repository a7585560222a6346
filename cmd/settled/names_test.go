package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var goodSettings = []string{"STRIPE_SECRET_KEY=sk_test_x", "STRIPE_WEBHOOK_SECRET=whsec_0123456789"}

func TestANameThatIsNearlyASettingIsAProblem(t *testing.T) {
	for line, meant := range map[string]string{
		"STRIPE_WEBHOK_SECRET=whsec_c4n4ry0123":     "STRIPE_WEBHOOK_SECRET",
		"STRIPE_WEBHOOK_SECRETS=c4n4ry":             "STRIPE_WEBHOOK_SECRET",
		"TRANSFER_RETRY_MAX_ATEMPTS=c4n4ry":         "TRANSFER_RETRY_MAX_ATTEMPTS",
		"TRANSFER_MAX_RETRIES=c4n4ry":               "TRANSFER_RETRY_MAX_ATTEMPTS",
		"REVERSAL_MAX_ATTEMPTS=c4n4ry":              "REVERSAL_MAX_RETRIES",
		"RECONCILE_INTERVALL=c4n4ry":                "RECONCILE_INTERVAL",
		"admin_addr=c4n4ry":                         "ADMIN_ADDR",
		"ADMINADDR=c4n4ry":                          "ADMIN_ADDR",
		"PUBLIC_ADDRESS=c4n4ry":                     "PUBLIC_ADDR",
		"LOG_LEVLE=c4n4ry":                          "LOG_LEVEL",
		"SETTLED_ADMIN_TOKEN=c4n4ry":                "ADMIN_TOKEN",
		"LOG_LEVEL_FILE=c4n4ry":                     "set LOG_LEVEL",
		"STRIPE_SECERT_KEY_FILE=c4n4ry":             "STRIPE_SECRET_KEY",
		"DATABASE_URI=c4n4ry":                       "DATABASE_URL",
		"STRIPE_CONNECT_SECRET_KEY=sk_test_c4n4ry":  "two names of one setting",
		"STRIPE_CONNECT_SECRET_KEY_FILE=./other.tx": "two names of one setting",
	} {
		t.Run(line, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := os.WriteFile("other.tx", []byte("sk_test_c4n4ry"), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, command := range []string{"config", "serve"} {
				var out bytes.Buffer
				code := run(t.Context(), []string{command}, process{&out, &out, append([]string{line}, goodSettings...)})
				if code != exitUsage || !strings.Contains(out.String(), meant) || strings.Contains(out.String(), "c4n4ry") {
					t.Errorf("settled %s: exit %d, does not name %s, or shows the value:\n%s", command, code, meant, out.String())
				}
			}
		})
	}
}

func TestNamesOfOthersAreNoProblem(t *testing.T) {
	harmless := []string{"STRIPE_API_KEY=sk_other", "DATABASE_NAME=x", "PATH=/bin", "LOG_DIR=/x", "PUBLIC_URL=x", "ADMIN_EMAIL=x", "SAFE_MODE=x", "LOG_COLOR=x", "HOSTNAME=x",
		"STRIPE_PUBLISHABLE_KEY=pk", "SENTRY_ENVIRONMENT=x", "SETTLED_TEST_LOG=1", "STRIPE_CONNECT_SECRET_KEY=sk_test_x", "TRANSFER_MAX_RETRIES=", "DATABASE_URL=sqlite:x.db", "DB_URL=y"}
	if code, _, stderr := call(t, append(harmless, goodSettings...), "config"); code != exitDone {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestAnAbsurdValueIsAProblem(t *testing.T) {
	for line, says := range map[string]string{
		"RECONCILE_INTERVAL=1ns": "shorter than", "REVERSAL_MAX_RETRIES=99999999999": "from 1 to", "REVERSAL_MAX_RETRIES=2000": "from 1 to",
		"TRANSFER_BACKOFF_MAX=9000h": "longer than", "TRANSFER_CONDITION_MAX_AGE=1s": "shorter than", "EVENT_RETENTION=1000000d": "EVENT_RETENTION",
		"STRIPE_CONCURRENCY=1000000": "from 1 to", "RECONCILE_RATE=99999": "from 1 to", "SHUTDOWN_TIMEOUT=100h": "longer than", "TRANSFER_RETRY_INTERVAL=1us": "shorter than",
		"MAX_TRANSFER=1000": "of the form", "MAX_DAILY=eur:-1": "at least 1", "HOLD_NEW_DESTINATION=perhaps": "neither true nor false",
	} {
		name, _, _ := strings.Cut(line, "=")
		if code, _, stderr := call(t, append([]string{line}, goodSettings...), "config"); code != exitUsage || !strings.Contains(stderr, says) || !strings.Contains(stderr, name) {
			t.Errorf("%s: exit %d, %q does not say %q", line, code, stderr, says)
		}
	}
	if d, err := parseSpan("90d", ages); err != nil || d != 90*24*time.Hour {
		t.Errorf("90d is %s, %v", d, err)
	}
}

func TestTheDatabasesURLMayComeFromAFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "url")
	if err := os.WriteFile(path, []byte("postgres://ann:c4n4ry@127.0.0.1/books\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := call(t, append([]string{"DATABASE_URL_FILE=" + path}, goodSettings...), "config")
	if code != exitDone || !strings.Contains(stdout, "postgres://ann:xxxxx@127.0.0.1/books") || strings.Contains(stdout+stderr, "c4n4ry") {
		t.Errorf("exit %d:\n%s%s", code, stdout, stderr)
	}
	if code, _, stderr = call(t, append([]string{"DATABASE_URL=sqlite:x.db", "DATABASE_URL_FILE=" + path}, goodSettings...), "config"); code != exitUsage || !strings.Contains(stderr, "both set") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestConfigSaysWhetherTheKeyIsLive(t *testing.T) {
	for key, mode := range map[string]string{"sk_test_x": "test", "rk_live_x": "live"} {
		if _, stdout, _ := call(t, []string{"STRIPE_SECRET_KEY=" + key, goodSettings[1]}, "config"); !strings.Contains(stdout, "(mode)") || !strings.Contains(stdout, "  "+mode+" ") {
			t.Errorf("%s: no %q in\n%s", key, mode, stdout)
		}
	}
}
