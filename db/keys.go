package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// ClaimState says what is known of a key that a caller of the HTTP API sent.
type ClaimState uint8

// The states of a claim.
const (
	ClaimNew      ClaimState = iota // the caller's to carry out, and to finish or release
	ClaimRunning                    // the same request is being carried out
	ClaimDone                       // it was, with this answer
	ClaimMismatch                   // another request was sent under the key
)

// Claim is what [DB.ClaimKey] found.
type Claim struct {
	State  ClaimState
	Status int    // of the stored answer
	Body   []byte // of the stored answer
}

// keyRow is an Idempotency-Key that a caller sent, with the answer it got.
type keyRow struct {
	bun.BaseModel `bun:"table:idempotency_keys,alias:k"`

	Key         string  `bun:"key,pk"`
	Fingerprint string  `bun:"fingerprint"`
	FinishedAt  instant `bun:"finished_at"`
	Status      int64   `bun:"status"`
	Body        []byte  `bun:"body"`
}

// ClaimKey claims a key for the request that the fingerprint names. A claim that has run for
// longer than staleAfter was left behind by a process that died, and is taken over.
func (d *DB) ClaimKey(ctx context.Context, key, fingerprint string, staleAfter time.Duration) (Claim, error) {
	if err := checkTexts("key", key, "fingerprint", fingerprint); err != nil {
		return Claim{}, err
	}
	for {
		res, err := d.write.NewInsert().Model(&keyRow{Key: key, Fingerprint: fingerprint}).Value("claimed_at", "?", d.now()).
			On("CONFLICT (key) DO UPDATE").Set("claimed_at = excluded.claimed_at").
			Where("k.finished_at IS NULL").Where("k.fingerprint = excluded.fingerprint").Where("k.claimed_at < ?", d.ago(staleAfter)).
			Exec(ctx)
		if err != nil {
			return Claim{}, fmt.Errorf("claim an idempotency key: %w", err)
		}
		if claimed, err := one(res); claimed || err != nil {
			return Claim{State: ClaimNew}, err
		}
		var row keyRow
		err = d.write.NewSelect().Model(&row).Where("key = ?", key).Scan(ctx)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			continue // released since
		case err != nil:
			return Claim{}, fmt.Errorf("read an idempotency key: %w", err)
		case row.Fingerprint != fingerprint:
			return Claim{State: ClaimMismatch}, nil
		case row.FinishedAt.IsZero():
			return Claim{State: ClaimRunning}, nil
		}
		return Claim{State: ClaimDone, Status: int(row.Status), Body: row.Body}, nil
	}
}

// FinishKey stores the answer of a claimed key, once.
func (d *DB) FinishKey(ctx context.Context, key string, status int, body []byte) error {
	if err := checkText("key", key); err != nil {
		return err
	}
	if body == nil {
		body = []byte{}
	}
	_, err := d.write.NewUpdate().Model(&keyRow{Key: key, Status: int64(status), Body: body}).Column("status", "body").
		Set("finished_at = ?", d.now()).WherePK().Where("finished_at IS NULL").Exec(ctx)
	if err != nil {
		return fmt.Errorf("finish an idempotency key: %w", err)
	}
	return nil
}

// ReleaseKey gives up a claim, so that the request may come again.
func (d *DB) ReleaseKey(ctx context.Context, key string) error {
	if err := checkText("key", key); err != nil {
		return err
	}
	_, err := d.write.NewDelete().Model((*keyRow)(nil)).Where("key = ?", key).Where("finished_at IS NULL").Exec(ctx)
	if err != nil {
		return fmt.Errorf("release an idempotency key: %w", err)
	}
	return nil
}

// ForgetKeys drops the keys claimed longer ago than that, and tells how many.
func (d *DB) ForgetKeys(ctx context.Context, olderThan time.Duration) (int64, error) {
	res, err := d.write.NewDelete().Model((*keyRow)(nil)).Where("claimed_at < ?", d.ago(olderThan)).Exec(ctx)
	if err != nil {
		return 0, fmt.Errorf("forget idempotency keys: %w", err)
	}
	return res.RowsAffected()
}
