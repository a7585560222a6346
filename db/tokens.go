package db

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// Token is a right to use the admin API. What its holder sends is not stored; its hash is.
type Token struct {
	Name      string
	Prefix    string // the first characters, by which people tell tokens apart
	Hash      []byte // SHA-256 of the whole
	Role      string
	CreatedAt time.Time // set by [DB.AddToken]
	RevokedAt time.Time // zero: in force
}

type tokenRow struct {
	bun.BaseModel `bun:"table:tokens,alias:k"`

	Name      string  `bun:"name,pk"`
	Prefix    string  `bun:"prefix"`
	Hash      []byte  `bun:"hash"`
	Role      string  `bun:"role"`
	CreatedAt instant `bun:"created_at"`
	RevokedAt instant `bun:"revoked_at"`
}

// Tokens reads all tokens, also the revoked ones, by name.
func (d *DB) Tokens(ctx context.Context) ([]Token, error) {
	var rows []tokenRow
	if err := d.read.NewSelect().Model(&rows).OrderExpr("name").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	tokens := make([]Token, len(rows))
	for i, r := range rows {
		tokens[i] = Token{r.Name, r.Prefix, r.Hash, r.Role, r.CreatedAt.time(), r.RevokedAt.time()}
	}
	return tokens, nil
}

// AddToken stores a token. A name is used once, so that the audit's names stay true: also a
// revoked one is [ErrTaken].
func (d *DB) AddToken(ctx context.Context, t Token) error {
	if err := checkTexts("name", t.Name, "prefix", t.Prefix, "role", t.Role); err != nil {
		return err
	}
	_, err := d.write.NewInsert().Model(&tokenRow{Name: t.Name, Prefix: t.Prefix, Hash: t.Hash, Role: t.Role}).
		Value("created_at", "?", d.now()).Exec(ctx)
	if isUnique(err) {
		err = ErrTaken
	}
	if err != nil {
		return fmt.Errorf("add token %q: %w", t.Name, err)
	}
	return nil
}

// RevokeToken ends a token's right. To say it again changes nothing.
func (d *DB) RevokeToken(ctx context.Context, name string) error {
	if err := checkText("name", name); err != nil {
		return err
	}
	res, err := d.write.NewUpdate().Model((*tokenRow)(nil)).Set("revoked_at = coalesce(revoked_at, ?)", d.now()).
		Where("name = ?", name).Exec(ctx)
	if err == nil {
		var found bool
		if found, err = one(res); err == nil && !found {
			err = ErrNotFound
		}
	}
	if err != nil {
		return fmt.Errorf("revoke token %q: %w", name, err)
	}
	return nil
}
