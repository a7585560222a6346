package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/settled/settled/db"
	"github.com/settled/settled/http"
	"github.com/settled/settled/ledger"
)

// store fits the database to what package http asks for: the two know nothing of each other.
type store struct{ *db.DB }

func (s store) Dossier(ctx context.Context, id ledger.ID) (ledger.Dossier, error) {
	d, err := s.DB.Dossier(ctx, id)
	if errors.Is(err, db.ErrNotFound) {
		return d, fmt.Errorf("%w: %s", ledger.ErrNotFound, id)
	}
	return d, unavailable(err)
}

func (s store) List(ctx context.Context, f ledger.Filter) ([]ledger.Record, error) {
	records, err := s.DB.List(ctx, f)
	return records, unavailable(err)
}

func (s store) Tokens(ctx context.Context) ([]http.Token, error) {
	stored, err := s.DB.Tokens(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	tokens := make([]http.Token, len(stored))
	for i, t := range stored {
		tokens[i] = http.Token{Name: t.Name, Prefix: t.Prefix, Hash: t.Hash, Role: http.Role(t.Role), CreatedAt: t.CreatedAt, RevokedAt: t.RevokedAt}
	}
	return tokens, nil
}

func (s store) ClaimKey(ctx context.Context, key, fingerprint string, staleAfter time.Duration) (http.Claim, error) {
	c, err := s.DB.ClaimKey(ctx, key, fingerprint, staleAfter)
	states := map[db.ClaimState]http.ClaimState{
		db.ClaimNew: http.KeyNew, db.ClaimRunning: http.KeyRunning, db.ClaimDone: http.KeyDone, db.ClaimMismatch: http.KeyMismatch,
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
