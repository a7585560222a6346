package gate

import (
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/settled/settled/ledger"
)

// bedroom is the actor of conditions, and actors that wait for the platform's euros.
type bedroom struct {
	*testing.T
	system *actor.ActorSystem
	pid    *actor.PID
	who    map[string]*actor.PID
	alarms int

	mu    sync.Mutex
	turns []string          // whose they were
	out   map[string]uint64 // probes that were not ended
}

var euros = ledger.Condition{Reaction: ledger.AwaitFunds, Currency: "eur"}

func inBedroom(t *testing.T, test func(*bedroom)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bedroom{T: t, who: map[string]*actor.PID{}, out: map[string]uint64{}}
		b.system = actor.NewActorSystem(
			actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }),
			actor.WithDeadLetterThrottleInterval(time.Millisecond))
		conf := ConditionsConfig{Metrics: NewMetrics(prometheus.NewRegistry()),
			Tell:  func(to *actor.PID, m any) { b.system.Root.Send(to, m) },
			Alarm: func(string, ...any) { b.alarms++ },
			Retry: func(ledger.Reaction) ledger.Retry {
				return ledger.Retry{Backoff: ledger.Backoff{Base: time.Minute, Max: time.Hour}}
			}}
		b.pid = b.system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return NewConditions(conf) }))
		test(b)
		for _, pid := range b.who {
			b.system.Root.Stop(pid)
		}
		b.system.Root.Stop(b.pid)
		time.Sleep(time.Hour)
		synctest.Wait()
	})
}

// waits puts an actor to sleep; an age is its rank, older first.
func (b *bedroom) waits(name string, age uint64) {
	b.Helper()
	if b.who[name] == nil {
		pid, err := b.system.Root.SpawnNamed(actor.PropsFromFunc(func(c actor.Context) {
			if m, ok := c.Message().(BeginProbe); ok {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.turns, b.out[name] = append(b.turns, name), m.No
			}
		}), name)
		if err != nil {
			b.Fatal(err)
		}
		b.who[name] = pid
	}
	b.system.Root.Send(b.pid, Await{Condition: euros, Operation: ageOf(age), Who: b.who[name], Since: time.Now()})
	b.passes(0)
}

func (b *bedroom) ends(name string, how ProbeEnd) {
	b.mu.Lock()
	no := b.out[name]
	b.mu.Unlock()
	b.system.Root.Send(b.pid, Probed{No: no, Ended: how})
	b.passes(0)
}

// hears has the condition spoken of by an event.
func (b *bedroom) hears() {
	b.system.Root.Send(b.pid, HeardOf{Reaction: ledger.AwaitFunds, Currencies: []ledger.Currency{"eur"}, Said: true})
	b.passes(time.Minute)
}

func (b *bedroom) passes(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// had tells whose turns came since it was asked last.
func (b *bedroom) had(want ...string) {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.turns, want) {
		b.Errorf("the turns were %q's, want %q", b.turns, want)
	}
	b.turns = nil
}

func TestOneProbesAndTheOthersSleepUntilItPasses(t *testing.T) {
	inBedroom(t, func(b *bedroom) {
		b.waits("young", 3)
		b.waits("old", 1)
		b.waits("middle", 2)
		b.passes(30 * time.Minute)
		b.had() // a refusal keeps all asleep
		b.hears()
		b.had("old")
		b.ends("old", Refused)
		if b.alarms != 1 {
			t.Errorf("%d alarms for funds that only the platform can mend", b.alarms)
		}
		b.waits("old", 1)
		b.passes(30 * time.Minute)
		b.had()
		b.hears()
		b.had("old")
		b.ends("old", Passed)
		b.had("middle")
		b.ends("middle", Passed)
		b.had("young")
	})
}

func TestTheSlowTimerIsTheNetUnderAnEventThatIsLost(t *testing.T) {
	inBedroom(t, func(b *bedroom) {
		b.waits("a", 1)
		b.waits("b", 2)
		b.passes(time.Hour + time.Minute)
		b.had("a")
	})
}

func TestATurnWhoseActorEndedIsAnothers(t *testing.T) {
	inBedroom(t, func(b *bedroom) {
		b.waits("a", 1)
		b.waits("b", 2)
		b.hears()
		b.had("a")
		b.system.Root.Stop(b.who["a"])
		b.passes(3 * probeCheck)
		b.had("b")
	})
}

func TestAnActorThatYieldsHandsItsTurnOn(t *testing.T) {
	inBedroom(t, func(b *bedroom) {
		b.waits("a", 1)
		b.waits("b", 2)
		b.hears()
		b.ends("a", Yielded)
		b.had("a", "b")
	})
}
