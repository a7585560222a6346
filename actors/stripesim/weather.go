package stripesim

import "fmt"

// What comes and goes in a marketplace without anybody's fault: money, and what sellers may do. Each change is told by
// its events, and so is what changes nothing: Stripe sends account.updated for every screen that a seller fills in.

// SetAvailable makes what an account has of a currency what it should be, by a payout or a top-up; empty: the
// platform, whose money in that currency is limited from then on. What it gains an event tells.
func (s *Sim) SetAvailable(account, currency string, amount int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setBalance(s.named(account), currency, amount)
}

// Gain adds to what an account has of a currency, and an event tells.
func (s *Sim) Gain(account, currency string, amount int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.named(account)
	s.setBalance(a, currency, a.balance[currency]+amount)
}

// Unlimit gives the platform all the money in a currency that it can want.
func (s *Sim) Unlimit(currency string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.world.platform.limited, currency)
	s.announceBalance(s.world.platform)
}

// Onboard gives a seller's transfers capability a status, such as pending or active. The same one again is an
// account.updated that changes nothing.
func (s *Sim) Onboard(account, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.named(account)
	if a.caps["transfers"] == status {
		s.emit(nil, event{kind: "account.updated", object: s.renderAccount(a), account: a.id})
		return
	}
	s.setCapability(nil, a, "transfers", status)
}

// named is the platform, or a seller that exists or may.
func (s *Sim) named(id string) *account {
	if id == "" || id == s.world.platform.id {
		return s.world.platform
	}
	a, ok := s.seller(id)
	if !ok {
		panic(fmt.Sprintf("stripesim: %q is no account", id))
	}
	return a
}
