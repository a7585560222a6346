package gate

import (
	"testing"
	"time"

	"github.com/settled/settled/ledger"
)

// down has an endpoint fail until its breaker opens.
func (r *gateRig) down(e Endpoint) {
	r.Helper()
	for range breakerAfter {
		r.call(e, ledger.ScopeDown)
	}
}

func TestWhatIsDownIsAnEndpointAndTheOthersGoOn(t *testing.T) {
	for _, broken := range []Endpoint{Reads, Lists, Reversals, Transfers, Walks} {
		t.Run(broken.String(), func(t *testing.T) {
			inGate(t, Limits{Concurrency: 32}, func(r *gateRig) {
				r.down(broken)
				for range 10 { // each probe of it fails
					probe := r.ask(broken, "s", 1)
					r.passes(breakerMost + time.Second)
					for e := range endpoints {
						if e == broken {
							continue
						}
						inc, took := r.wait(e)
						if took != 0 {
							t.Errorf("%s wait %s while %s are down", e, took, broken)
						}
						r.returns(inc, Release{})
					}
					if _, out := r.out[probe]; !out {
						t.Fatal("no probe")
					}
					r.returns(probe, Release{Scope: ledger.ScopeDown})
					r.passes(0)
				}
			})
		})
	}
}

func TestOnceOneEndpointIsBackTheOthersFindOutAtOnce(t *testing.T) {
	inGate(t, Limits{Concurrency: 32}, func(r *gateRig) {
		r.down(Lists)
		r.down(Transfers)
		for range 5 { // lists are in for a long pause
			inc, _ := r.wait(Lists)
			r.returns(inc, Release{Scope: ledger.ScopeDown})
		}
		inc, _ := r.wait(Transfers)
		waits := r.ask(Lists, "s", 1)
		r.returns(inc, Release{})
		r.passes(time.Millisecond)
		if _, out := r.out[waits]; !out {
			t.Error("lists were not asked although transfers are back")
		}
	})
}

func TestWhileTheKeyIsRefusedEndpointsTakeTurnsInProbing(t *testing.T) {
	inGate(t, Limits{Concurrency: 32}, func(r *gateRig) {
		r.call(Transfers, ledger.ScopeAuth)
		for range 3 {
			r.ask(Lists, "s", 1)
			r.ask(Transfers, "s", 1)
		}
		probes := map[Endpoint]int{}
		for range 4 {
			r.passes(authMost + breakerMost)
			e := r.endpoint[r.granted[len(r.granted)-1].Inc]
			probes[e]++
			if e == Transfers {
				break
			}
			r.returns(r.granted[len(r.granted)-1].Inc, Release{Scope: ledger.ScopeDown}) // says nothing of the key
			r.passes(0)
		}
		if probes[Transfers] == 0 {
			t.Errorf("the key is probed by %v alone, which fail for another reason", probes)
		}
	})
}

func TestAProbeThatWasLostIsMissedSoon(t *testing.T) {
	for name, begin := range map[string]func(*gateRig){
		"of a refused key":      func(r *gateRig) { r.call(Transfers, ledger.ScopeAuth) },
		"of an endpoint":        func(r *gateRig) { r.down(Transfers) },
		"of a refused platform": func(r *gateRig) { r.call(Transfers, ledger.ScopePlatform) },
	} {
		t.Run(name, func(t *testing.T) {
			inGate(t, Limits{Concurrency: 32}, func(r *gateRig) {
				begin(r)
				r.wait(Transfers) // and its actor ends with it
				if _, took := r.wait(Transfers); took > 2*time.Minute {
					t.Errorf("the gate stalled for %s", took)
				}
			})
		})
	}
}

func TestTheGateTellsHowManyComeBefore(t *testing.T) {
	inGate(t, Limits{EndpointRate: 20, Concurrency: 1}, func(r *gateRig) {
		r.ask(Transfers, "z", 1) // is out
		r.passes(0)
		for i := range 300 {
			r.ask(Transfers, "big", uint64(i))
		}
		for i := range 3 {
			r.ask(Transfers, "small", uint64(1000+i))
		}
		r.passes(0)
		for _, tc := range []struct {
			seller string
			age    uint64
			want   int
		}{{"big", 0, 0}, {"small", 1000, 1}, {"big", 1, 2}, {"small", 1002, 5}, {"big", 299, 302}} {
			reply := make(chan ledger.Live, 1)
			r.system.Root.Send(r.pid, Place{Endpoint: Transfers, Seller: tc.seller, Age: ageOf(tc.age), Reply: reply})
			r.passes(0)
			if l := <-reply; !l.Queued || l.Before != tc.want || l.Rate != 20 {
				t.Errorf("%s %d: %+v, want %d before it", tc.seller, tc.age, l, tc.want)
			}
		}
	})
}
