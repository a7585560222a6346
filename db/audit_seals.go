package db

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// sealPageMax is how many seals are read at a time.
const sealPageMax = 200

// AuditSeals recomputes the chain across all of the history, and tells where it does not hang together:
// which rows it names and the history lacks, and which the history has and it does not name.
func (d *DB) AuditSeals(ctx context.Context) (found []audit.Difference, err error) {
	a := sealAudit{named: make(map[ledger.Seal]int64)}
	chains, err := sealChains(ctx, d.read)
	if err == nil {
		a.chains(chains)
		for i := range chains {
			if err = a.chain(ctx, d, ledger.Seal{Chain: chains[i].No, Hash: chains[i].Hash}); err != nil {
				break
			}
		}
	}
	if err == nil {
		a.heads()
		err = a.orphans(ctx, d)
	}
	if err == nil {
		err = a.counts(ctx, d)
	}
	if err != nil {
		return nil, fmt.Errorf("audit the seals: %w", err)
	}
	return a.found, nil
}

type sealAudit struct {
	named map[ledger.Seal]int64 // ends that a chain begins with, until they are seen
	found []audit.Difference
}

func (a *sealAudit) differ(t ledger.ID, format string, args ...any) {
	a.found = append(a.found, audit.Difference{Class: audit.Chain, Transfer: t, Detail: fmt.Sprintf(format, args...)})
}

// chains looks at how each chain begins.
func (a *sealAudit) chains(chains []sealChainRow) {
	next := int64(1)
	for i := range chains {
		c := &chains[i]
		if c.No != next {
			a.differ(ledger.ID{}, "chains of seals %d to %d are missing", next, c.No-1)
		}
		next = c.No + 1
		if is := ledger.BeginSeals(c.No, c.At.time(), c.Heads).Hash; is != c.Hash {
			a.differ(ledger.ID{}, "the beginning of chain %d of seals is not as it was written: found the hash %.16s, expected %.16s", c.No, is, c.Hash)
		}
		for line := range strings.SplitSeq(c.Heads, "\n") {
			if s, err := ledger.ParseSeal(line); err == nil {
				a.named[s] = c.No
			}
		}
	}
}

// chain follows one chain of seals from its beginning.
func (a *sealAudit) chain(ctx context.Context, d *DB, head ledger.Seal) error {
	delete(a.named, head)
	for {
		var page []sealRow
		var chains map[ledger.Sealed]string
		err := d.snapshot(ctx, func(tx bun.Tx) (err error) {
			if err := tx.NewSelect().Model(&page).Where("chain = ?", head.Chain).Where("no > ?", head.No).OrderExpr("no").Limit(sealPageMax).Scan(ctx); err != nil {
				return err
			}
			chains, err = rowsOfSeals(ctx, tx, page)
			return err
		})
		if err != nil {
			return err
		}
		for i := range page {
			head = a.seal(&page[i], head, chains)
		}
		if len(page) < sealPageMax {
			return nil
		}
	}
}

// seal looks at one seal, and returns it as it was written.
func (a *sealAudit) seal(s *sealRow, before ledger.Seal, chains map[ledger.Sealed]string) ledger.Seal {
	if s.No != before.No+1 {
		a.differ(ledger.ID{}, "seals %d to %d of chain %d are missing", before.No+1, s.No-1, s.Chain)
	}
	rows, err := ledger.ParseSealed(s.Rows)
	if err != nil || int64(len(rows)) != s.Changes {
		a.differ(ledger.ID{}, "seal %d of chain %d names %d rows of the history; expected %d", s.No, s.Chain, len(rows), s.Changes)
	}
	whole := true
	for i := range rows {
		chain, has := chains[rows[i]]
		if !has {
			whole = false
			a.differ(rows[i].Transfer, "version %d of its history was written by seal %d of chain %d, and is missing", rows[i].Version, s.No, s.Chain)
		}
		rows[i].Chain = chain
	}
	is := before.Over(s.At.time(), rows, s.Rows)
	if whole && s.No == before.No+1 && is.Hash != s.Hash {
		a.differ(ledger.ID{}, "seal %d of chain %d, or one of the %d rows of the history that it wrote, is not as it was written: found the hash %.16s, expected %.16s",
			s.No, s.Chain, s.Changes, is.Hash, s.Hash)
	}
	seal := ledger.Seal{Chain: s.Chain, No: s.No, Hash: s.Hash}
	delete(a.named, seal)
	return seal
}

