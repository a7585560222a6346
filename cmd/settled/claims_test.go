package main

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	nethttp "net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// What README.md and SECURITY.md say, and a command can check, is held here against the program as it is
// built. Not held here: figures of long runs and what Stripe does.

// claims reads one of the two.
func claims(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// part cuts a text from after one mark to the next other.
func part(t testing.TB, text, from, to string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, from)
	rest, _, ends := strings.Cut(rest, to)
	if !found || !ends {
		t.Fatalf("the text has no part from %q to %q", from, to)
	}
	return rest
}

// says runs the program with an empty environment, in an empty directory.
func says(t testing.TB, environ []string, args ...string) (code int, out string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = t.TempDir(), environ
	text, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(text)
}

var aKey = []string{"STRIPE_SECRET_KEY=sk_test_claims", "STRIPE_WEBHOOK_SECRET=whsec_0123456789abcdef0123456789abcdef"}

func TestEverySettingAndItsDefaultIsInTheReadme(t *testing.T) {
	code, out := says(t, aKey, "config")
	if code != exitDone {
		t.Fatalf("exit %d\n%s", code, out)
	}
	inForce := map[string]string{}
	for _, line := range strings.Split(out, "\n") {
		if f := strings.Fields(line); len(f) > 1 && regexp.MustCompile(`^[A-Z_]+$`).MatchString(f[0]) {
			inForce[f[0]] = ""
			if f[len(f)-1] == "default" && len(f) == 3 {
				inForce[f[0]] = f[1]
			}
		}
	}
	told := map[string]string{}
	for _, row := range strings.Split(part(t, claims(t, "README.md"), "| variable | default | |", "\n\n"), "\n") {
		cells := strings.Split(row, "|")
		if len(cells) < 4 || !strings.Contains(cells[1], "`") {
			continue
		}
		values := strings.Split(cells[2], ", ")
		for i, name := range strings.Split(cells[1], ", ") {
			value := "none"
			if i < len(values) {
				value = values[i]
			}
			told[strings.Trim(name, " `")] = strings.Trim(value, " `")
		}
	}
	for name, value := range inForce {
		says, has := told[name]
		switch {
		case !has:
			t.Errorf("README's table has no %s", name)
		case value != "" && says != value:
			t.Errorf("README says that %s is %q without being set, and it is %q", name, says, value)
		}
	}
	for name := range told {
		if _, has := inForce[name]; !has {
			t.Errorf("README's table has %s, which is no setting", name)
		}
	}
}

func TestEveryCommandIsInTheReadmeWithItsFlags(t *testing.T) {
	listed := part(t, part(t, claims(t, "README.md"), "### The command", "Exit codes:"), "```\n", "```")
	_, help := says(t, nil, "--help")
	for _, line := range strings.Split(strings.TrimSpace(listed), "\n") {
		words := strings.Fields(line)
		name := words[1]
		sub := []string{name}
		switch name {
		case "migrate":
			sub = append(sub, "up")
		case "token":
			sub = append(sub, "create")
		}
		code, out := says(t, nil, append(sub, "--help")...)
		if code != exitDone {
			t.Errorf("settled %s --help: exit %d", name, code)
		}
		for _, flag := range regexp.MustCompile(`--[a-z]+`).FindAllString(line, -1) {
			if flag == "--prefix" {
				_, out = says(t, nil, "token", "revoke", "--help")
			}
			if !strings.Contains(out, flag) {
				t.Errorf("README says that settled %s has %s, and it has not", name, flag)
			}
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z]+)`).FindAllStringSubmatch(part(t, help, "Commands:", "Flags:"), -1) {
		if !strings.Contains(listed, "settled "+m[1]) {
			t.Errorf("README does not list settled %s", m[1])
		}
	}
}

func TestTheExitCodesAreAsTheReadmeSays(t *testing.T) {
	for want, runs := range map[int][][]string{
		exitDone:   {{"version"}, {"--version"}, {"migrate", "dump", "postgres"}, {"migrate", "dump", "sqlite"}},
		exitFailed: {{"migrate", "status"}, {"health"}},
		exitUsage:  {{"serve", "--no-such-flag"}, {"no-such-command"}, {"config", "--public-addr=nowhere"}},
	} {
		for _, args := range runs {
			if code, out := says(t, append(slices.Clone(aKey), "ADMIN_ADDR=127.0.0.1:1"), args...); code != want {
				t.Errorf("settled %s: exit %d, want %d\n%s", strings.Join(args, " "), code, want, out)
			}
		}
	}
	if code, out := says(t, nil, "serve"); code != exitUsage || !strings.Contains(out, "STRIPE_SECRET_KEY") {
		t.Errorf("without a key: exit %d\n%s", code, out)
	}
	if code, out := says(t, []string{"STRIPE_SECRET_KEY=sk_org_test_x", aKey[1]}, "config"); code != exitUsage || !strings.Contains(out, "organi") {
		t.Errorf("an organisation's key: exit %d\n%s", code, out)
	}
	if code, out := says(t, []string{"STRIPE_SECRET_KEY=sk_org_test_x", aKey[1], "STRIPE_API_BASE=http://127.0.0.1:1"}, "config"); code != exitDone {
		t.Errorf("an organisation's key, and a proxy: exit %d\n%s", code, out)
	}
}

func TestWhatTheReadmeAndSecurityPointToIsThere(t *testing.T) {
	for _, name := range []string{"README.md", "SECURITY.md"} {
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(claims(t, name), -1) {
			if _, err := os.Stat(filepath.Join("../..", m[1])); err != nil {
				t.Errorf("%s points to %s: %v", name, m[1], err)
			}
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z/]+)` \\|").FindAllStringSubmatch(part(t, claims(t, "README.md"), "## The map", "### "), -1) {
		if _, err := os.Stat(filepath.Join("../..", m[1])); err != nil {
			t.Errorf("the map has %s: %v", m[1], err)
		}
	}
}

