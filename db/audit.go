package db

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// AuditPage reads what an audit needs of the transfers after an ID, in the order of IDs, all
// of it at one moment. Books hold the accounts that have postings, also those that came back to zero.
func (d *DB) AuditPage(ctx context.Context, after ledger.ID, limit int) (page []ledger.AuditRow, err error) {
	err = d.snapshot(ctx, func(tx bun.Tx) error {
		records, err := d.recordsIn(ctx, tx, false, func(q *bun.SelectQuery) *bun.SelectQuery {
			return q.Where("id > ?", after).OrderExpr("id").Limit(int64(limit))
		})
		if err != nil || len(records) == 0 {
			return err
		}
		page = make([]ledger.AuditRow, len(records))
		index := make(map[ledger.ID]*ledger.AuditRow, len(records))
		ids := make([]ledger.ID, len(records))
		var unsent []ledger.ID // which have no reversals, unless somebody put them there
		for i, r := range records {
			if r.Transfer.Operation.StripeID == "" {
				unsent = append(unsent, r.Transfer.ID)
			}
			page[i] = ledger.AuditRow{Transfer: r.Transfer, Books: ledger.Books{}}
			ids[i] = r.Transfer.ID
			index[ids[i]] = &page[i]
		}
		if err := d.addReversalsTo(ctx, tx, index, unsent); err != nil {
			return err
		}
		if err := addBooks(ctx, tx, index, ids); err != nil {
			return err
		}
		if err := addVersions(ctx, tx, index, ids); err != nil {
			return err
		}
		return addChains(ctx, tx, index, ids)
	})
	if err != nil {
		return nil, fmt.Errorf("read a page to audit: %w", err)
	}
	return page, nil
}

// addBooks sums the postings of each transfer by account, and looks for entries that are off.
func addBooks(ctx context.Context, tx bun.Tx, index map[ledger.ID]*ledger.AuditRow, ids []ledger.ID) error {
	var sums []struct {
		TransferID ledger.ID
		Account    ledger.Account
		Amount     int64
	}
	err := tx.NewRaw(`SELECT transfer_id, account, CAST(sum(amount) AS bigint) AS amount FROM postings
		WHERE transfer_id IN (?) GROUP BY transfer_id, account`, bun.List(ids)).Scan(ctx, &sums)
	if err != nil {
		return fmt.Errorf("sum postings: %w", err)
	}
	for _, s := range sums {
		index[s.TransferID].Books[s.Account] = s.Amount
	}
	var off []struct {
		TransferID ledger.ID
		Version    int64
	}
	// An entry is off when its sum is, when it is in another currency than its transfer, or
	// when it has no history row.
	err = tx.NewRaw(`SELECT p.transfer_id, p.version FROM postings AS p
		JOIN transfers AS t ON t.id = p.transfer_id
		LEFT JOIN history AS h ON h.transfer_id = p.transfer_id AND h.version = p.version
		WHERE p.transfer_id IN (?) GROUP BY p.transfer_id, p.version
		HAVING sum(p.amount) <> 0 OR sum(CASE WHEN p.currency <> t.currency OR h.version IS NULL THEN 1 ELSE 0 END) > 0`,
		bun.List(ids)).Scan(ctx, &off)
	if err != nil {
		return fmt.Errorf("look for unbalanced entries: %w", err)
	}
	for _, o := range off {
		index[o.TransferID].Unbalanced++
	}
	return nil
}

// addVersions counts the history of each transfer, and reads what it ends with.
func addVersions(ctx context.Context, tx bun.Tx, index map[ledger.ID]*ledger.AuditRow, ids []ledger.ID) error {
	var rows []struct {
		TransferID ledger.ID
		Versions   int64
		Status     ledger.State
		Listed     ledger.State
	}
	err := tx.NewRaw(`SELECT n.transfer_id, n.versions, h.status, t.status AS listed
		FROM (SELECT transfer_id, count(*) AS versions, max(version) AS newest FROM history WHERE transfer_id IN (?) GROUP BY transfer_id) AS n
		JOIN history AS h ON h.transfer_id = n.transfer_id AND h.version = n.newest
		JOIN transfers AS t ON t.id = n.transfer_id`, bun.List(ids)).Scan(ctx, &rows)
	if err != nil {
		return fmt.Errorf("count history: %w", err)
	}
	for _, r := range rows {
		a := index[r.TransferID]
		a.Versions, a.LastStatus, a.Listed = r.Versions, r.Status, r.Listed
	}
	return nil
}

