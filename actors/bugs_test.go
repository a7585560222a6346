package actors

import (
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

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
			inGate(t, Limits{Concurrency: 1}, func(r *gateRig) {
				id := ledger.ID{7}
				aside := 0
				child, err := r.system.Root.SpawnNamed(actor.PropsFromFunc(func(c actor.Context) {
					if _, is := c.Message().(setAside); is {
						aside++
					}
				}, actor.WithMailbox(newMailbox)), id.String())
				if err != nil {
					t.Fatal(err)
				}
				s := &shard{sys: r.gate.sys, closing: map[ledger.ID]*closing{}, bugs: map[ledger.ID]bugs{}}
				sup := &supervisor{}
				for range bugsMost + 1 {
					s.HandleFailure(r.system, sup, child, nil, "a bug", nil)
					r.passes(tc.apart)
				}
				r.system.Root.Stop(child)
				r.passes(0)
				if aside != tc.aside || sup.restarted != bugsMost+1 || sup.stopped != 0 {
					t.Errorf("set aside %d times, %d restarts, %d stops", aside, sup.restarted, sup.stopped)
				}
			})
		})
	}
}
