package stripesim

import (
	"encoding/json"
	"net/http"
)

func intentEndpoints() []*endpoint {
	create := append(optional(text, "customer", "payment_method", "capture_method", "confirmation_method", "on_behalf_of",
		"receipt_email", "return_url", "setup_future_usage", "statement_descriptor", "transfer_group"),
		required(integer, "amount"), required(text, "currency"), param{"confirm", boolean, false},
		param{"off_session", boolean, false}, param{"description", clears, false}, param{"metadata", pairs, false})
	create = append(create, optional(anything, "automatic_payment_methods", "payment_method_types", "payment_method_data", "payment_method_options")...)
	return []*endpoint{
		{name: "POST /v1/payment_intents", check: checkCharge, run: createIntent, params: takes(create...)},
		{
			name: "GET /v1/payment_intents", run: listIntents,
			params: listing(param{"customer", text, false}, param{"created", moment, false}),
		},
		{name: "GET /v1/payment_intents/:id", check: checkIntentPath, run: getIntent, params: takes(param{"client_secret", text, false})},
		{
			name: "POST /v1/payment_intents/:id", check: checkIntentPath, run: updateIntent,
			params: takes(param{"metadata", pairs, false}, param{"description", clears, false}, param{"transfer_group", text, false}),
		},
		{
			name: "POST /v1/payment_intents/:id/confirm", check: checkIntentPath, run: confirmIntent,
			params: takes(append(optional(text, "payment_method", "return_url"), param{"off_session", boolean, false})...),
		},
	}
}

func checkIntentPath(s *Sim, c *call) *failure {
	pi, ok := s.world.intents.get(c.ids[0])
	if !ok || s.foreign(c) {
		return noSuch(http.StatusNotFound, "payment_intent", c.ids[0], "intent")
	}
	c.intent = pi
	return nil
}

func createIntent(s *Sim, c *call) (json.RawMessage, *failure) {
	pi := &intent{
		head: s.stamp(freshID(s, c, "pi_", &s.world.intents)), amount: num(c.form, "amount"), currency: c.form.Get("currency"),
		status: "requires_payment_method", group: c.form.Get("transfer_group"), description: c.form.Get("description"),
		customer: c.form.Get("customer"), metadata: metadataOf(c.form, nil),
	}
	if c.form.Has("payment_method") {
		pi.status = "requires_confirmation"
	}
	s.world.intents.add(pi)
	s.emit(c, event{kind: "payment_intent.created", object: s.renderIntent(pi)})
	if c.form.Get("confirm") == "true" {
		s.succeedIntent(c, pi)
	}
	return s.renderIntent(pi), nil
}

// succeedIntent is the buyer's money arriving: a charge, then both events.
func (s *Sim) succeedIntent(c *call, pi *intent) {
	if pi.status == "succeeded" {
		return
	}
	ch := s.addCharge(c, &charge{amount: pi.amount, currency: pi.currency, intent: pi.id, group: pi.group,
		description: pi.description, customer: pi.customer, metadata: pi.metadata})
	pi.status, pi.charge = "succeeded", ch.id
	s.emit(c, event{kind: "payment_intent.succeeded", object: s.renderIntent(pi)})
}

func confirmIntent(s *Sim, c *call) (json.RawMessage, *failure) {
	if c.intent.status == "succeeded" {
		return nil, refused("payment_intent_unexpected_state", "", "You cannot confirm this PaymentIntent because it has already "+
			"succeeded after being previously confirmed.")
	}
	s.succeedIntent(c, c.intent)
	return s.renderIntent(c.intent), nil
}

func updateIntent(s *Sim, c *call) (json.RawMessage, *failure) {
	pi := c.intent
	pi.metadata = metadataOf(c.form, pi.metadata)
	if c.form.Has("description") {
		pi.description = c.form.Get("description")
	}
	if c.form.Has("transfer_group") {
		pi.group = c.form.Get("transfer_group")
	}
	return s.renderIntent(pi), nil
}

func getIntent(s *Sim, c *call) (json.RawMessage, *failure) { return s.renderIntent(c.intent), nil }

func listIntents(s *Sim, c *call) (json.RawMessage, *failure) {
	rows := s.world.intents.all
	if s.foreign(c) {
		rows = nil
	}
	by := c.equals("customer")
	return page(c, rows, s.world.intents.get, "payment_intent", func(pi *intent) bool { return by(pi.customer) }, s.renderIntent)
}

type wireIntent struct {
	ID             string            `json:"id"`
	Object         string            `json:"object"`
	Amount         int64             `json:"amount"`
	AmountReceived int64             `json:"amount_received"`
	ClientSecret   string            `json:"client_secret"`
	Created        int64             `json:"created"`
	Currency       string            `json:"currency"`
	Customer       *string           `json:"customer"`
	Description    *string           `json:"description"`
	LatestCharge   *string           `json:"latest_charge"`
	Livemode       bool              `json:"livemode"`
	Metadata       map[string]string `json:"metadata"`
	Status         string            `json:"status"`
	TransferGroup  *string           `json:"transfer_group"`
}

func (s *Sim) renderIntent(pi *intent) json.RawMessage {
	wire := wireIntent{
		ID: pi.id, Object: "payment_intent", Amount: pi.amount, ClientSecret: pi.id + "_secret_" + base62(mix(s.cfg.Seed, pi.id)),
		Created: unix(pi.at), Currency: pi.currency, Customer: orNull(pi.customer), Description: orNull(pi.description),
		LatestCharge: orNull(pi.charge), Livemode: s.world.livemode, Metadata: orEmpty(pi.metadata), Status: pi.status,
		TransferGroup: orNull(pi.group),
	}
	if pi.status == "succeeded" {
		wire.AmountReceived = pi.amount
	}
	return encode(wire)
}
