package gate

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/settled/settled/ledger"
)

// gateRig is a gate with one client that asks for everybody, in a bubble of testing/synctest.
type gateRig struct {
	*testing.T
	mu       sync.Mutex // guards what the client's actor and the test both touch
	system   *actor.ActorSystem
	pid      *actor.PID
	client   *actor.PID
	gate     *gate
	heard    int // messages that the gate has received
	asked    uint64
	granted  []grantedPermit
	denied   []uint64
	outage   atomic.Bool
	hold     time.Duration            // a permit is returned after this long by itself; 0: by hand
	endpoint map[uint64]Endpoint      // by inc
	out      map[uint64]grantedPermit // by inc
	most     int                      // permits out at once
}

type grantedPermit struct {
	Permit
	at time.Time
}

// counted counts what the gate receives.
type counted struct {
	*gate
	r *gateRig
}

func (c counted) Receive(x actor.Context) {
	c.r.mu.Lock()
	c.r.heard++
	c.r.mu.Unlock()
	c.gate.Receive(x)
}

func inGate(t *testing.T, limits Limits, test func(*gateRig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &gateRig{T: t, endpoint: map[uint64]Endpoint{}, out: map[uint64]grantedPermit{}}
		log := slog.New(slog.DiscardHandler)
		r.system = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return log }),
			actor.WithDeadLetterThrottleInterval(time.Millisecond))
		r.gate = newGate(Config{Log: log, Metrics: NewMetrics(prometheus.NewRegistry()), Limits: limits.OrDefaults(),
			Tell:   func(to *actor.PID, m any) { r.system.Root.Send(to, m) },
			Notify: func(ledger.Notice) {}, Withdraw: func(string) {}, Alarm: func(string, ...any) {},
			Outage: r.outage.Load, Halted: func() bool { return false }})
		r.pid = r.system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return counted{r.gate, r} }))
		r.client = r.system.Root.Spawn(actor.PropsFromFunc(r.receive))
		test(r)
		r.system.Root.Stop(r.client)
		r.system.Root.Stop(r.pid)
		time.Sleep(time.Hour)
		synctest.Wait()
	})
}

func (r *gateRig) receive(c actor.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch m := c.Message().(type) {
	case Permit:
		p := grantedPermit{m, time.Now()}
		r.granted = append(r.granted, p)
		r.out[m.Inc] = p
		r.most = max(r.most, len(r.out))
		if r.hold > 0 {
			time.AfterFunc(r.hold, func() { r.system.Root.Send(r.client, m.Inc) })
		}
	case uint64: // its time is over
		r.giveBack(m, Release{})
	case Denied:
		r.denied = append(r.denied, m.Inc)
	}
}

// passes lets time pass, and everybody do what there is to do. Around it the test may look at
// what the client wrote down.
func (r *gateRig) passes(d time.Duration) {
	r.mu.Lock()
	//lint:ignore SA2001 orders what the test has read before what is written next
	r.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
	r.mu.Lock()
	//lint:ignore SA2001 and what was written before what it reads next
	r.mu.Unlock()
}

// ask asks for a permit; an age is the rank of whoever asks, older first.
func (r *gateRig) ask(e Endpoint, seller string, age uint64) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	a := Ask{Endpoint: e, Seller: seller, Age: ageOf(age), From: r.client, Inc: r.asked}
	r.endpoint[r.asked] = e
	r.system.Root.Send(r.pid, a)
	return r.asked
}

func ageOf(rank uint64) (id ledger.ID) {
	binary.BigEndian.PutUint64(id[:8], rank)
	return id
}

func (r *gateRig) returns(inc uint64, answer Release) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.giveBack(inc, answer)
}

func (r *gateRig) giveBack(inc uint64, answer Release) {
	answer.No, answer.Endpoint = r.out[inc].No, r.endpoint[inc]
	delete(r.out, inc)
	r.system.Root.Send(r.pid, answer)
}

// call asks and, once permitted, answers at once.
func (r *gateRig) call(e Endpoint, scope ledger.Scope) {
	r.Helper()
	inc := r.ask(e, "s", 1)
	r.passes(0)
	if _, ok := r.out[inc]; !ok {
		r.Fatalf("no permit for %s", e)
	}
	r.returns(inc, Release{Scope: scope})
	r.passes(0)
}

