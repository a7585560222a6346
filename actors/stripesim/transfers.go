package stripesim

import (
	"encoding/json"
	"fmt"
	"net/http"
)

func transferEndpoints() []*endpoint {
	return append([]*endpoint{
		{
			name: "POST /v1/transfers", class: classTransfer, check: checkTransfer, run: createTransfer,
			params: takes(required(text, "currency"), required(text, "destination"), required(integer, "amount"),
				param{"source_transaction", text, false}, param{"source_type", text, false},
				param{"transfer_group", text, false}, param{"metadata", pairs, false}, param{"description", clears, false}),
		},
		{
			name: "GET /v1/transfers", run: listTransfers,
			params: listing(param{"created", moment, false}, param{"destination", text, false}, param{"transfer_group", text, false}),
		},
		{name: "GET /v1/transfers/:id", check: checkTransferPath, run: getTransfer, params: takes()},
		{
			name: "POST /v1/transfers/:id", check: checkTransferPath, run: updateTransfer,
			params: takes(optional(clears, "description")[0], param{"metadata", pairs, false}),
		},
	}, reversalEndpoints()...)
}

// foreign says whether the call acts for a seller, who has no transfers of this kind.
func (s *Sim) foreign(c *call) bool { return c.account != s.world.platform }

func checkTransferPath(s *Sim, c *call) *failure {
	t, ok := s.world.transfers.get(c.ids[0])
	if !ok || s.foreign(c) {
		return noSuch(http.StatusNotFound, "transfer", c.ids[0], "id")
	}
	c.transfer = t
	return nil
}

func checkTransfer(s *Sim, c *call) *failure {
	currency := c.form.Get("currency")
	if f := checkCurrency(currency); f != nil {
		return f
	}
	if f := checkAmount(num(c.form, "amount"), currency); f != nil {
		return f
	}
	if _, f := s.destination(c); f != nil {
		return f
	}
	if id := c.form.Get("source_transaction"); id != "" {
		source, ok := s.world.charges.get(id)
		if !ok {
			return noSuch(http.StatusBadRequest, "charge", id, "source_transaction")
		}
		c.charge = source
	}
	return nil
}

// destination is T4: no such account, or one that is closed to the platform.
func (s *Sim) destination(c *call) (*account, *failure) {
	id := c.form.Get("destination")
	if s.foreign(c) {
		return nil, noSuch(http.StatusBadRequest, "destination", id, "destination")
	}
	seller, ok := s.seller(id)
	if !ok || seller.closed {
		return nil, noSuch(http.StatusBadRequest, "destination", id, "destination")
	}
	return seller, nil
}

// createTransfer executes T1 to T8 in one step. The order of the refusals, and that
// they are stored, is unconfirmed.
func createTransfer(s *Sim, c *call) (json.RawMessage, *failure) {
	seller, f := s.destination(c)
	if f != nil {
		return nil, f
	}
	amount, currency := num(c.form, "amount"), c.form.Get("currency")
	if !seller.mayReceive() {
		return nil, incapable()
	}
	if f := s.checkRegion(seller, c.charge); f != nil {
		return nil, f
	}
	if c.charge != nil {
		if f := s.checkSource(c.charge, amount, currency); f != nil {
			return nil, f
		}
	} else if s.world.platform.available(currency) < amount {
		return nil, platformEmpty()
	}
	t := s.addTransfer(c, &transfer{
		amount: amount, currency: currency, destination: seller.id, source: c.charge, group: c.form.Get("transfer_group"),
		description: c.form.Get("description"), metadata: metadataOf(c.form, nil), key: c.info.Key,
	}, seller)
	body := s.renderTransfer(t)
	s.emit(c, event{kind: "transfer.created", object: body})
	if c.fault.kind == KindAutoReversal {
		s.hit(KindAutoReversal)
		s.clock.after(c.fault.delay, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.reverseForeign(t, c.fault.rule.Amount)
		})
	}
	return body, nil
}

// addTransfer moves the money and indexes the object.
func (s *Sim) addTransfer(c *call, t *transfer, seller *account) *transfer {
	w := &s.world
	if t.group == "" && t.source != nil {
		t.group = sourceGroup(t.source)
	}
	t.head = s.stamp(freshID(s, c, "tr_", &w.transfers))
	t.payment = s.newID(c, "py_")
	t.txn = s.move(c, w.platform, "transfer", "transfer", -t.amount, t.currency, t.id).id
	s.move(c, seller, "payment", "charge", t.amount, t.currency, t.payment)
	w.transfers.add(t)
	s.made(Made{ID: t.id, Key: t.key, Metadata: t.metadata})
	w.byDest[t.destination] = append(w.byDest[t.destination], t)
	if t.group != "" {
		w.byGroup[t.group] = append(w.byGroup[t.group], t)
	}
	if t.source != nil {
		w.bySource[t.source.id] = append(w.bySource[t.source.id], t)
	}
	return t
}

// sourceGroup is what a transfer inherits from its charge.
func sourceGroup(source *charge) string {
	switch {
	case source.group != "":
		return source.group
	case source.intent != "":
		return "group_" + source.intent
	}
	return "group_" + source.id
}

