package db

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/ledger"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// open opens and migrates a database.
func open(t testing.TB, url string) *DB {
	t.Helper()
	d, err := Open(t.Context(), url, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if _, err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// both opens and migrates each database.
func both(t *testing.T, test func(t *testing.T, d *DB)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, url string) { test(t, open(t, patient(url))) })
}

// patience has who waits for SQLite's file wait for as long as another process keeps it.
var patience = Options{LockWait: 5 * time.Minute}

// patient has who waits for a lock wait for long. By default it is half a second, and a busy machine
// may keep the lock's holder from running for as long.
func patient(url string) string {
	if strings.HasPrefix(url, "sqlite:") {
		return url
	}
	return url + "&lock_timeout=5min"
}

func newID() ledger.ID { return uuid.Must(uuid.NewV7()) }

// anOrder makes an order that nobody made before.
func anOrder() ledger.Order {
	return ledger.Order{
		Reference: "order-" + newID().String(), Seller: "seller-1", Destination: "acct_1",
		Money: ledger.Money{Amount: 1000, Currency: "eur"}, Description: "for a vase",
		Metadata: map[string]string{"order": "17"},
	}
}

func accept(o ledger.Order) ledger.Change {
	return ledger.Accept(o, newID(), 1, time.Now(), ledger.By{Principal: "shop"})
}

// policy lets everything be tried at once.
func policy() ledger.Policy {
	return ledger.Policy{Windows: ledger.DefaultWindows(), Unresolved: ledger.ParkDoubtful, Epoch: 1}
}

// commit commits one change, which must win, and returns the transfer as it then is.
func commit(t testing.TB, d *DB, c ledger.Change, err error) ledger.Transfer {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	changes := []ledger.Change{c}
	_, won, err := d.Commit(t.Context(), changes)
	if err != nil {
		t.Fatal(err)
	}
	if !won[0] {
		t.Fatalf("%s of version %d lost", c.History.Event, c.After.Version)
	}
	return changes[0].After
}

// load reads one transfer, which must be there.
func load(t testing.TB, d *DB, id ledger.ID) ledger.Record {
	t.Helper()
	records, err := d.Load(t.Context(), []ledger.ID{id})
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 1 {
		t.Fatalf("%d transfers have the ID %s", len(records), id)
	}
	return records[0]
}

// completed drives a new transfer to its end.
func completed(t testing.TB, d *DB) ledger.Transfer {
	t.Helper()
	x := commit(t, d, accept(anOrder()), nil)
	c, err := x.Begin(policy(), x.CreatedAt)
	x = commit(t, d, c, err)
	c, _, err = x.Conclude(x.ID, x.Operation.Epoch, x.Operation.Generation, ledger.Answer{Row: "T1", Verdict: ledger.Done, StripeID: "tr_" + short(x.ID), HTTPStatus: 200})
	return commit(t, d, c, err)
}

// short is an ID as part of one of Stripe's.
func short(id ledger.ID) string { return fmt.Sprintf("%x", id[:]) }

// exec runs a statement past everything.
func exec(ctx context.Context, d *DB, statement string, args ...any) error {
	_, err := d.write.ExecContext(ctx, statement, args...)
	return err
}