// story is all that is stored of what happened to a transfer.
type story struct {
	history  []ledger.History // with the holds of each step
	postings map[int64][]ledger.Posting
	holds    []ledger.Hold
	broken   error // it was written by no program of ours
}

// stories reads the stories of some transfers.
func stories(ctx context.Context, tx bun.Tx, ids []ledger.ID) (map[ledger.ID]*story, error) {
	all := make(map[ledger.ID]*story, len(ids))
	for _, id := range ids {
		all[id] = &story{postings: make(map[int64][]ledger.Posting)}
	}
	var rows []historyRow
	if err := tx.NewSelect().Model(&rows).Where("transfer_id IN (?)", bun.List(ids)).OrderExpr("transfer_id, version").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	at := make(map[ledger.ID]map[int64]instant, len(ids))
	for i := range rows {
		s := all[rows[i].TransferID]
		h, err := rows[i].history()
		if err != nil {
			s.broken = err
			continue
		}
		s.history = append(s.history, h)
		if at[h.Transfer] == nil {
			at[h.Transfer] = make(map[int64]instant)
		}
		at[h.Transfer][h.Version] = rows[i].At
	}
	var entries []postingRow
	if err := tx.NewSelect().Model(&entries).Where("transfer_id IN (?)", bun.List(ids)).OrderExpr("transfer_id, version, no").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read postings: %w", err)
	}
	for i := range entries {
		e := &entries[i]
		s := all[e.TransferID]
		list := s.postings[e.Version]
		if when := at[e.TransferID][e.Version]; s.broken == nil && (e.No != int64(len(list)) || !e.At.time().Equal(when.time())) {
			s.broken = fmt.Errorf("posting %d of version %d is of %s; expected posting %d, of %s", e.No, e.Version,
				e.At.time().Format(instantForm), len(list), when.time().Format(instantForm))
		}
		s.postings[e.Version] = append(list, e.posting().Posting)
	}
	holds, err := holdsOfAll(ctx, tx, ids)
	if err != nil {
		return nil, err
	}
	for id, s := range all {
		s.holds = holds[id]
		if err := attach(s.history, s.holds); err != nil && s.broken == nil {
			s.broken = err
		}
	}
	return all, nil
}

// standing returns the holds that have not ended, whatever the state: a hold at what is not held is to
// be found.
func (s *story) standing() (stand []ledger.Hold) {
	for i := range s.holds {
		if s.holds[i].Ended == 0 {
			stand = append(stand, s.holds[i])
		}
	}
	return stand
}

// addChains reads all of each transfer's history, and finds where one does not hang together.
func addChains(ctx context.Context, tx bun.Tx, index map[ledger.ID]*ledger.AuditRow, ids []ledger.ID) error {
	all, err := stories(ctx, tx, ids)
	if err != nil {
		return err
	}
	for _, id := range ids {
		r, s := index[id], all[id]
		r.Transfer.Holds = s.standing()
		if r.Broken = s.broken; r.Broken == nil {
			r.Broken = r.Transfer.CheckChain(s.history, s.postings)
		}
	}
	return addNumbers(ctx, tx, index, ids)
}

// addNumbers finds reversals that are not numbered from 0 without a gap.
func addNumbers(ctx context.Context, tx bun.Tx, index map[ledger.ID]*ledger.AuditRow, ids []ledger.ID) error {
	var off []struct {
		TransferID ledger.ID
		First      int64
		Last       int64
		Number     int64
	}
	err := tx.NewRaw(`SELECT transfer_id, min(no) AS first, max(no) AS last, count(*) AS number FROM reversals WHERE transfer_id IN (?)
		GROUP BY transfer_id HAVING min(no) <> 0 OR max(no) <> count(*) - 1`, bun.List(ids)).Scan(ctx, &off)
	if err != nil {
		return fmt.Errorf("count reversals: %w", err)
	}
	for _, o := range off {
		if r := index[o.TransferID]; r.Broken == nil {
			r.Broken = fmt.Errorf("its reversals have the numbers %d to %d; expected 0 to %d", o.First, o.Last, o.Number-1)
		}
	}
	return nil
}

// Unbalanced sums all postings by currency. Every sum must be zero.
func (d *DB) Unbalanced(ctx context.Context) (map[ledger.Currency]int64, error) {
	var rows []struct {
		Currency ledger.Currency
		Amount   int64
	}
	err := d.read.NewRaw("SELECT currency, CAST(sum(amount) AS bigint) AS amount FROM postings GROUP BY currency").Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("sum all postings: %w", err)
	}
	sums := make(map[ledger.Currency]int64, len(rows))
	for _, r := range rows {
		sums[r.Currency] = r.Amount
	}
	return sums, nil
}
