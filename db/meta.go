package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/settled/settled/db/crash"
	"github.com/settled/settled/ledger"
)

// What the ledger knows of itself. The values are texts.
const (
	metaEpoch    = "epoch"       // a number, from 1
	metaSince    = "epoch_since" // when it was raised
	metaIdentity = "identity"    // of the copy of the data that the epoch belongs to
	metaAccount  = "account"     // at Stripe
	metaMode     = "mode"        // of that account: see ledger.Mode
	metaUnsealed = "unsealed"    // there is what is older than the seals: see sealOld
	metaNames    = "names"       // the account that operations' names derive from; decided once
)

type metaRow struct {
	bun.BaseModel `bun:"table:meta,alias:m"`

	Key   string `bun:"key,pk"`
	Value string `bun:"value"`
}

// Epoch tells the ledger's epoch and since when it lasts (zero in the first). A database that
// may have lost commits (restored, failed over, copied) begins a new one here: raised is true
// for the one process that saw it first. PostgreSQL shows it, and so does a file that [DB.Backup]
// made; any other copy of an SQLite file must be told: see [DB.RaiseEpoch].
//
// From then on this process goes by that epoch: once another process has raised it, [DB.Commit] is
// [ledger.ErrNewEpoch], and so is all the rest, by [ErrMoved], once a new connection finds
// another copy of the data.
func (d *DB) Epoch(ctx context.Context) (epoch int, since time.Time, raised bool, err error) {
	err = d.changing(ctx, "meta", func(tx bun.Tx) error {
		if err := settle(ctx, tx, metaEpoch, "1"); err != nil {
			return err
		}
		raised, err = d.recognize(ctx, tx)
		if err != nil {
			return err
		}
		if raised {
			epoch, since, err = d.raise(ctx, tx)
			return err
		}
		epoch, since, err = readEpoch(ctx, tx)
		return err
	})
	if err != nil {
		return 0, time.Time{}, false, fmt.Errorf("read the ledger's epoch: %w", err)
	}
	d.epoch.Store(int64(epoch))
	return epoch, since, raised, nil
}

// abreast reads the clock of a transaction that writes, and refuses one of a process that has
// not heard of the newest epoch: it would send, deny and prove by what the database has lost.
func (d *DB) abreast(ctx context.Context, tx bun.Tx) (at time.Time, err error) {
	known := d.epoch.Load()
	if l, ok := d.engine.(*lite); ok && l.replaced() {
		return at, errRegressed
	}
	if known == 0 {
		at, err = d.clock(ctx, tx.Tx)
	} else {
		var epoch int64
		var has bool
		at, epoch, has, err = d.standing(ctx, tx)
		switch {
		case err != nil:
		case epoch > known:
			return at, fmt.Errorf("%w: it goes by epoch %d", ledger.ErrNewEpoch, known)
		case epoch < known || !has:
			return at, errRegressed
		}
	}
	if err != nil {
		return at, fmt.Errorf("read the clock: %w", err)
	}
	return at, nil
}

// errRegressed reports a database that lacks what this process was told: see regressed.
var errRegressed = errors.New("the database lacks what it had acknowledged")

// recognize reports that this is not the copy of the data that the ledger knows, and makes it
// the one it knows.
func (d *DB) recognize(ctx context.Context, tx bun.Tx) (other bool, err error) {
	var identity string
	// In a savepoint, so that a refused question does not end the transaction.
	asked := tx.RunInTx(ctx, nil, func(ctx context.Context, inner bun.Tx) error {
		identity, err = d.identity(ctx, inner)
		return err
	})
	if asked != nil {
		if Transient(asked) {
			return false, asked
		}
		d.log.Warn("the database does not tell whether it was restored or failed over: raise the epoch by hand after either", "error", asked)
		return false, nil
	}
	if identity == "" {
		return false, nil
	}
	if err := settle(ctx, tx, metaIdentity, identity); err != nil {
		return false, err
	}
	// Of processes that see the change at once, this update has one winner; the others wait
	// for it, and then find nothing to do.
	res, err := tx.NewUpdate().Model(&metaRow{Value: identity}).Column("value").
		Where("key = ?", metaIdentity).Where("value <> ?", identity).Exec(ctx)
	if err != nil {
		return false, err
	}
	return one(res)
}

// RaiseEpoch begins a new epoch, as must be done after an SQLite file was restored from a copy.
func (d *DB) RaiseEpoch(ctx context.Context) (epoch int, err error) {
	err = d.changing(ctx, "meta", func(tx bun.Tx) error {
		if err := settle(ctx, tx, metaEpoch, "1"); err != nil {
			return err
		}
		epoch, _, err = d.raise(ctx, tx)
		crash.Point("epoch.raised")
		return err
	})
	crash.Point("epoch.committed")
	if err != nil {
		return 0, fmt.Errorf("raise the ledger's epoch: %w", err)
	}
	return epoch, nil
}

func (d *DB) raise(ctx context.Context, tx bun.Tx) (epoch int, since time.Time, err error) {
	at, err := d.clock(ctx, tx.Tx)
	if err != nil {
		return 0, since, err
	}
	_, err = tx.NewUpdate().Model((*metaRow)(nil)).Set("value = CAST(CAST(value AS bigint) + 1 AS text)").Where("key = ?", metaEpoch).Exec(ctx)
	if err != nil {
		return 0, since, err
	}
	_, err = tx.NewInsert().Model(&metaRow{Key: metaSince, Value: at.Format(instantForm)}).
		On("CONFLICT (key) DO UPDATE").Set("value = excluded.value").Exec(ctx)
	if err != nil {
		return 0, since, err
	}
	return readEpoch(ctx, tx)
}

func readEpoch(ctx context.Context, tx bun.Tx) (epoch int, since time.Time, err error) {
	text, err := readMeta(ctx, tx, metaEpoch)
	if err != nil {
		return 0, since, err
	}
	if epoch, err = strconv.Atoi(text); err != nil {
		return 0, since, err
	}
	if text, err = readMeta(ctx, tx, metaSince); err == nil && text != "" {
		since, err = time.Parse(instantForm, text)
	}
	return epoch, since, err
}

// NamesFrom tells the account that operations' names at Stripe derive from: the ledger's, if that
// is known when it is asked for the first time, else none, for ever. A ledger that learns its
// account later goes on as it began: the same order must have the same name.
func (d *DB) NamesFrom(ctx context.Context) (account string, err error) {
	err = d.changing(ctx, "meta", func(tx bun.Tx) error {
		if account, err = readMeta(ctx, tx, metaAccount); err != nil {
			return err
		}
		if err := settle(ctx, tx, metaNames, account); err != nil {
			return err
		}
		account, err = readMeta(ctx, tx, metaNames)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read the account that names derive from: %w", err)
	}
	return account, nil
}

// settle stores a value unless there is one.
func settle(ctx context.Context, tx bun.Tx, key, value string) error {
	_, err := tx.NewInsert().Model(&metaRow{Key: key, Value: value}).On("CONFLICT (key) DO NOTHING").Exec(ctx)
	return err
}

func readMeta(ctx context.Context, q bun.IDB, key string) (string, error) {
	var value string
	err := q.NewSelect().Model((*metaRow)(nil)).Column("value").Where("key = ?", key).Scan(ctx, &value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return value, err
}
