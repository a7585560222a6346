package actors

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/settled/settled/ledger"
)

// shard supervises the transfer actors whose IDs hash to it. It spawns, restarts, delivers
// and counts, and does nothing that could panic: a shard that failed would take all of its
// children with it.
type shard struct {
	sys *System
	// closing holds back what comes for a child that said it has nothing to do: the
	// library drops the messages still queued when an actor stops, so a child is stopped
	// only after it has confirmed, behind all that was sent to it before.
	closing map[ledger.ID]*closing
	bugs    map[ledger.ID]bugs // unexpected panics in a row
	ending  bool               // no child may be spawned now: it would miss the stop, and the shard would hang
}

// bugs are the panics of one actor that came one soon after the other.
type bugs struct {
	n    int
	last time.Time
}

type closing struct {
	held     []any
	stopping bool
}

// Messages to a shard.
type (
	spawn  struct{ loaded } // a transfer that the ledger has just accepted, or a page of recovery
	ensure struct {
		id    ledger.ID
		again bool
	} // the sweep: is there an actor?
	deliver struct {
		id      ledger.ID
		message any
	} // to the transfer's actor, spawned if need be
	peek struct {
		id      ledger.ID
		message live
	} // to the transfer's actor, if it lives

	finished struct{ id ledger.ID } // a child has nothing to do
	goodbye  struct{ id ledger.ID } // and still has not
	stay     struct{ id ledger.ID } // it does have something to do
)

// live asks an actor for what it is doing.
type live struct{ reply chan<- ledger.Live }

const (
	bugsMost   = 3               // restarts after unexpected panics, in a row
	bugsWithin = 24 * time.Hour  // so long after the last one a panic begins a new row: an actor may live for months
	sweepDoubt = 5 * time.Second // a row without an actor may be on its way to one
)

func (s *shard) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case spawn:
		id := m.record.Transfer.ID
		if s.child(c, id) == nil && s.closing[id] == nil {
			if pid := s.spawn(c, id); pid != nil {
				c.Send(pid, reply[loaded]{answer: m.loaded})
			}
		}
	case deliver:
		s.deliver(c, m)
	case peek:
		if pid := s.child(c, m.id); pid != nil && s.closing[m.id] == nil {
			c.Send(pid, m.message)
		} else {
			m.message.reply <- ledger.Live{}
		}
	case ensure:
		s.ensure(c, m)
	case finished:
		if pid := s.child(c, m.id); pid != nil && s.closing[m.id] == nil {
			s.closing[m.id] = &closing{}
			c.Send(pid, mayStop{})
		}
	case goodbye:
		if cl := s.closing[m.id]; cl != nil && !cl.stopping {
			cl.stopping = true
			c.Stop(s.child(c, m.id))
		}
	case stay:
		if cl := s.closing[m.id]; cl != nil && !cl.stopping {
			delete(s.closing, m.id)
			for _, x := range cl.held {
				c.Send(s.child(c, m.id), x)
			}
		}
	case *actor.Terminated:
		s.gone(c, m)
	case *actor.Stopping, *actor.Restarting:
		s.ending = true // messages still come until the last child has ended
	}
}

// child returns the live child for a transfer, or nil.
func (s *shard) child(c actor.Context, id ledger.ID) *actor.PID {
	name := c.Self().Id + "/" + id.String()
	if _, ok := c.ActorSystem().ProcessRegistry.GetLocal(name); ok {
		return actor.NewPID(c.ActorSystem().Address(), name)
	}
	return nil
}

func (s *shard) spawn(c actor.Context, id ledger.ID) *actor.PID {
	if s.ending {
		return nil
	}
	pid, err := c.SpawnNamed(s.sys.transferProps, id.String())
	if err != nil {
		return nil // the name exists: it lives
	}
	s.sys.metrics.spawns.Inc()
	s.sys.metrics.alive.Inc()
	return pid
}

func (s *shard) deliver(c actor.Context, m deliver) {
	if cl := s.closing[m.id]; cl != nil {
		cl.held = append(cl.held, m.message)
		return
	}
	pid := s.child(c, m.id)
	if pid == nil {
		if pid = s.spawn(c, m.id); pid == nil {
			return
		}
	}
	c.Send(pid, m.message) // whatever it is, it makes the actor read the ledger first
}

// ensure spawns an actor for an unfinished row that has none, when it still has none after a
// while: a row that was committed just now is on its way to its actor.
func (s *shard) ensure(c actor.Context, m ensure) {
	if s.child(c, m.id) != nil || s.closing[m.id] != nil {
		return
	}
	if !m.again {
		self, sys := c.Self(), s.sys
		m.again = true
		time.AfterFunc(sweepDoubt, func() { sys.tell(self, m) })
		return
	}
	if pid := s.spawn(c, m.id); pid != nil {
		s.sys.metrics.sweepFinds.Inc()
		s.sys.log.Warn("the sweep found an unfinished transfer without an actor", "transfer", m.id)
		c.Send(pid, recall{})
	}
}

// gone forgets a child, and spawns it again when a message came for it meanwhile.
func (s *shard) gone(c actor.Context, m *actor.Terminated) {
	id, err := ledger.ParseID(m.Who.Id[len(c.Self().Id)+1:])
	if err != nil {
		return
	}
	s.sys.metrics.alive.Dec()
	delete(s.bugs, id)
	cl := s.closing[id]
	delete(s.closing, id)
	if cl == nil || len(cl.held) == 0 {
		return
	}
	if pid := s.spawn(c, id); pid != nil {
		for _, x := range cl.held {
			c.Send(pid, x)
		}
	}
}

// HandleFailure restarts a child that crashed. The typed failures say what the ledger already
// records, so the new incarnation only has to read it. Anything else is a bug: it is
// restarted a few times, then told to set its transfer aside, and stopped if even that fails.
// It counts by itself because the library's statistics grow for ever.
func (s *shard) HandleFailure(sys *actor.ActorSystem, sup actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, _ any) {
	id, err := ledger.ParseID(child.Id[len(child.Id)-36:])
	if err != nil {
		sup.StopChildren(child)
		return
	}
	if cl := s.closing[id]; cl != nil {
		if cl.stopping {
			return // it is about to end; a restart now would bring it back from the dead
		}
		delete(s.closing, id)
		for _, x := range cl.held {
			sys.Root.Send(child, x)
		}
	}
	if setback, ok := reason.(*Setback); ok {
		delete(s.bugs, id)
		s.sys.metrics.restarts.WithLabelValues(string(setback.Kind)).Inc()
		sup.RestartChildren(child)
		sys.Root.Send(child, recall{})
		return
	}
	row := s.bugs[id]
	if time.Since(row.last) > bugsWithin {
		row.n = 0
	}
	row.n, row.last = row.n+1, time.Now()
	s.bugs[id] = row
	s.sys.metrics.restarts.WithLabelValues("bug").Inc()
	s.sys.bug(id.String(), reason)
	switch n := row.n; {
	case n <= bugsMost:
		sup.RestartChildren(child)
		sys.Root.Send(child, recall{})
	case n == bugsMost+1:
		sup.RestartChildren(child)
		sys.Root.Send(child, setAside{fmt.Sprint(reason)})
	default:
		sup.StopChildren(child)
	}
}

// bug reports a panic that nobody planned.
func (s *System) bug(where string, reason any) {
	s.metrics.alarms.WithLabelValues("bug").Inc()
	s.log.Error("panic", "where", where, "reason", fmt.Sprint(reason), "stack", string(debug.Stack()))
}
