package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// call runs the command in this process, in an empty directory.
func call(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Chdir(t.TempDir())
	var out, errs bytes.Buffer
	code = run(t.Context(), args, process{&out, &errs, environ})
	return code, out.String(), errs.String()
}

func TestConfigPrintsEveryProblemAtOnceAndNeverASecret(t *testing.T) {
	const canary = "canary0123456789"
	broken := map[string]string{
		"DATABASE_URL": "mysql://user:" + canary + "@host/db", "STRIPE_SECRET_KEY": "pk_" + canary, "STRIPE_API_BASE": "ftp://x",
		"STRIPE_WEBHOOK_SECRET": "whsec_" + canary + ",,", "STRIPE_RATE_LIMIT": "-1", "STRIPE_ENDPOINT_RATE_LIMIT": "many", "STRIPE_CONCURRENCY": "0",
		"PUBLIC_ADDR": "nowhere", "ADMIN_ADDR": "127.0.0.1:99999", "ADMIN_HOSTS": "settled.internal,http://x", "ADMIN_TOKEN": canary[:12], "TRANSFER_RETRY_ENABLED": "perhaps",
		"TRANSFER_RETRY_MAX_ATTEMPTS": "0", "TRANSFER_RETRY_INTERVAL": "1", "TRANSFER_BACKOFF_BASE": "-1m", "TRANSFER_BACKOFF_MAX": "soon",
		"REVERSAL_WORKER_ENABLED": "2", "REVERSAL_MAX_RETRIES": "1.5", "REVERSAL_CHECK_INTERVAL": "", "REVERSAL_BACKOFF_BASE": "2h", "REVERSAL_BACKOFF_MAX": "1h",
		"UNRESOLVED_POLICY": "guess", "SAFE_WINDOW": "23h", "LOG_LEVEL": "loud", "LOG_FORMAT": "xml", "SHUTDOWN_TIMEOUT": "0s",
		"SENTRY_DSN":         "https://host/" + canary,
		"RECONCILE_INTERVAL": "never", "RECONCILE_RATE": "0", "RECONCILE_POLICY": "pay", "RECONCILE_FOREIGN": "perhaps", "SIMULATED_SPEED": "0",
	}
	var environ []string
	for k, v := range broken {
		environ = append(environ, k+"="+v)
	}
	code, stdout, stderr := call(t, environ, "config")
	if code != exitUsage {
		t.Errorf("exit code %d, want %d", code, exitUsage)
	}
	for name := range broken {
		if name == "REVERSAL_BACKOFF_BASE" { // REVERSAL_BACKOFF_MAX names it
			continue
		}
		if !strings.Contains(stderr, name) {
			t.Errorf("%s is wrong, and is not named", name)
		}
		if !strings.Contains(stdout, name) {
			t.Errorf("%s is not listed", name)
		}
	}
	if strings.Contains(stdout+stderr, canary[:12]) {
		t.Errorf("a secret was printed:\n%s%s", stdout, stderr)
	}
	if code, _, serve := call(t, environ, "serve"); code != exitUsage || strings.Contains(serve, canary[:12]) || !strings.Contains(serve, "SHUTDOWN_TIMEOUT") {
		t.Errorf("serve with the same environment: exit %d\n%s", code, serve)
	}
}

func TestWindowsThatWouldNotBeSafeAreRefused(t *testing.T) {
	good := []string{"STRIPE_SECRET_KEY=sk_test_x", "STRIPE_WEBHOOK_SECRET=whsec_0123456789"}
	for setting, want := range map[string]string{
		"SAFE_WINDOW=22h":             "SAFE_WINDOW",
		"QUIET_WINDOW=10h29m":         "QUIET_WINDOW",
		"SIMULATED_SPEED=2":           "SIMULATED_SPEED",
		"TRANSFER_BACKOFF_MAX=30s":    "TRANSFER_BACKOFF_MAX",
		"ADMIN_ADDR=127.0.0.1:8080":   "ADMIN_ADDR",
		"STRIPE_SECRET_KEY_FILE=gone": "both set",
	} {
		if code, _, stderr := call(t, append([]string{setting}, good...), "config"); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d, %q does not name %s", setting, code, stderr, want)
		}
	}
	if code, _, stderr := call(t, good, "config"); code != exitDone {
		t.Errorf("a good environment: exit %d, %s", code, stderr)
	}
}

