package actors

import (
	"context"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/settled/settled/actors/gate"
	"github.com/settled/settled/actors/reconcile"
)

// enter and leave count sends whose outcome is not recorded yet. Once the system stops nothing
// enters.
func (s *System) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	s.sending++
	return true
}

func (s *System) leave() {
	s.mu.Lock()
	s.sending--
	s.quiet()
	s.mu.Unlock()
}

// quiet tells a stop, under the lock, that no send is open any more.
func (s *System) quiet() {
	if s.sending == 0 && s.closing.Load() {
		select {
		case <-s.settled:
		default:
			close(s.settled)
		}
	}
}

// Stop ends the system: no new calls are started, calls under way may end and have their
// outcomes recorded while ctx lasts, then the tree is stopped. What ctx cuts off stays
// "sending" in the ledger, and the next start takes it for unresolved. A second call waits for
// the first and returns the same.
func (s *System) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() { s.cut = s.stop(ctx) })
	return s.cut
}

func (s *System) stop(ctx context.Context) (cut error) {
	s.mu.Lock()
	s.closing.Store(true)
	s.quiet()
	s.mu.Unlock()
	if s.actors == nil { // never started
		close(s.stopped)
		return nil
	}
	drained, halted := make(chan struct{}), make(chan struct{})
	s.tell(s.reconciler, reconcile.Halt{Done: halted}) // a walk goes on at the next start
	s.tell(s.gate, gate.Close{Drained: drained})
	for _, done := range []<-chan struct{}{drained, s.settled} {
		if err := within(ctx, done); err != nil {
			s.mu.Lock()
			n := s.sending
			s.mu.Unlock()
			cut = fmt.Errorf("%d calls were cut off; they are unresolved to the next start: %w", n, err)
		}
	}
	s.cutCalls()
	_ = within(ctx, halted) // a walk that was cut off is taken up like one whose process died
	if cut == nil {
		for _, pid := range []*actor.PID{s.writer, s.apart, s.keeper, s.handler} {
			done := make(chan struct{})
			s.tell(pid, flush{done})
			if err := within(ctx, done); err != nil {
				cut = fmt.Errorf("the ledger's writer did not finish: %w", err)
			}
		}
	}
	close(s.stopped)
	s.stopTree()
	s.actors.Shutdown()
	return cut
}

// within waits for done. What is done already counts also when ctx has ended.
func within(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	default:
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stopTree stops the tree and waits for it. The library's own StopFuture gives up after 10 s.
func (s *System) stopTree() {
	done := make(chan struct{})
	s.actors.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *actor.Started:
			c.Watch(s.root)
			c.Stop(s.root)
		case *actor.Terminated:
			if m.Who.Equal(s.root) {
				close(done)
				c.Stop(c.Self())
			}
		}
	}))
	<-done
}
