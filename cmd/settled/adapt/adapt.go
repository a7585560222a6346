// Package adapt fits the database to the interfaces of package http: the two know nothing of
// each other.
package adapt

import (
	"context"
	"fmt"
	"time"

	"github.com/settled/settled/db"
	"github.com/settled/settled/http"
	"github.com/settled/settled/ledger"
)

// Store is the ledger's database as package http wants it.
type Store struct{ *db.DB }

// Dossier returns all that is known of one transfer, or [ledger.ErrNotFound].
func (s Store) Dossier(ctx context.Context, id ledger.ID, latest int) (ledger.Dossier, error) {
	d, err := s.DB.Dossier(ctx, id, latest)
	return d, unavailable(err)
}

// Chapter returns a part of a transfer's history, or [ledger.ErrNotFound].
func (s Store) Chapter(ctx context.Context, id ledger.ID, before int64, limit int) (ledger.Chapter, error) {
	c, err := s.DB.Chapter(ctx, id, before, limit)
	return c, unavailable(err)
}

// List returns the transfers that a filter selects, newest first.
func (s Store) List(ctx context.Context, f ledger.Filter) ([]ledger.Record, error) {
	records, err := s.DB.List(ctx, f)
	return records, unavailable(err)
}

// Tokens returns every admin token.
func (s Store) Tokens(ctx context.Context) ([]http.Token, error) {
	stored, err := s.DB.Tokens(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	tokens := make([]http.Token, len(stored))
	for i, t := range stored {
		tokens[i] = http.Token{Name: t.Name, Prefix: t.Prefix, Hash: t.Hash, Role: http.Role(t.Role),
			CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt, RevokedAt: t.RevokedAt}
	}
	return tokens, nil
}

// ClaimKey takes an idempotency key, unless another request has it.
func (s Store) ClaimKey(ctx context.Context, key, fingerprint string, staleAfter time.Duration) (http.Claim, error) {
	c, err := s.DB.ClaimKey(ctx, key, fingerprint, staleAfter)
	states := map[db.ClaimState]http.ClaimState{
		db.ClaimNew: http.KeyNew, db.ClaimRunning: http.KeyRunning, db.ClaimDone: http.KeyDone,
		db.ClaimMismatch: http.KeyMismatch,
	}
	return http.Claim{State: states[c.State], Status: c.Status, Body: c.Body}, unavailable(err)
}

// unavailable marks an error that passes by waiting as such.
func unavailable(err error) error {
	if err != nil && db.Transient(err) {
		return fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
	}
	return err
}
