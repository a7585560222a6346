package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestWhatIsGoodEnoughForPlayIsAProblemWithALiveKey(t *testing.T) {
	const secret = "STRIPE_WEBHOOK_SECRET=whsec_0123456789"
	for setting, says := range map[string]string{
		"STRIPE_WEBHOOK_SECRET=whsec_simulator_secret":   "the simulator's",
		secret + ",whsec_aaaaaaaaaaaaaaaa":               "secret 2 can be guessed",
		"ADMIN_TOKEN=aaaaaaaaaaaaaaaa":                   "ADMIN_TOKEN",
		"ADMIN_ADDR=0.0.0.0:8081":                        "ADMIN_ADDR_ALLOW=0.0.0.0",
		"ADMIN_ADDR=:8081":                               "ADMIN_ADDR",
		"STRIPE_API_BASE=https://proxy.example":          "STRIPE_API_BASE_ALLOW=proxy.example",
		"STRIPE_API_BASE=http://127.0.0.1:12111":         "STRIPE_API_BASE_ALLOW=127.0.0.1",
		"STRIPE_API_BASE=https://api.stripe.com.example": "STRIPE_API_BASE_ALLOW",
		"STRIPE_API_BASE=https://notstripe.com":          "STRIPE_API_BASE_ALLOW",
	} {
		if code, _, stderr := call(t, []string{"STRIPE_SECRET_KEY=sk_live_x", secret, setting}, "config"); code != exitUsage || !strings.Contains(stderr, says) {
			t.Errorf("%s, live: exit %d, %q does not say %q", setting, code, stderr, says)
		}
		if code, _, stderr := call(t, []string{"STRIPE_SECRET_KEY=sk_test_x", secret, setting}, "config"); code != exitDone {
			t.Errorf("%s, test: exit %d, %q", setting, code, stderr)
		}
	}
	allowed := []string{"STRIPE_SECRET_KEY=rk_live_x", secret, "ADMIN_ADDR=0.0.0.0:8081", "ADMIN_ADDR_ALLOW=0.0.0.0",
		"STRIPE_API_BASE=https://proxy.example", "STRIPE_API_BASE_ALLOW=other.example, Proxy.Example", "ADMIN_TOKEN=2f1c9a7be05d4483"}
	if code, _, stderr := call(t, allowed, "config"); code != exitDone {
		t.Errorf("with the words that allow it: exit %d, %s", code, stderr)
	}
	if code, _, stderr := call(t, []string{"STRIPE_SECRET_KEY=sk_live_x", secret, "STRIPE_API_BASE=https://api.stripe.com"}, "config"); code != exitDone {
		t.Errorf("Stripe's own base: exit %d, %s", code, stderr)
	}
}

func TestADatabaseThatIsNotVerifiedNeedsAWord(t *testing.T) {
	for url, ok := range map[string]bool{
		"postgres://u:p@db.example/x":                     false,
		"postgres://u:p@db.example/x?sslmode=require":     false,
		"postgres://u:p@db.example/x?sslmode=verify-ca":   false,
		"postgres://u:p@10.0.0.1/x?sslmode=disable":       false,
		"postgres://u:p@localhost,db.example/x":           false,
		"postgres://u:p@db.example/x?sslmode=verify-full": true,
		"postgres://u:p@127.0.0.1/x":                      true,
		"postgres://u:p@[::1]/x?sslmode=disable":          true,
		"postgres://u@localhost/x":                        true,
		"postgres:///x?host=/var/run/postgresql":          true,
		"sqlite:x.db":                                     true,
	} {
		code, _, stderr := call(t, append([]string{"DATABASE_URL=" + url}, goodSettings...), "config")
		if ok != (code == exitDone) || !ok && !strings.Contains(stderr, "DATABASE_URL_ALLOW=") {
			t.Errorf("%s: exit %d, %s", url, code, stderr)
		}
		if ok {
			continue
		}
		if code, _, stderr = call(t, []string{"DATABASE_URL=" + url}, "migrate", "status"); code != exitUsage || !strings.Contains(stderr, "DATABASE_URL_ALLOW=") {
			t.Errorf("migrate status over %s: exit %d, %s", url, code, stderr)
		}
		if code, _, stderr = call(t, append([]string{"DATABASE_URL=" + url, "DATABASE_URL_ALLOW=10.0.0.1,db.example"}, goodSettings...), "config"); code != exitDone {
			t.Errorf("%s, allowed: exit %d, %s", url, code, stderr)
		}
	}
}

func TestAPasswordIsNoFlag(t *testing.T) {
	for url, ok := range map[string]bool{"postgres://u:c4n4ry@127.0.0.1/x": false, "postgres://127.0.0.1/x?user=u&password=c4n4ry": false, "postgres://u@127.0.0.1/x": true, "sqlite:a@b:c.db": true} {
		code, stdout, stderr := call(t, goodSettings, "config", "--database-url", url)
		if ok != (code == exitDone) || strings.Contains(stdout+stderr, "c4n4ry") || !ok && !strings.Contains(stderr, "DATABASE_URL_FILE") {
			t.Errorf("%s: exit %d\n%s%s", url, code, stdout, stderr)
		}
	}
}

func TestADotenvThatOthersMayWriteIsRefused(t *testing.T) {
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o644: true, 0o664: false, 0o646: false, 0o666: false} {
		t.Chdir(t.TempDir())
		if err := os.WriteFile(".env", []byte("LOG_LEVEL=warn\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(".env", mode); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if code := run(t.Context(), []string{"config"}, process{&out, &out, goodSettings}); ok != (code == exitDone) || ok != !strings.Contains(out.String(), "chmod go-w") {
			t.Errorf("mode %04o: exit %d\n%s", mode, code, out.String())
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file to somebody else")
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile(".env", []byte("LOG_LEVEL=warn\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(".env", 65534, 65534); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"config"}, process{&out, &out, goodSettings}); code != exitUsage || !strings.Contains(out.String(), "belongs to the user 65534") {
		t.Errorf("somebody else's: exit %d\n%s", code, out.String())
	}
}
