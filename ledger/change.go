package ledger

import (
	"fmt"
	"slices"
	"time"
)

// Change is one version of a transfer, to be committed as a whole: guarded by Version-1, with its history row and
// postings. Version 1 is a creation. A change is begun by [Transfer.change], built by steps, and ended by done.
type Change struct {
	After    Transfer
	Touched  []int // indices into After.Reversals of the rows that are new or changed
	Begins   bool  // the subject's generation begins: FirstSentAt becomes the database's clock
	History  History
	Postings []Posting

	before Transfer
	err    error // of the first step that failed; the steps after it do nothing
}

// Subject returns the operation that the change is about, in After.
func (c *Change) Subject() *Operation {
	return c.After.operation(c.History.Subject)
}

// Was returns the transfer's status before; empty: it is created.
func (c *Change) Was() State {
	if c.before.Version == 0 {
		return ""
	}
	return c.before.Status()
}

// change begins the next version of t. The subject is the operation that its history row tells of.
func (t Transfer) change(subject ID, by By) *Change {
	c := &Change{before: t, After: t.next()}
	c.History = History{Transfer: t.ID, Version: c.After.Version, Subject: subject, By: by}
	return c
}

// move makes the change in which one operation takes one step. The mutate function edits the operation in the copy
// after its state has moved.
func (t Transfer) move(op *Operation, e Event, by By, mutate func(*Operation)) (Change, error) {
	if op == nil {
		return Change{}, fmt.Errorf("%w: %s, but nothing is being driven in %s", ErrIllegalMove, e, t.Status())
	}
	return t.change(op.ID, by).step(op.ID, e, mutate).done()
}

// step moves an operation through the table, and books the money that moves by it.
func (c *Change) step(id ID, e Event, mutate func(*Operation)) *Change {
	if c.err != nil {
		return c
	}
	op := c.After.operation(id)
	from := op.State
	to, err := move(from, e)
	if err != nil {
		if c.err = err; id == c.After.ID {
			c.err = illegal(c.before.Status(), e)
		}
		return c
	}
	kind, m := c.After.terms(op)
	c.Postings = append(c.Postings, postingsFor(kind, from, to, m)...)
	op.State = to
	if mutate != nil {
		mutate(op)
	}
	if i := c.After.index(op); i >= 0 && !slices.Contains(c.Touched, i) {
		c.Touched = append(c.Touched, i)
	}
	if h := &c.History; id == h.Subject {
		if h.Event == "" {
			h.Kind, h.From = kind, from
		}
		h.Event = e // the last step's, when several were caught up with
	}
	return c
}

// adds gives the transfer a reversal, which begins by an event.
func (c *Change) adds(r Reversal, e Event) *Change {
	if c.err != nil {
		return c
	}
	c.After.Reversals = append(c.After.Reversals, r)
	return c.step(r.ID, e, nil)
}

// done seals the change, and checks it.
func (c *Change) done() (Change, error) {
	if c.err != nil {
		return Change{}, c.err
	}
	t := &c.After
	t.AmountReversed = 0
	for i := range t.Reversals {
		if t.Reversals[i].State == Completed {
			t.AmountReversed += t.Reversals[i].Amount
		}
	}
	c.arrange()
	s := c.Subject()
	h := &c.History
	h.To, h.Epoch, h.Generation, h.OpenSends, h.Status = s.State, s.Epoch, s.Generation, s.OpenSends, t.Status()
	c.check()
	return *c, nil
}

// terms returns the kind and the amount of an operation.
func (t *Transfer) terms(op *Operation) (Kind, Money) {
	if op.ID == t.ID {
		return CreateTransfer, t.Money
	}
	return MakeReversal, Money{t.Reversals[t.index(op)].Amount, t.Money.Currency}
}

// index returns the place of an operation among the reversals; -1: it is the transfer's own.
func (t *Transfer) index(op *Operation) int {
	return slices.IndexFunc(t.Reversals, func(r Reversal) bool { return r.ID == op.ID })
}

// check panics when a change breaks a rule that holds for all: that is a bug, and such a change is never stored.
func (c *Change) check() {
	t, before := &c.After, &c.before
	var sum int64
	for _, p := range c.Postings {
		sum += p.Amount
	}
	subject := c.Subject()
	switch {
	case sum != 0:
		panic(fmt.Sprintf("ledger: the entry of transfer %s version %d is off by %d", t.ID, t.Version, sum))
	case t.AmountReversed < 0 || t.AmountReversed > t.Money.Amount:
		panic(fmt.Sprintf("ledger: transfer %s of %d would have %d reversed", t.ID, t.Money.Amount, t.AmountReversed))
	case t.AmountReversed < before.AmountReversed:
		panic(fmt.Sprintf("ledger: transfer %s would un-reverse %d", t.ID, before.AmountReversed-t.AmountReversed))
	case before.Operation.StripeID != "" && t.Operation.StripeID != before.Operation.StripeID:
		panic(fmt.Sprintf("ledger: transfer %s would change its Stripe ID from %s to %s", t.ID, before.Operation.StripeID, t.Operation.StripeID))
	case (t.Operation.State == Completed) != (t.Operation.StripeID != ""):
		panic(fmt.Sprintf("ledger: transfer %s would be %s with the Stripe ID %q", t.ID, t.Operation.State, t.Operation.StripeID))
	case subject.State == Completed && subject.StripeID == "":
		panic(fmt.Sprintf("ledger: operation %s of transfer %s would be completed without a Stripe ID", c.History.Subject, t.ID))
	case t.HeldBy != "" && !t.Operation.State.Holdable():
		panic(fmt.Sprintf("ledger: transfer %s would be held while it is %s", t.ID, t.Operation.State))
	case c.History.Event == EventSend && len(t.HoldsOf(c.History.Subject)) > 0:
		panic(fmt.Sprintf("ledger: operation %s would be sent while it is held", c.History.Subject))
	case subject.OpenSends < 0:
		panic(fmt.Sprintf("ledger: transfer %s would have %d open sends", t.ID, subject.OpenSends))
	}
}

// Stamp fills in the time of the commit, by the database's clock, and all that hangs on it.
func (c *Change) Stamp(at time.Time) {
	t := &c.After
	c.History.At = at
	if t.Version == 1 {
		t.CreatedAt = at
	}
	if t.Status() != c.Was() {
		t.Since = at
	}
	if moved(&t.Operation, &c.before.Operation) {
		t.Operation.Since = at
	}
	if c.Begins {
		c.Subject().FirstSentAt = at
	}
	for _, i := range c.Touched {
		r := &t.Reversals[i]
		if i >= len(c.before.Reversals) {
			r.CreatedAt = at
		}
		if i >= len(c.before.Reversals) || moved(&r.Operation, &c.before.Reversals[i].Operation) {
			r.Since = at
		}
	}
	c.stampHolds(at)
	c.History.Content = t.content()
	c.History.Chain = c.History.link(c.before.Chain+t.ordered(&c.History), c.Postings)
	t.Chain = c.History.Chain
}

// moved reports an operation in another state than before.
func moved(now, before *Operation) bool { return now.State != before.State }
