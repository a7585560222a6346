package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// walkRow is a walk of the reconciler.
type walkRow struct {
	bun.BaseModel `bun:"table:walks,alias:w"`

	No        int64     `bun:"no,pk"`
	Owner     ledger.ID `bun:"owner"`
	Step      int64     `bun:"step"`
	BeganAt   instant   `bun:"began_at"`
	TouchedAt instant   `bun:"touched_at"`
	UntilAt   instant   `bun:"until_at"`
	EndedAt   instant   `bun:"ended_at"`
	Reads     int64     `bun:"reads"`
	AtStripe  int64     `bun:"at_stripe"`
	InLedger  int64     `bun:"in_ledger"`
	Different int64     `bun:"different"`
}

func (r *walkRow) walk() audit.Walk {
	return audit.Walk{No: r.No, Owner: r.Owner, Step: r.Step, BeganAt: r.BeganAt.time(), Touched: r.TouchedAt.time(), Until: r.UntilAt.time(),
		EndedAt: r.EndedAt.time(), Reads: r.Reads, AtStripe: r.AtStripe, InLedger: r.InLedger, Different: r.Different}
}

// OpenWalk finds the walk to be made: the one that has not ended, or a new one when the last
// began longer ago than every. ahead is how far beyond the database's clock a new one looks for
// what Stripe created. It is mine when the owner may go on with it: an unended one that another
// owner touched within stale is left to that one. A walk that is not mine is the last there is.
func (d *DB) OpenWalk(ctx context.Context, owner ledger.ID, every, stale, ahead time.Duration) (w audit.Walk, mine bool, err error) {
	err = d.change(ctx, func(tx bun.Tx) error {
		at, err := d.clock(ctx, tx.Tx)
		if err != nil {
			return err
		}
		last, err := newestWalk(ctx, tx, false)
		if err != nil {
			return err
		}
		switch {
		case last.No > 0 && last.EndedAt.IsZero():
			if last.Owner != owner && recent(at, last.TouchedAt.time(), stale) {
				w = last.walk()
				return nil
			}
			step := last.Step
			last.Owner, last.Step, last.TouchedAt = owner, step+1, toInstant(at)
			res, err := tx.NewUpdate().Model(&last).Column("owner", "step", "touched_at").WherePK().Where("step = ?", step).Exec(ctx)
			if err != nil {
				return err
			}
			mine, err = one(res) // else another took it at the same moment
			w = last.walk()
			return err
		case last.No > 0 && recent(at, last.BeganAt.time(), every):
			w = last.walk()
			return nil
		}
		row := walkRow{No: last.No + 1, Owner: owner, Step: 1, BeganAt: toInstant(at), TouchedAt: toInstant(at), UntilAt: toInstant(at.Add(ahead))}
		res, err := tx.NewInsert().Model(&row).On("CONFLICT (no) DO NOTHING").Exec(ctx)
		if err != nil {
			return err
		}
		mine, err = one(res)
		w = row.walk()
		return err
	})
	if err != nil {
		return audit.Walk{}, false, fmt.Errorf("open a walk: %w", err)
	}
	return w, mine, nil
}

// recent reports a moment that is less than a while away. One further ahead was stamped by a clock that was wrong, and
// must not hold everything up until it comes.
func recent(now, then time.Time, within time.Duration) bool { return now.Sub(then).Abs() < within }

// SaveWalk stores how far a walk has come, unless it changed since it was read: then another
// owner has taken it, and false is returned. One without an Until has compared everything: it
// ends, and clears every finding that it did not see.
func (d *DB) SaveWalk(ctx context.Context, w audit.Walk) (after audit.Walk, ok bool, err error) {
	err = d.change(ctx, func(tx bun.Tx) error {
		at, err := d.clock(ctx, tx.Tx)
		if err != nil {
			return err
		}
		row := walkRow{No: w.No, Owner: w.Owner, Step: w.Step + 1, BeganAt: toInstant(w.BeganAt), TouchedAt: toInstant(at), UntilAt: toInstant(w.Until),
			Reads: w.Reads, AtStripe: w.AtStripe, InLedger: w.InLedger, Different: w.Different}
		if w.Until.IsZero() {
			row.EndedAt = row.TouchedAt
		}
		res, err := tx.NewUpdate().Model(&row).Column("step", "touched_at", "until_at", "ended_at", "reads", "at_stripe", "in_ledger", "different").
			WherePK().Where("owner = ?", w.Owner).Where("step = ?", w.Step).Exec(ctx)
		if err != nil {
			return err
		}
		after = row.walk()
		if ok, err = one(res); err != nil || !ok || !w.Until.IsZero() {
			return err
		}
		_, err = tx.NewUpdate().Model((*driftRow)(nil)).Set("cleared_at = ?", toInstant(at)).
			Where("cleared_at IS NULL").Where("walk < ?", w.No).Exec(ctx)
		return err
	})
	if err != nil {
		return w, false, fmt.Errorf("save walk %d: %w", w.No, err)
	}
	return after, ok, nil
}