// rowsOfSeals reads the hashes of the histories that some seals name rows of.
func rowsOfSeals(ctx context.Context, tx bun.Tx, page []sealRow) (map[ledger.Sealed]string, error) {
	var ids []ledger.ID
	for i := range page {
		named, _ := ledger.ParseSealed(page[i].Rows) // what is wrong with it is told of
		for _, n := range named {
			ids = append(ids, n.Transfer)
		}
	}
	slices.SortFunc(ids, func(a, b ledger.ID) int { return slices.Compare(a[:], b[:]) })
	chains := make(map[ledger.Sealed]string, len(ids))
	for some := range slices.Chunk(slices.Compact(ids), 1000) {
		var rows []historyRow
		if err := tx.NewSelect().Model(&rows).Column("transfer_id", "version", "chain").Where("transfer_id IN (?)", bun.List(some)).Scan(ctx); err != nil {
			return nil, err
		}
		for _, r := range rows {
			chains[ledger.Sealed{Transfer: r.TransferID, Version: r.Version}] = r.Chain
		}
	}
	return chains, nil
}

// heads tells of ends that a chain begins with, and that are not there.
func (a *sealAudit) heads() {
	for s, by := range a.named {
		a.differ(ledger.ID{}, "chain %d of seals began after seal %d of chain %d, which is missing", by, s.No, s.Chain)
	}
}

// orphans tells of rows whose transfer is missing, and of seals whose chain is.
func (a *sealAudit) orphans(ctx context.Context, d *DB) error {
	var chains []int64
	err := d.read.NewRaw("SELECT DISTINCT chain FROM seals WHERE chain NOT IN (SELECT no FROM seal_chains) ORDER BY chain").Scan(ctx, &chains)
	if err != nil {
		return err
	}
	for _, no := range chains {
		a.differ(ledger.ID{}, "the beginning of chain %d of seals is missing", no)
	}
	for _, table := range []string{"history", "postings", "reversals", "holds"} {
		var rows []struct {
			TransferID ledger.ID
			Number     int64
		}
		err := d.read.NewRaw(`SELECT o.transfer_id, count(*) AS number FROM ? AS o LEFT JOIN transfers AS t ON t.id = o.transfer_id
			WHERE t.id IS NULL GROUP BY o.transfer_id ORDER BY o.transfer_id LIMIT 1000`, bun.Ident(table)).Scan(ctx, &rows)
		if err != nil {
			return err
		}
		for _, r := range rows {
			a.differ(r.TransferID, "its row is missing, and %d of %s are there", r.Number, table)
		}
	}
	return nil
}

// counts tells of rows of the history that no seal names.
func (a *sealAudit) counts(ctx context.Context, d *DB) error {
	var n struct{ History, Sealed int64 }
	err := d.read.NewRaw("SELECT (SELECT count(*) FROM history) AS history, (SELECT coalesce(CAST(sum(changes) AS bigint), 0) FROM seals) AS sealed").Scan(ctx, &n)
	if err != nil || n.History == n.Sealed {
		return err
	}
	if n.History < n.Sealed {
		if len(a.found) == 0 {
			a.differ(ledger.ID{}, "the history has %d rows; expected the %d that the seals name", n.History, n.Sealed)
		}
		return nil
	}
	return a.unnamed(ctx, d, n.History-n.Sealed)
}

// unnamed finds the transfers with rows of the history that no seal names. It is asked only once there
// are some, because it keeps a number for each transfer.
func (a *sealAudit) unnamed(ctx context.Context, d *DB, more int64) error {
	sealed := make(map[ledger.ID]int64)
	var last sealRow
	for {
		var page []sealRow
		err := d.read.NewSelect().Model(&page).Column("chain", "no", "rows").Where("(chain, no) > (?, ?)", last.Chain, last.No).
			OrderExpr("chain, no").Limit(sealPageMax).Scan(ctx)
		if err != nil {
			return err
		}
		for i := range page {
			rows, _ := ledger.ParseSealed(page[i].Rows)
			for _, r := range rows {
				sealed[r.Transfer]++
			}
			last = page[i]
		}
		if len(page) < sealPageMax {
			break
		}
	}
	told := 0
	for after := (ledger.ID{}); ; {
		var page []struct {
			TransferID ledger.ID
			Number     int64
		}
		err := d.read.NewRaw("SELECT transfer_id, count(*) AS number FROM history WHERE transfer_id > ? GROUP BY transfer_id ORDER BY transfer_id LIMIT 1000", after).Scan(ctx, &page)
		if err != nil {
			return err
		}
		for _, r := range page {
			if after = r.TransferID; r.Number != sealed[r.TransferID] {
				told++
				a.differ(r.TransferID, "its history has %d rows; expected the %d that the seals name", r.Number, sealed[r.TransferID])
			}
		}
		if len(page) < 1000 || told >= 100 {
			break
		}
	}
	if told == 0 {
		a.differ(ledger.ID{}, "the history has %d rows more than the seals name", more)
	}
	return nil
}
