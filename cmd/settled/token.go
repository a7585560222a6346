package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/settled/settled/db"
	"github.com/settled/settled/http"
	"github.com/settled/settled/ledger"
)

// tokenCommand works on the database: it is how the first tokens are made.
type tokenCommand struct {
	Create tokenCreate `cmd:"" help:"Make a token of a principal, who may have several: to replace one, make another, hand it out, then revoke the old one. Idempotency keys stay the principal's."`
	List   tokenList   `cmd:"" help:"List the tokens: whose, from which characters they begin, and whether they are in force."`
	Revoke tokenRevoke `cmd:"" help:"End one token of a principal, or all."`
}

type (
	tokenCreate struct {
		Name    string        `arg:"" help:"The principal: who acts. It stands in the history of all that is done with the token."`
		Role    string        `enum:"viewer,operator,admin" default:"operator" help:"viewer (reads), operator (orders, sends messages) or admin."`
		Expires time.Duration `placeholder:"D" help:"How long it is in force, such as 2160h; without it, until it is revoked."`
		flags
	}
	tokenList   struct{ flags }
	tokenRevoke struct {
		Name   string `arg:"" help:"The principal."`
		Prefix string `placeholder:"X" help:"The token's prefix, as list shows it; without it, all of the principal's."`
		flags
	}
)

// principalMost is the length of a principal's name, in characters.
const principalMost = 100

// checkPrincipal reports why a name cannot be a principal's.
func checkPrincipal(name string) error {
	if err := ledger.CheckReference(name, principalMost); err != nil {
		return fmt.Errorf("the principal's name %w", err)
	}
	for taken, whose := range reservedPrincipals {
		if ledger.Skeleton(name) == ledger.Skeleton(taken) {
			return fmt.Errorf("the principal %q is, or is easily taken for, %q, which is %s: give another name", name,
				taken, whose)
		}
	}
	return nil
}

// reservedPrincipals are names that the machine gives, so that in the books each means one thing.
var reservedPrincipals = map[string]string{
	"settled":          "the machine itself, when nobody told it to act",
	bootstrapPrincipal: "who holds ADMIN_TOKEN",
	firstPrincipal:     "who holds the token of the first start",
}

const (
	bootstrapPrincipal = "bootstrap"
	firstPrincipal     = "first"
)

// Run makes a token and shows it, once.
func (c tokenCreate) Run(ctx context.Context, proc process) error {
	if err := checkPrincipal(c.Name); err != nil {
		return usageError{err}
	}
	if c.Expires < 0 {
		return usageError{fmt.Errorf("--expires: %s is over already", c.Expires)}
	}
	d, err := openCurrent(ctx, c.flags, proc)
	if err != nil {
		return err
	}
	defer d.Close()
	stored, err := d.Tokens(ctx)
	if err != nil {
		return err
	}
	for _, other := range stored {
		if other.Name != c.Name && ledger.Skeleton(other.Name) == ledger.Skeleton(c.Name) {
			if other.RevokedAt.IsZero() && (other.ExpiresAt.IsZero() || time.Now().Before(other.ExpiresAt)) {
				return usageError{fmt.Errorf("the principal %q is easily taken for %q, who has a token in force: give another name", c.Name, other.Name)}
			}
			fmt.Fprintf(proc.stderr, "warning: the principal %q is easily taken for %q, who had a token\n", c.Name,
				other.Name)
		}
	}
	token, prefix, hash := http.NewToken(rand.Reader)
	t := db.Token{Name: c.Name, Prefix: prefix, Hash: hash, Role: c.Role}
	if c.Expires > 0 {
		t.ExpiresAt = time.Now().Add(c.Expires)
	}
	if err := d.AddToken(ctx, t); err != nil {
		if errors.Is(err, db.ErrOtherRole) {
			return usageError{err}
		}
		return err
	}
	_, err = fmt.Fprintf(proc.stdout, "Token of %s, %s (shown once): %s\n", c.Name, c.Role, token)
	return err
}

// Run lists the tokens.
func (c tokenList) Run(ctx context.Context, proc process) error {
	d, err := openCurrent(ctx, c.flags, proc)
	if err != nil {
		return err
	}
	defer d.Close()
	stored, err := d.Tokens(ctx)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(proc.stdout, 0, 0, 2, ' ', 0)
	for _, k := range stored {
		state := "in force"
		switch {
		case !k.RevokedAt.IsZero():
			state = "revoked " + k.RevokedAt.UTC().Format(time.RFC3339)
		case !k.ExpiresAt.IsZero() && !time.Now().Before(k.ExpiresAt):
			state = "expired " + k.ExpiresAt.UTC().Format(time.RFC3339)
		case !k.ExpiresAt.IsZero():
			state += " until " + k.ExpiresAt.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", k.Name, k.Prefix, k.Role, k.CreatedAt.UTC().Format(time.RFC3339), state)
	}
	return t.Flush()
}

// Run ends tokens. A daemon that runs takes them for some seconds more.
func (c tokenRevoke) Run(ctx context.Context, proc process) error {
	d, err := openCurrent(ctx, c.flags, proc)
	if err != nil {
		return err
	}
	defer d.Close()
	n, err := d.RevokeTokens(ctx, c.Name, c.Prefix)
	if errors.Is(err, db.ErrNotFound) {
		return usageError{err}
	}
	if err == nil {
		_, err = fmt.Fprintf(proc.stdout, "%s of %s revoked\n", counted(int(n), "token"), c.Name)
	}
	return err
}