// wait asks, and tells how long the permit took.
func (r *gateRig) wait(e Endpoint) (inc uint64, took time.Duration) {
	r.Helper()
	inc = r.ask(e, "s", 1)
	for began := time.Now(); ; {
		r.passes(0)
		if p, ok := r.out[inc]; ok {
			return inc, p.at.Sub(began)
		}
		if time.Since(began) > time.Hour {
			r.Fatalf("no permit for %s in an hour", e)
		}
		r.passes(10 * time.Millisecond)
	}
}

func about(got, want time.Duration) bool {
	return got >= want-20*time.Millisecond && got <= want+20*time.Millisecond
}

func TestReversalsGoBeforeTransfersAndOlderBeforeNewer(t *testing.T) {
	inGate(t, Limits{Concurrency: 1}, func(r *gateRig) {
		first := r.ask(Transfers, "a", 9)
		r.passes(0)
		newer, older := r.ask(Transfers, "a", 8), r.ask(Transfers, "a", 2)
		back, look := r.ask(Reversals, "a", 7), r.ask(Reads, "a", 6)
		for range 5 {
			r.passes(0)
			r.returns(r.granted[len(r.granted)-1].Inc, Release{})
		}
		var order []uint64
		for _, p := range r.granted {
			order = append(order, p.Inc)
		}
		if want := []uint64{first, look, back, older, newer}; !slices.Equal(order, want) {
			r.Errorf("permits went to %v, want %v", order, want)
		}
	})
}

func TestSellersTakeTurns(t *testing.T) {
	inGate(t, Limits{Concurrency: 1}, func(r *gateRig) {
		r.ask(Transfers, "z", 1)
		r.passes(0)
		seller := map[uint64]string{1: "z"}
		for i := range 6 {
			seller[r.ask(Transfers, "big", uint64(i))] = "big"
		}
		for i := range 2 {
			seller[r.ask(Transfers, "small", uint64(100+i))] = "small"
		}
		got := ""
		for range 9 {
			r.passes(0)
			inc := r.granted[len(r.granted)-1].Inc
			got += seller[inc][:1]
			r.returns(inc, Release{})
		}
		if got != "zbsbsbbbb" {
			r.Errorf("turns: %s", got)
		}
	})
}

func TestRatesAreKeptAndUsed(t *testing.T) {
	for _, tc := range []struct {
		limits Limits
		busy   []Endpoint
		rate   map[Endpoint]int // expected
	}{
		{Limits{Rate: 80, EndpointRate: 20, Concurrency: 32}, []Endpoint{Transfers}, map[Endpoint]int{Transfers: 20}},
		{Limits{Rate: 80, EndpointRate: 20, Concurrency: 32}, []Endpoint{Transfers, Reversals, Reads},
			map[Endpoint]int{Transfers: 20, Reversals: 20, Reads: 20}},
		{Limits{Rate: 30, EndpointRate: 20, Concurrency: 32}, []Endpoint{Transfers, Reversals},
			map[Endpoint]int{Transfers: 10, Reversals: 20}},
		{Limits{Rate: 80, Concurrency: 32}, []Endpoint{Transfers}, map[Endpoint]int{Transfers: 80}},
		{Limits{Rate: 1000, Concurrency: 320}, []Endpoint{Transfers}, map[Endpoint]int{Transfers: 1000}},
	} {
		t.Run(fmt.Sprintf("%+v %v", tc.limits, tc.busy), func(t *testing.T) {
			inGate(t, tc.limits, func(r *gateRig) {
				r.hold = 100 * time.Millisecond
				for _, e := range tc.busy {
					for i := range 62 * tc.rate[e] * 2 {
						r.ask(e, fmt.Sprint(i%7), uint64(i))
					}
				}
				began := time.Now()
				r.passes(time.Minute)
				all := map[Endpoint][]time.Duration{}
				var total []time.Duration
				for _, p := range r.granted {
					at := p.at.Sub(began)
					all[r.endpoint[p.Inc]] = append(all[r.endpoint[p.Inc]], at)
					total = append(total, at)
				}
				keeps := func(what string, at []time.Duration, rate int) {
					for i := range at { // no second sees more than its rate and a tenth for the burst
						n := 0
						for _, x := range at[i:] {
							if x < at[i]+time.Second {
								n++
							}
						}
						if n > rate+max(1, rate/10)+1 {
							r.Fatalf("%s: %d calls in the second after %s", what, n, at[i])
						}
					}
				}
				for e, rate := range tc.rate {
					if used := float64(len(all[e])) / float64(60*rate); used < 0.99 || used > 1.01 {
						r.Errorf("%s: %.1f %% of the rate were used", e, 100*used)
					}
					if rate <= 80 {
						keeps(e.String(), all[e], rate)
					}
				}
				if tc.limits.Rate <= 80 {
					keeps("in all", total, tc.limits.Rate)
				}
				if r.most > tc.limits.Concurrency {
					r.Errorf("%d calls at once", r.most)
				}
				if r.heard > 3*len(r.granted)+4*len(r.endpoint) {
					r.Errorf("the gate heard %d messages for %d permits: it runs in circles", r.heard, len(r.granted))
				}
			})
		})
	}
}

