package db

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// free lists what may be changed, or taken out, without the audit telling of it, and why. Whoever adds a
// table or a column covers it: in ledger/content.go (what is about a transfer), in a row's seal
// (messages, events, drift), or by a sum (sums.go); or writes here why nobody needs to notice.
var free = map[string]string{
	"events.payload":    "it is a hint, which is never believed, and is dropped in time",
	"events.handled_at": "an event that is not handled, or is handled again, changes nothing that a read of Stripe does not",
	"drift.walk":        "each walk writes it anew from what it sees",
	"drift.last_seen":   "each walk writes it anew from what it sees",
	"drift.opened_at":   "each walk writes it anew from what it sees",
	"drift.cleared_at":  "the audit compares by itself, and a finding that was cleared hides nothing",
	"idempotency_keys":  "an answer that is kept for a week; what acts once does so by its own reference or message",
	"skeletons":         "a help for people, kept for two days; it decides nothing",
	"walks":             "how far a walk has come; each next one compares everything anew",
	"sqlite_sequence":   "SQLite's own",
	"sqlite_stat1":      "SQLite's own",
	"sqlite_stat4":      "SQLite's own",
}

func isFree(name string) bool { return free[name] != "" || free[strings.SplitN(name, ".", 2)[0]] != "" }

// wholeLedger makes a ledger that has rows in every table, of every kind.
func wholeLedger(t *testing.T, d *DB) {
	t.Helper()
	ctx := t.Context()
	if _, _, _, err := d.Epoch(ctx); err != nil {
		t.Fatal(err)
	}
	if err := d.Bind(ctx, ledger.Binding{Account: "acct_1", Mode: ledger.TestMode}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ann", "bob"} {
		if err := d.AddToken(ctx, Token{Name: name, Prefix: name, Hash: slices.Repeat([]byte(name[:1]), 32), Role: "admin", ExpiresAt: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	by := func(m ledger.Message) ledger.By {
		m.ID = newID()
		m.By = ledger.By{Message: m.ID, Principal: "ann", Reason: "because"}
		if fresh, err := d.StoreMessage(ctx, m, ledger.Pending); err != nil || !fresh {
			t.Fatal(fresh, err)
		}
		return m.By
	}
	x := heldLater(t, d)
	c, err := x.Release(by(ledger.Message{Transfer: x.ID, Type: ledger.MessageRelease}))
	commit(t, d, c, err)
	commit(t, d, accept(anOrder()), nil)
	y := completed(t, d)
	for i, amount := range []int64{400, 100} {
		c, err = y.Reverse(newID(), fmt.Sprintf("re_%d", i), amount, 1, by(ledger.Message{Transfer: y.ID, Type: ledger.MessageReverse, Amount: amount, Reference: fmt.Sprintf("re_%d", i)}))
		y = commit(t, d, c, err)
	}
	c, err = y.Begin(policy(), y.Operation.Since)
	y = commit(t, d, c, err)
	r := &y.Reversals[0]
	c, _, err = y.Conclude(r.ID, r.Epoch, r.Generation, ledger.Answer{Row: "T1", Verdict: ledger.Done, StripeID: "trr_" + short(r.ID), HTTPStatus: 200})
	y = commit(t, d, c, err)
	c, err = y.HoldReversal(y.Reversals[1].ID, ledger.HeldByOperator, time.Time{}, ledger.By{Principal: "ann", Reason: "wait"})
	y = commit(t, d, c, err)
	refused := by(ledger.Message{Transfer: y.ID, Type: ledger.MessageCancel})
	if err := d.StoreReceipt(ctx, ledger.Receipt{Message: refused.Message, Before: y.Status(), Refusal: "no", Class: "illegal_move"}); err != nil {
		t.Fatal(err)
	}
	events := []ledger.StripeEvent{{ID: "evt_1", Type: "transfer.created", Object: "tr_1", Created: time.Unix(1, 0), Payload: []byte("{}")}, {ID: "evt_2", Type: "x", Payload: []byte("{}")}}
	if _, err := d.StoreEvents(ctx, events); err != nil {
		t.Fatal(err)
	}
	f := aFinding(audit.Amount, y.ID, "tr_1", "off")
	if _, _, err := d.StoreFindings(ctx, nil, 1, []audit.Finding{f, aFinding(audit.Foreign, ledger.ID{}, "tr_2", "strange")}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ann", "bob"} {
		word := by(ledger.Message{Transfer: y.ID, Type: "accept", StripeID: "tr_1"})
		word.Principal = name
		if err := d.MarkAccepted(ctx, f.ID, word, time.Time{}); err != nil {
			t.Fatal(err)
		}
		if err := d.MarkApplied(ctx, f.ID, word); err != nil {
			t.Fatal(err)
		}
	}
	for _, clock := range ledger.ClockNames { // the last word stands
		w := by(ledger.Message{Type: "trust", Outcome: ledger.Outcome(clock)})
		if err := d.StoreTrust(ctx, ledger.Trust{ID: w.Message, Clock: clock, By: w, Database: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	opened(t, d, newID(), 0)
	if _, err := d.ClaimKey(ctx, "key", "print", time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := d.Census(ctx, -time.Hour); err != nil {
		t.Fatal(err)
	}
	// A second process, whose chain of seals begins where the first one's is.
	d.seals.head = ledger.Seal{}
	completed(t, d)
}

// audited lists what an audit finds in the ledger itself.
func audited(t testing.TB, d *DB) (found []audit.Difference) {
	t.Helper()
	rows, err := d.AuditPage(t.Context(), ledger.ID{}, 1000)
	if err != nil {
		return []audit.Difference{{Class: audit.History, Detail: err.Error()}}
	}
	a := audit.New()
	for _, r := range rows {
		a.Ledger(r)
	}
	for _, look := range []func() ([]audit.Difference, error){
		func() ([]audit.Difference, error) { return d.AuditSeals(t.Context()) },
		func() ([]audit.Difference, error) { return d.AuditRecords(t.Context()) },
	} {
		more, err := look()
		if err != nil {
			more = []audit.Difference{{Class: audit.Record, Detail: err.Error()}}
		}
		a.Add(more)
	}
	return slices.DeleteFunc(a.Report().Differences, func(x audit.Difference) bool { return slices.Contains(audit.Drifts, x.Class) })
}

// table is a table as the database tells of it.
type table struct {
	name    string
	columns []string
	types   map[string]string
	keys    []string
}

// tables reads which tables and columns there are, so that nobody need add a new one here.
func tables(t testing.TB, d *DB) (list []table) {
	t.Helper()
	var rows []struct{ T, C, Type string }
	query := `SELECT m.name AS t, c.name AS c, lower(c.type) AS type FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table' ORDER BY m.name, c.cid`
	keys := `SELECT m.name AS t, c.name AS c, '' AS type FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table' AND c.pk > 0 ORDER BY m.name, c.cid`
	if d.Dialect() == "postgres" {
		query = `SELECT table_name AS t, column_name AS c, data_type AS type FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position`
		keys = `SELECT k.table_name AS t, k.column_name AS c, '' AS type FROM information_schema.key_column_usage AS k JOIN information_schema.table_constraints AS x
			ON x.constraint_name = k.constraint_name AND x.table_name = k.table_name WHERE x.constraint_type = 'PRIMARY KEY' AND k.table_schema = 'public' ORDER BY k.table_name, k.ordinal_position`
	}
	if err := d.write.NewRaw(query).Scan(t.Context(), &rows); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if n := len(list); n == 0 || list[n-1].name != r.T {
			list = append(list, table{name: r.T, types: map[string]string{}})
		}
		x := &list[len(list)-1]
		x.columns, x.types[r.C] = append(x.columns, r.C), r.Type
	}
	if err := d.write.NewRaw(keys).Scan(t.Context(), &rows); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		i := slices.IndexFunc(list, func(x table) bool { return x.name == r.T })
		list[i].keys = append(list[i].keys, r.C)
	}
	return list
}

// unguarded takes away all that the database refuses by itself: triggers, conditions, references.
func unguarded(t testing.TB, d *DB) {
	t.Helper()
	var statements []string
	query := "SELECT 'DROP TRIGGER ' || name FROM sqlite_master WHERE type = 'trigger'"
	if d.Dialect() == "postgres" {
		query = `SELECT format('ALTER TABLE %I DROP CONSTRAINT %I CASCADE', conrelid::regclass, conname) FROM pg_constraint
				WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f') UNION ALL
			SELECT format('DROP TRIGGER %I ON %I', tgname, tgrelid::regclass) FROM pg_trigger WHERE NOT tgisinternal UNION ALL
			SELECT format('ALTER TABLE %I ALTER COLUMN %I DROP IDENTITY', table_name, column_name) FROM information_schema.columns
				WHERE table_schema = 'public' AND is_identity = 'YES'`
	} else {
		statements = []string{"PRAGMA ignore_check_constraints = ON", "PRAGMA foreign_keys = OFF"}
	}
	var more []string
	if err := d.write.NewRaw(query).Scan(t.Context(), &more); err != nil {
		t.Fatal(err)
	}
	for _, s := range append(statements, more...) {
		if err := exec(t.Context(), d, s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// other is another value of a column.
func other(column, typ string, was any) any {
	switch v := was.(type) {
	case nil:
		moment := strings.HasSuffix(column, "at") || strings.HasSuffix(column, "until") || column == "since" || column == "created" || column == "not_before"
		switch {
		case strings.HasPrefix(typ, "timestamp"), moment:
			return "2031-01-01T00:00:00.000000Z"
		case typ == "boolean":
			return true
		case typ == "integer" || typ == "bigint":
			return 1
		case typ == "bytea" || typ == "blob":
			return []byte("x")
		}
		return newID().String()
	case string:
		if at, err := time.Parse(instantForm, v); err == nil {
			return at.Add(time.Hour).Format(instantForm)
		}
		if _, err := uuid.Parse(v); err == nil {
			return newID().String()
		}
		return v + "x"
	case int64:
		if typ == "integer" && v == 0 && strings.Contains(column, "replayed") {
			return 1
		}
		return v + 1000
	case bool:
		return !v
	case time.Time:
		return v.Add(time.Hour)
	case []byte:
		if typ == "uuid" {
			return newID().String()
		}
		if len(v) == 0 {
			return []byte("x")
		}
		w := slices.Clone(v)
		w[0] ^= 1
		return w
	}
	panic(fmt.Sprintf("%s is a %T", column, was))
}

func (x table) where(row map[string]any) (string, []any) {
	var terms []string
	var args []any
	for _, k := range x.keys {
		terms, args = append(terms, "? = ?"), append(args, bun.Ident(k), row[k])
	}
	return strings.Join(terms, " AND "), args
}

func (x table) rows(t testing.TB, d *DB) (rows []map[string]any) {
	t.Helper()
	if err := d.write.NewSelect().TableExpr("?", bun.Ident(x.name)).ColumnExpr("*").Scan(t.Context(), &rows); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		for c, v := range row {
			if b, is := v.([]byte); is && x.types[c] == "uuid" { // as text, or as it is kept
				if id, err := uuid.ParseBytes(b); err == nil {
					row[c] = id.String()
				}
			}
		}
	}
	slices.SortFunc(rows, func(a, b map[string]any) int { return strings.Compare(textOf(a), textOf(b)) })
	return rows
}

func (x table) set(t testing.TB, d *DB, row map[string]any, column string, to any) error {
	t.Helper()
	terms, args := x.where(row)
	res, err := d.write.ExecContext(t.Context(), "UPDATE ? SET ? = ? WHERE "+terms, append([]any{bun.Ident(x.name), bun.Ident(column), to}, args...)...)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); n != 1 || err != nil {
		t.Fatalf("%s: %d rows, %v", x.name, n, err)
	}
	return nil
}

// transferOf is the transfer that a row is about, if any.
func (x table) transferOf(row map[string]any) (id ledger.ID) {
	key := "transfer_id"
	if x.name == "transfers" {
		key = "id"
	}
	if text, is := row[key].(string); is {
		id, _ = uuid.Parse(text)
	}
	return id
}

// told wants an audit to name the transfer, and to say what was found and what was expected.
func told(t testing.TB, found []audit.Difference, what string, of ledger.ID) {
	t.Helper()
	if len(found) == 0 {
		t.Errorf("%s: the audit does not notice. Cover it in ledger/content.go, in the row's seal or by a sum (db/sums.go), or write into the list \"free\" of this test why nobody needs to notice", what)
		return
	}
	if of != (ledger.ID{}) && !slices.ContainsFunc(found, func(x audit.Difference) bool { return x.Transfer == of || strings.Contains(x.Detail, of.String()) }) {
		t.Errorf("%s: the audit does not name %s: %v", what, of, found)
	}
}

// With triggers, conditions and references gone, each column of each table is changed in turn, and the
// audit tells of it; once it is put back the audit is content again.
func TestTheAuditNoticesAChangeOfAnyColumn(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		wholeLedger(t, d)
		unguarded(t, d)
		if found := audited(t, d); len(found) > 0 {
			t.Fatalf("before: %v", found)
		}
		changed := 0
		for _, x := range tables(t, d) {
			if isFree(x.name) {
				continue
			}
			rows := x.rows(t, d)
			if len(rows) == 0 {
				t.Errorf("the ledger of this test has no row of %s: make one in wholeLedger, or say in free why it is not covered", x.name)
				continue
			}
			for _, c := range x.columns {
				if isFree(x.name + "." + c) {
					continue
				}
				for _, row := range rows[:min(len(rows), 2)] {
					what := x.name + "." + c
					to := other(c, x.types[c], row[c])
					if err := x.set(t, d, row, c, to); err != nil {
						t.Fatalf("%s from %v to %v: %v", what, row[c], to, err)
					}
					about := x.transferOf(row)
					if c == "transfer_id" || x.name == "transfers" && c == "id" {
						about = ledger.ID{} // it is another's now
					}
					told(t, audited(t, d), what, about)
					now := maps.Clone(row)
					now[c] = to
					if err := x.set(t, d, now, c, row[c]); err != nil {
						t.Fatalf("%s back: %v", what, err)
					}
					changed++
				}
			}
			if found := audited(t, d); len(found) > 0 {
				t.Fatalf("%s was put back: %v", x.name, found)
			}
		}
		if changed < 150 {
			t.Errorf("%d changes were tried", changed)
		}
	})
}

// Each row of each table is taken out in turn, and the audit tells of it.
func TestTheAuditNoticesThatAnyRowIsGone(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		wholeLedger(t, d)
		unguarded(t, d)
		for _, x := range tables(t, d) {
			if isFree(x.name) {
				continue
			}
			for i, row := range x.rows(t, d) {
				terms, args := x.where(row)
				save := fmt.Sprintf("CREATE TABLE saved_%s_%d AS SELECT * FROM ? WHERE %s", x.name, i, terms)
				for _, s := range []string{save, "DELETE FROM ? WHERE " + terms} {
					if err := exec(t.Context(), d, s, append([]any{bun.Ident(x.name)}, args...)...); err != nil {
						t.Fatalf("%s: %v", s, err)
					}
				}
				told(t, audited(t, d), fmt.Sprintf("%s without %s", x.name, textOf(row)), x.transferOf(row))
				for _, s := range []string{"INSERT INTO %[1]s SELECT * FROM saved_%[1]s_%[2]d", "DROP TABLE saved_%[1]s_%[2]d"} {
					if err := exec(t.Context(), d, fmt.Sprintf(s, x.name, i)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if found := audited(t, d); len(found) > 0 {
				t.Fatalf("%s was put back: %v", x.name, found)
			}
		}
	})
}

// A transfer that was taken out whole, with all that is about it, leaves no row to wonder about; the
// seals name it.
func TestTheAuditNoticesThatATransferIsGoneWhole(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		wholeLedger(t, d)
		x := commit(t, d, accept(anOrder()), nil)
		unguarded(t, d)
		for _, s := range []string{"DELETE FROM transfers WHERE id = ?", "DELETE FROM history WHERE transfer_id = ?", "DELETE FROM postings WHERE transfer_id = ?"} {
			if err := exec(t.Context(), d, s, x.ID); err != nil {
				t.Fatal(err)
			}
		}
		told(t, audited(t, d), "a transfer that was never sent, taken out", x.ID)
	})
}
