package actors

import "github.com/asynkron/protoactor-go/actor"

// group is an actor that runs a function over whatever queued while it ran last: group
// commit without a linger. Idle, an item goes at once; loaded, groups form themselves.
type group[T any] struct {
	most  int       // items in one run
	work  func([]T) // answers every item itself; runs on a goroutine of its own, one at a time
	tell  func(to *actor.PID, message any)
	depth func(n int) // told how many items wait, after each message

	queue   []T
	busy    bool
	flushed []chan<- struct{}
}

// worked tells a group that its run ended.
type worked struct{}

// flush asks a group to close done once it has nothing left to do.
type flush struct{ done chan<- struct{} }

func (g *group[T]) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case T:
		g.queue = append(g.queue, m)
	case worked:
		g.busy = false
	case flush:
		g.flushed = append(g.flushed, m.done)
	default:
		return
	}
	if !g.busy && len(g.queue) > 0 {
		n := min(g.most, len(g.queue))
		items := g.queue[:n:n]
		if g.queue = g.queue[n:]; len(g.queue) == 0 {
			g.queue = nil
		}
		g.busy = true
		self := c.Self()
		go func() {
			defer g.tell(self, worked{})
			g.work(items)
		}()
	}
	if g.depth != nil {
		g.depth(len(g.queue))
	}
	if !g.busy {
		for _, done := range g.flushed {
			close(done)
		}
		g.flushed = nil
	}
}
