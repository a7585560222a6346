package stripe_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

func TestAKeySaysItsModeAndAnOrganisationsKeyNamesNoAccount(t *testing.T) {
	for key, want := range map[string]struct {
		mode ledger.Mode
		why  string // it is refused
	}{
		"sk_live_x": {ledger.LiveMode, ""}, "rk_live_x": {ledger.LiveMode, ""}, "sk_test_x": {ledger.TestMode, ""}, "rk_test_x": {ledger.TestMode, ""},
		"sk_org_live_x": {ledger.LiveMode, "Stripe-Context"}, "sk_org_test_x": {ledger.TestMode, "Stripe-Context"},
		"sk_x": {"", "neither live nor test"}, "rk_liv": {"", "neither live nor test"}, "pk_live_x": {"", "must begin with sk_"}, "": {"", "empty"},
		"sk_test_ x": {ledger.TestMode, "blank"},
	} {
		if mode, _ := stripe.ModeOf(key); mode != want.mode {
			t.Errorf("%q is %q", key, mode)
		}
		err := stripe.CheckKey(key, false)
		if (err != nil) != (want.why != "") || err != nil && !strings.Contains(err.Error(), want.why) {
			t.Errorf("%q: %v, want %q", key, err, want.why)
		}
	}
	if err := stripe.CheckKey("sk_org_live_x", true); err != nil {
		t.Errorf("what stands at another base may add the header: %v", err)
	}
}

func TestALiveOrganisationsKeyIsNotSentInTheClear(t *testing.T) {
	if _, err := stripe.New(stripe.Config{Key: "sk_org_live_x", Base: "http://proxy.example"}); err == nil || !strings.Contains(err.Error(), "in the clear") {
		t.Errorf("%v", err)
	}
}

func TestOnlyStripesOwnRefusalTellsWhoseTheKeyIs(t *testing.T) {
	const says = `{"error":{"type":"invalid_request_error","message":"The provided key 'rk_test_*' does not have the required permissions for this endpoint on account 'acct_B'."}}`
	for name, tc := range map[string]struct {
		status  int
		id      string // Request-Id
		body    string
		account string
		stripe  bool
	}{
		"Stripe names the account":                     {403, "req_1", says, "acct_B", true},
		"Stripe names none":                            {403, "req_1", `{"error":{"type":"invalid_request_error","message":"No."}}`, "", true},
		"Stripe names two":                             {403, "req_1", strings.Replace(says, "endpoint", "endpoint of acct_C", 1), "", true},
		"a firewall's page":                            {403, "", "<html>Forbidden: acct_B</html>", "", false},
		"a firewall's page with an ID":                 {403, "req_1", "<html>Forbidden: acct_B</html>", "", false},
		"JSON that names no request":                   {403, "", says, "", false},
		"another status":                               {400, "req_1", says, "", false},
		"an account that is no account, in the middle": {403, "req_1", strings.Replace(says, "acct_B", "xacct_B", 1), "", true},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if tc.id != "" {
					w.Header().Set("Request-Id", tc.id)
				}
				w.WriteHeader(tc.status)
				w.Write([]byte(tc.body))
			}))
			defer server.Close()
			c, err := stripe.New(stripe.Config{Key: "rk_test_x", Base: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _, err = c.Account(t.Context())
			var failed *stripe.ReadError
			if !errors.As(err, &failed) {
				t.Fatalf("%v", err)
			}
			if account, theirs := failed.Withheld(); account != tc.account || theirs != tc.stripe {
				t.Errorf("%q, %t; it said %q", account, theirs, failed.Said)
			}
		})
	}
}

func TestTheSimulatorTakesNoLiveKeyAndKeepsItsAccountFromARestrictedOne(t *testing.T) {
	sim := stripesim.New(stripesim.Config{AccountID: "acct_platform", Withheld: []string{"rk_test_restricted"}})
	defer sim.Close()
	server := httptest.NewServer(sim.Handler())
	defer server.Close()
	read := func(key string) *stripe.ReadError {
		c, err := stripe.New(stripe.Config{Key: key, Base: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _, err = c.Account(t.Context())
		var failed *stripe.ReadError
		errors.As(err, &failed)
		return failed
	}
	if failed := read("rk_test_other"); failed != nil {
		t.Error(failed)
	}
	if failed := read("rk_live_real"); failed == nil || failed.HTTPStatus != 401 {
		t.Errorf("a live key is taken: %v", failed)
	}
	failed := read("rk_test_restricted")
	if failed == nil {
		t.Fatal("the restricted key reads its account")
	}
	if account, theirs := failed.Withheld(); account != "acct_platform" || !theirs {
		t.Errorf("%q, %t", account, theirs)
	}
}
