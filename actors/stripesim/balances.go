package stripesim

import (
	"encoding/json"
	"net/http"
)

func balanceEndpoints() []*endpoint {
	return []*endpoint{
		{name: "GET /v1/balance", run: getBalance, params: takes()},
		{
			name: "GET /v1/balance_transactions", run: listTxns,
			params: listing(append(optional(text, "type", "source", "currency", "payout"), param{"created", moment, false})...),
		},
		{name: "GET /v1/balance_transactions/:id", check: checkTxnPath, run: getTxn, params: takes()},
	}
}

type wireBalance struct {
	Object    string       `json:"object"`
	Available []wireAmount `json:"available"`
	Livemode  bool         `json:"livemode"`
	Pending   []wireAmount `json:"pending"`
}

type wireAmount struct {
	Amount      int64            `json:"amount"`
	Currency    string           `json:"currency"`
	SourceTypes map[string]int64 `json:"source_types"`
}

func getBalance(s *Sim, c *call) (json.RawMessage, *failure) { return s.renderBalance(c.account), nil }

func (s *Sim) renderBalance(a *account) json.RawMessage {
	wire := wireBalance{Object: "balance", Livemode: s.world.livemode}
	known := map[string]bool{a.currency: true}
	for currency := range a.balance {
		known[currency] = true
	}
	for _, currency := range sortedKeys(known) {
		n := a.available(currency)
		wire.Available = append(wire.Available, wireAmount{n, currency, map[string]int64{"card": n}})
		wire.Pending = append(wire.Pending, wireAmount{0, currency, map[string]int64{"card": 0}})
	}
	return encode(wire)
}

// listTxns lists the changes of the balance of whoever asks.
func listTxns(s *Sim, c *call) (json.RawMessage, *failure) {
	kind, source, currency := c.equals("type"), c.equals("source"), c.equals("currency")
	known := func(id string) (*txn, bool) {
		t, ok := s.world.txns.get(id)
		return t, ok && t.owner == c.account.id
	}
	return page(c, c.account.txns, known, "balance transaction", func(t *txn) bool {
		return kind(t.kind) && source(t.source) && currency(t.currency)
	}, renderTxn)
}

func checkTxnPath(s *Sim, c *call) *failure {
	if t, ok := s.world.txns.get(c.ids[0]); !ok || t.owner != c.account.id {
		return noSuch(http.StatusNotFound, "balance transaction", c.ids[0], "id")
	}
	return nil
}

func getTxn(s *Sim, c *call) (json.RawMessage, *failure) {
	t, _ := s.world.txns.get(c.ids[0])
	return renderTxn(t), nil
}

type wireTxn struct {
	ID                string   `json:"id"`
	Object            string   `json:"object"`
	Amount            int64    `json:"amount"`
	AvailableOn       int64    `json:"available_on"`
	Created           int64    `json:"created"`
	Currency          string   `json:"currency"`
	Description       *string  `json:"description"`
	ExchangeRate      *float64 `json:"exchange_rate"`
	Fee               int64    `json:"fee"`
	FeeDetails        []string `json:"fee_details"`
	Net               int64    `json:"net"`
	ReportingCategory string   `json:"reporting_category"`
	Source            string   `json:"source"`
	Status            string   `json:"status"`
	Type              string   `json:"type"`
}

func wireTxnOf(t *txn) wireTxn {
	return wireTxn{ID: t.id, Object: "balance_transaction", Amount: t.amount, AvailableOn: unix(t.at), Created: unix(t.at),
		Currency: t.currency, FeeDetails: []string{}, Net: t.amount, ReportingCategory: t.category, Source: t.source,
		Status: "available", Type: t.kind}
}

func renderTxn(t *txn) json.RawMessage { return encode(wireTxnOf(t)) }

// announceBalance tells that an account has money it had not: balance.available, for
// a seller as a Connect event.
func (s *Sim) announceBalance(a *account) {
	connect := a.id
	if a == s.world.platform {
		connect = ""
	}
	s.emit(nil, event{kind: "balance.available", object: s.renderBalance(a), account: connect})
}

// drainSeller is KindSellerDrained: what the seller has is out of reach for a while.
func (s *Sim) drainSeller(c *call) {
	a, ok := s.world.accounts.get(c.transfer.destination)
	currency := c.transfer.currency
	if !ok || a.balance[currency] <= 0 || (c.fault.rule == nil && a.outages >= outagesPerSeller) {
		return
	}
	s.hit(KindSellerDrained)
	a.outages++
	taken := a.balance[currency]
	a.balance[currency] = 0
	a.held[currency] += taken
	s.clock.after(c.fault.delay, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		a.held[currency] -= taken
		a.balance[currency] += taken
		s.announceBalance(a)
	})
}
