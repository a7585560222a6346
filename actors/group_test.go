package actors

import (
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

func TestAGroupRunsOneAtATimeAndTakesWhatQueuedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running atomic.Int32
		var sizes, order []int
		g := &group[int]{most: 10, work: func(items []int) {
			if running.Add(1) != 1 {
				t.Error("two runs at once")
			}
			sizes, order = append(sizes, len(items)), append(order, items...)
			time.Sleep(time.Second)
			running.Add(-1)
		}}
		deepest := 0
		g.depth = func(n int) { deepest = max(deepest, n) }
		system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
		g.tell = func(to *actor.PID, message any) { system.Root.Send(to, message) }
		pid := system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return g }, actor.WithMailbox(newMailbox)))
		idle := func() time.Duration {
			began, done := time.Now(), make(chan struct{})
			system.Root.Send(pid, flush{done})
			<-done
			return time.Since(began)
		}
		if took := idle(); took != 0 {
			t.Errorf("a flush of an idle group took %s", took)
		}
		for i := range 26 {
			system.Root.Send(pid, i)
			if i == 0 {
				synctest.Wait() // alone, it goes at once
			}
		}
		if took := idle(); took != 4*time.Second {
			t.Errorf("the flush took %s", took)
		}
		if !slices.Equal(sizes, []int{1, 10, 10, 5}) || !slices.IsSorted(order) || len(order) != 26 || deepest != 25 {
			t.Errorf("runs of %v, in the order %v, at most %d deep", sizes, order, deepest)
		}
		system.Root.Stop(pid)
	})
}
