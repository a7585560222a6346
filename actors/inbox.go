package actors

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/settled/settled/actors/gate"
	"github.com/settled/settled/actors/reconcile"
	"github.com/settled/settled/ledger"
)

// inbox tells stored Stripe events to the actors that they concern. An event is a hint: its payload
// names an object to read, and is never believed. An event is handled once that object was read; an
// event that is not handled when the daemon dies is told again at the next start.
type inbox struct{ sys *System }

// apply tells the inbox of events that are stored.
type apply struct{ events []ledger.StripeEvent }

// handled tells the handler that an event needs nothing more: its object was read, or need not be.
type handled struct{ event string }

func (i *inbox) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case apply:
		i.apply(c, m.events)
	}
}

// apply sorts events: those about a condition may have one probe; a transfer's events become hints to
// its actor, if its row says that they can matter.
func (i *inbox) apply(c actor.Context, events []ledger.StripeEvent) {
	hints := make(map[ledger.ID][]hint)
	references := make(map[ledger.ID]string)
	var names []ledger.ID
	for _, e := range events {
		switch ledger.SubjectOf(e.Type) {
		case ledger.AboutBalance:
			about := gate.HeardOf{Reaction: ledger.AwaitFunds, Account: e.Account}
			if e.Account != "" {
				about.Reaction = ledger.AwaitSellerFunds
			}
			about.Currencies, about.Said = currenciesOf(e.Payload)
			i.wake(c, about)
		case ledger.AboutSeller:
			i.wake(c, gate.HeardOf{Reaction: ledger.AwaitSeller, Account: e.Account})
		case ledger.AboutTransfer:
			name, reference, reversed, ok := operationOf(e.Payload)
			if ok {
				if hints[name] == nil {
					names, references[name] = append(names, name), reference
				}
				hints[name] = append(hints[name], hint{event: e.ID, stripeID: e.Object, reversed: reversed})
				continue
			}
			i.sys.metrics.events.WithLabelValues("foreign").Inc()
			i.sys.recheck(c.Send, reconcile.Recheck{StripeID: e.Object})
		}
		c.Send(i.sys.handler, handled{e.ID})
	}
	if len(names) == 0 {
		return
	}
	// The rows are read off the actor: most events come after the answer and need nothing more.
	go i.sys.sort(names, references, hints)
}

// wake lets conditions choose who probes, now that an event spoke of one.
func (i *inbox) wake(c actor.Context, about gate.HeardOf) {
	i.sys.metrics.events.WithLabelValues("woke").Inc()
	c.Send(i.sys.conditions, about)
}

// sort tells hints to the actors of those transfers whose rows are open, or contradict them.
func (s *System) sort(names []ledger.ID, references map[ledger.ID]string, hints map[ledger.ID][]hint) {
	var records map[ledger.ID]*ledger.Record
	err := s.query(func(ctx context.Context) (err error) {
		records, err = s.named(ctx, names, references)
		return err
	})
	if err != nil {
		s.log.Warn("events wait for the next sweep: their transfers could not be read", "events", len(hints), "err", err)
		s.missed.Store(true)
		return
	}
	at := time.Now()
	for _, name := range names {
		if records[name] == nil {
			s.alarm("unknown_operation", "operation", name, "reference", references[name], "stripe_id", hints[name][0].stripeID)
			s.recheck(s.tell, reconcile.Recheck{Operation: name, StripeID: hints[name][0].stripeID, Reference: references[name]})
			for _, h := range hints[name] {
				s.tell(s.handler, handled{h.event})
			}
			continue
		}
		t := &records[name].Transfer
		op, kind := t.Current()
		open := op != nil && (op.State == ledger.Unresolved || op.State == ledger.Parked || op.State == ledger.PendingAtStripe)
		denied := kind == ledger.CreateTransfer && op != nil && !op.State.Open()
		for n, h := range hints[name] {
			if t.Operation.StripeID != "" && h.reversed > asked(t) {
				s.recheck(s.tell, reconcile.Recheck{Operation: name, StripeID: t.Operation.StripeID})
			}
			switch {
			case n > 0 || !open && !denied: // one read serves all
				s.metrics.events.WithLabelValues("known").Inc()
				s.tell(s.handler, handled{h.event})
			default:
				s.metrics.events.WithLabelValues("evidence").Inc()
				h.known = &loaded{record: records[name], at: at}
				s.tell(s.shard(t.ID), deliver{t.ID, h})
			}
		}
	}
}

