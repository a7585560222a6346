package db

import (
	"errors"
	"testing"
	"time"

	"github.com/settled/settled/ledger"
)

// A process that lives on while its database is put back to an older copy finds out at its next
// commit: what it was told last is not there. It begins a new epoch, and is behind it.
func TestAProcessOverADatabaseThatWasPutBackNotices(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		if _, _, _, err := d.Epoch(t.Context()); err != nil {
			t.Fatal(err)
		}
		x := completed(t, d)
		byForce(t, d, "DELETE FROM history WHERE transfer_id = ? AND version = 3", x.ID) // as an older copy lacks it
		_, won, err := d.Commit(t.Context(), []ledger.Change{accept(anOrder())})
		if !errors.Is(err, ledger.ErrNewEpoch) {
			t.Fatalf("committed: %v, %v", won, err)
		}
		if _, _, err := d.Commit(t.Context(), []ledger.Change{accept(anOrder())}); err == nil || !errors.Is(err, ledger.ErrNewEpoch) {
			t.Errorf("and then again: %v", err)
		}
		epoch, since, raised, err := d.Epoch(t.Context())
		if err != nil || epoch != 2 || since.IsZero() || raised {
			t.Errorf("epoch %d since %s, %v, %v", epoch, since, raised, err)
		}
	})
}

// A copy of an earlier epoch takes the ledger above the epoch that was lost.
func TestACopyOfAnEarlierEpochIsNotGoneOnWith(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		for range 2 {
			if _, err := d.RaiseEpoch(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if epoch, _, _, err := d.Epoch(t.Context()); err != nil || epoch != 3 {
			t.Fatal(epoch, err)
		}
		byForce(t, d, "UPDATE meta SET value = '1' WHERE key = 'epoch'")
		if _, _, err := d.Commit(t.Context(), []ledger.Change{accept(anOrder())}); !errors.Is(err, ledger.ErrNewEpoch) {
			t.Fatal(err)
		}
		if epoch, _, _, err := d.Epoch(t.Context()); err != nil || epoch != 4 {
			t.Errorf("epoch %d, %v", epoch, err)
		}
	})
}

// The epoch is raised once for a loss, together with the row that is made again.
func TestLostCommitsRaiseTheEpochOnce(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		if _, _, _, err := d.Epoch(t.Context()); err != nil {
			t.Fatal(err)
		}
		x := accept(anOrder()).After.Named("")
		x.Operation.Generation, x.Operation.Epoch = 1, 1
		held := ledger.StripeTransfer{ID: "tr_" + short(x.ID), Amount: 1000, Currency: "eur", Destination: "acct_1", Description: "for a vase",
			TransferGroup: x.Group(), Created: time.Now().Add(-time.Hour), Metadata: x.Request(&x.Operation).Metadata}
		c, err := ledger.Rebuild(held, "", newID(), 1, ledger.By{Principal: "settled"})
		if err != nil {
			t.Fatal(err)
		}
		stored, raised, err := d.Lost(t.Context(), held.Created, 15*time.Minute, &c)
		if err != nil || !stored || !raised {
			t.Fatalf("stored %v, raised %v, %v", stored, raised, err)
		}
		if _, _, err := d.Commit(t.Context(), []ledger.Change{accept(anOrder())}); !errors.Is(err, ledger.ErrNewEpoch) {
			t.Errorf("it goes on by the old epoch: %v", err)
		}
		if epoch, _, _, err := d.Epoch(t.Context()); err != nil || epoch != 2 {
			t.Errorf("epoch %d, %v", epoch, err)
		}
		if _, raised, err := d.Lost(t.Context(), held.Created, 15*time.Minute, nil); err != nil || raised {
			t.Errorf("of the same loss: raised %v, %v", raised, err)
		}
		if _, raised, err := d.Lost(t.Context(), time.Now().Add(time.Hour), 15*time.Minute, nil); err != nil || !raised {
			t.Errorf("of another: raised %v, %v", raised, err)
		}
		y := load(t, d, c.After.ID).Transfer
		if y.Status() != ledger.Completed || y.Order.Hash() != x.Order.Hash() || y.Operation.Name != x.Operation.Name || broken(t, d, y.ID) != nil {
			t.Errorf("%+v", y)
		}
		if records, err := d.ByName(t.Context(), []ledger.ID{x.Operation.Name}); err != nil || len(records) != 1 {
			t.Errorf("%v, %v", records, err)
		}
	})
}

// The account that names derive from is decided once.
func TestNamesDeriveFromOneAccountForEver(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		if account, err := d.NamesFrom(t.Context()); err != nil || account != "" {
			t.Fatal(account, err)
		}
		byForce(t, d, "INSERT INTO meta (key, value) VALUES ('account', 'acct_1')")
		if account, err := d.NamesFrom(t.Context()); err != nil || account != "" {
			t.Errorf("it is %q by now, %v", account, err)
		}
	})
}
