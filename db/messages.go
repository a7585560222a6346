package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// messageRow is an injected message, and its receipt.
type messageRow struct {
	bun.BaseModel `bun:"table:messages,alias:m"`

	ID         ledger.ID          `bun:"id,pk"`
	TransferID ledger.ID          `bun:"transfer_id"`
	Type       ledger.MessageType `bun:"type"`
	Principal  string             `bun:"principal"`
	Reason     string             `bun:"reason"`
	Amount     int64              `bun:"amount"`
	Until      instant            `bun:"until"`
	Outcome    ledger.Outcome     `bun:"outcome"`
	StripeID   string             `bun:"stripe_id"`
	Reversal   ledger.ID          `bun:"reversal,nullzero"`
	Override   string             `bun:"override,nullzero"`
	Before     ledger.State       `bun:"before"`
	Reference  string             `bun:"reference"`
	At         instant            `bun:"at"`
	Seal       string             `bun:"seal,nullzero"` // of all of these

	ActedBefore ledger.State `bun:"acted_before,nullzero"`
	ActedAfter  ledger.State `bun:"acted_after,nullzero"`
	Refusal     string       `bun:"refusal,nullzero"`
	DoneAt      instant      `bun:"done_at"`

	RefusalClass ledger.RefusalClass `bun:"refusal_class,nullzero"`
	ReceiptSeal  string              `bun:"receipt_seal,nullzero"` // of the receipt
}

func (r *messageRow) seal() string {
	return rowSeal("messages", r.ID, r.TransferID, r.Type, r.Principal, r.Reason, r.Amount, r.Until, r.Outcome, r.StripeID,
		r.Reversal, r.Override, r.Before, r.Reference, r.At)
}

func (r *messageRow) receiptSeal() string {
	return rowSeal("messages: receipt", r.ID, r.ActedBefore, r.ActedAfter, r.Refusal, r.RefusalClass, r.DoneAt)
}

// StoreMessage records an injected message, and the state it was sent in view of, before it
// acts. It reports false, and stores nothing, for a message whose ID it knows.
func (d *DB) StoreMessage(ctx context.Context, m ledger.Message, before ledger.State) (fresh bool, err error) {
	err = checkTexts("type", string(m.Type), "principal", m.By.Principal, "reason", m.By.Reason,
		"outcome", string(m.Outcome), "stripe_id", m.StripeID, "override", m.Override, "before", string(before), "reference", m.Reference)
	if err != nil {
		return false, err
	}
	at, err := d.clock(ctx, d.write.DB)
	if err != nil {
		return false, fmt.Errorf("store message %s: %w", m.ID, err)
	}
	row := messageRow{
		ID: m.ID, TransferID: m.Transfer, Type: m.Type, Principal: m.By.Principal, Reason: m.By.Reason,
		Amount: m.Amount, Until: toInstant(m.Until), Outcome: m.Outcome, StripeID: m.StripeID, Before: before,
		Reversal: m.Reversal, Override: m.Override, Reference: m.Reference, At: toInstant(at),
	}
	row.Seal = row.seal()
	res, err := d.write.NewInsert().Model(&row).On("CONFLICT (id) DO NOTHING").Exec(ctx)
	if err != nil {
		return false, fmt.Errorf("store message %s: %w", m.ID, err)
	}
	return one(res)
}

// receiptColumns lists the columns of a message that its receipt writes.
var receiptColumns = []string{"acted_before", "acted_after", "refusal", "refusal_class", "done_at", "receipt_seal"}

// StoreReceipt records what became of a message, once: a second receipt changes nothing. A refusal that may pass is
// recorded, and leaves the message without its receipt.
func (d *DB) StoreReceipt(ctx context.Context, r ledger.Receipt) error {
	if err := checkTexts("before", string(r.Before), "after", string(r.After), "refusal", r.Refusal, "class", string(r.Class)); err != nil {
		return err
	}
	row := messageRow{ID: r.Message, ActedBefore: r.Before, ActedAfter: r.After, Refusal: r.Refusal, RefusalClass: r.Class}
	if !r.Passing() {
		at, err := d.clock(ctx, d.write.DB)
		if err != nil {
			return fmt.Errorf("store the receipt of message %s: %w", r.Message, err)
		}
		row.DoneAt = toInstant(at)
	}
	row.ReceiptSeal = row.receiptSeal()
	res, err := d.write.NewUpdate().Model(&row).Column(receiptColumns...).WherePK().Where("done_at IS NULL").Exec(ctx)
	if err != nil {
		return fmt.Errorf("store the receipt of message %s: %w", r.Message, err)
	}
	if stored, err := one(res); stored || err != nil {
		return err
	}
	if has, err := d.write.NewSelect().Model((*messageRow)(nil)).Where("id = ?", r.Message).Exists(ctx); err != nil || has {
		return err
	}
	return fmt.Errorf("store the receipt of message %s: %w", r.Message, ErrNotFound)
}

// Receipt reads what became of a message; false: nothing yet.
func (d *DB) Receipt(ctx context.Context, id ledger.ID) (ledger.Receipt, bool, error) {
	var row messageRow
	err := d.read.NewSelect().Model(&row).Where("id = ?", id).Where("done_at IS NOT NULL").Scan(ctx)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ledger.Receipt{}, false, nil
	case err != nil:
		return ledger.Receipt{}, false, fmt.Errorf("read the receipt of message %s: %w", id, err)
	}
	return ledger.Receipt{Message: row.ID, Before: row.ActedBefore, After: row.ActedAfter, Refusal: row.Refusal, Class: row.RefusalClass}, true, nil
}

// spent finds the changes whose message has its receipt already, and so acted or was refused;
// of two changes by one message the later is spent as well. The messages stay locked until the
// transaction ends, so no other can act on one meanwhile.
func (d *DB) spent(ctx context.Context, tx bun.Tx, changes []ledger.Change) (map[int]bool, error) {
	var ids []ledger.ID
	by := make(map[ledger.ID]int)
	spent := make(map[int]bool)
	for i := range changes {
		id := changes[i].History.By.Message
		if id == (ledger.ID{}) {
			continue
		}
		if _, twice := by[id]; twice {
			spent[i] = true
			continue
		}
		ids, by[id] = append(ids, id), i
	}
	if len(ids) == 0 {
		return nil, nil
	}
	var rows []messageRow
	q := tx.NewSelect().Model(&rows).Column("id", "done_at").Where("id IN (?)", bun.List(ids)).OrderExpr("id")
	if d.Dialect() == "postgres" { // SQLite has one writer at a time
		q = q.For("UPDATE")
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("read the receipts of %d messages: %w", len(ids), err)
	}
	for _, r := range rows {
		if !r.DoneAt.IsZero() {
			spent[by[r.ID]] = true
		}
	}
	return spent, nil
}

// acted stores the receipt of the message that a change follows, if any.
func (d *DB) acted(ctx context.Context, tx bun.Tx, c *ledger.Change) error {
	id := c.History.By.Message
	if id == (ledger.ID{}) {
		return nil
	}
	row := messageRow{ID: id, ActedBefore: c.Was(), ActedAfter: c.After.Status(), DoneAt: toInstant(c.History.At)}
	row.ReceiptSeal = row.receiptSeal()
	_, err := tx.NewUpdate().Model(&row).Column(receiptColumns...).WherePK().Exec(ctx)
	if err != nil {
		return fmt.Errorf("store the receipt of message %s: %w", id, err)
	}
	return nil
}

// one reports whether a statement touched its row.
func one(res sql.Result) (bool, error) {
	n, err := res.RowsAffected()
	return n == 1, err
}
