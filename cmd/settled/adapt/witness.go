package adapt

import (
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// Witnessed tells a transfer of the simulator in the ledger's words.
func Witnessed(t stripesim.Transfer) ledger.StripeTransfer {
	s := ledger.StripeTransfer{
		ID: t.ID, Amount: t.Amount, AmountReversed: t.AmountReversed, Currency: ledger.Currency(t.Currency),
		Destination:       t.Destination,
		SourceTransaction: t.SourceTransaction, TransferGroup: t.TransferGroup, Created: t.Created,
		Metadata: t.Metadata,
	}
	for _, r := range t.Reversals {
		s.Reversals = append(s.Reversals, ledger.StripeReversal{ID: r.ID, Amount: r.Amount, Created: r.Created,
			Metadata: r.Metadata})
	}
	return s
}