func TestNoMoreCallsAtOnceThanAllowed(t *testing.T) {
	inGate(t, Limits{Concurrency: 5}, func(r *gateRig) {
		r.hold = 3 * time.Second
		for i := range 40 {
			r.ask(Endpoint(i%3), "s", uint64(i))
		}
		r.passes(24 * time.Second)
		if r.most != 5 || len(r.granted) != 40 {
			r.Errorf("%d at once, %d in all", r.most, len(r.granted))
		}
	})
}

func TestACooldownHoldsForItsScopeDoublesAndIsForgotten(t *testing.T) {
	inGate(t, Limits{Concurrency: 8}, func(r *gateRig) {
		r.call(Transfers, ledger.ScopeEndpoint)
		if _, took := r.wait(Reversals); took != 0 {
			r.Errorf("another endpoint waited %s", took)
		}
		for _, want := range []time.Duration{cooldownBase, 2 * cooldownBase, 4 * cooldownBase} {
			inc, took := r.wait(Transfers)
			if !about(took, want) {
				r.Errorf("waited %s, want %s", took, want)
			}
			r.returns(inc, Release{Scope: ledger.ScopeEndpoint})
		}
		for range 10 { // it does not grow for ever
			inc, took := r.wait(Transfers)
			if took > cooldownMost+20*time.Millisecond {
				r.Errorf("waited %s", took)
			}
			r.returns(inc, Release{Scope: ledger.ScopeEndpoint})
		}
		inc, _ := r.wait(Transfers)
		r.returns(inc, Release{})
		r.passes(0)
		r.call(Transfers, ledger.ScopeAccount)
		for _, e := range []Endpoint{Transfers, Reversals, Reads} {
			if _, took := r.wait(e); e == Transfers && !about(took, cooldownBase) || e != Transfers && took != 0 {
				r.Errorf("%s waited %s", e, took)
			}
		}
	})
}

func TestAPauseIsNeverShorterThanStripeAsksFor(t *testing.T) {
	for scope, e := range map[ledger.Scope]Endpoint{
		ledger.ScopeEndpoint: Transfers, ledger.ScopeAccount: Reads, ledger.ScopeAuth: Reads,
	} {
		inGate(t, Limits{Concurrency: 20}, func(r *gateRig) {
			inc, also := r.ask(Transfers, "s", 1), r.ask(Transfers, "s", 2)
			r.passes(0)
			r.returns(inc, Release{Scope: scope})
			r.returns(also, Release{Scope: scope, After: 8 * time.Minute}) // no new lesson, but a longer wait
			if _, took := r.wait(e); !about(took, 8*time.Minute) {
				r.Errorf("scope %d: %s waited %s", scope, e, took)
			}
		})
	}
}

func TestManyAnswersOfOneLimitAreOneLesson(t *testing.T) {
	inGate(t, Limits{Concurrency: 20}, func(r *gateRig) {
		for range 20 {
			r.ask(Transfers, "s", 1)
		}
		r.passes(0)
		for _, p := range slices.Clone(r.granted) {
			r.returns(p.Inc, Release{Scope: ledger.ScopeAccount})
		}
		if _, took := r.wait(Reads); !about(took, cooldownBase) {
			r.Errorf("waited %s", took)
		}
	})
}

