package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// driftRow is a finding of the reconciler.
type driftRow struct {
	bun.BaseModel `bun:"table:drift,alias:d"`

	ID         ledger.ID       `bun:"id,pk"`
	Identity   string          `bun:"identity"`
	Class      audit.Class     `bun:"class"`
	TransferID ledger.ID       `bun:"transfer_id,nullzero"`
	StripeID   string          `bun:"stripe_id"`
	Object     string          `bun:"object"`
	Detail     string          `bun:"detail"`
	Amount     int64           `bun:"amount"`
	Currency   ledger.Currency `bun:"currency"`
	Walk       int64           `bun:"walk"`
	FirstSeen  instant         `bun:"first_seen"`
	LastSeen   instant         `bun:"last_seen"`
	OpenedAt   instant         `bun:"opened_at"`
	ClearedAt  instant         `bun:"cleared_at"`
	Repair     audit.Repair    `bun:"repair"`

	AppliedAt       instant   `bun:"applied_at"`
	AppliedMessage  ledger.ID `bun:"applied_message,nullzero"`
	AppliedBy       string    `bun:"applied_by,nullzero"`
	AppliedReason   string    `bun:"applied_reason,nullzero"`
	AcceptedAt      instant   `bun:"accepted_at"`
	AcceptedMessage ledger.ID `bun:"accepted_message,nullzero"`
	AcceptedBy      string    `bun:"accepted_by,nullzero"`
	AcceptedReason  string    `bun:"accepted_reason,nullzero"`
	AcceptedUntil   instant   `bun:"accepted_until"`
	SecondedAt      instant   `bun:"seconded_at"`
	SecondedMessage ledger.ID `bun:"seconded_message,nullzero"`
	SecondedBy      string    `bun:"seconded_by,nullzero"`
	SecondedReason  string    `bun:"seconded_reason,nullzero"`
	Seal            string    `bun:"seal,nullzero"` // of all but what each walk writes anew: see seal
}

// seal leaves out when a walk saw it, and whether it is there: each walk says so by itself.
func (r *driftRow) seal() string {
	return rowSeal("drift", r.ID, r.Identity, r.Class, r.TransferID, r.StripeID, r.Object, r.Detail, r.Amount, r.Currency, r.FirstSeen, r.Repair,
		r.AppliedAt, r.AppliedMessage, r.AppliedBy, r.AppliedReason,
		r.AcceptedAt, r.AcceptedMessage, r.AcceptedBy, r.AcceptedReason, r.AcceptedUntil,
		r.SecondedAt, r.SecondedMessage, r.SecondedBy, r.SecondedReason)
}

func (r *driftRow) finding() audit.Finding {
	return audit.Finding{
		ID: r.ID, Difference: audit.Difference{Class: r.Class, Transfer: r.TransferID, StripeID: r.StripeID, Detail: r.Detail},
		Object: r.Object, Amount: r.Amount, Currency: r.Currency,
		FirstSeen: r.FirstSeen.time(), LastSeen: r.LastSeen.time(), OpenedAt: r.OpenedAt.time(), ClearedAt: r.ClearedAt.time(), Repair: r.Repair,
		AppliedAt: r.AppliedAt.time(), AppliedBy: ledger.By{Message: r.AppliedMessage, Principal: r.AppliedBy, Reason: r.AppliedReason},
		AcceptedAt: r.AcceptedAt.time(), AcceptedBy: ledger.By{Message: r.AcceptedMessage, Principal: r.AcceptedBy, Reason: r.AcceptedReason},
		AcceptedUntil: r.AcceptedUntil.time(), SecondedAt: r.SecondedAt.time(),
		SecondedBy: ledger.By{Message: r.SecondedMessage, Principal: r.SecondedBy, Reason: r.SecondedReason},
	}
}

// decided takes in what people decided about a finding.
func (r *driftRow) decided(f *audit.Finding) {
	r.AppliedAt, r.AppliedMessage, r.AppliedBy, r.AppliedReason = toInstant(f.AppliedAt), f.AppliedBy.Message, f.AppliedBy.Principal, f.AppliedBy.Reason
	r.AcceptedAt, r.AcceptedMessage, r.AcceptedBy, r.AcceptedReason = toInstant(f.AcceptedAt), f.AcceptedBy.Message, f.AcceptedBy.Principal, f.AcceptedBy.Reason
	r.AcceptedUntil = toInstant(f.AcceptedUntil)
	r.SecondedAt, r.SecondedMessage, r.SecondedBy, r.SecondedReason = toInstant(f.SecondedAt), f.SecondedBy.Message, f.SecondedBy.Principal, f.SecondedBy.Reason
}

var (
	appliedColumns  = []string{"applied_at", "applied_message", "applied_by", "applied_reason"}
	acceptedColumns = []string{"accepted_at", "accepted_message", "accepted_by", "accepted_reason", "accepted_until",
		"seconded_at", "seconded_message", "seconded_by", "seconded_reason"}
	decisionColumns = slices.Concat(appliedColumns, acceptedColumns, []string{"seal"})
)

