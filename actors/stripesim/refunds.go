package stripesim

import (
	"encoding/json"
	"fmt"
	"net/http"
)

func refundEndpoints() []*endpoint {
	return []*endpoint{
		{
			name: "POST /v1/refunds", check: checkRefund, run: createRefund,
			params: takes(append(optional(text, "charge", "payment_intent", "reason"), param{"amount", integer, false},
				param{"metadata", pairs, false}, param{"reverse_transfer", boolean, false},
				param{"refund_application_fee", boolean, false})...),
		},
		{
			name: "GET /v1/refunds", check: checkRefundList, run: listRefunds,
			params: listing(append(optional(text, "charge", "payment_intent"), param{"created", moment, false})...),
		},
		{name: "GET /v1/refunds/:id", check: checkRefundPath, run: getRefund, params: takes()},
		{name: "POST /v1/refunds/:id", check: checkRefundPath, run: updateRefund, params: takes(param{"metadata", pairs, false})},
	}
}

// checkRefund finds the charge, given itself or by its payment intent.
func checkRefund(s *Sim, c *call) *failure {
	id, name := c.form.Get("charge"), "charge"
	if intentID := c.form.Get("payment_intent"); id == "" && intentID != "" {
		pi, ok := s.world.intents.get(intentID)
		if !ok {
			return noSuch(http.StatusBadRequest, "payment_intent", intentID, "payment_intent")
		}
		id, name = pi.charge, "payment_intent"
	}
	if id == "" {
		return invalid("parameter_missing", "charge", "Missing required param: charge.")
	}
	return s.findCharge(c, id, http.StatusBadRequest, name)
}

func createRefund(s *Sim, c *call) (json.RawMessage, *failure) {
	ch := c.charge
	amount := ch.amount - ch.refunded
	if c.form.Has("amount") {
		amount = num(c.form, "amount")
	}
	if c.form.Get("reverse_transfer") == "true" {
		return nil, refused("", "reverse_transfer", "Cannot reverse transfer on charge "+ch.id+" because it does not have an associated transfer.")
	}
	r, f := s.addRefund(c, ch, amount, c.form.Get("reason"), metadataOf(c.form, nil))
	if f != nil {
		return nil, f
	}
	return s.renderRefund(r), nil
}

// addRefund gives money back to the buyer. It never touches transfers.
func (s *Sim) addRefund(c *call, ch *charge, amount int64, reason string, metadata map[string]string) (*refund, *failure) {
	left := ch.amount - ch.refunded
	switch {
	case left == 0:
		return nil, refused("charge_already_refunded", "", "Charge "+ch.id+" has already been refunded.")
	case amount > left:
		return nil, refused("", "amount", fmt.Sprintf("Refund amount (%s) is greater than unrefunded amount on charge (%s)",
			money(amount, ch.currency), money(left, ch.currency)))
	}
	r := &refund{head: s.stamp(freshID(s, c, "re_", &s.world.refunds)), of: ch, amount: amount, status: "succeeded",
		reason: reason, metadata: metadata}
	r.txn = s.move(c, s.world.platform, "refund", "refund", -amount, ch.settle, r.id).id
	previous := encode(map[string]any{"amount_refunded": ch.refunded, "refunded": false})
	ch.refunded += amount
	ch.refunds = append(ch.refunds, r)
	s.world.refunds.add(r)
	s.emit(c, event{kind: "charge.refunded", object: s.renderCharge(ch), previous: previous})
	// Whether this version is sent refund.created for card refunds is unconfirmed: with
	// faults, half of them are.
	if s.plan.level != None && mix(s.cfg.Seed, "refund", r.id)&1 == 0 {
		s.emit(c, event{kind: "refund.created", object: s.renderRefund(r)})
	}
	return r, nil
}

// failRefund lets a refund that seemed fine fail: the money is the platform's again.
func (s *Sim) failRefund(r *refund) {
	if r.status == "failed" {
		return
	}
	r.status, r.failure = "failed", "lost_or_stolen_card"
	r.of.refunded -= r.amount
	s.move(nil, s.world.platform, "refund_failure", "refund_failure", r.amount, r.of.settle, r.id)
	s.emit(nil, event{kind: "charge.refund.updated", object: s.renderRefund(r), previous: encode(map[string]string{"status": "succeeded"})})
}

func checkRefundPath(s *Sim, c *call) *failure {
	if _, ok := s.world.refunds.get(c.ids[0]); !ok || s.foreign(c) {
		return noSuch(http.StatusNotFound, "refund", c.ids[0], "id")
	}
	return nil
}

func getRefund(s *Sim, c *call) (json.RawMessage, *failure) {
	r, _ := s.world.refunds.get(c.ids[0])
	return s.renderRefund(r), nil
}

func updateRefund(s *Sim, c *call) (json.RawMessage, *failure) {
	r, _ := s.world.refunds.get(c.ids[0])
	r.metadata = metadataOf(c.form, r.metadata)
	return s.renderRefund(r), nil
}

func checkRefundList(s *Sim, c *call) *failure {
	if id := c.form.Get("charge"); id != "" {
		return s.findCharge(c, id, http.StatusBadRequest, "charge")
	}
	return nil
}

func listRefunds(s *Sim, c *call) (json.RawMessage, *failure) {
	rows := s.world.refunds.all
	if c.charge != nil {
		rows = c.charge.refunds
	}
	of := c.equals("payment_intent")
	return page(c, rows, s.world.refunds.get, "refund", func(r *refund) bool { return of(r.of.intent) }, s.renderRefund)
}

type wireRefund struct {
	ID                     string            `json:"id"`
	Object                 string            `json:"object"`
	Amount                 int64             `json:"amount"`
	BalanceTransaction     string            `json:"balance_transaction"`
	Charge                 string            `json:"charge"`
	Created                int64             `json:"created"`
	Currency               string            `json:"currency"`
	FailureReason          string            `json:"failure_reason,omitempty"`
	Metadata               map[string]string `json:"metadata"`
	PaymentIntent          *string           `json:"payment_intent"`
	Reason                 *string           `json:"reason"`
	ReceiptNumber          *string           `json:"receipt_number"`
	SourceTransferReversal *string           `json:"source_transfer_reversal"`
	Status                 string            `json:"status"`
	TransferReversal       *string           `json:"transfer_reversal"`
}

func (s *Sim) renderRefund(r *refund) json.RawMessage {
	return encode(wireRefund{
		ID: r.id, Object: "refund", Amount: r.amount, BalanceTransaction: r.txn, Charge: r.of.id, Created: unix(r.at),
		Currency: r.of.currency, FailureReason: r.failure, Metadata: orEmpty(r.metadata), PaymentIntent: orNull(r.of.intent),
		Reason: orNull(r.reason), Status: r.status,
	})
}
