package db

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// skeletonRow is a reference under what it is easily taken for. The row is a help for people and no fact: it is written
// with the transfer, and dropped after some days.
type skeletonRow struct {
	bun.BaseModel `bun:"table:skeletons"`

	Skeleton  string  `bun:"skeleton"`
	Reference string  `bun:"reference"`
	At        instant `bun:"at"`
}

// skeletonOf names a skeleton in a fixed length: one letter of Unicode can be eighteen in its compatibility form, and an
// index has no room for hundreds of those.
func skeletonOf(reference string) string {
	sum := sha256.Sum256([]byte(ledger.Skeleton(reference)))
	return hex.EncodeToString(sum[:16])
}

// alikeFor is for how long a reference is compared with those that come after it.
const alikeFor = 24 * time.Hour

// Alike finds, for each of the references, another one of the last day that is easily taken for it; those that have
// none are left out.
func (d *DB) Alike(ctx context.Context, references []string) (map[string]string, error) {
	skeletons := make([]string, len(references))
	for i, r := range references {
		skeletons[i] = skeletonOf(r)
	}
	var rows []struct{ Skeleton, First, Last string }
	err := d.read.NewSelect().Model((*skeletonRow)(nil)).Column("skeleton").ColumnExpr("min(reference) AS first, max(reference) AS last").
		Where("skeleton IN (?)", bun.List(skeletons)).Where("at > ?", d.ago(alikeFor)).GroupExpr("skeleton").
		Having("min(reference) <> max(reference)").Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("read references that are alike: %w", err)
	}
	var alike map[string]string
	for _, row := range rows {
		for i, s := range skeletons {
			if s != row.Skeleton {
				continue
			}
			if alike == nil {
				alike = make(map[string]string)
			}
			if alike[references[i]] = row.First; row.First == references[i] {
				alike[references[i]] = row.Last
			}
		}
	}
	return alike, nil
}

// ForgetSkeletons drops what [DB.Alike] needs no longer, and tells how many rows.
func (d *DB) ForgetSkeletons(ctx context.Context) (int64, error) {
	res, err := d.write.NewDelete().Model((*skeletonRow)(nil)).Where("at < ?", d.ago(2*alikeFor)).Exec(ctx)
	if err != nil {
		return 0, fmt.Errorf("forget references that are alike: %w", err)
	}
	return res.RowsAffected()
}
