package stripesim

import (
	"encoding/json"
	"errors"
	"fmt"
)

// What people do in the dashboard: no idempotency key, no request in the events.

// foreignTransfer is a transfer nobody's code asked for.
func foreignTransfer(s *Sim, body []byte) (any, error) {
	var in struct {
		Destination string            `json:"destination"`
		Amount      int64             `json:"amount"`
		Currency    string            `json:"currency"`
		Group       string            `json:"transfer_group"`
		Description string            `json:"description"`
		Metadata    map[string]string `json:"metadata"`
	}
	if err := strictly(body, &in); err != nil {
		return nil, err
	}
	if _, ok := currencies[in.Currency]; !ok || in.Amount < 1 {
		return nil, fmt.Errorf("no amount: %d %q", in.Amount, in.Currency)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seller, ok := s.seller(in.Destination)
	if !ok || seller.closed {
		return nil, fmt.Errorf("no account %q", in.Destination)
	}
	t := s.addTransfer(nil, &transfer{amount: in.Amount, currency: in.Currency, destination: seller.id, group: in.Group,
		description: in.Description, metadata: in.Metadata}, seller)
	object := s.renderTransfer(t)
	s.emit(nil, event{kind: "transfer.created", object: object})
	return object, nil
}

// foreignReversal reverses a transfer; amount 0 is all that is left.
func foreignReversal(s *Sim, body []byte) (any, error) {
	var in struct {
		Transfer string `json:"transfer"`
		Amount   int64  `json:"amount"`
	}
	if err := strictly(body, &in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.world.transfers.get(in.Transfer)
	if !ok {
		return nil, fmt.Errorf("no transfer %q", in.Transfer)
	}
	if in.Amount < 0 || in.Amount > t.amount-t.reversed {
		return nil, fmt.Errorf("%d of %s cannot be reversed, %d is left", in.Amount, t.id, t.amount-t.reversed)
	}
	r := s.reverseForeign(t, in.Amount)
	if r == nil {
		return nil, fmt.Errorf("%s is already fully reversed", t.id)
	}
	return renderReversal(r, t.id), nil
}

// foreignRefund refunds a charge (amount 0: the rest), or lets a refund fail.
func foreignRefund(s *Sim, body []byte) (any, error) {
	var in struct {
		Charge   string            `json:"charge"`
		Amount   int64             `json:"amount"`
		Reason   string            `json:"reason"`
		Metadata map[string]string `json:"metadata"`
		Fail     string            `json:"fail"` // a refund's id
	}
	if err := strictly(body, &in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if in.Fail != "" {
		r, ok := s.world.refunds.get(in.Fail)
		if !ok {
			return nil, fmt.Errorf("no refund %q", in.Fail)
		}
		s.failRefund(r)
		return s.renderRefund(r), nil
	}
	ch, ok := s.world.charges.get(in.Charge)
	if !ok {
		return nil, fmt.Errorf("no charge %q", in.Charge)
	}
	if in.Amount < 0 {
		return nil, fmt.Errorf("no amount: %d", in.Amount)
	}
	if in.Amount == 0 {
		in.Amount = ch.amount - ch.refunded
	}
	r, f := s.addRefund(nil, ch, in.Amount, in.Reason, in.Metadata)
	if f != nil {
		return nil, errors.New(f.message)
	}
	return s.renderRefund(r), nil
}

// putDispute opens a dispute on a charge, or gives one another status.
func putDispute(s *Sim, body []byte) (any, error) {
	var in struct {
		ID     string `json:"id"`
		Charge string `json:"charge"`
		Amount int64  `json:"amount"`
		Status string `json:"status"`
		Reason string `json:"reason"`
	}
	if err := strictly(body, &in); err != nil {
		return nil, err
	}
	if in.Amount < 0 {
		return nil, fmt.Errorf("no amount: %d", in.Amount)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.world.disputes.get(in.ID)
	if in.ID != "" {
		if !ok {
			return nil, fmt.Errorf("no dispute %q", in.ID)
		}
		if err := s.moveDispute(d, in.Status); err != nil {
			return nil, err
		}
		return s.renderDispute(d), nil
	}
	ch, ok := s.world.charges.get(in.Charge)
	if !ok {
		return nil, fmt.Errorf("no charge %q", in.Charge)
	}
	d, err := s.openDispute(ch, in.Amount, in.Status, in.Reason)
	if err != nil {
		return nil, err
	}
	return s.renderDispute(d), nil
}

// succeedPayment lets a payment intent's money arrive.
func succeedPayment(s *Sim, body []byte) (any, error) {
	var in struct {
		PaymentIntent string `json:"payment_intent"`
	}
	if err := strictly(body, &in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	pi, ok := s.world.intents.get(in.PaymentIntent)
	if !ok {
		return nil, fmt.Errorf("no payment intent %q", in.PaymentIntent)
	}
	s.succeedIntent(nil, pi)
	return json.RawMessage(s.renderIntent(pi)), nil
}
