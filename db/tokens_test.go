package db

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/settled/settled/db/dbtest"
)

func TestAPrincipalHasManyTokensOfOneRole(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		k := Token{Name: "ann", Prefix: "stl_ab", Hash: hash("secret"), Role: "operator", ExpiresAt: time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)}
		if err := d.AddToken(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		if err := d.AddToken(t.Context(), Token{Name: "ann", Prefix: "stl_cd", Hash: hash("other"), Role: "operator"}); err != nil {
			t.Errorf("a second token: %v", err)
		}
		if err := d.AddToken(t.Context(), Token{Name: "ann", Prefix: "stl_ef", Hash: hash("third"), Role: "admin"}); !errors.Is(err, ErrOtherRole) {
			t.Errorf("a token of another role: %v", err)
		}
		if err := d.AddToken(t.Context(), Token{Name: "bob", Hash: hash("secret"), Role: "admin"}); err == nil {
			t.Error("one token is of two principals")
		}
		tokens, err := d.Tokens(t.Context())
		if err != nil || len(tokens) != 2 {
			t.Fatal(tokens, err)
		}
		if tokens[0].CreatedAt.IsZero() || !tokens[0].RevokedAt.IsZero() {
			t.Errorf("%+v", tokens[0])
		}
		k.CreatedAt = tokens[0].CreatedAt
		if diff := cmp.Diff(k, tokens[0]); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRevokingEndsOneTokenOrAllOfAPrincipal(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		for _, k := range []Token{{Name: "ann", Prefix: "a1"}, {Name: "ann", Prefix: "a2"}, {Name: "ann", Prefix: "a3"}, {Name: "bob", Prefix: "b1"}} {
			k.Hash, k.Role = hash(k.Prefix), "operator"
			if err := d.AddToken(t.Context(), k); err != nil {
				t.Fatal(err)
			}
		}
		for _, step := range []struct {
			name, prefix string
			ended        int64
			err          error
		}{
			{"ann", "a1", 1, nil}, {"ann", "a1", 0, nil}, {"ann", "b1", 0, ErrNotFound}, {"ann", "", 2, nil}, {"ann", "", 0, nil}, {"nobody", "", 0, ErrNotFound},
		} {
			if n, err := d.RevokeTokens(t.Context(), step.name, step.prefix); n != step.ended || !errors.Is(err, step.err) {
				t.Errorf("%s %s: ended %d, %v", step.name, step.prefix, n, err)
			}
		}
		tokens, err := d.Tokens(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range tokens {
			if k.RevokedAt.IsZero() != (k.Name == "bob") {
				t.Errorf("%+v", k)
			}
		}
		if err := d.AddToken(t.Context(), Token{Name: "ann", Prefix: "a4", Hash: hash("a4"), Role: "admin"}); err != nil {
			t.Errorf("once all are revoked the role may change: %v", err)
		}
	})
}

func TestOfProcessesThatStartAtOnceOneMakesTheFirstToken(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		const processes = 4
		open(t, url)
		errs := make(chan error, processes)
		for i := range processes {
			d := open(t, patient(url))
			go func() {
				errs <- d.AddFirstToken(t.Context(), Token{Name: "first", Prefix: "p", Hash: hash(string(rune('a' + i))), Role: "admin"})
			}()
		}
		won := 0
		for range processes {
			switch err := <-errs; {
			case err == nil:
				won++
			case !errors.Is(err, ErrTaken):
				t.Error(err)
			}
		}
		if won != 1 {
			t.Errorf("%d tokens are the first", won)
		}
	})
}