// checkSource is T7 and T8. The cap counts what was transferred, reversed or not
// (unconfirmed).
func (s *Sim) checkSource(source *charge, amount int64, currency string) *failure {
	if source.settle != currency {
		return refused("", "source_transaction", fmt.Sprintf("The currency of source_transaction's balance transaction (%s) must be "+
			"the same as the transfer currency (%s)", source.settle, currency))
	}
	earlier := s.world.bySource[source.id]
	var used int64
	for _, t := range earlier {
		used += t.amount
	}
	if amount <= source.amount-used {
		return nil
	}
	message := fmt.Sprintf("Transfers using this transaction as a source must not exceed the source amount of %s.",
		money(source.amount, source.settle))
	switch len(earlier) {
	case 0:
	case 1:
		message += fmt.Sprintf(" (There is already a transfer using this source, amounting to %s.)", money(used, source.settle))
	default:
		message += fmt.Sprintf(" (There are already %d transfers using this source, amounting to a total of %s.)",
			len(earlier), money(used, source.settle))
	}
	return refused("", "source_transaction", message)
}

// checkRegion is T6.
func (s *Sim) checkRegion(seller *account, source *charge) *failure {
	here, there := s.world.platform.country, seller.country
	if region(here) != region(there) {
		return refused("transfers_not_allowed", "destination", fmt.Sprintf("Funds can't be sent to accounts located in %s because "+
			"it's restricted outside of your platform's region. Learn more here: https://stripe.com/docs/connect/cross-border-payouts", there))
	}
	if there == "BR" && source == nil {
		return refused("transfers_not_allowed", "source_transaction", "For Transfers involving Brazil, the source_transaction parameter is mandatory.")
	}
	return nil
}

// platformEmpty is T2.
func platformEmpty() *failure {
	return refused("balance_insufficient", "", "You have insufficient funds in your Stripe account. One likely reason you have "+
		"insufficient funds is that your funds are automatically being paid out; try enabling manual payouts by going to "+
		"https://dashboard.stripe.com/account/payouts.")
}

// incapable is T3.
func incapable() *failure {
	return refused("insufficient_capabilities_for_transfer", "", "Your destination account needs to have at least one of the "+
		"following capabilities enabled: transfers, crypto_transfers, legacy_payments")
}

func getTransfer(s *Sim, c *call) (json.RawMessage, *failure) {
	return s.renderTransfer(c.transfer), nil
}

// listTransfers walks the shortest index that covers the filters.
func listTransfers(s *Sim, c *call) (json.RawMessage, *failure) {
	w := &s.world
	rows := w.transfers.all
	if c.form.Has("destination") {
		rows = w.byDest[c.form.Get("destination")]
	}
	if group := w.byGroup[c.form.Get("transfer_group")]; c.form.Has("transfer_group") && len(group) <= len(rows) {
		rows = group
	}
	if s.foreign(c) {
		rows = nil
	}
	to, in := c.equals("destination"), c.equals("transfer_group")
	return page(c, rows, w.transfers.get, "transfer", func(t *transfer) bool { return to(t.destination) && in(t.group) }, s.renderTransfer)
}

// updateTransfer changes what may be changed: metadata and description.
func updateTransfer(s *Sim, c *call) (json.RawMessage, *failure) {
	t := c.transfer
	before := make(map[string]any)
	if metadata := metadataOf(c.form, t.metadata); !equal(metadata, t.metadata) {
		before["metadata"] = orEmpty(t.metadata)
		t.metadata = metadata
	}
	if c.form.Has("description") && c.form.Get("description") != t.description {
		before["description"] = orNull(t.description)
		t.description = c.form.Get("description")
	}
	body := s.renderTransfer(t)
	if len(before) > 0 {
		s.emit(c, event{kind: "transfer.updated", object: body, previous: encode(before)})
	}
	return body, nil
}

type wireTransfer struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	Amount             int64             `json:"amount"`
	AmountReversed     int64             `json:"amount_reversed"`
	BalanceTransaction string            `json:"balance_transaction"`
	Created            int64             `json:"created"`
	Currency           string            `json:"currency"`
	Description        *string           `json:"description"`
	Destination        string            `json:"destination"`
	DestinationPayment string            `json:"destination_payment"`
	Livemode           bool              `json:"livemode"`
	Metadata           map[string]string `json:"metadata"`
	Reversals          wireReversals     `json:"reversals"`
	Reversed           bool              `json:"reversed"`
	SourceTransaction  *string           `json:"source_transaction"`
	SourceType         string            `json:"source_type"`
	TransferGroup      *string           `json:"transfer_group"`
}

type wireReversals struct {
	Object     string         `json:"object"`
	Data       []wireReversal `json:"data"`
	HasMore    bool           `json:"has_more"`
	TotalCount int            `json:"total_count"`
	URL        string         `json:"url"`
}

// embedded is how many reversals a transfer shows, newest first.
const embedded = 10

func (s *Sim) wireTransfer(t *transfer) wireTransfer {
	n := len(t.reversals)
	newest := make([]wireReversal, 0, min(n, embedded))
	for i := n - 1; i >= 0 && len(newest) < embedded; i-- {
		newest = append(newest, renderReversal(t.reversals[i], t.id))
	}
	wire := wireTransfer{
		ID: t.id, Object: "transfer", Amount: t.amount, AmountReversed: t.reversed, BalanceTransaction: t.txn,
		Created: unix(t.at), Currency: t.currency, Description: orNull(t.description), Destination: t.destination,
		DestinationPayment: t.payment, Livemode: s.world.livemode, Metadata: orEmpty(t.metadata),
		Reversals: wireReversals{Object: "list", Data: newest, HasMore: n > embedded, TotalCount: n,
			URL: "/v1/transfers/" + t.id + "/reversals"},
		Reversed: t.reversed == t.amount, SourceType: "card", TransferGroup: orNull(t.group),
	}
	if t.source != nil {
		wire.SourceTransaction = orNull(t.source.id)
	}
	return wire
}

func (s *Sim) renderTransfer(t *transfer) json.RawMessage { return encode(s.wireTransfer(t)) }
