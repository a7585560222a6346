package db

import (
	"context"
	"database/sql"
	"fmt"
	"reflect"
	"slices"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// The statements of the hot path are about many rows, and there are two of them: insert these
// rows, and update those of these rows whose version is still the one before. Each is made
// once, from a row model, and each database runs it in the way that is fast there: PostgreSQL
// takes a column of all rows as one array parameter, SQLite a prepared statement row by row.
// bun's own bulk statements cost several times as much (values as text, parsed every time).

// kind is how a column's values travel.
type kind uint8

const (
	text kind = iota
	integer
	boolean
	moment
	uid
	blob
)

// column is one column of a row model.
type column struct {
	name string
	path []int // of the field in the model
	kind kind
	null bool // the zero value is NULL
}

// sheet is a table as columns.
type sheet struct {
	table   string
	columns []column
}

// sheetOf reads the columns of a row model, all or only those named.
func sheetOf[R any](db *bun.DB, only ...string) sheet {
	model := reflect.TypeFor[R]()
	t := db.Dialect().Tables().Get(model)
	s := sheet{table: t.Name}
	for _, f := range t.Fields {
		if len(only) > 0 && !slices.Contains(only, f.Name) {
			continue
		}
		c := column{name: f.Name, path: f.Index, null: f.NullZero}
		switch typ := model.FieldByIndex(f.Index).Type; {
		case typ == reflect.TypeFor[instant]():
			c.kind, c.null = moment, true
		case typ == reflect.TypeFor[uuid.UUID]():
			c.kind = uid
		case typ == reflect.TypeFor[[]byte]():
			c.kind = blob
		case typ.Kind() == reflect.String:
			c.kind = text
		case typ.Kind() == reflect.Int64:
			c.kind = integer
		case typ.Kind() == reflect.Bool:
			c.kind = boolean
		default:
			panic(fmt.Sprintf("db: column %s.%s has a type that no statement carries: %s", t.Name, f.Name, typ))
		}
		s.columns = append(s.columns, c)
	}
	return s
}

func (s sheet) names() []string {
	names := make([]string, len(s.columns))
	for i, c := range s.columns {
		names[i] = c.name
	}
	return names
}

// check refuses rows with texts and times that no statement can carry.
func (s sheet) check(rows reflect.Value) error {
	for _, c := range s.columns {
		if c.kind != text && c.kind != moment {
			continue
		}
		for i := range rows.Len() {
			v := rows.Index(i).FieldByIndex(c.path)
			var err error
			if c.kind == moment {
				if !v.Addr().Interface().(*instant).fits() {
					err = ledger.FieldError{Field: c.name, Detail: "is not between the years 1 and 9999"}
				}
			} else if v.Len() > 0 {
				err = checkText(c.name, v.String())
			}
			if err != nil {
				return fmt.Errorf("%s: %w", s.table, err)
			}
		}
	}
	return nil
}

// group is a statement about many rows.
type group struct {
	sheet
	sql     string
	decides bool // rows can lose: they meet a conflict, or their guard fails
}

// groups are the statements of the hot path.
type groups struct {
	createTransfers group
	changeTransfers group
	putReversals    group
	putHolds        group
	addHistory      group
	addPostings     group
	addSeals        group
	addEvents       group
	addSkeletons    group
}

func makeGroups(e engine, db *bun.DB) groups {
	insert := func(s sheet, onConflict string) group {
		return group{s, e.insertText(s, onConflict), onConflict != ""}
	}
	change := sheetOf[transferRow](db, transferChanges...)
	reversal := sheetOf[reversalRow](db)
	upsert := "ON CONFLICT (id) DO UPDATE SET "
	for i, name := range reversalChanges {
		if i > 0 {
			upsert += ", "
		}
		upsert += name + " = excluded." + name
	}
	// A reversal is of one transfer for ever; the guard of that transfer's version covers it.
	upsert += " WHERE reversals.transfer_id = excluded.transfer_id"
	return groups{
		createTransfers: insert(sheetOf[transferRow](db), "ON CONFLICT DO NOTHING"),
		changeTransfers: group{change, e.updateText(change), true},
		putReversals:    insert(reversal, upsert),
		putHolds: insert(sheetOf[holdRow](db), "ON CONFLICT (id) DO UPDATE SET ended = excluded.ended, ended_at = excluded.ended_at "+
			"WHERE holds.transfer_id = excluded.transfer_id AND holds.ended IS NULL"),
		addHistory:  insert(sheetOf[historyRow](db), ""),
		addPostings: insert(sheetOf[postingRow](db), ""),
		addSeals:    insert(sheetOf[sealRow](db), ""),
		addEvents:   insert(sheetOf[newEventRow](db), "ON CONFLICT DO NOTHING"),
		// A reference that was there may come again in a database that lost its row.
		addSkeletons: insert(sheetOf[skeletonRow](db), "ON CONFLICT DO NOTHING"),
	}
}

// run stores rows with one of the groups, and tells which were.
func run[R any](ctx context.Context, d *DB, tx *sql.Tx, g *group, rows []R) ([]bool, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	v := reflect.ValueOf(rows)
	if err := g.check(v); err != nil {
		return nil, err
	}
	stored, err := d.engine.run(ctx, tx, g, v)
	if err != nil {
		return nil, fmt.Errorf("write %d rows of %s: %w", len(rows), g.table, err)
	}
	return stored, nil
}
