package actors

import (
	"bytes"
	"container/heap"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/settled/settled/ledger"
)

// ask asks the gate for a permit to make one call. It is answered by a permit with the same
// incarnation.
type ask struct {
	endpoint endpoint
	seller   string    // whose turn it takes
	age      ledger.ID // UUIDv7: what is older goes first
	from     *actor.PID
	inc      uint64
}

// line is one seller's asks, oldest first.
type line struct {
	seller string
	asks   []ask
}

func (l *line) Len() int           { return len(l.asks) }
func (l *line) Less(i, j int) bool { return bytes.Compare(l.asks[i].age[:], l.asks[j].age[:]) < 0 }
func (l *line) Swap(i, j int)      { l.asks[i], l.asks[j] = l.asks[j], l.asks[i] }
func (l *line) Push(x any)         { l.asks = append(l.asks, x.(ask)) }
func (l *line) Pop() any {
	last := len(l.asks) - 1
	x := l.asks[last]
	l.asks[last] = ask{}
	l.asks = l.asks[:last]
	return x
}

// queue holds the asks of one endpoint: the sellers take turns, so that none starves
// another, and each seller's oldest goes first.
type queue struct {
	lines map[string]*line
	turns []*line // a ring; the front is next
	n     int
}

func (q *queue) push(a ask) {
	l := q.lines[a.seller]
	if l == nil {
		l = &line{seller: a.seller}
		if q.lines == nil {
			q.lines = make(map[string]*line)
		}
		q.lines[a.seller] = l
		q.turns = append(q.turns, l)
	}
	heap.Push(l, a)
	q.n++
}

func (q *queue) pop() ask {
	l := q.turns[0]
	q.turns[0] = nil
	q.turns = q.turns[1:]
	a := heap.Pop(l).(ask)
	if q.n--; len(l.asks) > 0 {
		q.turns = append(q.turns, l)
	} else {
		delete(q.lines, l.seller)
	}
	return a
}