// The README's own commands, against a daemon: the order, the look at it, the reversal; and what it says of
// routes, metrics and repetitions.
func TestTheReadmesOrderRoutesAndMetrics(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	s := newStand(t, ctx, dbtest.SQLite(t), "none", 3)
	readme := claims(t, "README.md")
	ask := func(base, method, path, token, body string, header ...string) (int, string) {
		r, err := nethttp.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		res, err := nethttp.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(text)
	}
	admin, public := s.api.base, "http://"+s.public

	bodies := regexp.MustCompile(`-d '\s*(\{[^']*\})'`).FindAllStringSubmatch(part(t, readme, "Order a transfer, look at it", "The same reference"), -1)
	if len(bodies) != 2 {
		t.Fatalf("%d bodies in the README's commands", len(bodies))
	}
	order, reverse := bodies[0][1], bodies[1][1]
	status, out := ask(admin, "POST", "/v1/transfers", standToken, order)
	var made transferJSON
	if err := json.Unmarshal([]byte(out), &made); err != nil || status != 201 {
		t.Fatalf("the README's order: %d %s", status, out)
	}
	if status, out = ask(admin, "POST", "/v1/transfers", standToken, order); status != 200 {
		t.Errorf("the same again: %d %s", status, out)
	}
	if status, out = ask(admin, "POST", "/v1/transfers", standToken, strings.Replace(order, "4200", "4300", 1)); status != 409 {
		t.Errorf("another body: %d %s", status, out)
	}
	err := again(ctx, 50*time.Millisecond, func() (bool, error) {
		x, err := s.api.get(ctx, made.ID)
		return x.Status == ledger.Completed, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if status, out = ask(admin, "POST", "/v1/transfers/"+made.ID.String()+"/messages", standToken, reverse, "Idempotency-Key", "refund-77"); status != 202 {
		t.Errorf("the README's reversal: %d %s", status, out)
	}
	_, out = ask(admin, "GET", "/v1/transfers/"+made.ID.String(), standToken, "")
	for _, has := range []string{`"history"`, `"postings"`, `"reversals"`, `"why"`, `"generation"`, `"http_status"`, `"request_id"`, `"holds"`, `"held_by"`} {
		if !strings.Contains(out, has) {
			t.Errorf("README says that GET tells of %s: %s", has, out)
		}
	}

	routes := regexp.MustCompile("`(GET|POST) (/[^`?]*)`").FindAllStringSubmatch(part(t, readme, "| route | does |", "Errors are"), -1)
	if len(routes) < 12 {
		t.Errorf("%d routes in the README", len(routes))
	}
	for _, r := range routes {
		path := strings.NewReplacer("{id}", made.ID.String(), "{name}", "x").Replace(r[2])
		want := 401
		if !strings.HasPrefix(path, "/v1") {
			want = 200
		}
		if status, out := ask(admin, r[1], path, "", ""); status != want {
			t.Errorf("%s %s without a token: %d, want %d: %.200s", r[1], r[2], status, want, out)
		}
		if status, _ := ask(public, r[1], path, "", ""); (status != 404) != (path == "/livez") {
			t.Errorf("%s %s on the public listener: %d", r[1], r[2], status)
		}
	}
	if status, _ := ask(public, "POST", "/webhooks/stripe", "", "{}"); status != 400 {
		t.Errorf("an unsigned webhook: %d", status)
	}
	for _, m := range ledger.MessageTypes {
		if !strings.Contains(part(t, readme, "/messages` | `retry`", "\n"), "`"+string(m)+"`") && m != ledger.MessageRetry {
			t.Errorf("README does not list the message %s", m)
		}
	}
	for _, m := range audit.Mendings {
		if !strings.Contains(part(t, readme, "| `POST /v1/drift/{id}/messages` |", "\n"), "`"+string(m)) {
			t.Errorf("README does not say how to %s a difference", m)
		}
	}

	_, metrics := ask(admin, "GET", "/metrics", "", "")
	named := map[string]bool{}
	for _, name := range regexp.MustCompile(`settled_[a-z_]+[a-z]`).FindAllString(readme+claims(t, "SECURITY.md"), -1) {
		named[name] = true
	}
	for _, other := range []string{"settled_serve", "settled_migrate", "settled_reference", "settled_operation"} { // roles, and metadata
		delete(named, other)
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if !strings.Contains(metrics, "\n"+name+"{") && !strings.Contains(metrics, "\n"+name+" ") && !madeLater(t, strings.TrimPrefix(name, "settled_")) {
			t.Errorf("there is no metric %s", name)
		}
	}
}

// madeLater reports a metric that has labels, and so is shown once something happens to one of them.
func madeLater(t testing.TB, name string) bool {
	t.Helper()
	files, err := filepath.Glob("../../actors/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	return slices.ContainsFunc(files, func(path string) bool {
		text, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(text), `"`+name+`"`)
	})
}