func TestAFlagBeatsTheEnvironmentThatBeatsTheFileThatBeatsTheDefault(t *testing.T) {
	dir := t.TempDir()
	dotenv := filepath.Join(dir, ".env")
	secret := filepath.Join(dir, "key")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(dotenv, "TRANSFER_BACKOFF_BASE=2m\nTRANSFER_BACKOFF_MAX=2h\nLOG_LEVEL=warn\n")
	write(secret, "sk_test_from_file\n")
	level := "error"
	v, problems := gather(flags{LogLevel: &level}, []string{"TRANSFER_BACKOFF_MAX=3h", "LOG_LEVEL=debug", "STRIPE_CONNECT_SECRET_KEY_FILE=" + secret, "STRIPE_WEBHOOK_SECRET=whsec_one, whsec_two"}, dotenv)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	c, problems := v.parse(false)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	switch {
	case c.logLevel != "error" || v.source["LOG_LEVEL"] != "flag":
		t.Errorf("LOG_LEVEL is %s, from %s", c.logLevel, v.source["LOG_LEVEL"])
	case c.policy.Transfers.Backoff.Max != 3*time.Hour || v.source["TRANSFER_BACKOFF_MAX"] != "environment":
		t.Errorf("TRANSFER_BACKOFF_MAX is %s", c.policy.Transfers.Backoff.Max)
	case c.policy.Transfers.Backoff.Base != 2*time.Minute || v.source["TRANSFER_BACKOFF_BASE"] != ".env":
		t.Errorf("TRANSFER_BACKOFF_BASE is %s", c.policy.Transfers.Backoff.Base)
	case c.shutdown != 30*time.Second || v.source["SHUTDOWN_TIMEOUT"] != "default":
		t.Errorf("SHUTDOWN_TIMEOUT is %s", c.shutdown)
	case c.stripeKey != "sk_test_from_file" || v.source["STRIPE_SECRET_KEY"] != "file":
		t.Errorf("the key is %q, from %s", c.stripeKey, v.source["STRIPE_SECRET_KEY"])
	case len(c.webhookSecrets) != 2:
		t.Errorf("webhook secrets: %q", c.webhookSecrets)
	}
}

func TestWrongUsageExitsWithTwoAndSaysWhatIsWrong(t *testing.T) {
	for _, args := range [][]string{{"fly"}, {"demo", "--faults", "some"}, {"demo", "--transfers", "0"}, {"simulator", "--speed", "0"},
		{"simulator", "--addr", "nowhere"}, {"migrate", "dump", "oracle"}, {"demo", "--database", "mysql://x"}} {
		if code, _, stderr := call(t, nil, args...); code != exitUsage || stderr == "" {
			t.Errorf("settled %s: exit %d, %q", strings.Join(args, " "), code, stderr)
		}
	}
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"version"}, {"migrate", "dump", "sqlite"}} {
		if code, stdout, _ := call(t, nil, args...); code != exitDone || stdout == "" {
			t.Errorf("settled %s: exit %d, %d characters", strings.Join(args, " "), code, len(stdout))
		}
	}
	if _, help, _ := call(t, nil, "serve", "--help"); !strings.Contains(help, "$SAFE_WINDOW, default 6h") || strings.Contains(help, "--stripe-secret-key") {
		t.Errorf("the help does not name the variables, or offers a flag for a secret:\n%s", help)
	}
}

