package http

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/settled/settled/ledger"
)

// messageNamespace derives the ID of a message from the idempotency key that it came with.
var messageNamespace = uuid.MustParse("1c5d7e0a-6a0e-5b7e-8f4e-0d7a3c9e21b4")

var messageNames = []string{"type", "reason", "amount", "reference", "until", "outcome", "stripe_id", "reversal",
	"override"}

// injectMessage hands a person's message to the engine, which audits it before it acts.
func (s *Server) injectMessage(c *call) (reply, error) {
	id, err := pathID(c, "transfer")
	if err != nil {
		return reply{}, err
	}
	text, err := checkJSON(c.ctx.PostBody(), requestDepth)
	if err != nil {
		return reply{}, err
	}
	f, err := readForm(text, messageNames)
	if err != nil {
		return reply{}, err
	}
	m := ledger.Message{
		Transfer: id,
		Type:     ledger.MessageType(f.text("type")),
		By:       ledger.By{Principal: c.principal.Name, Reason: f.text("reason")},
		Until:    f.moment("until"),
		Outcome:  ledger.Outcome(f.text("outcome")),
		StripeID: f.text("stripe_id"),
		Reversal: f.id("reversal"),
		Override: f.text("override"),
	}
	if m.Reference = f.text("reference"); m.Reference == "" && m.Type == ledger.MessageReverse && c.key != "" {
		// Of the caller and its key alone: the transfer's ID is another once its row was lost and made again.
		m.Reference = "key " + hashOf(c.principal.Name, string(c.ctx.Request.Header.Peek("Idempotency-Key")))
	}
	amount, given := f.integer("amount")
	if m.Amount = amount; given && amount == 0 {
		// In the ledger 0 means all that remains; nobody who writes it out means that.
		f.refuse("amount", "0 is below 1, the smallest amount in minor units; leave it out to reverse all that remains")
	}
	if err := f.check(m.Check(s.now())); err != nil {
		return reply{}, err
	}
	if m.ID, err = c.messageID(); err != nil {
		return reply{}, err
	}
	m.By.Message = m.ID
	record, err := s.engine.Inject(c.within, m)
	if err != nil {
		return reply{}, fmt.Errorf("%s transfer %s: %w", m.Type, id, err)
	}
	return reply{status: 202, body: mustJSON(s.viewRecord(&record, s.live(c, id)))}, nil
}

// id reads the ID of one of our objects; zero when it is absent.
func (f *form) id(name string) (id ledger.ID) {
	if text := f.text(name); text != "" {
		var err error
		if id, err = ledger.ParseID(text); err != nil || id == (ledger.ID{}) {
			f.refuse(name, "must be an ID, such as a reversal's id in the transfer's reversals")
		}
	}
	return id
}

// messageID draws an ID, or derives it from the idempotency key: a repeat after a crash, which
// lost the stored answer, then carries the same ID and cannot act twice.
func (c *call) messageID() (ledger.ID, error) {
	if c.key != "" {
		return uuid.NewSHA1(messageNamespace, []byte(c.key)), nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return id, fmt.Errorf("draw a message's ID: %w", err)
	}
	return id, nil
}
