package actors

import (
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/settled/settled/ledger"
)

// sequel goes on after a commit. Each is a type with a name, beside the code that begins the
// commit, and holds what that code knew.
type sequel interface {
	// after is told the change as it was committed, or nil and the reason: errStale when the
	// transfer has moved on, and the ledger is being read again.
	after(t *transfer, c actor.Context, ch *ledger.Change, err error)
}

var errStale = errors.New("the transfer has moved on")

// commit has a change made durable, and then goes on with next. A change that lost the guard
// wrote nothing: the ledger is read again.
func (t *transfer) commit(c actor.Context, change ledger.Change, err error, next sequel) {
	if err != nil {
		panic(fmt.Errorf("transfer %s: %w", t.id, err)) // the plan asked for an illegal move: a bug
	}
	w := t.w
	w.view, w.next = committing, next
	self, sys, inc := c.Self(), t.sys, t.inc
	m := commit{changes: []ledger.Change{change}, done: func(r committed) { sys.tell(self, reply[committed]{inc, r}) }}
	if w.permit != 0 {
		m.delayed = func() { sys.tell(self, delayed{inc}) }
	}
	c.Send(t.sys.writer, m)
}

// settle takes in the end of a commit.
func (t *transfer) settle(c actor.Context, r committed) {
	w := t.w
	next := w.next
	w.view, w.next, w.retried = stale, nil, r.retried
	var change *ledger.Change
	anew := false
	err := r.err
	switch {
	case err != nil: // ErrUnavailable only when the system stops; else a bug, see below
	case !r.won[0]:
		err = errStale
		t.recall(c)
	default:
		w.view = current
		change = &r.changes[0]
		var was ledger.ID
		if op, _ := w.record.Transfer.Current(); op != nil {
			was = op.ID
		}
		w.record.Transfer = change.After
		switch op, _ := change.After.Current(); {
		case op != nil && op.ID == was && op.ID == change.History.Subject:
			w.record.Digest = w.record.Digest.Add(change.History)
		case op != nil && op.ID == was: // a command to one of its siblings
		default:
			w.record.Digest = ledger.Digest{}
			anew = op != nil && op.Generation > 0 // it was tried before, and what came of it is to be read
		}
		w.record.ReadAt, w.at = r.at, time.Now()
		t.sys.metrics.transitions.WithLabelValues(change.History.Kind.String(), string(change.History.To)).Inc()
		t.sys.needsPerson(change)
	}
	if next != nil {
		next.after(t, c, change, err)
	}
	if err != nil && !errors.Is(err, errStale) {
		if errors.Is(err, ledger.ErrUnavailable) {
			return
		}
		panic(fmt.Errorf("transfer %s: commit: %w", t.id, err))
	}
	if anew {
		t.recall(c)
	}
	t.turn(c)
}