// A secret that was written wrongly, or into the wrong variable, is not shown because of it.
func TestASecretInTheWrongPlaceIsNotShown(t *testing.T) {
	const canary = "c4n4ry"
	good := []string{"STRIPE_SECRET_KEY=sk_test_x", "STRIPE_WEBHOOK_SECRET=whsec_0123456789"}
	for name, c := range map[string]struct{ setting, dotenv string }{
		"a quote that is not closed in .env": {"", "ADMIN_TOKEN='" + canary},
		"a line that is none in .env":        {"", "LOG_LEVEL=info\nSENTRY_DSN!=" + canary + "\nADMIN_TOKEN=" + canary},
		"a secret instead of a file":         {"ADMIN_TOKEN_FILE=" + canary, ""},
		"a slash in a password":              {"DATABASE_URL=postgres://ann:12/" + canary + "@host/db", ""},
		"a question mark in a password":      {"DATABASE_URL=postgres://ann:12?" + canary + "@host/db", ""},
		"a number sign in a password":        {"DATABASE_URL=postgres://ann:12#" + canary + "@host/db", ""},
		"an at sign in a password":           {"DATABASE_URL=postgres://ann:12@" + canary + "@host/db", ""},
		"a list of words instead of a URL":   {"DATABASE_URL=postgres:host=h password=" + canary, ""},
		"an option that is none":             {"DATABASE_URL=postgres://ann:" + canary + "@host/db?sslmode=" + canary, ""},
		"a password for the API":             {"STRIPE_API_BASE=https://ann:" + canary + "@host", ""},
		"a token in two words":               {"ADMIN_TOKEN=" + canary + " and some more words", ""},
		"a short webhook secret":             {"STRIPE_WEBHOOK_SECRET=" + canary, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := os.WriteFile(".env", []byte(c.dotenv), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, command := range []string{"config", "serve"} {
				var out bytes.Buffer
				if code := run(t.Context(), []string{command}, process{&out, &out, append(good, c.setting)}); code != exitUsage {
					t.Errorf("settled %s: exit %d", command, code)
				}
				if strings.Contains(out.String(), canary) {
					t.Errorf("settled %s shows it:\n%s", command, out.String())
				}
			}
		})
	}
}

func TestTheConfigurationDoesNotPrint(t *testing.T) {
	const canary = "c4n4ry0123456789"
	v, problems := gather(flags{}, []string{"STRIPE_SECRET_KEY=sk_test_" + canary, "STRIPE_WEBHOOK_SECRET=whsec_" + canary, "ADMIN_TOKEN=" + canary,
		"DATABASE_URL=postgres://u:" + canary + "@h/d", "DATABASE_URL_ALLOW=h", "SENTRY_DSN=https://" + canary + "@h/1"}, "none")
	c, more := v.parse(false)
	if problems = append(problems, more...); len(problems) > 0 {
		t.Fatal(problems)
	}
	var text bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&text, verb+verb+verb+verb+verb+"\n", c, &c, v, &v, struct {
			C config
			V values
		}{c, v})
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&text, nil), slog.NewJSONHandler(&text, nil)} {
		slog.New(h).Info("x", "config", c, "values", v, "both", &c)
	}
	for _, x := range []any{c, v} {
		j, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(j)
	}
	if strings.Contains(text.String(), canary) || strings.Contains(text.String(), fmt.Sprintf("%x", canary)) {
		t.Errorf("a secret is printed:\n%s", text.String())
	}
}

func TestTheAdminListenerIsAlsoCalledByTheNameThatItWasGiven(t *testing.T) {
	v, problems := gather(flags{}, []string{"ADMIN_ADDR=settled.example:8081", "ADMIN_HOSTS=one.example, 10.0.0.7"}, "")
	c, more := v.parse(true)
	if got := fmt.Sprint(c.adminHosts); len(problems)+len(more) > 0 || got != "[settled.example one.example 10.0.0.7]" {
		t.Errorf("%s %v %v", got, problems, more)
	}
}
