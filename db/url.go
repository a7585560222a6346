package db

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/settled/settled/ledger/loopback"
)

// errURL says how a PostgreSQL URL is written, and shows nothing of the one that was given.
var errURL = errors.New("the database URL cannot be read: write postgres://user:password@host:5432/name, with %xx for special characters in the password (%40 for @, %2F for /, %3F for ?, %23 for #, %3A for :, %25 for %)")

// parsePostgres reads a URL; its errors never show the password.
//
// pgx has a reader of its own, which differs from net/url where a password was not escaped:
// the rest of it would turn up as part of a host or a database's name, and be printed as one.
// So such a URL is refused before either reads it.
func parsePostgres(address string) (*pgx.ConnConfig, error) {
	rest, ok := strings.CutPrefix(address, "postgres://")
	if !ok {
		if rest, ok = strings.CutPrefix(address, "postgresql://"); !ok {
			return nil, errURL
		}
	}
	authority := rest
	if end := strings.IndexAny(rest, "/?"); end >= 0 {
		authority = rest[:end]
	}
	_, hosts, _ := strings.Cut(authority, "@")
	switch {
	case strings.ContainsAny(address, "#\\\"` ") || strings.ContainsFunc(address, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return nil, errURL
	case strings.Contains(hosts, "@"), strings.Contains(rest[len(authority):], "@"):
		return nil, errURL
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, errURL // the parser's error quotes the URL
	}
	if _, err := url.ParseQuery(u.RawQuery); err != nil {
		return nil, errURL
	}
	config, err := pgx.ParseConfig(address)
	if err != nil {
		// pgx quotes the URL, without what it takes for a password, and behind it the cause,
		// which may quote anything. What is between says enough.
		_, says, _ := strings.Cut(err.Error(), "`: ")
		says, _, _ = strings.Cut(says, " (")
		return nil, fmt.Errorf("the database URL cannot be read: %s", says)
	}
	return config, nil
}

// holdsPassword tells the parameters password, sslpassword and passfile, however written.
func holdsPassword(parameter string) bool {
	return strings.Contains(strings.ToLower(parameter), "pass")
}

// CheckURL reports why [Open] could not read a URL, and reaches nothing. The error shows no
// password.
func CheckURL(address string) error {
	scheme, rest, _ := strings.Cut(address, ":")
	switch scheme {
	case "postgres", "postgresql":
		_, err := parsePostgres(address)
		return err
	case "sqlite":
		_, err := litePath(rest)
		return err
	}
	return errors.New("the database URL must begin with sqlite: or postgres:// (sqlite:settled.db, sqlite::memory:, postgres://user@host/name)")
}

// ShowURL is a URL as it may be printed: without its password, and not at all when it cannot be
// told where in it that is.
func ShowURL(address string) string {
	if scheme, _, _ := strings.Cut(address, ":"); scheme == "sqlite" {
		return address
	}
	if _, err := parsePostgres(address); err != nil {
		return "[unreadable]"
	}
	u, err := url.Parse(address)
	if err != nil {
		return "[unreadable]"
	}
	q := u.Query()
	for k := range q {
		if holdsPassword(k) {
			q.Set(k, "xxxxx")
		}
	}
	u.RawQuery = q.Encode()
	return u.Redacted()
}

// HasPassword reports a URL that holds a password, or cannot be told not to.
func HasPassword(address string) bool {
	if strings.HasPrefix(address, "sqlite:") {
		return false
	}
	u, err := url.Parse(address)
	if err != nil {
		return strings.Contains(address, "@")
	}
	if _, set := u.User.Password(); set {
		return true
	}
	for k := range u.Query() {
		if holdsPassword(k) && !strings.EqualFold(k, "passfile") {
			return true
		}
	}
	return false
}

// Unverified lists the hosts of a URL that a connection would not be sure to reach: those off this machine whose
// certificate is not checked against their name.
func Unverified(address string) (hosts []string) {
	config, err := parsePostgres(address)
	if err != nil {
		return nil
	}
	add := func(host string, verifies bool) {
		local := strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || loopback.Is(host)
		if !local && !verifies && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	// Only verify-full leaves the check of chain and name to crypto/tls; the weaker modes skip it.
	verified := func(t *tls.Config) bool { return t != nil && !t.InsecureSkipVerify && t.ServerName != "" }
	add(config.Host, verified(config.TLSConfig))
	for _, f := range config.Fallbacks {
		add(f.Host, verified(f.TLSConfig))
	}
	return hosts
}
