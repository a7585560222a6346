package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/http"
)

// FuzzSettings gives any environment, any .env and any flag. Every problem is told at once and
// none of it shows a secret; what is taken is taken by every part that it configures.
func FuzzSettings(f *testing.F) {
	good := "STRIPE_SECRET_KEY=sk_test_c4n4ry\x00STRIPE_WEBHOOK_SECRET=whsec_c4n4ry,whsec_c4n4ry2\x00ADMIN_TOKEN=c4n4ry-of-an-admin-token"
	for _, env := range []string{good, "", "STRIPE_SECRET_KEY=pk_c4n4ry", "STRIPE_SECRET_KEY=sk_c4n4ry c4n4ry", "STRIPE_WEBHOOK_SECRET=c4n4ry", "STRIPE_WEBHOOK_SECRET=,c4n4ry,", "ADMIN_TOKEN=c4n4ry",
		"ADMIN_TOKEN=c4n4ry of several words", "DATABASE_URL=postgres://u:12/c4n4ry@h/db", "DATABASE_URL=postgres:password=c4n4ry", "DATABASE_URL=postgres://u:a@c4n4ry@h/db?sslmode=disable", "DATABASE_URL=postgres://h/db?password=c4n4ry",
		"DATABASE_URL=mysql://u:c4n4ry@h", "SENTRY_DSN=c4n4ry", "SENTRY_DSN=https://c4n4ry@h/1", "STRIPE_SECRET_KEY_FILE=sk_c4n4ry", "STRIPE_API_BASE=https://u:c4n4ry@h", "ADMIN_TOKEN_FILE=/", "SIMULATED_SPEED=9223372036854775807\x00STRIPE_API_BASE=http://127.0.0.1:1",
		good + "\x00SAFE_WINDOW=2562047h", good + "\x00STRIPE_RATE_LIMIT=9223372036854775807", good + "\x00PUBLIC_ADDR=[::1]:0", "=\x00=x\x00A\x00STRIPE_SECRET_KEY"} {
		f.Add(env, "", "info", false)
		f.Add("", strings.ReplaceAll(env, "\x00", "\n"), "", true)
	}
	for _, dotenv := range []string{"STRIPE_SECRET_KEY 'sk_c4n4ry", "STRIPE_SECRET_KEY!=sk_c4n4ry", "X='c4n4ry", "export ADMIN_TOKEN=\"c4n4ry\\n${X}\"", "A=${B}\nB=${A}", "STRIPE_SECRET_KEY: c4n4ry # x", "\xff=c4n4ry", "\r\n\t export \n"} {
		f.Add(good, dotenv, "debug", false)
	}
	dir := f.TempDir()
	dotenv := filepath.Join(dir, ".env")
	f.Fuzz(func(t *testing.T, environment, file, level string, sandbox bool) {
		if strings.Contains(environment+file, "/dev") || strings.Contains(environment+file, "/proc") {
			t.Skip() // a file that never ends is the reader's business
		}
		if err := os.WriteFile(dotenv, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		var given flags
		if level != "" {
			given.LogLevel = &level
		}
		v, problems := gather(given, strings.Split(environment, "\x00"), dotenv)
		c, more := v.parse(sandbox)
		var said strings.Builder
		for _, s := range settings {
			said.WriteString(v.redacted(s) + "\n")
			if v.source[s.name] == "" {
				t.Fatalf("%s came from nowhere", s.name)
			}
		}
		for _, err := range append(problems, more...) {
			if err == nil || err.Error() == "" {
				t.Fatal("a problem says nothing")
			}
			said.WriteString(err.Error() + "\n")
		}
		for _, s := range settings {
			x := strings.TrimSpace(v.value[s.name])
			secret := s.secret || s.name == "DATABASE_URL" && !strings.HasPrefix(x, "sqlite:") || s.name == "STRIPE_API_BASE" && strings.Contains(x, "@")
			if !secret || !strings.Contains(x, "c4n4ry") {
				continue
			}
			// The canary may be elsewhere, too, where it is no secret: not then.
			elsewhere := 0
			for _, o := range settings {
				if o.name != s.name && strings.Contains(v.value[o.name], "c4n4ry") && !o.secret {
					elsewhere++
				}
			}
			password := s.name != "DATABASE_URL" || strings.Contains(x, ":") && strings.Contains(x[strings.Index(x, "c4n4ry"):], "@") || strings.Contains(x, "password=c4n4ry")
			if elsewhere == 0 && password && level != "c4n4ry" && strings.Contains(said.String(), "c4n4ry") {
				t.Fatalf("%q: a secret is shown:\n%s", v.value, said.String())
			}
		}
		if len(problems)+len(more) > 0 {
			return
		}
		var log bytes.Buffer
		l := slog.New(slog.NewTextHandler(&log, nil))
		if !sandbox {
			client, err := stripe.New(stripe.Config{Key: c.stripeKey, Base: c.stripeBase, Timeout: c.callTimeout(), Connections: c.limits.Concurrency, Log: l})
			if err != nil {
				t.Fatalf("the client does not take what was taken: %v", err)
			}
			client.Close()
		} else {
			c.webhookSecrets = []string{"whsec_of_the_sandbox"} // it brings its own
		}
		_, err := actors.New(actors.Config{Policy: c.policy, Limits: c.limits, TransferSweep: c.transferSweep, ReversalSweep: c.reversalSweep})
		_, e := http.New(http.Config{Engine: nothing{}, Store: nothing{}, Tokens: nothing{}, Keys: nothing{}, WebhookSecrets: c.webhookSecrets, Bootstrap: tokenOf(c), Registerer: prometheus.NewRegistry(), Logger: l})
		if err = errors.Join(err, e); err != nil || c.policy.Windows.Check() != nil || c.callTimeout() <= 0 || c.policy.Transfers.Backoff.Base <= 0 {
			t.Fatalf("a part does not take what was taken: %v, %+v", err, c.policy)
		}
	})
}

func tokenOf(c config) map[string]string {
	if c.adminToken == "" {
		return nil
	}
	return map[string]string{"bootstrap": c.adminToken}
}

// nothing is every part that the HTTP server asks for, and is never asked.
type nothing struct {
	http.Engine
	http.Store
	http.Keys
}

func (nothing) Tokens(context.Context) ([]http.Token, error) { return nil, nil }
