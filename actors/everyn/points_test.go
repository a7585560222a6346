package everyn_test

import (
	"sync"

	"github.com/settled/settled/db/faulty"
)

// kind is one way in which a point can fail, and the points that it is about.
type kind struct {
	name      string
	call      callFault    // of a call to Stripe; else
	statement faulty.Fault // of a call to the database
	at        class        // that is one of these
}

// class is what a point is.
type class int

const (
	calls      class = iota // to Stripe
	statements              // to the database, all but
	fetches                 // of one row of a result
	stores                  // the statements that make something durable
	classes
)

// has reports whether a call to the database is of the class.
func (c class) has(p faulty.Point) bool {
	switch c {
	case statements:
		return p.Call != faulty.Fetch
	case fetches:
		return p.Call == faulty.Fetch
	case stores:
		return p.Stores
	}
	return false
}

// kinds is every way in which one point can fail.
var kinds = []kind{
	{name: "a statement is refused", statement: faulty.Refused, at: statements},
	{name: "a statement is refused and tried again unseen", statement: faulty.RefusedBad, at: statements},
	{name: "a statement is lost", statement: faulty.Lost, at: statements},
	{name: "a statement is lost and tried again unseen", statement: faulty.LostBad, at: statements},
	{name: "death before a statement", statement: faulty.DiesBefore, at: statements},
	{name: "death after a statement", statement: faulty.DiesAfter, at: statements},
	{name: "a row is lost", statement: faulty.Lost, at: fetches},
	{name: "death before a row", statement: faulty.DiesBefore, at: fetches},
	{name: "a call is refused", call: callRefused},
	{name: "a call never arrives", call: callSwallowed},
	{name: "a call arrives when its caller has given up", call: callLate},
	{name: "a call's answer is lost", call: callReset},
	{name: "a call's answer never comes", call: callHangs},
	{name: "a call's answer is cut", call: callCut},
	{name: "a call is answered 429", call: call429},
	{name: "a call is answered 500 without effect", call: call500},
	{name: "a call is answered 500 with effect", call: call500Done},
	{name: "a call is answered 500 and has its effect late", call: call500Late},
	{name: "a call is answered 502 without effect", call: call502},
	{name: "a call is answered 502 with effect", call: call502Done},
	{name: "death before a call", call: callDiesBefore},
	{name: "death after a call", call: callDiesAfter},
	{name: "death while a call is on its way", call: callDiesOnItsWay},
}

// moneyKinds is how the steps that decide about money can fail: what is made durable, and what is
// sent. Whatever fails inside of a transaction is as if its commit was refused.
var moneyKinds = []kind{
	{name: "a commit is refused", statement: faulty.Refused, at: stores},
	{name: "a commit is lost", statement: faulty.Lost, at: stores},
	{name: "death before a commit", statement: faulty.DiesBefore, at: stores},
	{name: "death after a commit", statement: faulty.DiesAfter, at: stores},
	{name: "a call is refused", call: callRefused},
	{name: "a call's answer is lost", call: callReset},
	{name: "death after a call", call: callDiesAfter},
	{name: "death while a call is on its way", call: callDiesOnItsWay},
}

// trouble is one point that fails: the n-th that its kind is about, from 1.
type trouble struct {
	kind kind
	n    int
}

// points counts the points of a life, over all of its daemons, and has those fail that are to.
type points struct {
	mu    sync.Mutex
	next  []trouble // each counts from the one before
	seen  int       // points of the next trouble's kind
	tally tally
}

// tally is how many points there were of each class.
type tally [classes]int

func (t *tally) raise(to tally) {
	for c := range t {
		t[c] = max(t[c], to[c])
	}
}

// left is how many troubles have not happened.
func (p *points) left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.next)
}

// arm adds troubles, which count from here, as the tally does.
func (p *points) arm(troubles []trouble) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next, p.tally = append(p.next, troubles...), tally{}
}

// due counts a point of some classes, and returns the kind of the next trouble if it is the one.
func (p *points) due(is func(class) bool) (kind, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range classes {
		if is(c) {
			p.tally[c]++
		}
	}
	if len(p.next) == 0 || !is(p.next[0].kind.at) {
		return kind{}, false
	}
	t := p.next[0]
	if p.seen++; p.seen < t.n {
		return kind{}, false
	}
	p.next, p.seen = p.next[1:], 0
	return t.kind, true
}

// database decides about a call to the database.
func (p *points) database(at faulty.Point) faulty.Fault {
	if k, yes := p.due(func(c class) bool { return c.has(at) }); yes {
		return k.statement
	}
	return faulty.None
}

// stripe decides about a call to Stripe.
func (p *points) stripe() callFault {
	if k, yes := p.due(func(c class) bool { return c == calls }); yes {
		return k.call
	}
	return callFine
}
