package actors

import (
	"context"
	"errors"
	"time"

	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/ledger"
)

// listing is a walk over the pages of one list of Stripe's, in search of what a transfer made.
// It takes one permit a page and keeps its place over pages that fail and reads that are tried
// again: a group of 30,000 transfers comes to its end, and only a definite end shows absence.
// What was created since it began need not be seen: a decisive one begins after QUIET, when
// nothing of the generation can be created any more.
type listing struct {
	subject    ledger.ID
	epoch, gen int
	decides    bool
	began      time.Time // this machine's monotonic clock
	query      stripe.PageQuery
	alike      string // the newest that may be ours with its metadata removed; empty: none
}

// list returns the listing that a read goes on with, or begins.
func (t *transfer) list(l *read, op *ledger.Operation) *listing {
	if l.listing != nil {
		return l.listing
	}
	x := &t.w.record.Transfer
	decides := l.decides || l.command != nil && l.command.message.Outcome == ledger.OutcomeFailed
	_, policy := t.now()
	since, until := x.Created(op, t.w.record.Digest, policy)
	// Once the clocks part, or agree, its bounds are others, and what it has passed over may be ours.
	if g := t.listing; g != nil && g.subject == op.ID && g.epoch == op.Epoch && g.gen == op.Generation && g.decides == decides &&
		g.query.Since.Equal(since) && g.query.Until.Equal(until) &&
		(decides || time.Since(g.began) < t.sys.conf.Policy.Windows.Lag) {
		l.listing = g
		return g
	}
	g := &listing{subject: op.ID, epoch: op.Epoch, gen: op.Generation, decides: decides, began: time.Now()}
	g.query = stripe.PageQuery{Destination: x.Destination, Group: x.Group(), Since: since, Until: until}
	t.listing, l.listing = g, g
	return g
}

// page reads the next page, on the goroutine of a read, and keeps of it what may be ours.
func (s *System) page(ctx context.Context, x *ledger.Transfer, g *listing, m *readDone) {
	page, err := s.conf.Stripe.Page(ctx, g.query)
	if m.err = err; err != nil {
		return
	}
	var alike []string
	for _, held := range page.Transfers {
		switch {
		case x.Is(held):
			m.found = append(m.found, held)
		case x.Resembles(held):
			alike = append(alike, held.ID)
		}
	}
	if m.more = page.More; m.more {
		m.next = page.Transfers[len(page.Transfers)-1].ID
	}
	if len(alike) > 0 && g.alike == "" {
		m.alike, m.err = s.unclaimed(ctx, alike)
	}
}

// unclaimed returns the first of some transfers at Stripe that no row of the ledger has.
func (s *System) unclaimed(ctx context.Context, ids []string) (string, error) {
	rows, err := s.conf.Store.ByStripeID(ctx, ids)
	if err != nil {
		return "", err
	}
	claimed := make(map[string]bool, len(rows))
	for i := range rows {
		claimed[rows[i].Transfer.Operation.StripeID] = true
	}
	for _, id := range ids {
		if !claimed[id] {
			return id, nil
		}
	}
	return "", nil
}

// turned takes in a page, and reports that the next one is to be read before anything is
// concluded. Evidence ends a listing at once.
func (t *transfer) turned(m *readDone) (goOn bool) {
	g := m.listing
	var failed *stripe.ReadError
	switch {
	case errors.As(m.err, &failed) && failed.HTTPStatus/100 == 4 && failed.Scope == ledger.ScopeNone:
		t.listing = nil // its place may be what Stripe does not take: begin anew
		return false
	case m.err != nil:
		return false
	}
	if m.alike != "" && g.alike == "" {
		g.alike = m.alike
	}
	m.alike = g.alike
	if m.more && len(m.found) == 0 {
		g.query.After = m.next
		return true
	}
	t.listing = nil
	return false
}

// alike returns what may be the operation being driven, with its metadata removed, in a transfer
// that was read by its ID: itself, or one of its reversals.
func (s *System) alike(ctx context.Context, x *ledger.Transfer, held ledger.StripeTransfer) (string, error) {
	op, kind := x.Current()
	switch {
	case op == nil:
		return "", nil
	case kind == ledger.MakeReversal:
		return x.ReversalAlike(op, held, s.Policy()), nil
	case x.Resembles(held):
		return s.unclaimed(ctx, []string{held.ID})
	}
	return "", nil
}
