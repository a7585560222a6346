package http

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/settled/settled/ledger"
)

// batchMax is how many orders one request may have: they become one commit.
const batchMax = 1000

var orderNames = []string{"reference", "seller", "destination", "amount", "currency", "source_transaction",
	"transfer_group", "description", "not_before", "metadata"}

// parseOrder reads one order out of a JSON object, and names everything that is wrong with it.
func parseOrder(object []byte) (ledger.Order, error) {
	f := newForm(object, orderNames)
	o := ledger.Order{
		Reference: f.text("reference"), Seller: f.text("seller"), Destination: f.text("destination"),
		SourceTransaction: f.text("source_transaction"), TransferGroup: f.text("transfer_group"),
		Description: f.text("description"),
		NotBefore:   f.moment("not_before"), Metadata: f.texts("metadata"),
	}
	o.Money.Currency = ledger.Currency(f.text("currency"))
	if code, err := ledger.ParseCurrency(string(o.Money.Currency)); err == nil {
		o.Money.Currency = code // else the order's check says why
	}
	amount, given := f.integer("amount")
	if o.Money.Amount = amount; !given && f.raw("amount") == nil {
		f.refuse("amount", "is required: a whole number of minor units (cents)")
	}
	return o, f.check(o.Check())
}

// createTransfer registers one transfer: 201. The same reference with the same content is the
// same transfer: 200.
func (s *Server) createTransfer(c *call) (reply, error) {
	text, err := checkJSON(c.ctx.PostBody(), requestDepth)
	if err != nil {
		return reply{}, err
	}
	if text[0] != '{' {
		return reply{}, faultf(malformedJSON, "The body must be a JSON object, and is %s.", typeOf(text))
	}
	order, err := parseOrder(text)
	if err != nil {
		return reply{}, err
	}
	accepted, err := s.create(c, []ledger.Order{order})
	if err != nil {
		return reply{}, err
	}
	a := &accepted[0]
	if a.Refused != nil {
		return reply{}, a.Refused
	}
	if a.Conflict {
		return reply{}, conflictOf(a)
	}
	r := reply{status: statusOf(a),
		body: mustJSON(acceptedView{viewTransfer(&a.Transfer), s.warnings(c, []ledger.Order{order})[order.Reference]})}
	if a.Created {
		r.location = "/v1/transfers/" + a.Transfer.ID.String()
	}
	return r, nil
}

func (s *Server) create(c *call, orders []ledger.Order) ([]ledger.Acceptance, error) {
	accepted, err := s.engine.Create(c.within, orders, ledger.By{Principal: c.principal.Name})
	if err != nil {
		return nil, fmt.Errorf("create %d transfers: %w", len(orders), err)
	}
	if len(accepted) != len(orders) {
		return nil, fmt.Errorf("create %d transfers: the engine answered for %d", len(orders), len(accepted))
	}
	return accepted, nil
}

func statusOf(a *ledger.Acceptance) int {
	if a.Created {
		return 201
	}
	return 200
}

func conflictOf(a *ledger.Acceptance) *fault {
	f := faultf(referenceConflict,
		"Transfer %s has the reference %s, with another content: use another reference, or send what was sent before.",
		a.Transfer.ID, quote(a.Transfer.Reference))
	f.existing = &a.Transfer.ID
	return f
}

// batchItem is the result of one order of a batch.
type batchItem struct {
	Status   int           `json:"status"`
	Transfer *transferView `json:"transfer"`
	Error    *problem      `json:"error"`

	Warnings []fieldWarning `json:"warnings,omitempty"`
}

