package stripesim

import (
	"maps"
	"time"
)

// Truth is what Stripe really holds at one moment, without lag. Amounts are minor
// units, times UTC; objects are in the order of their creation.
type Truth struct {
	// Account is the platform.
	Account string `json:"account"`
	// Now is the simulator's clock.
	Now       time.Time  `json:"now"`
	Transfers []Transfer `json:"transfers"`
	Accounts  []Account  `json:"accounts"`
	Charges   []Charge   `json:"charges"`
	Refunds   []Refund   `json:"refunds"`
	Disputes  []Dispute  `json:"disputes"`
	// Balance is the change of the platform's balance since the start, by currency,
	// and the configured balance on top when there is one.
	Balance map[string]int64 `json:"balance"`
	// Pending counts effects still to come: of answered 500s, and of requests that
	// hang or run slowly.
	Pending int `json:"pending"`
}

// Transfer is a transfer as Stripe holds it. IdempotencyKey is the key of the call
// that made it; a foreign one has none.
type Transfer struct {
	ID                string            `json:"id"`
	Currency          string            `json:"currency"`
	Destination       string            `json:"destination"`
	SourceTransaction string            `json:"source_transaction"`
	TransferGroup     string            `json:"transfer_group"`
	Description       string            `json:"description"`
	Amount            int64             `json:"amount"`
	AmountReversed    int64             `json:"amount_reversed"`
	Created           time.Time         `json:"created"`
	Metadata          map[string]string `json:"metadata"`
	Reversals         []Reversal        `json:"reversals"`
	IdempotencyKey    string            `json:"idempotency_key"`
}

// Reversal is one reversal of a transfer.
type Reversal struct {
	ID             string            `json:"id"`
	Amount         int64             `json:"amount"`
	Created        time.Time         `json:"created"`
	Metadata       map[string]string `json:"metadata"`
	IdempotencyKey string            `json:"idempotency_key"`
}

// Account is a seller.
type Account struct {
	ID           string            `json:"id"`
	Country      string            `json:"country"`
	Capabilities map[string]string `json:"capabilities"`
	Closed       bool              `json:"closed"`
	Available    map[string]int64  `json:"available"`
	// Held is what a fault keeps out of the seller's reach for now.
	Held map[string]int64 `json:"held"`
}

// Charge is a buyer's payment.
type Charge struct {
	ID             string            `json:"id"`
	PaymentIntent  string            `json:"payment_intent"`
	Currency       string            `json:"currency"`
	TransferGroup  string            `json:"transfer_group"`
	Amount         int64             `json:"amount"`
	AmountRefunded int64             `json:"amount_refunded"`
	Disputed       bool              `json:"disputed"`
	Created        time.Time         `json:"created"`
	Metadata       map[string]string `json:"metadata"`
}

// Refund is money given back to a buyer.
type Refund struct {
	ID       string            `json:"id"`
	Charge   string            `json:"charge"`
	Amount   int64             `json:"amount"`
	Status   string            `json:"status"`
	Created  time.Time         `json:"created"`
	Metadata map[string]string `json:"metadata"`
}

// Dispute is money a buyer's bank took or asks for.
type Dispute struct {
	ID      string    `json:"id"`
	Charge  string    `json:"charge"`
	Amount  int64     `json:"amount"`
	Status  string    `json:"status"`
	Created time.Time `json:"created"`
}

// Truth is a deep copy of what Stripe holds.
func (s *Sim) Truth() Truth {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &s.world
	t := Truth{
		Account: w.platform.id, Now: s.clock.now(), Balance: maps.Clone(w.platform.balance), Pending: s.underWay,
		Transfers: make([]Transfer, 0, len(w.transfers.all)), Accounts: make([]Account, 0, len(w.accounts.all)),
		Charges: make([]Charge, 0, len(w.charges.all)), Refunds: make([]Refund, 0, len(w.refunds.all)),
		Disputes: make([]Dispute, 0, len(w.disputes.all)),
	}
	for _, tr := range w.transfers.all {
		t.Transfers = append(t.Transfers, truthOf(tr))
	}
	for _, a := range w.accounts.all {
		t.Accounts = append(t.Accounts, Account{ID: a.id, Country: a.country, Capabilities: maps.Clone(a.caps), Closed: a.closed,
			Available: maps.Clone(a.balance), Held: maps.Clone(a.held)})
	}
	for _, ch := range w.charges.all {
		t.Charges = append(t.Charges, Charge{ID: ch.id, PaymentIntent: ch.intent, Currency: ch.currency, TransferGroup: ch.group,
			Amount: ch.amount, AmountRefunded: ch.refunded, Disputed: ch.disputed, Created: ch.at, Metadata: copied(ch.metadata)})
	}
	for _, r := range w.refunds.all {
		t.Refunds = append(t.Refunds, Refund{ID: r.id, Charge: r.of.id, Amount: r.amount, Status: r.status, Created: r.at,
			Metadata: copied(r.metadata)})
	}
	for _, d := range w.disputes.all {
		t.Disputes = append(t.Disputes, Dispute{ID: d.id, Charge: d.of.id, Amount: d.amount, Status: d.status, Created: d.at})
	}
	return t
}

func truthOf(t *transfer) Transfer {
	source := ""
	if t.source != nil {
		source = t.source.id
	}
	reversals := make([]Reversal, 0, len(t.reversals))
	for _, r := range t.reversals {
		if r.took() {
			reversals = append(reversals, Reversal{ID: r.id, Amount: r.amount, Created: r.at, Metadata: copied(r.metadata), IdempotencyKey: r.key})
		}
	}
	return Transfer{ID: t.id, Currency: t.currency, Destination: t.destination, SourceTransaction: source, TransferGroup: t.group,
		Description: t.description, Amount: t.amount, AmountReversed: t.reversed, Created: t.at, Metadata: copied(t.metadata),
		Reversals: reversals, IdempotencyKey: t.key}
}

// copied is a copy that is never nil, so that JSON shows an object.
func copied(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return maps.Clone(m)
}
