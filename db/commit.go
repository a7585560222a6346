package db

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// Commit stores changes in one transaction: for each winner its transfer, the reversals it
// touched, its history row and its postings; for a loser nothing. It stamps every change, in
// place, with the database's clock, and returns that time and who won.
//
// A creation (version 1) loses when its ID or reference is taken; any other change when the
// transfer is not at the version before. Of two changes of one transfer in a call the later
// loses. A change by a message (History.By) stores the message's receipt, and loses when the
// message has one. A row that the database refuses fails the whole call, with an error for which
// [Transient] is false; nothing is stored then.
//
// It is [ledger.ErrNewEpoch], and stores nothing, when the ledger's epoch is not the one that
// this process goes by.
//
// No changes at all show whether the ledger can be written.
//
// After a transient error the outcome is unknown. The same changes may be committed again:
// they win, or lose, to themselves at worst; a loser reads what is stored.
func (d *DB) Commit(ctx context.Context, changes []ledger.Change) (at time.Time, won []bool, err error) {
	won = make([]bool, len(changes))
	if err := d.prepareCommit(ctx); err != nil {
		return at, nil, fmt.Errorf("commit %d changes: %w", len(changes), err)
	}
	if len(changes) == 0 {
		at, err = d.probe(ctx)
		if errors.Is(err, errRegressed) {
			err = d.regressed(ctx)
		}
		if err != nil {
			return at, nil, fmt.Errorf("write the ledger: %w", err)
		}
		return at, won, nil
	}
	err = d.sealing(ctx, func(tx bun.Tx) error {
		if at, err = d.abreast(ctx, tx); err != nil {
			return err
		}
		for i := range changes {
			changes[i].Stamp(at)
		}
		spent, err := d.spent(ctx, tx, changes)
		if err != nil {
			return err
		}
		if err := d.guard(ctx, tx, changes, spent, won); err != nil {
			return err
		}
		return d.record(ctx, tx, at, changes, won)
	})
	if errors.Is(err, errRegressed) {
		err = d.regressed(ctx)
	}
	if err != nil {
		return at, nil, fmt.Errorf("commit %d changes: %w", len(changes), err)
	}
	d.remember(changes, won)
	return at, won, nil
}

// prepareCommit prepares all that a commit may run.
func (d *DB) prepareCommit(ctx context.Context) error {
	g := &d.groups
	return d.prepare(ctx, &g.createTransfers, &g.changeTransfers, &g.putReversals, &g.putHolds, &g.addHistory, &g.addPostings, &g.addSeals, &g.addSkeletons)
}

// guard stores the transfers, and finds who won.
func (d *DB) guard(ctx context.Context, tx bun.Tx, changes []ledger.Change, spent map[int]bool, won []bool) error {
	var created, changed []int // indices into changes
	first := make(map[ledger.ID]bool, len(changes))
	for i := range changes {
		t := &changes[i].After
		switch {
		case first[t.ID], spent[i]:
			continue
		case t.Version == 1:
			created = append(created, i)
		default:
			changed = append(changed, i)
		}
		first[t.ID] = true
	}
	store := func(g *group, which []int, row func(*ledger.Transfer) transferRow) error {
		// In the order of IDs, so that two writers seldom lock rows crosswise.
		slices.SortFunc(which, func(a, b int) int {
			x, y := &changes[a].After, &changes[b].After
			return cmp.Or(slices.Compare(x.ID[:], y.ID[:]), cmp.Compare(a, b))
		})
		rows := make([]transferRow, len(which))
		for j, i := range which {
			rows[j] = row(&changes[i].After)
		}
		stored, err := run(ctx, d, tx.Tx, g, rows)
		for j, ok := range stored {
			won[which[j]] = ok
		}
		return err
	}
	if err := store(&d.groups.createTransfers, created, newTransfer); err != nil {
		return err
	}
	return store(&d.groups.changeTransfers, changed, changedTransfer)
}

// record stores what goes with the winners.
func (d *DB) record(ctx context.Context, tx bun.Tx, at time.Time, changes []ledger.Change, won []bool) error {
	var (
		reversals []reversalRow
		holds     []holdRow
		history   = make([]historyRow, 0, len(changes))
		postings  = make([]postingRow, 0, 2*len(changes))
		skeletons []skeletonRow
	)
	for i := range changes {
		if !won[i] {
			continue
		}
		c := &changes[i]
		if err := d.acted(ctx, tx, c); err != nil {
			return err
		}
		for _, no := range c.Touched {
			reversals = append(reversals, toReversalRow(c.After.ID, no, &c.After.Reversals[no]))
		}
		for i := range c.History.Holds {
			holds = append(holds, toHoldRow(c.After.ID, &c.History.Holds[i]))
		}
		if c.After.Version == 1 {
			skeletons = append(skeletons, skeletonRow{Skeleton: skeletonOf(c.After.Reference), Reference: c.After.Reference, At: toInstant(c.History.At)})
		}
		history = append(history, toHistoryRow(&c.History))
		for no, p := range c.Postings {
			postings = append(postings, postingRow{TransferID: c.After.ID, Version: c.After.Version, No: int64(no),
				At: toInstant(c.History.At), Account: p.Account, Amount: p.Amount, Currency: p.Currency})
		}
	}
	if _, err := run(ctx, d, tx.Tx, &d.groups.addSkeletons, skeletons); err != nil {
		return err
	}
	stored, err := run(ctx, d, tx.Tx, &d.groups.putReversals, reversals)
	if err != nil {
		return err
	}
	if i := slices.Index(stored, false); i >= 0 {
		return fmt.Errorf("reversal %s belongs to another transfer than %s", reversals[i].ID, reversals[i].TransferID)
	}
	if stored, err = run(ctx, d, tx.Tx, &d.groups.putHolds, holds); err != nil {
		return err
	}
	if i := slices.Index(stored, false); i >= 0 {
		return fmt.Errorf("hold %s is another transfer's than %s, or has ended", holds[i].ID, holds[i].TransferID)
	}
	if _, err := run(ctx, d, tx.Tx, &d.groups.addHistory, history); err != nil {
		return err
	}
	if _, err := run(ctx, d, tx.Tx, &d.groups.addPostings, postings); err != nil {
		return err
	}
	return d.seal(ctx, tx, at, history)
}