func TestARefusedKeyStopsAllCallsButAProbeNowAndThen(t *testing.T) {
	inGate(t, Limits{Concurrency: 32}, func(r *gateRig) {
		r.call(Transfers, ledger.ScopeAuth)
		for i := range 100 {
			r.ask(Endpoint(i%3), "s", uint64(i))
		}
		before := len(r.granted)
		for _, pause := range []time.Duration{authBase, 2 * authBase, 4 * authBase} {
			heard := r.heard
			r.passes(pause - 20*time.Millisecond)
			if len(r.granted) != before {
				r.Fatalf("%d calls during the brake", len(r.granted)-before)
			}
			if r.heard-heard > 105 {
				r.Errorf("the gate heard %d messages while nothing happened", r.heard-heard)
			}
			r.passes(40 * time.Millisecond)
			if len(r.granted) != before+1 {
				r.Fatalf("%d probes after %s", len(r.granted)-before, pause)
			}
			before++
			last := r.granted[len(r.granted)-1].Inc
			r.returns(last, Release{Scope: ledger.ScopeAuth})
			r.passes(0)
		}
		r.passes(8*authBase + 20*time.Millisecond)
		r.returns(r.granted[len(r.granted)-1].Inc, Release{}) // the key was mended
		r.passes(0)
		if n := len(r.out); n != 32 {
			r.Errorf("%d calls once it answers again", n)
		}
	})
}

func TestTheBreakerOpensWhenStripeIsDownAndClosesWhenItIsBack(t *testing.T) {
	inGate(t, Limits{Concurrency: 32}, func(r *gateRig) {
		for range breakerAfter - 1 {
			r.call(Transfers, ledger.ScopeDown)
		}
		r.call(Transfers, ledger.ScopeNone) // it was not that bad
		for range breakerAfter {
			r.call(Transfers, ledger.ScopeDown)
		}
		for i := range 100 {
			r.ask(Transfers, "s", uint64(i))
		}
		before := len(r.granted)
		for _, pause := range []time.Duration{breakerBase, 2 * breakerBase, 4 * breakerBase} {
			r.passes(pause + 10*time.Millisecond)
			if n := len(r.granted) - before; n != 1 {
				r.Fatalf("%d probes after %s", n, pause)
			}
			before++
			r.returns(r.granted[len(r.granted)-1].Inc, Release{Scope: ledger.ScopeDown})
			r.passes(0)
		}
		r.passes(8*breakerBase + 10*time.Millisecond)
		// A permit that comes back unused, or whose call Stripe had no say in, proves nothing.
		r.returns(r.granted[len(r.granted)-1].Inc, Release{Unused: true})
		r.passes(0)
		if n := len(r.out); n != 1 {
			r.Errorf("%d calls after a probe that was none", n)
		}
		r.returns(r.granted[len(r.granted)-1].Inc, Release{})
		r.passes(0)
		if n := len(r.out); n != 32 {
			r.Errorf("%d calls once it is back", n)
		}
	})
}

func TestLostPermitsAreReclaimed(t *testing.T) {
	inGate(t, Limits{Concurrency: 3}, func(r *gateRig) {
		for range 5 {
			r.ask(Transfers, "s", 1)
		}
		r.outage.Store(true) // permits wait for the ledger
		r.passes(time.Hour)
		if n := len(r.granted); n != 3 {
			r.Fatalf("%d permits during the outage", n)
		}
		r.outage.Store(false)
		r.passes(permitLost - sweepEach)
		if n := len(r.granted); n != 3 {
			r.Fatalf("%d permits too early", n)
		}
		r.passes(3 * sweepEach)
		if n := len(r.granted); n != 5 {
			r.Errorf("%d permits after three were lost", n)
		}
	})
}

func TestACloseDeniesWhoWaitsAndTellsWhenTheLastCallHasEnded(t *testing.T) {
	inGate(t, Limits{Concurrency: 2}, func(r *gateRig) {
		for range 4 {
			r.ask(Transfers, "s", 1)
		}
		r.passes(0)
		drained := make(chan struct{})
		r.system.Root.Send(r.pid, Close{Drained: drained})
		late := r.ask(Reads, "s", 1)
		r.passes(0)
		if !slices.Equal(r.denied, []uint64{3, 4, late}) || len(r.granted) != 2 {
			r.Errorf("denied %v, granted %d", r.denied, len(r.granted))
		}
		r.returns(1, Release{Scope: ledger.ScopeDown})
		r.passes(0)
		select {
		case <-drained:
			r.Fatal("drained with a call under way")
		default:
		}
		r.returns(2, Release{})
		<-drained
	})
}

func TestNothingPassesBeforeTheGateIsOpened(t *testing.T) {
	inGate(t, Limits{Concurrency: 2}, func(r *gateRig) {
		r.gate.Barred = true
		r.ask(Reads, "s", 1)
		r.passes(24 * time.Hour)
		if len(r.granted) != 0 {
			r.Fatal("a permit")
		}
		r.system.Root.Send(r.pid, Open{})
		r.passes(0)
		if len(r.granted) != 1 {
			r.Error("no permit")
		}
	})
}
