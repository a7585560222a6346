package stripesim

import (
	"testing"
)

func TestMoneyAndCapabilitiesComeAndGoWithTheirEvents(t *testing.T) {
	s := New(Config{})
	defer s.Close()
	told := func() (n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.world.events.all)
	}
	for name, step := range map[string]struct {
		do   func()
		want int
	}{
		"what is taken away is not told":                   {func() { s.SetAvailable("", "eur", -5) }, 0},
		"what comes is":                                    {func() { s.Gain("acct_seller1", "usd", 7) }, 1},
		"all that can be wanted is":                        {func() { s.Unlimit("gbp") }, 1},
		"a capability is told by the account and itself":   {func() { s.Onboard("acct_seller2", "pending") }, 2},
		"and a screen that changes nothing by the account": {func() { s.Onboard("acct_seller3", "active") }, 1},
	} {
		before := told()
		step.do()
		if n := told() - before; n != step.want {
			t.Errorf("%s: %d events, want %d", name, n, step.want)
		}
	}
	if a := s.named("acct_seller1"); a.available("usd") != 7 {
		t.Errorf("the seller has %d", a.available("usd"))
	}
}
