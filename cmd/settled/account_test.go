package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	nethttp "net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/cmd/settled/adapt"
	"github.com/settled/settled/db"
	"github.com/settled/settled/ledger"
)

// ledgerOf makes a ledger's file, bound as given, with or without an order.
func ledgerOf(t *testing.T, b ledger.Binding, orders int) (url string, d *db.DB) {
	t.Helper()
	url = "sqlite:" + filepath.Join(t.TempDir(), "s.db")
	d, err := openLedger(t.Context(), config{databaseURL: url}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if b.Mode != "" {
		if _, err := d.BindMode(t.Context(), b.Mode); err != nil {
			t.Fatal(err)
		}
	}
	if b.Account != "" {
		if err := d.Bind(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	for i := range orders {
		o := ledger.Order{Reference: fmt.Sprint("old-", i), Seller: "s", Destination: "acct_1", Money: ledger.Money{Amount: 1, Currency: "eur"}}
		if _, _, err := d.Commit(t.Context(), []ledger.Change{ledger.Accept(o, uuid.Must(uuid.NewV7()), 1, time.Now(), ledger.By{})}); err != nil {
			t.Fatal(err)
		}
	}
	return url, d
}

func TestALedgerOfAnotherModeOrOfAToyIsNotServed(t *testing.T) {
	test, live, sandbox := ledger.Binding{Account: "acct_1", Mode: ledger.TestMode}, ledger.Binding{Account: "acct_1", Mode: ledger.LiveMode}, ledger.Binding{Account: "acct_sim1", Mode: ledger.SandboxMode}
	for name, tc := range map[string]struct {
		bound  ledger.Binding
		orders int
		args   []string
		key    string
		says   []string
	}{
		"a live key over a test ledger":            {test, 0, []string{"serve"}, "sk_live_x", []string{"acct_1 in test mode", "live mode"}},
		"a test key over a live ledger":            {live, 0, []string{"serve"}, "rk_test_x", []string{"acct_1 in live mode", "test mode"}},
		"a key over old orders":                    {ledger.Binding{}, 1, []string{"serve"}, "sk_test_x", []string{"settled migrate mode"}},
		"a key over a sandbox's ledger":            {sandbox, 0, []string{"serve"}, "sk_test_x", []string{"acct_sim1 in sandbox mode", "test mode"}},
		"a sandbox over a real ledger":             {test, 0, []string{"serve", "--sandbox"}, "", []string{"acct_1 in test mode", "sandbox mode"}},
		"a sandbox over real orders":               {ledger.Binding{}, 1, []string{"serve", "--sandbox"}, "", []string{"a sandbox takes an empty ledger or its own"}},
		"a sandbox while a live key is configured": {ledger.Binding{}, 0, []string{"serve", "--sandbox"}, "sk_live_x", []string{"STRIPE_SECRET_KEY", "a sandbox is a toy"}},
	} {
		t.Run(name, func(t *testing.T) {
			url, d := ledgerOf(t, tc.bound, tc.orders)
			environ := []string{"DATABASE_URL=" + url, "STRIPE_WEBHOOK_SECRET=whsec_0123456789", "PUBLIC_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0", "STRIPE_API_BASE=http://127.0.0.1:9", "STRIPE_API_BASE_ALLOW=127.0.0.1"}
			if tc.key != "" {
				environ = append(environ, "STRIPE_SECRET_KEY="+tc.key)
			}
			code, _, stderr := call(t, environ, tc.args...)
			if code != exitUsage {
				t.Errorf("exit %d: %s", code, stderr)
			}
			for _, text := range tc.says {
				if !strings.Contains(stderr, text) {
					t.Errorf("%q is not said: %s", text, stderr)
				}
			}
			if b, err := d.Binding(t.Context()); err != nil || b != tc.bound {
				t.Errorf("it is bound to %s now, %v", b, err)
			}
		})
	}
}

func TestASandboxTakesItsOwnLedgerAgain(t *testing.T) {
	url, d := ledgerOf(t, ledger.Binding{}, 0)
	for range 2 {
		ctx, end := context.WithCancel(t.Context())
		said := &endsBy{word: "settled is up", end: func() {}}
		ended := make(chan int, 1)
		go func() {
			ended <- run(ctx, []string{"serve", "--sandbox"}, process{io.Discard, said, []string{"DATABASE_URL=" + url, "PUBLIC_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0", "ADMIN_TOKEN=0123456789abcdef"}})
		}()
		err := again(ctx, 10*time.Millisecond, func() (bool, error) {
			b, err := d.Binding(ctx)
			select {
			case code := <-ended:
				ended <- code
				return true, err
			default:
				return b.Account != "" && b.Mode == ledger.SandboxMode, err
			}
		})
		end()
		if code := <-ended; err != nil || code != exitDone {
			t.Fatalf("exit %d, %v: %s", code, err, said.said)
		}
	}
}

func TestALiveKeyMeetsNoSimulatedTimeAndATestKeySaysItLoudly(t *testing.T) {
	base := []string{"STRIPE_WEBHOOK_SECRET=whsec_0123456789", "SIMULATED_SPEED=60", "STRIPE_API_BASE=http://127.0.0.1:12111"}
	for _, key := range []string{"sk_live_x", "rk_live_x", "sk_org_live_x"} {
		if code, _, stderr := call(t, append([]string{"STRIPE_SECRET_KEY=" + key}, base...), "config"); code != exitUsage || !strings.Contains(stderr, "SIMULATED_SPEED: is for a simulator, and the key is a live one") {
			t.Errorf("%s: exit %d, %s", key, code, stderr)
		}
	}
	for _, elsewhere := range []string{"", "https://proxy.example", "http://10.0.0.1", "http://127.0.0.1.example"} {
		if code, _, stderr := call(t, append([]string{"STRIPE_SECRET_KEY=sk_test_x"}, base[0], base[1], "STRIPE_API_BASE="+elsewhere), "config"); code != exitUsage || !strings.Contains(stderr, "SIMULATED_SPEED") {
			t.Errorf("%q: exit %d, %s", elsewhere, code, stderr)
		}
	}
	v, problems := gather(flags{}, append([]string{"STRIPE_SECRET_KEY=sk_test_x"}, base...), "")
	c, more := v.parse(false)
	if len(problems)+len(more) > 0 || len(c.notices) != 1 || c.notices[0].Code != "simulated_time" {
		t.Errorf("%v %v %+v", problems, more, c.notices)
	}
}

func TestAKeyOfAnotherAccountIsFoundOutHoweverItIsHidden(t *testing.T) {
	const refusal = `{"error":{"type":"invalid_request_error","message":"The provided key does not have the required permissions for this endpoint on account '%s'."}}`
	page := func(account string) string { return fmt.Sprintf(refusal, account) }
	mine := ledger.Binding{Account: "acct_A", Mode: ledger.TestMode}
	for name, tc := range map[string]struct {
		bound   ledger.Binding
		status  int
		id      string
		body    string
		account string // verified; empty with passes: not known
		passes  bool
		ends    bool // the daemon ends
		after   string
	}{
		"its own":                                 {mine, 200, "req_1", `{"object":"account","id":"acct_A"}`, "acct_A", true, false, "acct_A"},
		"another's":                               {mine, 200, "req_1", `{"object":"account","id":"acct_B"}`, "", false, true, "acct_A"},
		"a refusal that names its own":            {mine, 403, "req_1", page("acct_A"), "acct_A", true, false, "acct_A"},
		"a refusal that names another":            {mine, 403, "req_1", page("acct_B"), "", false, true, "acct_A"},
		"a refusal that names none":               {mine, 403, "req_1", `{"error":{"type":"invalid_request_error","message":"No."}}`, "", false, false, "acct_A"},
		"a firewall":                              {mine, 403, "", "<html>", "", false, false, "acct_A"},
		"a new ledger and a firewall":             {ledger.Binding{Mode: ledger.TestMode}, 403, "", page("acct_B"), "", false, false, ""},
		"a new ledger and a refusal that names":   {ledger.Binding{Mode: ledger.TestMode}, 403, "req_1", page("acct_B"), "acct_B", true, false, "acct_B"},
		"a new ledger and a refusal without name": {ledger.Binding{Mode: ledger.TestMode}, 403, "req_1", `{"error":{"type":"invalid_request_error","message":"No."}}`, "", true, false, ""},
		"an organisation's key":                   {ledger.Binding{Mode: ledger.TestMode}, 400, "req_1", `{"error":{"type":"invalid_request_error","message":"Please include the Stripe-Context header"}}`, "", false, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, d := ledgerOf(t, tc.bound, 0)
			server := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, _ *nethttp.Request) {
				if tc.id != "" {
					w.Header().Set("Request-Id", tc.id)
				}
				w.WriteHeader(tc.status)
				io.WriteString(w, tc.body)
			}))
			defer server.Close()
			client, err := stripe.New(stripe.Config{Key: "rk_test_x", Base: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			account, err := adapt.VerifyAccount(d, client, ledger.TestMode, slog.New(slog.DiscardHandler))(t.Context())
			if account != tc.account || (err == nil) != tc.passes || errors.Is(err, db.ErrMisbound) != tc.ends {
				t.Errorf("%q, %v", account, err)
			}
			if b, err := d.Binding(t.Context()); err != nil || b.Account != tc.after {
				t.Errorf("it is bound to %s, %v", b, err)
			}
		})
	}
}
