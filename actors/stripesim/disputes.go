package stripesim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

func disputeEndpoints() []*endpoint {
	return []*endpoint{
		{
			name: "GET /v1/disputes", run: listDisputes,
			params: listing(append(optional(text, "charge", "payment_intent"), param{"created", moment, false})...),
		},
		{name: "GET /v1/disputes/:id", check: checkDisputePath, run: getDispute, params: takes()},
	}
}

func checkDisputePath(s *Sim, c *call) *failure {
	if _, ok := s.world.disputes.get(c.ids[0]); !ok || s.foreign(c) {
		return noSuch(http.StatusNotFound, "dispute", c.ids[0], "id")
	}
	return nil
}

func getDispute(s *Sim, c *call) (json.RawMessage, *failure) {
	d, _ := s.world.disputes.get(c.ids[0])
	return s.renderDispute(d), nil
}

func listDisputes(s *Sim, c *call) (json.RawMessage, *failure) {
	rows := s.world.disputes.all
	if s.foreign(c) {
		rows = nil
	}
	of, by := c.equals("charge"), c.equals("payment_intent")
	return page(c, rows, s.world.disputes.get, "dispute",
		func(d *dispute) bool { return of(d.of.id) && by(d.of.intent) }, s.renderDispute)
}

// disputeStatuses are all there are; warning_* are inquiries and move no money.
var disputeStatuses = []string{"warning_needs_response", "warning_under_review", "warning_closed", "needs_response",
	"under_review", "won", "lost"}

func isInquiry(status string) bool { return strings.HasPrefix(status, "warning_") }

func isClosed(status string) bool {
	return slices.Contains([]string{"won", "lost", "warning_closed"}, status)
}

// openDispute is the buyer's bank taking money back. Its amount may differ from the
// charge's. 0 is what was not refunded.
func (s *Sim) openDispute(ch *charge, amount int64, status, reason string) (*dispute, error) {
	if amount == 0 {
		amount = ch.amount - ch.refunded
	}
	if status == "" {
		status = "needs_response"
	}
	if reason == "" {
		reason = "fraudulent"
	}
	if !slices.Contains(disputeStatuses, status) {
		return nil, fmt.Errorf("no dispute status %q", status)
	}
	d := &dispute{head: s.stamp(freshID(s, nil, "du_", &s.world.disputes)), of: ch, amount: amount, status: status, reason: reason}
	s.world.disputes.add(d)
	ch.disputed = true
	if !isInquiry(status) {
		s.withdraw(d)
	}
	s.emit(nil, event{kind: "charge.dispute.created", object: s.renderDispute(d)})
	if len(d.txns) > 0 {
		s.emit(nil, event{kind: "charge.dispute.funds_withdrawn", object: s.renderDispute(d)})
	}
	if isClosed(status) {
		s.emit(nil, event{kind: "charge.dispute.closed", object: s.renderDispute(d)})
	}
	return d, nil
}

// moveDispute gives a dispute another status, with the money and events that go with
// it. A late win (lost, then won) is possible, as at Stripe.
func (s *Sim) moveDispute(d *dispute, status string) error {
	if !slices.Contains(disputeStatuses, status) {
		return fmt.Errorf("no dispute status %q", status)
	}
	if status == d.status {
		return nil
	}
	was := d.status
	d.status = status
	if isInquiry(was) && !isInquiry(status) {
		s.withdraw(d)
		s.emit(nil, event{kind: "charge.dispute.funds_withdrawn", object: s.renderDispute(d)})
	}
	if status == "won" && len(d.txns) > 0 {
		d.txns = append(d.txns, s.move(nil, s.world.platform, "adjustment", "dispute_reversal", d.amount, d.of.settle, d.id))
		s.emit(nil, event{kind: "charge.dispute.funds_reinstated", object: s.renderDispute(d)})
	}
	kind := "charge.dispute.updated"
	if isClosed(status) {
		kind = "charge.dispute.closed"
	}
	s.emit(nil, event{kind: kind, object: s.renderDispute(d), previous: encode(map[string]string{"status": was})})
	return nil
}

func (s *Sim) withdraw(d *dispute) {
	d.txns = append(d.txns, s.move(nil, s.world.platform, "adjustment", "dispute", -d.amount, d.of.settle, d.id))
}

type wireDispute struct {
	ID                  string            `json:"id"`
	Object              string            `json:"object"`
	Amount              int64             `json:"amount"`
	BalanceTransactions []wireTxn         `json:"balance_transactions"`
	Charge              string            `json:"charge"`
	Created             int64             `json:"created"`
	Currency            string            `json:"currency"`
	IsChargeRefundable  bool              `json:"is_charge_refundable"`
	Livemode            bool              `json:"livemode"`
	Metadata            map[string]string `json:"metadata"`
	PaymentIntent       *string           `json:"payment_intent"`
	Reason              string            `json:"reason"`
	Status              string            `json:"status"`
}

func (s *Sim) renderDispute(d *dispute) json.RawMessage {
	wire := wireDispute{
		ID: d.id, Object: "dispute", Amount: d.amount, BalanceTransactions: []wireTxn{}, Charge: d.of.id, Created: unix(d.at),
		Currency: d.of.currency, IsChargeRefundable: isInquiry(d.status), Livemode: s.world.livemode,
		Metadata: orEmpty(d.metadata), PaymentIntent: orNull(d.of.intent), Reason: d.reason, Status: d.status,
	}
	for _, t := range d.txns {
		wire.BalanceTransactions = append(wire.BalanceTransactions, wireTxnOf(t))
	}
	return encode(wire)
}
