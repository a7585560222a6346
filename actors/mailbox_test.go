package actors

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
)

// always gives every failing child the same directive, and tells of it.
type always struct {
	directive func(actor.Supervisor, *actor.PID)
	failed    chan any
}

func (a always) HandleFailure(_ *actor.ActorSystem, sup actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, _ any) {
	a.directive(sup, child)
	a.failed <- reason
}

func mailSystem() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
}

// child spawns an actor with our mailbox under a parent with the strategy.
func child(system *actor.ActorSystem, strategy actor.SupervisorStrategy, receive actor.ReceiveFunc) (parent, pid *actor.PID) {
	up := make(chan *actor.PID, 1)
	props := actor.PropsFromFunc(receive, actor.WithMailbox(newMailbox))
	parent = system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if _, ok := c.Message().(*actor.Started); ok {
			up <- c.Spawn(props)
		}
	}, actor.WithMailbox(newMailbox), actor.WithSupervisor(strategy)))
	return parent, <-up
}

func ends(t *testing.T, system *actor.ActorSystem, pid *actor.PID) {
	t.Helper()
	if err := system.Root.StopFuture(pid).Wait(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestMessagesOfOneSenderArriveInOrder(t *testing.T) {
	system := mailSystem()
	const senders, each = 8, 2000
	got := make([]int, senders)
	done := make(chan struct{})
	n := 0
	pid := system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		m, ok := c.Message().([2]int)
		if !ok {
			return
		}
		if got[m[0]] != m[1] {
			t.Errorf("of sender %d came %d after %d", m[0], m[1], got[m[0]]-1)
		}
		got[m[0]]++
		if n++; n == senders*each {
			close(done)
		}
	}, actor.WithMailbox(newMailbox)))
	for s := range senders {
		go func() {
			for i := range each {
				system.Root.Send(pid, [2]int{s, i})
			}
		}()
	}
	<-done
	ends(t, system, pid)
}

func TestAFailedActorKeepsItsMessagesAndTheirOrderUntilItIsRestarted(t *testing.T) {
	system := mailSystem()
	strategy := always{func(sup actor.Supervisor, pid *actor.PID) { sup.RestartChildren(pid) }, make(chan any, 10)}
	var got []int
	done := make(chan struct{})
	parent, pid := child(system, strategy, func(c actor.Context) {
		if m, ok := c.Message().(int); ok {
			got = append(got, m)
			switch m {
			case 2:
				panic(errors.New("two"))
			case 5:
				close(done)
			}
		}
	})
	for i := range 6 {
		system.Root.Send(pid, i)
	}
	<-done
	if reason := <-strategy.failed; fmt.Sprint(reason) != "two" {
		t.Errorf("failed with %v", reason)
	}
	if !slices.Equal(got, []int{0, 1, 2, 3, 4, 5}) {
		t.Errorf("received %v", got)
	}
	ends(t, system, parent)
}

func TestASuspendedActorCanBeStopped(t *testing.T) {
	system := mailSystem()
	strategy := always{func(actor.Supervisor, *actor.PID) {}, make(chan any, 1)} // leaves it suspended
	stopped := make(chan struct{})
	parent, pid := child(system, strategy, func(c actor.Context) {
		switch m := c.Message().(type) {
		case int:
			if m > 0 {
				t.Errorf("received %d while suspended", m)
			}
			panic("at once")
		case *actor.Stopped:
			close(stopped)
		}
	})
	for i := range 10 {
		system.Root.Send(pid, i)
	}
	<-strategy.failed
	system.Root.Stop(pid)
	<-stopped
	ends(t, system, parent)
}

func TestAPanicInASystemMessageIsAFailureToo(t *testing.T) {
	system := mailSystem()
	strategy := always{func(sup actor.Supervisor, pid *actor.PID) { sup.RestartChildren(pid) }, make(chan any, 1)}
	first := true
	alive := make(chan struct{})
	parent, pid := child(system, strategy, func(c actor.Context) {
		switch c.Message().(type) {
		case *actor.Started:
			if first {
				first = false
				panic("in Started")
			}
		case string:
			close(alive)
		}
	})
	system.Root.Send(pid, "hello")
	if reason := <-strategy.failed; reason != "in Started" {
		t.Errorf("failed with %v", reason)
	}
	<-alive
	ends(t, system, parent)
}

func TestAMessageByNameDuringTheSpawnIsNotLost(t *testing.T) {
	system := mailSystem()
	const rounds, senders = 300, 4
	for round := range rounds {
		name := "actor-" + strconv.Itoa(round)
		var wg sync.WaitGroup
		wg.Add(senders)
		for range senders {
			go func() {
				pid := actor.NewPID(system.Address(), name)
				for { // until its name is known
					if _, known := system.ProcessRegistry.GetLocal(name); known {
						system.Root.Send(pid, "hello")
						return
					}
				}
			}()
		}
		pid, err := system.Root.SpawnNamed(actor.PropsFromFunc(func(c actor.Context) {
			if _, ok := c.Message().(string); ok {
				wg.Done()
			}
		}, actor.WithMailbox(newMailbox)), name)
		if err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		ends(t, system, pid)
	}
}

func TestAnIdleMailboxHoldsNothing(t *testing.T) {
	system := mailSystem()
	m := &mailbox{}
	done := make(chan struct{})
	pid := system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if i, ok := c.Message().(int); ok && i == 999 {
			close(done)
		}
	}, actor.WithMailbox(func() actor.Mailbox { return m })))
	for i := range 1000 {
		system.Root.Send(pid, i)
	}
	<-done
	ends(t, system, pid)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.user != nil || m.system != nil {
		t.Errorf("it holds %d and %d messages", cap(m.user), cap(m.system))
	}
}
