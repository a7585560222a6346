package db

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// Lost takes in the proof that this database lost commits: something of ours that Stripe created at
// a moment, and that has no row. In one transaction it begins a new epoch and stores the row that
// was made again, if there is one; stored is false when a row has its name or reference by now.
//
// The epoch is raised once for a loss: what Stripe created before the present epoch began is of the
// loss that began it. (Clocks may differ by skew. What was lost again within that time of the
// beginning needs no other epoch: everything rests, or is looked up before it is sent.) After a rise
// this process is behind the epoch, like every other: see [DB.Epoch].
func (d *DB) Lost(ctx context.Context, created time.Time, skew time.Duration, rebuilt *ledger.Change) (stored, raised bool, err error) {
	changes := make([]ledger.Change, 0, 1)
	if rebuilt != nil {
		changes = append(changes, *rebuilt)
	}
	if err := d.prepareCommit(ctx); err != nil {
		return false, false, fmt.Errorf("note lost commits: %w", err)
	}
	err = d.sealing(ctx, func(tx bun.Tx) error {
		if err := settle(ctx, tx, metaEpoch, "1"); err != nil {
			return err
		}
		if err := d.lockEpoch(ctx, tx); err != nil {
			return err
		}
		at, err := d.abreast(ctx, tx)
		if err != nil {
			return err
		}
		epoch, since, err := readEpoch(ctx, tx)
		if err != nil {
			return err
		}
		if raised = since.IsZero() || created.After(since.Add(skew)); raised {
			if epoch, _, err = d.raise(ctx, tx); err != nil {
				return err
			}
		}
		won := make([]bool, len(changes))
		for i := range changes {
			changes[i].After.Operation.Seen = epoch
			changes[i].Stamp(at)
		}
		if err := d.guard(ctx, tx, changes, nil, won); err != nil {
			return err
		}
		stored = len(won) > 0 && won[0]
		if err := d.record(ctx, tx, at, changes, won); err != nil {
			return err
		}
		return d.renew(ctx, tx, "meta")
	})
	if errors.Is(err, errRegressed) {
		err = d.regressed(ctx)
	}
	if err != nil {
		return false, false, fmt.Errorf("note lost commits: %w", err)
	}
	if rebuilt != nil {
		*rebuilt = changes[0]
	}
	return stored, raised, nil
}

// lockEpoch keeps others from raising the epoch, and from committing, until the transaction ends.
func (d *DB) lockEpoch(ctx context.Context, tx bun.Tx) error {
	_, err := tx.NewUpdate().Model((*metaRow)(nil)).Set("value = value").Where("key = ?", metaEpoch).Exec(ctx)
	return err
}

// witness is the newest commit that this process was told of. The database must still have it: a
// copy that was put back has not, whatever else about it is the same.
type witness struct {
	transfer ledger.ID
	version  int64
	chain    string
}

// remember notes the newest of the changes that won.
func (d *DB) remember(changes []ledger.Change, won []bool) {
	for i := len(changes) - 1; i >= 0; i-- {
		if won[i] {
			t := &changes[i].After
			d.newest.Store(&witness{t.ID, t.Version, t.Chain})
			return
		}
	}
}

// standing reads where the ledger is: its clock, its epoch, and whether it has what this process
// was told last.
func (d *DB) standing(ctx context.Context, tx bun.Tx) (at time.Time, epoch int64, has bool, err error) {
	w := d.newest.Load()
	var text string
	switch p, asks := d.engine.(*postgres); {
	case w == nil:
		has = true
		at, text, err = d.clockAndEpoch(ctx, tx.Tx)
	case asks: // in one round trip
		err = tx.Tx.QueryRowContext(ctx, "SELECT now(), value, "+witnessText+" FROM meta WHERE key = 'epoch' FOR SHARE",
			p.grouped, w.transfer.String(), w.version, w.chain).Scan(&at, &text, &has)
		at = at.UTC()
	default:
		if at, text, err = d.clockAndEpoch(ctx, tx.Tx); err == nil {
			err = tx.Tx.QueryRowContext(ctx, "SELECT "+witnessText, w.transfer.String(), w.version, w.chain).Scan(&has)
		}
	}
	if err == nil {
		epoch, err = strconv.ParseInt(text, 10, 64)
	}
	return at, epoch, has, err
}

const witnessText = "EXISTS (SELECT 1 FROM history WHERE transfer_id = $1 AND version = $2 AND chain = $3)"

// regressed begins a new epoch in a database that lacks what this process was told, unless another
// process has since. It returns what ends the process.
func (d *DB) regressed(ctx context.Context) error {
	if l, ok := d.engine.(*lite); ok && l.replaced() {
		return d.left(ctx, l)
	}
	known, began := d.epoch.Load(), false
	err := d.changing(ctx, "meta", func(tx bun.Tx) error {
		if err := d.lockEpoch(ctx, tx); err != nil {
			return err
		}
		_, epoch, has, err := d.standing(ctx, tx)
		if err != nil || epoch > known || epoch == known && has {
			return err
		}
		// Above the epoch that was lost as well: keys of it may have been used.
		_, err = tx.NewUpdate().Model(&metaRow{Value: strconv.FormatInt(known, 10)}).Column("value").Where("key = ?", metaEpoch).Exec(ctx)
		if err == nil {
			_, _, err = d.raise(ctx, tx)
		}
		began = err == nil
		return err
	})
	if err != nil {
		return fmt.Errorf("begin an epoch after the database lost commits: %w", err)
	}
	if began {
		d.log.Error("the database lacks commits that it had acknowledged: it was put back to an older copy; a new epoch begins")
	}
	return fmt.Errorf("%w: the database lacks what it had acknowledged", ledger.ErrNewEpoch)
}
