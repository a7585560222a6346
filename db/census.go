package db

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// A census writes down which rows of a table there are, so that the audit notices one that was taken out.
// Many write to these tables at once, and a chain from row to row would have each wait for the one
// before. What came since the last census is in none yet.

// censusRow is one census: of the rows after since, up to until.
type censusRow struct {
	bun.BaseModel `bun:"table:censuses,alias:ce"`

	Name   string  `bun:"name,pk"`
	No     int64   `bun:"no,pk"`
	At     instant `bun:"at"`
	Since  string  `bun:"since"`
	Until  string  `bun:"until"`
	Number int64   `bun:"number"`
	Hash   string  `bun:"hash"`
	Rows   []byte  `bun:"rows"` // pairs of a row's ID and its transfer's; none of events, of which there are many
}

// counted lists the tables that have censuses, and by which column their rows come in order. Rows of
// events are in the order of their numbers, whatever their time.
var counted = []count{{"messages", "at", "at", true}, {"drift", "first_seen", "first_seen", true}, {"events", "seq", "claimed_at", false}}

type count struct {
	table, order, at string
	named            bool // the census names its rows
}

// Census takes a census of each table, of the rows that are older than settled: until then a transaction
// that began before them may commit.
func (d *DB) Census(ctx context.Context, settled time.Duration) error {
	for _, c := range counted {
		err := d.change(ctx, func(tx bun.Tx) error {
			at, err := d.clock(ctx, tx.Tx)
			if err != nil {
				return err
			}
			var last []censusRow
			if err := tx.NewSelect().Model(&last).Where("name = ?", c.table).OrderExpr("no DESC").Limit(1).Scan(ctx); err != nil {
				return err
			}
			row := censusRow{Name: c.table, No: 1, At: toInstant(at), Rows: []byte{}}
			before := ""
			if len(last) > 0 {
				row.No, row.Since, before = last[0].No+1, last[0].Until, last[0].Hash
			}
			if row.Until, err = censusEnd(ctx, tx, c.table, c.order, c.at, row.Since, toInstant(at.Add(-settled))); err != nil || row.Until == row.Since {
				return err
			}
			if row.Number, row.Hash, row.Rows, err = countRows(ctx, tx, c, row, before); err != nil {
				return err
			}
			if _, err = tx.NewInsert().Model(&row).On("CONFLICT (name, no) DO NOTHING").Exec(ctx); err != nil { // another process may be first
				return err
			}
			return d.renew(ctx, tx, "censuses")
		})
		if err != nil {
			return fmt.Errorf("take a census of %s: %w", c.table, err)
		}
	}
	return nil
}

// censusEnd finds the newest row that is older than a moment.
func censusEnd(ctx context.Context, q bun.IDB, table, order, at, since string, settled instant) (string, error) {
	var ends []string
	s := q.NewSelect().TableExpr("?", bun.Ident(table)).ColumnExpr("CAST(? AS text)", bun.Ident(order)).Where("? < ?", bun.Ident(at), settled).
		OrderExpr("? DESC", bun.Ident(order)).Limit(1)
	if since != "" {
		s.Where("? > ?", bun.Ident(order), value(order, since))
	}
	if err := s.Scan(ctx, &ends); err != nil || len(ends) == 0 {
		return since, err
	}
	return ends[0], nil
}

// value is where a census ended as a value of the column: a number, or a moment.
func value(order, end string) any {
	if n, err := strconv.ParseInt(end, 10, 64); err == nil && order == "seq" {
		return n
	}
	return end
}

// countRows counts the rows of a census, and hashes their keys.
func countRows(ctx context.Context, q bun.IDB, c count, of censusRow, before string) (number int64, hash string, names []byte, err error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %d %s %q %q %s", c.table, of.No, of.At.time().UTC().Format(instantForm), of.Since, of.Until, before)
	s := q.NewSelect().TableExpr("?", bun.Ident(c.table)).ColumnExpr("CAST(id AS text)").
		Where("? <= ?", bun.Ident(c.order), value(c.order, of.Until)).OrderExpr("?, id", bun.Ident(c.order))
	if of.Since != "" {
		s.Where("? > ?", bun.Ident(c.order), value(c.order, of.Since))
	}
	if c.named {
		s.ColumnExpr("CAST(transfer_id AS text)")
	} else {
		s.ColumnExpr("NULL")
	}
	rows, err := s.Rows(ctx)
	if err != nil {
		return 0, "", nil, err
	}
	defer rows.Close()
	names = []byte{}
	for rows.Next() {
		var key string
		var transfer sql.NullString
		if err := rows.Scan(&key, &transfer); err != nil {
			return 0, "", nil, err
		}
		number++
		fmt.Fprintf(sum, " %q", key)
		if c.named {
			id, _ := uuid.Parse(key) // what is no ID is found by its seal
			of, _ := uuid.Parse(transfer.String)
			names = append(append(names, id[:]...), of[:]...)
		}
	}
	return number, hex.EncodeToString(sum.Sum(nil)), names, rows.Err()
}

// auditCensuses takes each census again.
func (d *DB) auditCensuses(ctx context.Context, differ differs) error {
	for _, c := range counted {
		last := censusRow{}
		err := paged(ctx, func(from *censusRow) *bun.SelectQuery {
			q := d.read.NewSelect().Model((*censusRow)(nil)).Where("name = ?", c.table).OrderExpr("no")
			if from != nil {
				q.Where("no > ?", from.No)
			}
			return q
		}, func(row *censusRow) {
			number, hash, names, err := countRows(ctx, d.read, c, *row, last.Hash)
			switch {
			case row.No != last.No+1:
				differ(ledger.ID{}, "censuses %d to %d of %s are missing", last.No+1, row.No-1, c.table)
			case err != nil:
				differ(ledger.ID{}, "census %d of %s cannot be taken again: %v", row.No, c.table, err)
			case c.named && !bytes.Equal(names, row.Rows):
				gone(row.Rows, names, func(id, of ledger.ID) {
					differ(of, "row %s of %s, which census %d names, is missing", id, c.table, row.No)
				})
				gone(names, row.Rows, func(id, of ledger.ID) {
					differ(of, "row %s of %s is there, and census %d does not name it", id, c.table, row.No)
				})
			case number != row.Number || hash != row.Hash:
				differ(ledger.ID{}, "%s after %q up to %q: found %d rows (hash %.16s), expected %d (%.16s)", c.table, row.Since, row.Until,
					number, hash, row.Number, row.Hash)
			}
			last = *row
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// gone tells of the pairs that are among some and not among others.
func gone(some, others []byte, tell func(id, of ledger.ID)) {
	type pair [32]byte
	there := make(map[pair]bool, len(others)/32)
	for p := range slices.Chunk(others, 32) {
		if len(p) == 32 {
			there[pair(p)] = true
		}
	}
	for p := range slices.Chunk(some, 32) {
		if len(p) == 32 && !there[pair(p)] {
			tell(ledger.ID(p[:16]), ledger.ID(p[16:]))
		}
	}
}
