package db

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// AuditRecords looks at all that is kept beside the transfers: whether each row is as it was written, and
// whether it is there.
func (d *DB) AuditRecords(ctx context.Context) (found []audit.Difference, err error) {
	differ := func(t ledger.ID, format string, args ...any) {
		found = append(found, audit.Difference{Class: audit.Record, Transfer: t, Detail: fmt.Sprintf(format, args...)})
	}
	err = d.snapshot(ctx, func(tx bun.Tx) error {
		sums, err := auditSums(ctx, tx)
		for _, x := range sums {
			found = append(found, x)
		}
		return err
	})
	for _, look := range []func(context.Context, differs) error{d.auditMessages, d.auditEvents, d.auditFindings, d.auditCensuses} {
		if err == nil {
			err = look(ctx, differ)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("audit what is kept beside the transfers: %w", err)
	}
	return found, nil
}

type differs func(t ledger.ID, format string, args ...any)

const recordPage = 1000

// paged reads rows in pages, by a query that selects those after the last one.
func paged[R any](ctx context.Context, page func(last *R) *bun.SelectQuery, look func(*R)) error {
	var last *R
	for {
		var rows []R
		if err := page(last).Limit(recordPage).Scan(ctx, &rows); err != nil {
			return err
		}
		for i := range rows {
			look(&rows[i])
		}
		if len(rows) < recordPage {
			return nil
		}
		last = &rows[len(rows)-1]
	}
}

// byID reads the rows of a table in the order of their IDs.
func byID[R any](ctx context.Context, q bun.IDB, id func(*R) ledger.ID, look func(*R)) error {
	return paged(ctx, func(last *R) *bun.SelectQuery {
		s := q.NewSelect().Model((*R)(nil)).OrderExpr("id")
		if last != nil {
			s.Where("id > ?", id(last))
		}
		return s
	}, look)
}

// auditMessages recomputes the seals of messages, and looks for the message that a step of the history,
// or a decision about a finding, names.
func (d *DB) auditMessages(ctx context.Context, differ differs) error {
	err := allMessages(ctx, d.read, func(m *messageRow) {
		if is := m.seal(); is != m.Seal {
			differ(m.TransferID, "message %s is not as it was written: found the hash %.16s, expected %.16s", m.ID, is, seal(m.Seal))
		}
		if is := m.receiptSeal(); is != m.ReceiptSeal && (m.ReceiptSeal != "" || is != (&messageRow{ID: m.ID}).receiptSeal()) {
			differ(m.TransferID, "the receipt of message %s is not as it was written: found the hash %.16s, expected %.16s", m.ID, is, seal(m.ReceiptSeal))
		}
	})
	if err != nil {
		return err
	}
	var missing []struct {
		TransferID ledger.ID
		Version    int64
		Message    ledger.ID
	}
	err = d.read.NewRaw(`SELECT h.transfer_id, h.version, h.message_id AS message FROM history AS h LEFT JOIN messages AS m ON m.id = h.message_id
		WHERE h.message_id IS NOT NULL AND (m.id IS NULL OR m.done_at IS NULL) ORDER BY h.transfer_id, h.version LIMIT 1000`).Scan(ctx, &missing)
	if err != nil {
		return err
	}
	for _, m := range missing {
		differ(m.TransferID, "version %d of its history is by message %s, which is missing, or has no receipt", m.Version, m.Message)
	}
	return nil
}

// seal is a seal for people.
func seal(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// eventKey is an event without its payload, which may be large.
type eventKey struct {
	newEventRow
	Seq int64 `bun:"seq"`
}

func allMessages(ctx context.Context, q bun.IDB, look func(*messageRow)) error {
	return byID(ctx, q, func(m *messageRow) ledger.ID { return m.ID }, look)
}

func allFindings(ctx context.Context, q bun.IDB, look func(*driftRow)) error {
	return byID(ctx, q, func(f *driftRow) ledger.ID { return f.ID }, look)
}

func allEvents(ctx context.Context, q bun.IDB, look func(*eventKey)) error {
	return paged(ctx, func(last *eventKey) *bun.SelectQuery {
		s := q.NewSelect().Table("events").Column("seq", "id", "type", "account", "livemode", "api_version", "object", "created", "claimed_at", "seal").OrderExpr("seq")
		if last != nil {
			s.Where("seq > ?", last.Seq)
		}
		return s
	}, look)
}

func (d *DB) auditEvents(ctx context.Context, differ differs) error {
	return allEvents(ctx, d.read, func(e *eventKey) {
		if is := e.seal(); is != e.Seal {
			differ(ledger.ID{}, "event %q is not as it was written: found the hash %.16s, expected %.16s", e.ID, is, seal(e.Seal))
		}
	})
}

func (d *DB) auditFindings(ctx context.Context, differ differs) error {
	err := allFindings(ctx, d.read, func(f *driftRow) {
		if is := f.seal(); is != f.Seal {
			differ(f.TransferID, "finding %s, or who decided about it, is not as it was written: found the hash %.16s, expected %.16s", f.ID, is, seal(f.Seal))
		}
	})
	if err != nil {
		return err
	}
	var missing []struct {
		ID         ledger.ID
		TransferID ledger.ID
	}
	err = d.read.NewRaw(`SELECT f.id, coalesce(f.transfer_id, ?) AS transfer_id FROM drift AS f WHERE f.accepted_message IS NOT NULL
		AND NOT EXISTS (SELECT 1 FROM messages AS m WHERE m.id = f.accepted_message) ORDER BY f.id LIMIT 1000`, ledger.ID{}).Scan(ctx, &missing)
	for _, f := range missing {
		differ(f.TransferID, "finding %s was accepted by a message that is missing", f.ID)
	}
	return err
}
