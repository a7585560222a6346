package db

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// newEventRow is a Stripe event as it is stored; its place in the order of arrival is the database's to give.
type newEventRow struct {
	bun.BaseModel `bun:"table:events,alias:e"`

	ID         string  `bun:"id"`
	Type       string  `bun:"type"`
	Account    string  `bun:"account"`
	Livemode   bool    `bun:"livemode"`
	APIVersion string  `bun:"api_version"`
	Object     string  `bun:"object"`
	Created    instant `bun:"created"`
	Payload    []byte  `bun:"payload"`
	ClaimedAt  instant `bun:"claimed_at"`
	Seal       string  `bun:"seal,nullzero"` // of all but the payload, which is dropped in time
}

func (r *newEventRow) seal() string {
	return rowSeal("events", r.ID, r.Type, r.Account, r.Livemode, r.APIVersion, r.Object, r.Created, r.ClaimedAt)
}

// StoreEvents claims events, many in one commit, and tells which of them are new. A duplicate
// is dropped, also one within the call. Of what nothing is used, the payload is not stored.
func (d *DB) StoreEvents(ctx context.Context, events []ledger.StripeEvent) (fresh []bool, err error) {
	if len(events) == 0 {
		return nil, nil
	}
	err = d.prepare(ctx, &d.groups.addEvents)
	if err == nil {
		err = d.change(ctx, func(tx bun.Tx) error {
			at, err := d.clock(ctx, tx.Tx)
			if err != nil {
				return err
			}
			rows := make([]newEventRow, len(events))
			for i, e := range events {
				rows[i] = newEventRow{ID: e.ID, Type: e.Type, Account: e.Account, Livemode: e.Livemode, APIVersion: e.APIVersion,
					Object: e.Object, Created: toInstant(e.Created), Payload: e.Payload, ClaimedAt: toInstant(at)}
				rows[i].Seal = rows[i].seal()
				if e.Payload == nil || !ledger.SubjectOf(e.Type).NeedsPayload() {
					rows[i].Payload = []byte{}
				}
			}
			fresh, err = run(ctx, d, tx.Tx, &d.groups.addEvents, rows)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("store %d events: %w", len(events), err)
	}
	return fresh, nil
}

// UnhandledEvents reads the events that were claimed and not yet handled, oldest first by
// arrival; after is the ID of the last one of the page before, or empty.
//
// An event whose store is slow to commit may turn up before one that a caller has read past,
// when several processes store events: begin again from the start now and then.
func (d *DB) UnhandledEvents(ctx context.Context, after string, limit int) ([]ledger.StripeEvent, error) {
	if err := checkText("after", after); err != nil {
		return nil, err
	}
	var rows []newEventRow
	q := d.read.NewSelect().Model(&rows).Where("handled_at IS NULL").OrderExpr("seq").Limit(int64(limit))
	if after != "" {
		q.Where("seq > (SELECT seq FROM events WHERE id = ?)", after)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("read unhandled events: %w", err)
	}
	events := make([]ledger.StripeEvent, len(rows))
	for i, r := range rows {
		events[i] = ledger.StripeEvent{ID: r.ID, Type: r.Type, Account: r.Account, Livemode: r.Livemode, APIVersion: r.APIVersion,
			Object: r.Object, Created: r.Created.time(), Payload: r.Payload}
	}
	return events, nil
}

// HandleEvents records that events were applied. To say it again changes nothing.
func (d *DB) HandleEvents(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	for _, id := range ids {
		if err := checkText("id", id); err != nil {
			return err
		}
	}
	_, err := d.write.NewUpdate().Table("events").Set("handled_at = ?", d.now()).
		Where("id IN (?)", bun.List(ids)).Where("handled_at IS NULL").Exec(ctx)
	if err != nil {
		return fmt.Errorf("mark %d events as handled: %w", len(ids), err)
	}
	return nil
}

// emptiesAtOnce bounds one statement of [DB.EmptyEvents].
const emptiesAtOnce = 1000

// EmptyEvents drops the payloads of the events that were handled longer ago than age, and tells of how many.
// Their rows stay.
func (d *DB) EmptyEvents(ctx context.Context, age time.Duration) (n int64, err error) {
	for {
		res, err := d.write.NewUpdate().Table("events").Set("payload = ?", []byte{}).
			Where("seq IN (SELECT seq FROM events WHERE handled_at IS NOT NULL AND length(payload) > 0 AND handled_at < ? ORDER BY handled_at LIMIT ?)",
				d.ago(age), emptiesAtOnce).Exec(ctx)
		if err != nil {
			return n, fmt.Errorf("empty the payloads of old events: %w", err)
		}
		some, err := res.RowsAffected()
		if n += some; err != nil || some < emptiesAtOnce {
			return n, err
		}
	}
}
