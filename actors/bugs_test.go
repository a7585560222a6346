package actors

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/settled/settled/ledger"
)

// supervisor counts what a strategy does with children.
type supervisor struct {
	actor.Supervisor
	restarted, stopped int
}

func (s *supervisor) RestartChildren(...*actor.PID) { s.restarted++ }
func (s *supervisor) StopChildren(...*actor.PID)    { s.stopped++ }

func TestPanicsThatAreDaysApartAreNoRow(t *testing.T) {
	for name, tc := range map[string]struct {
		apart time.Duration
		aside int
	}{
		"one after the other": {time.Minute, 1},
		"days apart":          {48 * time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				system, sys := mailSystem(), &System{log: slog.New(slog.DiscardHandler), metrics: newMetrics(prometheus.NewRegistry())}
				sys.actors = system
				id := ledger.ID{7}
				aside := 0
				child, err := system.Root.SpawnNamed(actor.PropsFromFunc(func(c actor.Context) {
					if _, is := c.Message().(setAside); is {
						aside++
					}
				}, actor.WithMailbox(newMailbox)), id.String())
				if err != nil {
					t.Fatal(err)
				}
				s := &shard{sys: sys, closing: map[ledger.ID]*closing{}, bugs: map[ledger.ID]bugs{}}
				sup := &supervisor{}
				for range bugsMost + 1 {
					s.HandleFailure(system, sup, child, nil, "a bug", nil)
					time.Sleep(tc.apart)
				}
				system.Root.Stop(child)
				synctest.Wait()
				if aside != tc.aside || sup.restarted != bugsMost+1 || sup.stopped != 0 {
					t.Errorf("set aside %d times, %d restarts, %d stops", aside, sup.restarted, sup.stopped)
				}
			})
		})
	}
}
