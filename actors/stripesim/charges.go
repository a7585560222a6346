package stripesim

import (
	"encoding/json"
	"net/http"
)

func chargeEndpoints() []*endpoint {
	charge := append(optional(text, "source", "customer", "receipt_email", "statement_descriptor", "on_behalf_of", "transfer_group"),
		required(integer, "amount"), required(text, "currency"), param{"description", clears, false},
		param{"metadata", pairs, false}, param{"capture", boolean, false})
	group := [][]*endpoint{
		{
			{name: "POST /v1/charges", check: checkCharge, run: createCharge, params: takes(charge...)},
			{
				name: "GET /v1/charges", run: listCharges,
				params: listing(append(optional(text, "customer", "payment_intent", "transfer_group"), param{"created", moment, false})...),
			},
			{name: "GET /v1/charges/:id", check: checkChargePath, run: getCharge, params: takes()},
			{
				name: "POST /v1/charges/:id", check: checkChargePath, run: updateCharge,
				params: takes(param{"metadata", pairs, false}, param{"description", clears, false}, param{"transfer_group", text, false}),
			},
		},
		refundEndpoints(), disputeEndpoints(), intentEndpoints(),
	}
	var all []*endpoint
	for _, g := range group {
		all = append(all, g...)
	}
	return all
}

func checkCharge(s *Sim, c *call) *failure {
	if f := checkCurrency(c.form.Get("currency")); f != nil {
		return f
	}
	return checkAmount(num(c.form, "amount"), c.form.Get("currency"))
}

func checkChargePath(s *Sim, c *call) *failure {
	return s.findCharge(c, c.ids[0], http.StatusNotFound, "id")
}

func (s *Sim) findCharge(c *call, id string, status int, param string) *failure {
	ch, ok := s.world.charges.get(id)
	if !ok || s.foreign(c) {
		return noSuch(status, "charge", id, param)
	}
	c.charge = ch
	return nil
}

func createCharge(s *Sim, c *call) (json.RawMessage, *failure) {
	ch := s.addCharge(c, &charge{
		amount: num(c.form, "amount"), currency: c.form.Get("currency"), group: c.form.Get("transfer_group"),
		description: c.form.Get("description"), customer: c.form.Get("customer"), metadata: metadataOf(c.form, nil),
	})
	return s.renderCharge(ch), nil
}

// addCharge makes a charge that succeeded and whose money is available at once.
func (s *Sim) addCharge(c *call, ch *charge) *charge {
	w := &s.world
	ch.head = s.stamp(freshID(s, c, "ch_", &w.charges))
	ch.settle = ch.currency
	if s.cfg.SettleCurrency != "" {
		ch.settle = s.cfg.SettleCurrency
	}
	ch.txn = s.move(c, w.platform, "charge", "charge", ch.amount, ch.settle, ch.id).id
	w.charges.add(ch)
	if ch.group != "" {
		w.chargeGroup[ch.group] = append(w.chargeGroup[ch.group], ch)
	}
	s.emit(c, event{kind: "charge.succeeded", object: s.renderCharge(ch)})
	return ch
}

func getCharge(s *Sim, c *call) (json.RawMessage, *failure) { return s.renderCharge(c.charge), nil }

func updateCharge(s *Sim, c *call) (json.RawMessage, *failure) {
	ch := c.charge
	ch.metadata = metadataOf(c.form, ch.metadata)
	if c.form.Has("description") {
		ch.description = c.form.Get("description")
	}
	if group := c.form.Get("transfer_group"); group != "" && ch.group == "" {
		ch.group = group
		s.world.chargeGroup[group] = append(s.world.chargeGroup[group], ch)
	}
	body := s.renderCharge(ch)
	s.emit(c, event{kind: "charge.updated", object: body})
	return body, nil
}

// groupMax is the ceiling of listing charges by group (recorded; the number is not).
const groupMax = 100

func listCharges(s *Sim, c *call) (json.RawMessage, *failure) {
	rows := s.world.charges.all
	if group := c.form.Get("transfer_group"); group != "" {
		rows = s.world.chargeGroup[group]
		if len(rows) > groupMax {
			return nil, invalid("", "transfer_group", "Too many charges with transfer group: "+group)
		}
	}
	if s.foreign(c) {
		rows = nil
	}
	customer, of := c.equals("customer"), c.equals("payment_intent")
	return page(c, rows, s.world.charges.get, "charge",
		func(ch *charge) bool { return customer(ch.customer) && of(ch.intent) }, s.renderCharge)
}

type wireCharge struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	Amount             int64             `json:"amount"`
	AmountCaptured     int64             `json:"amount_captured"`
	AmountRefunded     int64             `json:"amount_refunded"`
	BalanceTransaction string            `json:"balance_transaction"`
	Captured           bool              `json:"captured"`
	Created            int64             `json:"created"`
	Currency           string            `json:"currency"`
	Customer           *string           `json:"customer"`
	Description        *string           `json:"description"`
	Disputed           bool              `json:"disputed"`
	Livemode           bool              `json:"livemode"`
	Metadata           map[string]string `json:"metadata"`
	Paid               bool              `json:"paid"`
	PaymentIntent      *string           `json:"payment_intent"`
	Refunded           bool              `json:"refunded"`
	Status             string            `json:"status"`
	TransferGroup      *string           `json:"transfer_group"`
}

// renderCharge carries no list of refunds: the version has none (STRIPE.md §0, 9).
func (s *Sim) renderCharge(ch *charge) json.RawMessage {
	return encode(wireCharge{
		ID: ch.id, Object: "charge", Amount: ch.amount, AmountCaptured: ch.amount, AmountRefunded: ch.refunded,
		BalanceTransaction: ch.txn, Captured: true, Created: unix(ch.at), Currency: ch.currency, Customer: orNull(ch.customer),
		Description: orNull(ch.description), Disputed: ch.disputed, Livemode: s.world.livemode, Metadata: orEmpty(ch.metadata),
		Paid: true, PaymentIntent: orNull(ch.intent), Refunded: ch.refunded == ch.amount, Status: "succeeded",
		TransferGroup: orNull(ch.group),
	})
}