// Findings that are there are accepted, or open.
const (
	isAccepted = "accepted_at IS NOT NULL AND accepted_until > ? AND (seconded_at IS NOT NULL OR class NOT IN (?))"
	isOpen     = "accepted_at IS NULL OR accepted_until <= ? OR (seconded_at IS NULL AND class IN (?))"
)

// StoreFindings stores all findings of a comparison of some transfers at Stripe: one that is known already
// is seen again, and every other finding about these objects is cleared. It returns the
// findings as stored, in their order, and which of them were opened by this: new, or back.
func (d *DB) StoreFindings(ctx context.Context, objects []string, walk int64, found []audit.Finding) (stored []audit.Finding, opened []bool, err error) {
	for _, o := range objects {
		if err := checkText("object", o); err != nil {
			return nil, nil, err
		}
	}
	keys := make([]string, len(found))
	for i, f := range found {
		keys[i] = f.Key()
		err := checkTexts("stripe_id", f.StripeID, "object", f.Object, "detail", f.Detail, "currency", string(f.Currency))
		if err != nil {
			return nil, nil, err
		}
	}
	err = d.change(ctx, func(tx bun.Tx) error {
		stored, opened = make([]audit.Finding, len(found)), make([]bool, len(found))
		at, err := d.clock(ctx, tx.Tx)
		if err != nil {
			return err
		}
		if len(objects) > 0 {
			q := tx.NewUpdate().Model((*driftRow)(nil)).Set("cleared_at = ?", toInstant(at)).
				Where("cleared_at IS NULL").Where("object IN (?)", bun.List(objects))
			if len(keys) > 0 {
				q.Where("identity NOT IN (?)", bun.List(keys))
			}
			if _, err := q.Exec(ctx); err != nil {
				return err
			}
		}
		there, err := alreadyThere(ctx, tx, keys, toInstant(at))
		if err != nil {
			return err
		}
		for i := range found {
			row, err := see(ctx, tx, &found[i], toInstant(at), walk)
			if err != nil {
				return err
			}
			stored[i], opened[i] = row.finding(), !there[keys[i]]
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("store %d findings: %w", len(found), err)
	}
	return stored, opened, nil
}

// alreadyThere reads which findings are there, by their keys. One whose acceptance has ended since it
// was seen last is as if it had come back.
func alreadyThere(ctx context.Context, tx bun.Tx, keys []string, at instant) (map[string]bool, error) {
	there := make(map[string]bool, len(keys))
	if len(keys) == 0 {
		return there, nil
	}
	var known []string
	err := tx.NewSelect().Model((*driftRow)(nil)).Column("identity").
		Where("identity IN (?)", bun.List(keys)).Where("cleared_at IS NULL").
		Where("accepted_until IS NULL OR accepted_until > ? OR (seconded_at IS NULL AND class IN (?))", at, bun.List(audit.Seconded)).Scan(ctx, &known)
	for _, k := range known {
		there[k] = true
	}
	return there, err
}

// see stores that a difference was seen, and reads its finding. One that was cleared is opened
// again, as if nothing had been done about it; what was accepted stays so while it says the same.
func see(ctx context.Context, tx bun.Tx, f *audit.Finding, at instant, walk int64) (driftRow, error) {
	row := driftRow{ID: f.ID, Identity: f.Key(), Class: f.Class, TransferID: f.Transfer, StripeID: f.StripeID, Object: f.Object, Detail: f.Detail,
		Amount: f.Amount, Currency: f.Currency, Walk: walk, FirstSeen: at, LastSeen: at, OpenedAt: at, Repair: f.Repair}
	q := tx.NewInsert().Model(&row).On("CONFLICT (identity) DO UPDATE").
		Set("detail = excluded.detail, amount = excluded.amount, currency = excluded.currency, repair = excluded.repair, last_seen = excluded.last_seen").
		Set("walk = CASE WHEN d.walk > excluded.walk THEN d.walk ELSE excluded.walk END").
		Set("opened_at = CASE WHEN d.cleared_at IS NULL THEN d.opened_at ELSE excluded.opened_at END").
		Set("cleared_at = NULL")
	for _, column := range appliedColumns {
		q.Set("? = CASE WHEN d.cleared_at IS NULL THEN d.? END", bun.Ident(column), bun.Ident(column))
	}
	for _, column := range acceptedColumns {
		q.Set("? = CASE WHEN d.cleared_at IS NULL AND d.detail = excluded.detail AND d.accepted_until > excluded.last_seen THEN d.? END",
			bun.Ident(column), bun.Ident(column))
	}
	if _, err := q.Returning("NULL").Exec(ctx); err != nil {
		return row, err
	}
	var stored driftRow
	if err := tx.NewSelect().Model(&stored).Where("identity = ?", row.Identity).Scan(ctx); err != nil {
		return stored, err
	}
	return stored, reseal(ctx, tx, &stored)
}

// reseal renews the seal of a finding that changed.
func reseal(ctx context.Context, tx bun.Tx, row *driftRow) error {
	seal := row.seal()
	if seal == row.Seal {
		return nil
	}
	row.Seal = seal
	_, err := tx.NewUpdate().Model(row).Column("seal").WherePK().Exec(ctx)
	return err
}

// KeepFindings leaves the findings about some objects open, which a walk could not compare.
func (d *DB) KeepFindings(ctx context.Context, objects []string, walk int64) error {
	if len(objects) == 0 {
		return nil
	}
	_, err := d.write.NewUpdate().Model((*driftRow)(nil)).Set("walk = ?", walk).
		Where("cleared_at IS NULL").Where("object IN (?)", bun.List(objects)).Where("walk < ?", walk).Exec(ctx)
	if err != nil {
		return fmt.Errorf("keep the findings about %d objects: %w", len(objects), err)
	}
	return nil
}

// MarkApplied records who applied a finding's repair, once. To say it again changes nothing.
func (d *DB) MarkApplied(ctx context.Context, id ledger.ID, by ledger.By) error {
	return d.mark(ctx, id, by, func(f *audit.Finding, now time.Time) error {
		if f.AppliedAt.IsZero() {
			f.AppliedAt, f.AppliedBy = now, by
		}
		return nil
	})
}

// MarkAccepted records who said that a finding is as it should be: see [audit.Finding.Accept].
func (d *DB) MarkAccepted(ctx context.Context, id ledger.ID, by ledger.By, until time.Time) error {
	return d.mark(ctx, id, by, func(f *audit.Finding, now time.Time) error { return f.Accept(by, until, now) })
}

// MarkReopened takes back that a finding was accepted. What was said before is kept as messages.
func (d *DB) MarkReopened(ctx context.Context, id ledger.ID, by ledger.By) error {
	return d.mark(ctx, id, by, func(f *audit.Finding, _ time.Time) error { return f.Reopen() })
}

// mark records what a person decided about a finding.
func (d *DB) mark(ctx context.Context, id ledger.ID, by ledger.By, decide func(*audit.Finding, time.Time) error) error {
	if err := checkTexts("principal", by.Principal, "reason", by.Reason); err != nil {
		return err
	}
	err := d.change(ctx, func(tx bun.Tx) error {
		at, err := d.clock(ctx, tx.Tx)
		if err != nil {
			return err
		}
		var row driftRow
		q := tx.NewSelect().Model(&row).Where("id = ?", id)
		if d.Dialect() == "postgres" { // SQLite has one writer at a time
			q = q.For("UPDATE")
		}
		if err := q.Scan(ctx); err != nil {
			if errors.Is(err, sql.ErrNoRows) {
				err = audit.ErrNotFound
			}
			return err
		}
		f := row.finding()
		if err := decide(&f, at); err != nil {
			return err
		}
		row.decided(&f)
		row.Seal = row.seal()
		_, err = tx.NewUpdate().Model(&row).Column(decisionColumns...).WherePK().Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("mark finding %s: %w", id, err)
	}
	return nil
}

// Finding reads one finding, or [audit.ErrNotFound].
func (d *DB) Finding(ctx context.Context, id ledger.ID) (audit.Finding, error) {
	var row driftRow
	err := d.read.NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = audit.ErrNotFound
	}
	if err != nil {
		return audit.Finding{}, fmt.Errorf("read finding %s: %w", id, err)
	}
	return row.finding(), nil
}

// Findings reads the findings that a filter selects, newest first; a limit of 0 is none.
func (d *DB) Findings(ctx context.Context, f audit.Filter) ([]audit.Finding, error) {
	if err := checkText("class", string(f.Class)); err != nil {
		return nil, err
	}
	var rows []driftRow
	q := d.read.NewSelect().Model(&rows).OrderExpr("id DESC").Limit(int64(f.Limit))
	if f.Class != "" {
		q.Where("class = ?", f.Class)
	}
	if f.Open {
		q.Where("cleared_at IS NULL").Where(isOpen, d.now(), bun.List(audit.Seconded))
	}
	if f.Accepted {
		q.Where("cleared_at IS NULL").Where(isAccepted, d.now(), bun.List(audit.Seconded))
	}
	if f.Cleared {
		q.Where("cleared_at IS NOT NULL")
	}
	if f.Before != uuid.Nil {
		q.Where("id < ?", f.Before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list findings: %w", err)
	}
	list := make([]audit.Finding, len(rows))
	for i := range rows {
		list[i] = rows[i].finding()
	}
	return list, nil
}

// DriftCounts counts the open findings by class and currency.
func (d *DB) DriftCounts(ctx context.Context) ([]audit.Count, error) {
	var counts []audit.Count
	err := d.read.NewRaw(`SELECT class, currency, count(*) AS number, CAST(sum(amount) AS bigint) AS amount FROM drift
		WHERE cleared_at IS NULL AND (`+isOpen+`) GROUP BY class, currency ORDER BY class, currency`, d.now(), bun.List(audit.Seconded)).Scan(ctx, &counts)
	if err != nil {
		return nil, fmt.Errorf("count findings: %w", err)
	}
	return counts, nil
}