// createBatch registers many transfers in one commit, and answers for each in its place. Faults
// of some do not stop the others.
func (s *Server) createBatch(c *call) (reply, error) {
	text, err := checkJSON(c.ctx.PostBody(), requestDepth)
	if err != nil {
		return reply{}, err
	}
	f, err := readForm(text, []string{"transfers"})
	if err != nil {
		return reply{}, err
	}
	var list [][]byte
	switch raw := f.raw("transfers"); {
	case raw == nil:
		f.refuse("transfers", "is required: a list of 1 to %d transfers", batchMax)
	case raw[0] != '[':
		f.refuse("transfers", "must be a list of 1 to %d transfers, and is %s", batchMax, typeOf(raw))
	default:
		var all int
		if list, all = elements(raw, batchMax); all == 0 || all > batchMax {
			f.refuse("transfers", "has %d entries: it must have 1 to %d", all, batchMax)
		}
	}
	if err := f.check(nil); err != nil {
		return reply{}, err
	}

	items := make([]batchItem, len(list))
	left := batchErrorsMax
	refuse := func(i int, f *fault) {
		p := f.itemProblem(c.id, &left)
		items[i] = batchItem{Status: f.kind.status, Error: &p}
	}
	var orders []ledger.Order
	var at []int // the place of each order in the list
	for i, raw := range list {
		if raw[0] != '{' {
			refuse(i, wrongField(fmt.Sprintf("transfers[%d]", i), "must be an object, and is %s", typeOf(raw)))
			continue
		}
		order, err := parseOrder(raw)
		if err != nil {
			wrong, _ := faultOf(err)
			refuse(i, wrong)
			continue
		}
		orders, at = append(orders, order), append(at, i)
	}
	if len(orders) > 0 {
		accepted, err := s.create(c, orders)
		if err != nil {
			return reply{}, err
		}
		warnings := s.warnings(c, orders)
		for k := range accepted {
			a := &accepted[k]
			if a.Refused != nil {
				wrong, _ := faultOf(a.Refused)
				refuse(at[k], wrong)
				continue
			}
			if a.Conflict {
				refuse(at[k], conflictOf(a))
				continue
			}
			v := viewTransfer(&a.Transfer)
			items[at[k]] = batchItem{Status: statusOf(a), Transfer: &v, Warnings: warnings[a.Transfer.Reference]}
		}
	}
	r := reply{status: 200, body: mustJSON(map[string]any{"data": items})}
	// A batch of which nothing was taken did nothing: sent again, it is refused again, or taken once.
	r.passing = !slices.ContainsFunc(items, func(i batchItem) bool { return i.Transfer != nil })
	return r, nil
}

// page is one page of a list.
type page struct {
	Data []json.RawMessage `json:"data"`
	Next *string           `json:"next"`
}

// listTransfers lists transfers, newest first.
func (s *Server) listTransfers(c *call) (reply, error) {
	given, err := query(c, filterNames)
	if err != nil {
		return reply{}, err
	}
	filter, err := parseFilter(given)
	if err != nil {
		return reply{}, err
	}
	size := filter.Limit
	filter.Limit++ // one more tells whether there is a next page
	records, err := s.store.List(c.within, filter)
	if err != nil {
		return reply{}, fmt.Errorf("list transfers: %w", err)
	}
	p := page{Data: make([]json.RawMessage, 0, size)}
	if len(records) > size {
		records = records[:size]
		next := cursor(records[size-1].Transfer.ID)
		p.Next = &next
	}
	for i := range records {
		p.Data = append(p.Data, mustJSON(viewTransfer(&records[i].Transfer)))
	}
	return reply{status: 200, body: mustJSON(p), rows: len(p.Data)}, nil
}

// getTransfer answers all that is known of one transfer; of a long history, the latest part.
func (s *Server) getTransfer(c *call) (reply, error) {
	id, err := pathID(c, "transfer")
	if err != nil {
		return reply{}, err
	}
	if _, err := query(c, nil); err != nil {
		return reply{}, err
	}
	d, err := s.store.Dossier(c.within, id, historyLatest)
	if err != nil {
		return reply{}, fmt.Errorf("read transfer %s: %w", id, err)
	}
	return reply{status: 200, body: mustJSON(s.viewDossier(&d, s.live(c, id))), rows: 1}, nil
}

// liveTime bounds how long an actor is waited for that does not answer: just then somebody
// wants to see the rest.
const liveTime = time.Second

func (s *Server) live(c *call, id ledger.ID) ledger.Live {
	ctx, cancel := context.WithTimeout(c.within, liveTime)
	defer cancel()
	return s.engine.Live(ctx, id)
}

// pathID reads the ID in the path, in its canonical form or that in capitals; of says whose it is.
func pathID(c *call, of string) (ledger.ID, error) {
	text, _ := c.ctx.UserValue("id").(string)
	id, err := ledger.ParseID(text)
	if err != nil || id.String() != strings.ToLower(text) {
		return uuid.Nil, faultf(notFound, "%s is no %s's ID: it looks like 0198a3c0-5b7e-7c21-9d3f-3f1c2a4b5d6e.",
			quote(text), of)
	}
	return id, nil
}
