package gate

import (
	"bytes"
	"container/heap"
)

// line is one seller's asks, oldest first.
type line struct {
	seller string
	asks   []Ask
}

func (l *line) Len() int           { return len(l.asks) }
func (l *line) Less(i, j int) bool { return bytes.Compare(l.asks[i].Age[:], l.asks[j].Age[:]) < 0 }
func (l *line) Swap(i, j int)      { l.asks[i], l.asks[j] = l.asks[j], l.asks[i] }
func (l *line) Push(x any)         { l.asks = append(l.asks, x.(Ask)) }
func (l *line) Pop() any {
	last := len(l.asks) - 1
	x := l.asks[last]
	l.asks[last] = Ask{}
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

func (q *queue) push(a Ask) {
	l := q.lines[a.Seller]
	if l == nil {
		l = &line{seller: a.Seller}
		if q.lines == nil {
			q.lines = make(map[string]*line)
		}
		q.lines[a.Seller] = l
		q.turns = append(q.turns, l)
	}
	heap.Push(l, a)
	q.n++
}

func (q *queue) pop() Ask {
	l := q.turns[0]
	q.turns[0] = nil
	q.turns = q.turns[1:]
	a := heap.Pop(l).(Ask)
	if q.n--; len(l.asks) > 0 {
		q.turns = append(q.turns, l)
	} else {
		delete(q.lines, l.seller)
	}
	return a
}
