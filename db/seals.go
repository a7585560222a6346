package db

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// Each process writes a chain of seals of its own. One chain for all daemons over a PostgreSQL would
// have each commit wait for the one before it, wherever that is made: for its fsync, and for as long as
// its process stands still. A process commits in groups, one after the other, so its own chain costs
// one row a commit and no wait. A chain begins with the ends of all others that no chain names yet: so
// all of them are one, and none is taken out of the middle.

// sealChainRow is a chain of seals.
type sealChainRow struct {
	bun.BaseModel `bun:"table:seal_chains,alias:sc"`

	No    int64   `bun:"no,pk"`
	At    instant `bun:"at"`
	Heads string  `bun:"heads"` // of other chains, a line each
	Hash  string  `bun:"hash"`
}

// sealRow is one seal.
type sealRow struct {
	bun.BaseModel `bun:"table:seals,alias:s"`

	Chain   int64   `bun:"chain,pk"`
	No      int64   `bun:"no,pk"`
	At      instant `bun:"at"`
	Changes int64   `bun:"changes"`
	Rows    []byte  `bun:"rows"`
	Hash    string  `bun:"hash"`
}

// sealer is this process's chain of seals.
type sealer struct {
	turn chan struct{} // who has it may add a seal
	head ledger.Seal   // as far as it is known to be stored; of no chain: one is to be begun
	next ledger.Seal   // of the transaction under way
}

func newSealer() sealer { return sealer{turn: make(chan struct{}, 1)} }

// sealing runs a transaction that may seal. One at a time does, in a process.
func (d *DB) sealing(ctx context.Context, do func(bun.Tx) error) error {
	select {
	case d.seals.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	s := &d.seals
	defer func() { <-s.turn }()
	if s.head.Chain == 0 {
		head, err := d.beginSeals(ctx)
		if err != nil {
			return fmt.Errorf("begin a chain of seals: %w", err)
		}
		s.head = head
	}
	s.next = s.head
	done := false
	err := d.change(ctx, func(tx bun.Tx) error {
		err := do(tx)
		done = err == nil
		return err
	})
	switch {
	case err == nil:
		s.head = s.next
	case done && s.next != s.head, errors.Is(err, errRegressed):
		// It was committed, or not, or will be; or the database was put back to before this chain's
		// end. Nobody knows where it ends, so another one is begun.
		s.head = ledger.Seal{}
	}
	return err
}

// seal adds the seal of some rows of the history to the transaction.
func (d *DB) seal(ctx context.Context, tx bun.Tx, at time.Time, history []historyRow) error {
	if len(history) == 0 {
		return nil
	}
	rows := make([]ledger.Sealed, len(history))
	for i := range history {
		h := &history[i]
		rows[i] = ledger.Sealed{Transfer: h.TransferID, Version: h.Version, Chain: h.Chain}
	}
	next, text := d.seals.next.Next(at, rows)
	d.seals.next = next
	_, err := run(ctx, d, tx.Tx, &d.groups.addSeals, []sealRow{{Chain: next.Chain, No: next.No, At: toInstant(at), Changes: int64(len(rows)), Rows: text, Hash: next.Hash}})
	return err
}

// beginSeals begins this process's chain.
func (d *DB) beginSeals(ctx context.Context) (head ledger.Seal, err error) {
	for head.Chain == 0 {
		err = d.change(ctx, func(tx bun.Tx) error {
			at, err := d.clock(ctx, tx.Tx)
			if err != nil {
				return err
			}
			chains, err := sealChains(ctx, tx)
			if err != nil {
				return err
			}
			heads, err := sealEnds(ctx, tx, chains)
			if err != nil {
				return err
			}
			heads = unnamedEnds(chains, heads)
			lines := make([]string, len(heads))
			for i, h := range heads {
				lines[i] = h.String()
			}
			no, text := int64(1), strings.Join(lines, "\n")
			if n := len(chains); n > 0 {
				no = chains[n-1].No + 1
			}
			begun := ledger.BeginSeals(no, at, text)
			res, err := tx.NewInsert().Model(&sealChainRow{No: no, At: toInstant(at), Heads: text, Hash: begun.Hash}).On("CONFLICT (no) DO NOTHING").Exec(ctx)
			if err != nil {
				return err
			}
			mine, err := one(res) // else another process began its own at the same moment
			if mine {
				head = begun
			}
			return err
		})
		if err != nil {
			return ledger.Seal{}, err
		}
	}
	return head, nil
}

func sealChains(ctx context.Context, q bun.IDB) (chains []sealChainRow, err error) {
	err = q.NewSelect().Model(&chains).OrderExpr("no").Scan(ctx)
	return chains, err
}

// unnamedEnds picks the ends that no chain begins with.
func unnamedEnds(chains []sealChainRow, ends []ledger.Seal) []ledger.Seal {
	named := make(map[string]bool)
	for i := range chains {
		for line := range strings.SplitSeq(chains[i].Heads, "\n") {
			named[line] = true
		}
	}
	return slices.DeleteFunc(ends, func(s ledger.Seal) bool { return named[s.String()] })
}

// sealEnds reads the end of each chain.
func sealEnds(ctx context.Context, q bun.IDB, chains []sealChainRow) ([]ledger.Seal, error) {
	var last []sealRow
	// The newest of each is found by the primary key: a process that starts reads one row a chain.
	err := q.NewSelect().Model(&last).Column("chain", "no", "hash").
		Where("(s.chain, s.no) IN (SELECT c.no, (SELECT max(m.no) FROM seals AS m WHERE m.chain = c.no) FROM seal_chains AS c)").Scan(ctx)
	if err != nil {
		return nil, err
	}
	ends := make([]ledger.Seal, len(chains))
	for i := range chains {
		ends[i] = ledger.Seal{Chain: chains[i].No, Hash: chains[i].Hash}
		if at := slices.IndexFunc(last, func(r sealRow) bool { return r.Chain == chains[i].No }); at >= 0 {
			ends[i] = ledger.Seal{Chain: last[at].Chain, No: last[at].No, Hash: last[at].Hash}
		}
	}
	return ends, nil
}

// Heads reads the ends of the chains of seals, which are all of the history in a few lines, and how many
// seals there are.
func (d *DB) Heads(ctx context.Context) (heads []ledger.Seal, number int64, err error) {
	err = d.snapshot(ctx, func(tx bun.Tx) error {
		chains, err := sealChains(ctx, tx)
		if err != nil {
			return err
		}
		ends, err := sealEnds(ctx, tx, chains)
		for _, e := range ends {
			number += e.No
		}
		heads = unnamedEnds(chains, ends)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read the ends of the seals: %w", err)
	}
	return heads, number, nil
}

// ErrSealGone reports a seal that was kept elsewhere, and that the ledger does not have.
var ErrSealGone = errors.New("the ledger does not have this seal")

// HasSeal looks for a seal that was kept elsewhere.
func (d *DB) HasSeal(ctx context.Context, s ledger.Seal) error {
	q := d.read.NewSelect().Model((*sealRow)(nil)).Where("chain = ?", s.Chain).Where("no = ?", s.No).Where("hash = ?", s.Hash)
	if s.No == 0 {
		q = d.read.NewSelect().Model((*sealChainRow)(nil)).Where("no = ?", s.Chain).Where("hash = ?", s.Hash)
	}
	has, err := q.Exists(ctx)
	if err == nil && !has {
		err = ErrSealGone
	}
	if err != nil {
		return fmt.Errorf("look for seal %s: %w", s, err)
	}
	return nil
}
