package db

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// trustRow is a person's word on clocks that disagree. The table has a sum: see sums.go.
type trustRow struct {
	bun.BaseModel `bun:"table:trusts,alias:tr"`

	ID        ledger.ID     `bun:"id,pk"` // of the message
	Clock     ledger.Clock  `bun:"clock"`
	Principal string        `bun:"principal"`
	Reason    string        `bun:"reason"`
	At        instant       `bun:"at"`
	Database  time.Duration `bun:"database_ahead"`
	Stripe    time.Duration `bun:"stripe_ahead"`
	EndedAt   instant       `bun:"ended_at"`
	Ended     string        `bun:"ended,nullzero"` // why
}

// Trust reads the word that was given last and has not ended, or nil; and the database's clock.
func (d *DB) Trust(ctx context.Context) (t *ledger.Trust, at time.Time, err error) {
	err = d.snapshot(ctx, func(tx bun.Tx) error {
		var rows []trustRow
		if err := tx.NewSelect().Model(&rows).Where("ended_at IS NULL").OrderExpr("at DESC, id DESC").Limit(1).Scan(ctx); err != nil {
			return err
		}
		for _, r := range rows {
			t = &ledger.Trust{ID: r.ID, Clock: r.Clock, By: ledger.By{Message: r.ID, Principal: r.Principal, Reason: r.Reason}, At: r.At.time(),
				Database: r.Database, Stripe: r.Stripe}
		}
		at, err = d.clock(ctx, tx.Tx)
		return err
	})
	if err != nil {
		return nil, at, fmt.Errorf("read which clock is trusted: %w", err)
	}
	return t, at, nil
}

// StoreTrust stores a word, once, by the database's clock. It takes the place of any that stands.
func (d *DB) StoreTrust(ctx context.Context, t ledger.Trust) error {
	if err := checkTexts("clock", string(t.Clock), "principal", t.By.Principal, "reason", t.By.Reason); err != nil {
		return err
	}
	err := d.changing(ctx, "trusts", func(tx bun.Tx) error {
		at, err := d.clock(ctx, tx.Tx)
		if err != nil {
			return err
		}
		row := trustRow{ID: t.ID, Clock: t.Clock, Principal: t.By.Principal, Reason: t.By.Reason, At: toInstant(at), Database: t.Database, Stripe: t.Stripe}
		before := trustRow{EndedAt: toInstant(at), Ended: "another word took its place"}
		if _, err := tx.NewUpdate().Model(&before).Column("ended_at", "ended").Where("ended_at IS NULL").Where("id <> ?", t.ID).Exec(ctx); err != nil {
			return err
		}
		_, err = tx.NewInsert().Model(&row).On("CONFLICT (id) DO NOTHING").Returning("NULL").Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("store that a clock is trusted: %w", err)
	}
	return nil
}

// EndTrust ends a word, once.
func (d *DB) EndTrust(ctx context.Context, id ledger.ID, why string) error {
	if err := checkText("why", why); err != nil {
		return err
	}
	err := d.changing(ctx, "trusts", func(tx bun.Tx) error {
		at, err := d.clock(ctx, tx.Tx)
		if err != nil {
			return err
		}
		row := trustRow{ID: id, EndedAt: toInstant(at), Ended: why}
		_, err = tx.NewUpdate().Model(&row).Column("ended_at", "ended").WherePK().Where("ended_at IS NULL").Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("end the word on a clock, %s: %w", id, err)
	}
	return nil
}
