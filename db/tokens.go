package db

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// Token is a right to use the admin API. What its holder sends is not stored; its hash is.
type Token struct {
	Name      string // of the principal who holds it, and who may hold several
	Prefix    string // the first characters, by which people tell tokens apart
	Hash      []byte // SHA-256 of the whole
	Role      string
	CreatedAt time.Time // set by [DB.AddToken]
	ExpiresAt time.Time // zero: never
	RevokedAt time.Time // zero: not revoked
}

type tokenRow struct {
	bun.BaseModel `bun:"table:tokens,alias:k"`

	Hash      []byte  `bun:"hash,pk"`
	Name      string  `bun:"name"`
	Prefix    string  `bun:"prefix"`
	Role      string  `bun:"role"`
	CreatedAt instant `bun:"created_at"`
	ExpiresAt instant `bun:"expires_at"`
	RevokedAt instant `bun:"revoked_at"`
}

// Tokens reads all tokens, also the revoked ones, by name and age.
func (d *DB) Tokens(ctx context.Context) ([]Token, error) {
	var rows []tokenRow
	if err := d.read.NewSelect().Model(&rows).OrderExpr("name, created_at, prefix").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	tokens := make([]Token, len(rows))
	for i, r := range rows {
		tokens[i] = Token{r.Name, r.Prefix, r.Hash, r.Role, r.CreatedAt.time(), r.ExpiresAt.time(), r.RevokedAt.time()}
	}
	return tokens, nil
}

// AddToken stores a token of a principal, who may have others: the one that is to replace another belongs to the same
// principal, and so do the keys of requests that were sent with it. It is [ErrOtherRole] while a token of the
// principal is in force with another role.
func (d *DB) AddToken(ctx context.Context, t Token) error { return d.addToken(ctx, t, false) }

// AddFirstToken stores a token unless there is one, whoever's: of processes that start at once one wins. To the others it
// is [ErrTaken].
func (d *DB) AddFirstToken(ctx context.Context, t Token) error { return d.addToken(ctx, t, true) }

func (d *DB) addToken(ctx context.Context, t Token, first bool) error {
	if err := checkTexts("name", t.Name, "prefix", t.Prefix, "role", t.Role); err != nil {
		return err
	}
	err := d.changing(ctx, "tokens", func(tx bun.Tx) error {
		if err := d.lockMigrations(ctx, tx); err != nil { // two who add at once must see each other
			return err
		}
		others := tx.NewSelect().Model((*tokenRow)(nil))
		taken := ErrTaken
		if !first {
			taken = ErrOtherRole
			others = others.Where("name = ?", t.Name).Where("role <> ?", t.Role).Where("revoked_at IS NULL").
				Where("expires_at IS NULL OR expires_at > ?", d.now())
		}
		if has, err := others.Exists(ctx); err != nil {
			return err
		} else if has {
			return taken
		}
		_, err := tx.NewInsert().Model(&tokenRow{Name: t.Name, Prefix: t.Prefix, Hash: t.Hash, Role: t.Role, ExpiresAt: toInstant(t.ExpiresAt)}).
			Value("created_at", "?", d.now()).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("add a token of %q: %w", t.Name, err)
	}
	return nil
}

// RevokeTokens ends the right of a principal's tokens: of those with the prefix, or (empty) of all. It tells how many
// it ended; those that were revoked before stay as they are.
func (d *DB) RevokeTokens(ctx context.Context, name, prefix string) (int64, error) {
	if err := checkTexts("name", name, "prefix", prefix); err != nil {
		return 0, err
	}
	var n int64
	err := d.changing(ctx, "tokens", func(tx bun.Tx) error {
		q := tx.NewUpdate().Model((*tokenRow)(nil)).Set("revoked_at = ?", d.now()).Where("name = ?", name).Where("revoked_at IS NULL")
		if prefix != "" {
			q = q.Where("prefix = ?", prefix)
		}
		res, err := q.Exec(ctx)
		if err == nil {
			n, err = res.RowsAffected()
		}
		return err
	})
	if err == nil && n == 0 {
		known := d.read.NewSelect().Model((*tokenRow)(nil)).Where("name = ?", name)
		if prefix != "" {
			known = known.Where("prefix = ?", prefix)
		}
		var has bool
		if has, err = known.Exists(ctx); err == nil && !has {
			err = ErrNotFound
		}
	}
	if err != nil {
		return 0, fmt.Errorf("revoke tokens of %q: %w", name, err)
	}
	return n, nil
}
