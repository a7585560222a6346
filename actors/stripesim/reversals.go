package stripesim

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
)

func reversalEndpoints() []*endpoint {
	return []*endpoint{
		{
			name: "POST /v1/transfers/:id/reversals", class: classReverse, check: checkReverse, run: createReversal,
			params: takes(param{"amount", integer, false}, param{"description", clears, false},
				param{"metadata", pairs, false}, param{"refund_application_fee", boolean, false}),
		},
		{name: "GET /v1/transfers/:id/reversals", check: checkTransferPath, run: listReversals, params: listing()},
		{name: "GET /v1/transfers/:id/reversals/:id", check: checkReversalPath, run: getReversal, params: takes()},
		{
			name: "POST /v1/transfers/:id/reversals/:id", check: checkReversalPath, run: updateReversal,
			params: takes(param{"metadata", pairs, false}),
		},
	}
}

func checkReverse(s *Sim, c *call) *failure {
	if f := checkTransferPath(s, c); f != nil {
		return f
	}
	return checkAmount(num(c.form, "amount"), c.transfer.currency)
}

func checkReversalPath(s *Sim, c *call) *failure {
	if f := checkTransferPath(s, c); f != nil {
		return f
	}
	r, ok := s.world.reversals.get(c.ids[1])
	if !ok || r.of != c.transfer {
		return noSuch(http.StatusNotFound, "transfer reversal", c.ids[1], "id")
	}
	c.reversal = r
	return nil
}

// createReversal executes R1 to R4 and R7 in one step. Without an amount it reverses
// what is left (unconfirmed after a partial reversal).
func createReversal(s *Sim, c *call) (json.RawMessage, *failure) {
	t := c.transfer
	left := t.amount - t.reversed
	amount := left
	if c.form.Has("amount") {
		amount = num(c.form, "amount")
	}
	seller, ok := s.world.accounts.get(t.destination)
	switch {
	case left == 0:
		return nil, refused("", "", fmt.Sprintf("The transfer %s is already fully reversed.", t.id))
	case amount > left:
		// Worded after the recorded refusal of a refund; Stripe's own is unconfirmed.
		return nil, refused("", "amount", fmt.Sprintf("Reversal amount (%s) is greater than unreversed amount on transfer (%s)",
			money(amount, t.currency), money(left, t.currency)))
	case !ok || seller.closed:
		return nil, refused("account_closed", "", fmt.Sprintf("The account %s is closed; its transfers cannot be reversed.", t.destination))
	case c.fault.kind == KindKept, seller.available(t.currency) < amount && s.cfg.KeepReversals:
		return encode(renderReversal(s.keepReversal(c, t, amount), t.id)), nil
	case seller.available(t.currency) < amount && !s.cfg.NegativeSellers:
		return nil, refused("balance_insufficient", "", "Insufficient funds: the associated account does not have a sufficient "+
			"balance to reverse this transfer.")
	}
	r := s.addReversal(c, t, &reversal{amount: amount, metadata: metadataOf(c.form, nil), key: c.info.Key}, seller)
	if slices.Contains(c.values("expand"), "transfer") {
		return encode(renderReversal(r, s.wireTransfer(t))), nil
	}
	return encode(renderReversal(r, t.id)), nil
}

// addReversal moves the money back and tells of it: the event carries the transfer.
func (s *Sim) addReversal(c *call, t *transfer, r *reversal, seller *account) *reversal {
	r.of = t
	r.head = s.stamp(freshID(s, c, "trr_", &s.world.reversals))
	t.reversals = append(t.reversals, r)
	s.world.reversals.add(r)
	s.takeBack(c, r, seller)
	return r
}

// takeBack moves the money of a reversal.
func (s *Sim) takeBack(c *call, r *reversal, seller *account) {
	t := r.of
	r.refund = s.newID(c, "pyr_")
	r.txn = s.move(c, s.world.platform, "transfer_refund", "transfer_reversal", r.amount, t.currency, t.id).id
	s.move(c, seller, "payment_refund", "refund", -r.amount, t.currency, r.refund)
	t.reversed += r.amount
	s.made(Made{ID: r.id, Key: r.key, Metadata: r.metadata, Reversal: true})
	if t.reversed > t.amount {
		panic(fmt.Sprintf("stripesim: transfer %s of %d has %d reversed", t.id, t.amount, t.reversed))
	}
	s.emit(c, event{kind: "transfer.reversed", object: s.renderTransfer(t)})
}

// reverseForeign reverses as a dashboard user or Stripe itself would: no metadata, no
// key, and the seller's balance is no obstacle. 0, or more than is left, is the rest.
func (s *Sim) reverseForeign(t *transfer, amount int64) *reversal {
	left := t.amount - t.reversed
	if amount <= 0 || amount > left {
		amount = left
	}
	seller, ok := s.world.accounts.get(t.destination)
	if amount == 0 || !ok {
		return nil
	}
	return s.addReversal(nil, t, &reversal{amount: amount}, seller)
}

func getReversal(s *Sim, c *call) (json.RawMessage, *failure) {
	if slices.Contains(c.values("expand"), "transfer") {
		return encode(renderReversal(c.reversal, s.wireTransfer(c.transfer))), nil
	}
	return encode(renderReversal(c.reversal, c.transfer.id)), nil
}

func listReversals(s *Sim, c *call) (json.RawMessage, *failure) {
	known := func(id string) (*reversal, bool) {
		r, ok := s.world.reversals.get(id)
		return r, ok && r.of == c.transfer
	}
	return page(c, c.transfer.reversals, known, "transfer reversal", every, func(r *reversal) json.RawMessage {
		return encode(renderReversal(r, r.of.id))
	})
}

// updateReversal changes metadata. Stripe makes no event of it that v76 knows.
func updateReversal(_ *Sim, c *call) (json.RawMessage, *failure) {
	c.reversal.metadata = metadataOf(c.form, c.reversal.metadata)
	return encode(renderReversal(c.reversal, c.transfer.id)), nil
}

type wireReversal struct {
	ID                       string            `json:"id"`
	Object                   string            `json:"object"`
	Amount                   int64             `json:"amount"`
	BalanceTransaction       string            `json:"balance_transaction"`
	Created                  int64             `json:"created"`
	Currency                 string            `json:"currency"`
	DestinationPaymentRefund string            `json:"destination_payment_refund"`
	Metadata                 map[string]string `json:"metadata"`
	SourceRefund             *string           `json:"source_refund"`
	Transfer                 any               `json:"transfer"` // an id, or the transfer when expanded
	Status                   string            `json:"status,omitempty"`
}

func renderReversal(r *reversal, transfer any) wireReversal {
	return wireReversal{
		ID: r.id, Object: "transfer_reversal", Amount: r.amount, BalanceTransaction: r.txn, Created: unix(r.at),
		Currency: r.of.currency, DestinationPaymentRefund: r.refund, Metadata: orEmpty(r.metadata), Transfer: transfer, Status: r.status,
	}
}

// orNull is how an absent text is written.
func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// orEmpty is how absent metadata is written.
func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func equal(a, b map[string]string) bool { return maps.Equal(a, b) }
