package adapt

import (
	"context"

	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// Finding returns one finding, or [ledger.ErrNotFound].
func (s Store) Finding(ctx context.Context, id ledger.ID) (audit.Finding, error) {
	f, err := s.DB.Finding(ctx, id)
	return f, unavailable(err)
}

// Findings returns the findings that a filter selects.
func (s Store) Findings(ctx context.Context, f audit.Filter) ([]audit.Finding, error) {
	list, err := s.DB.Findings(ctx, f)
	return list, unavailable(err)
}

// DriftCounts counts the open findings by class and currency.
func (s Store) DriftCounts(ctx context.Context) ([]audit.Count, error) {
	counts, err := s.DB.DriftCounts(ctx)
	return counts, unavailable(err)
}