// LeaveWalk lets another owner go on with a walk at once.
func (d *DB) LeaveWalk(ctx context.Context, w audit.Walk) error {
	_, err := d.write.NewUpdate().Model((*walkRow)(nil)).Set("touched_at = ?", toInstant(time.Unix(0, 0))).
		Where("no = ?", w.No).Where("owner = ?", w.Owner).Where("step = ?", w.Step).Where("ended_at IS NULL").Exec(ctx)
	if err != nil {
		return fmt.Errorf("leave walk %d: %w", w.No, err)
	}
	return nil
}

// Walks reads the newest walk and the newest that has ended; zero when there is none.
func (d *DB) Walks(ctx context.Context) (newest, ended audit.Walk, err error) {
	for _, x := range []struct {
		ended bool
		walk  *audit.Walk
	}{{false, &newest}, {true, &ended}} {
		row, err := newestWalk(ctx, d.read, x.ended)
		if err != nil {
			return newest, ended, fmt.Errorf("read the walks: %w", err)
		}
		*x.walk = row.walk()
	}
	return newest, ended, nil
}

func newestWalk(ctx context.Context, q bun.IDB, ended bool) (row walkRow, err error) {
	s := q.NewSelect().Model(&row).OrderExpr("no DESC").Limit(1)
	if ended {
		s.Where("ended_at IS NOT NULL")
	}
	if err = s.Scan(ctx); errors.Is(err, sql.ErrNoRows) {
		return walkRow{}, nil
	}
	return row, err
}

// sentAt is the expression of the index transfers_sent, to the letter.
const sentAt = "coalesce(first_sent_at, created_at)"

// Sent reads a page of the transfers that the ledger says Stripe holds and that were first sent
// (when that is not known: ordered) from since until before until, oldest first. after is the
// last of the page before, or zero; a zero since is no bound.
func (d *DB) Sent(ctx context.Context, since, until time.Time, after audit.Sent, limit int) ([]audit.Sent, error) {
	var rows []struct {
		ID       ledger.ID
		StripeID string
		SentAt   instant
	}
	q := d.read.NewSelect().Table("transfers").ColumnExpr("id, stripe_id, "+sentAt+" AS sent_at").
		Where("stripe_id IS NOT NULL").Where(sentAt+" < ?", toInstant(until))
	if !since.IsZero() {
		q.Where(sentAt+" >= ?", toInstant(since))
	}
	if !after.At.IsZero() {
		q.Where("("+sentAt+", id) > (?, ?)", toInstant(after.At), after.ID)
	}
	if err := q.OrderExpr(sentAt+", id").Limit(int64(limit)).Scan(ctx, &rows); err != nil {
		return nil, fmt.Errorf("read what was sent: %w", err)
	}
	page := make([]audit.Sent, len(rows))
	for i, r := range rows {
		page[i] = audit.Sent{ID: r.ID, StripeID: r.StripeID, At: r.SentAt.time()}
	}
	return page, nil
}

// ByStripeID is [DB.Load] by Stripe's names of the transfers.
func (d *DB) ByStripeID(ctx context.Context, ids []string) ([]ledger.Record, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	for _, id := range ids {
		if err := checkText("stripe_id", id); err != nil {
			return nil, err
		}
	}
	records, err := d.records(ctx, true, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("stripe_id IN (?)", bun.List(ids))
	})
	if err != nil {
		return nil, fmt.Errorf("load %d transfers by Stripe's IDs: %w", len(ids), err)
	}
	return records, nil
}
