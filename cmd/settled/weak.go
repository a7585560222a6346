package main

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/settled/settled/db"
	"github.com/settled/settled/ledger/loopback"
)

// list reads a setting of several words, separated by commas.
func (v values) list(name string) (words []string) {
	for w := range strings.SplitSeq(v.value[name], ",") {
		if w = strings.ToLower(strings.TrimSpace(w)); w != "" {
			words = append(words, w)
		}
	}
	return words
}

// checkDatabase reports why the database's URL cannot be used. Whoever stands between could read and change the ledger
// of a connection whose other end is not verified; only sslmode=verify-full verifies it.
func (v values) checkDatabase() error {
	address := strings.TrimSpace(v.value["DATABASE_URL"])
	if err := db.CheckURL(address); err != nil {
		return err
	}
	for _, host := range db.Unverified(address) {
		if !slices.Contains(v.list("DATABASE_URL_ALLOW"), strings.ToLower(host)) {
			return fmt.Errorf("the connection to %s is not verified: add sslmode=verify-full, or set DATABASE_URL_ALLOW=%s if nobody stands between", host, host)
		}
	}
	return nil
}

// weak reports settings that are good enough for play, and not for a live key.
func (v values) weak(c config) (problems []error) {
	bad := func(name, format string, args ...any) {
		problems = append(problems, fmt.Errorf(name+": with a live key, "+format, args...))
	}
	if u, err := url.Parse(c.stripeBase); c.stripeBase != "" && err == nil && !stripes(u) &&
		!slices.Contains(v.list("STRIPE_API_BASE_ALLOW"), strings.ToLower(u.Hostname())) {
		bad("STRIPE_API_BASE", "whoever answers at %s gets the key: leave it out, or set STRIPE_API_BASE_ALLOW=%s",
			u.Hostname(), u.Hostname())
	}
	for i, s := range c.webhookSecrets {
		switch {
		case strings.Contains(s, "simulat"):
			bad("STRIPE_WEBHOOK_SECRET", "secret %d is the simulator's, which everybody knows", i+1)
		case guessed(strings.TrimPrefix(s, "whsec_")):
			bad("STRIPE_WEBHOOK_SECRET", "secret %d can be guessed: copy the one of the webhook endpoint at Stripe",
				i+1)
		}
	}
	if c.adminToken != "" && guessed(c.adminToken) {
		bad("ADMIN_TOKEN", "it can be guessed: make one by `openssl rand -hex 24`, or leave it out and use `settled token create`")
	}
	if host, _, err := net.SplitHostPort(c.adminAddr); err == nil && !loopback.Is(host) &&
		!slices.Contains(v.list("ADMIN_ADDR_ALLOW"), strings.ToLower(host)) {
		bad("ADMIN_ADDR",
			"tokens would cross the network in the clear: listen on loopback behind something that speaks TLS, or set ADMIN_ADDR_ALLOW=%s", host)
	}
	return problems
}

// variety is how many different characters a secret of chance has at least, with next to no exception: 16 hex digits
// have fewer than 6 once in a hundred thousand.
const variety = 6

// guessed reports a secret that no chance made.
func guessed(s string) bool {
	seen := map[rune]bool{}
	for _, r := range s {
		seen[r] = true
	}
	return len(seen) < variety
}

// stripes reports an address that is Stripe's own.
func stripes(u *url.URL) bool {
	host := strings.ToLower(u.Hostname())
	return u.Scheme == "https" && (host == "stripe.com" || strings.HasSuffix(host, ".stripe.com"))
}