// asked is how much of a transfer came back, or was asked to, in minor units.
func asked(t *ledger.Transfer) (sum int64) {
	for i := range t.Reversals {
		if r := &t.Reversals[i]; r.State != ledger.Canceled && r.State != ledger.PermanentlyFailed {
			sum += r.Amount
		}
	}
	return sum
}

// currenciesOf returns the currencies in which a balance's event speaks of money; false when it does not say. An event
// lists every currency of the account: one in which there is nothing is none that it brings news of.
func currenciesOf(payload []byte) (list []ledger.Currency, said bool) {
	var e struct {
		Data struct {
			Object struct {
				Available []struct {
					Amount   int64  `json:"amount"`
					Currency string `json:"currency"`
				} `json:"available"`
			} `json:"object"`
		} `json:"data"`
	}
	if json.Unmarshal(payload, &e) != nil || len(e.Data.Object.Available) == 0 {
		return nil, false
	}
	for _, a := range e.Data.Object.Available {
		if currency, err := ledger.ParseCurrency(a.Currency); err == nil && a.Amount > 0 && !slices.Contains(list, currency) {
			list = append(list, currency)
		}
	}
	return list, true
}

// operationOf returns the operation that an event's object names in its metadata, the platform's
// reference for it, and how much of it the event says came back.
func operationOf(payload []byte) (name ledger.ID, reference string, reversed int64, ok bool) {
	var e struct {
		Data struct {
			Object struct {
				Metadata       map[string]string `json:"metadata"`
				AmountReversed int64             `json:"amount_reversed"`
			} `json:"object"`
		} `json:"data"`
	}
	if json.Unmarshal(payload, &e) != nil {
		return ledger.ID{}, "", 0, false
	}
	metadata := e.Data.Object.Metadata
	name, err := ledger.ParseID(metadata[ledger.MetaOperation])
	return name, metadata[ledger.MetaReference], e.Data.Object.AmountReversed, err == nil && name != (ledger.ID{})
}

// store asks for events to be stored. It is answered exactly once, by done.
type store struct {
	events []ledger.StripeEvent
	done   chan<- error // buffered
}

const storeMost = 256

// keep stores what queued, in one commit, and then has it applied. It does not wait an outage
// out: Stripe sends an event again that was not acknowledged.
func (s *System) keep(items []store) {
	var events []ledger.StripeEvent
	for _, it := range items {
		events = append(events, it.events...)
	}
	var fresh []bool
	err := s.query(func(ctx context.Context) (err error) {
		fresh, err = s.conf.Store.StoreEvents(ctx, events)
		return err
	})
	if err == nil {
		var news []ledger.StripeEvent
		for i, e := range events {
			if fresh[i] {
				news = append(news, e)
			}
		}
		if len(news) > 0 {
			s.tell(s.inbox, apply{news})
		}
	} else if s.transient(err) {
		s.missed.Store(true) // they may be stored all the same, and will then not be fresh when they come again
	} else if len(items) > 1 {
		for _, it := range items { // one bad event must not refuse its neighbours
			s.keep([]store{it})
		}
		return
	}
	for _, it := range items {
		it.done <- err
	}
}

// mark records that events were handled. What fails is told again by the next sweep, and then
// marked. When only some cannot be written, because another session holds their rows, the others are
// marked as halves, as the writer does with changes.
func (s *System) mark(items []handled) {
	ids := make([]string, len(items))
	for i, it := range items {
		ids[i] = it.event
	}
	if err := s.query(func(ctx context.Context) error { return s.conf.Store.HandleEvents(ctx, ids) }); err != nil {
		if half := len(items) / 2; half > 0 && s.writable() {
			s.mark(items[:half])
			s.mark(items[half:])
			return
		}
		s.log.Warn("events could not be marked as handled; they are told again", "events", len(ids), "err", err)
		s.missed.Store(true)
	}
}

// replay tells the inbox what was stored and not handled: before the last stop, or because the
// ledger could not be reached.
func (s *System) replay() {
	var after string // the last event of the page before
	for {
		var events []ledger.StripeEvent
		err := s.query(func(ctx context.Context) (err error) {
			events, err = s.conf.Store.UnhandledEvents(ctx, after, storeMost)
			return err
		})
		switch {
		case err != nil:
			s.log.Warn("stored events cannot be read", "err", err)
			if !s.pause(outageMost) {
				return
			}
			continue
		case len(events) == 0:
			return
		}
		s.tell(s.inbox, apply{events})
		after = events[len(events)-1].ID
	}
}
