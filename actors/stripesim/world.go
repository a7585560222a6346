package stripesim

import "time"

// world is what Stripe holds: every object, indexed the way it is asked for. Slices
// are in the order of creation, so lists need no sorting.
type world struct {
	seed     uint64
	livemode bool
	platform *account
	drawn    uint64    // ids given to what no keyed request made
	seq      uint64    // numbers objects in the order of creation
	last     time.Time // created never goes backwards, whatever the base clock does

	accounts    table[*account]
	transfers   table[*transfer]
	byGroup     map[string][]*transfer
	byDest      map[string][]*transfer
	bySource    map[string][]*transfer
	reversals   table[*reversal]
	charges     table[*charge]
	chargeGroup map[string][]*charge
	refunds     table[*refund]
	disputes    table[*dispute]
	intents     table[*intent]
	events      table[*event]
	txns        table[*txn] // all accounts, for lookup by id
}

// head is what every object has.
type head struct {
	id  string
	seq uint64
	at  time.Time // when it was created
}

func (h *head) self() *head { return h }

// row is an object that can be listed.
type row interface{ self() *head }

// table holds the objects of one type.
type table[T row] struct {
	all  []T
	byID map[string]T
}

func (t *table[T]) add(obj T) {
	if t.byID == nil {
		t.byID = make(map[string]T)
	}
	t.all = append(t.all, obj)
	t.byID[obj.self().id] = obj
}

func (t *table[T]) get(id string) (T, bool) {
	obj, ok := t.byID[id]
	return obj, ok
}

type transfer struct {
	head
	amount, reversed int64
	currency         string
	destination      string
	source           *charge
	group            string
	description      string
	payment          string // the seller's py_…
	txn              string
	metadata         map[string]string // replaced, never changed, so that snapshots stay
	reversals        []*reversal
	key              string
}

type reversal struct {
	head
	of       *transfer
	amount   int64
	txn      string
	refund   string // the seller's pyr_…
	status   string // succeeded, pending, failed, canceled; "" where the preview has nothing to say
	metadata map[string]string
	key      string
}

type charge struct {
	head
	amount, refunded int64
	currency         string
	settle           string // currency of its balance transaction
	txn              string
	intent           string
	group            string
	description      string
	customer         string
	metadata         map[string]string
	refunds          []*refund
	disputed         bool
}

type refund struct {
	head
	of       *charge
	amount   int64
	status   string
	reason   string
	failure  string
	txn      string
	metadata map[string]string
}

type dispute struct {
	head
	of       *charge
	amount   int64
	status   string
	reason   string
	txns     []*txn
	metadata map[string]string
}

type intent struct {
	head
	amount      int64
	currency    string
	status      string
	group       string
	description string
	customer    string
	charge      string
	metadata    map[string]string
}

// txn is a balance transaction: one change of one account's balance.
type txn struct {
	head
	owner    string // account
	kind     string // type
	category string // reporting_category
	amount   int64
	currency string
	source   string
}

// account is the platform or a seller.
type account struct {
	head
	country   string
	currency  string
	email     string
	kind      string
	metadata  map[string]string
	caps      map[string]string // status by capability
	closed    bool
	unlimited bool            // the platform without a configured balance
	limited   map[string]bool // currencies that were given a balance all the same
	balance   map[string]int64
	held      map[string]int64 // taken away by a fault for a while
	outages   int              // made by faults so far
	txns      []*txn
}

// unlimitedMinor is what a practically unlimited platform reports, in minor units.
const unlimitedMinor = 1_000_000_000_000

func newWorld(cfg Config, now time.Time) world {
	w := world{
		seed: cfg.Seed, livemode: cfg.Livemode,
		byGroup:     make(map[string][]*transfer),
		byDest:      make(map[string][]*transfer),
		bySource:    make(map[string][]*transfer),
		chargeGroup: make(map[string][]*charge),
	}
	w.platform = newAccount(cfg.AccountID, cfg.Country)
	w.platform.at = now
	w.platform.kind = "standard"
	w.platform.unlimited = cfg.PlatformBalance == nil
	for currency, amount := range cfg.PlatformBalance {
		w.platform.balance[currency] = amount
	}
	return w
}

func newAccount(id, country string) *account {
	return &account{
		head: head{id: id}, country: country, kind: "express",
		currency: currencyOf(country),
		caps:     map[string]string{"transfers": "active"},
		balance:  make(map[string]int64),
		held:     make(map[string]int64),
		limited:  make(map[string]bool),
	}
}

// available is what the account could spend now, in minor units.
func (a *account) available(currency string) int64 {
	if a.unlimited && !a.limited[currency] {
		return a.balance[currency] + unlimitedMinor
	}
	return a.balance[currency]
}

// mayReceive says whether any capability lets transfers in.
func (a *account) mayReceive() bool {
	for _, name := range []string{"transfers", "crypto_transfers", "legacy_payments"} {
		if a.caps[name] == "active" {
			return true
		}
	}
	return false
}

// stamp gives a new object its place and time.
func (s *Sim) stamp(id string) head {
	w := &s.world
	now := s.clock.now()
	if now.Before(w.last) {
		now = w.last
	}
	w.last = now
	w.seq++
	return head{id: id, seq: w.seq, at: now}
}

// newID draws an id. What a keyed request makes gets ids from its key, so that a
// seed names objects alike however calls interleave.
func (s *Sim) newID(c *call, prefix string) string {
	w := &s.world
	if c == nil || c.info.Key == "" {
		w.drawn++
		return longID(prefix, mix(w.seed, "unkeyed", prefix)+scramble(w.drawn))
	}
	c.drawn++
	return longID(prefix, mix(w.seed, "keyed", c.scope(), prefix)+scramble(c.salt<<16+c.drawn))
}

// freshID is newID for what goes into a table. A key that was forgotten and is used
// again must not name the same objects twice, so the request is salted anew.
func freshID[T row](s *Sim, c *call, prefix string, known *table[T]) string {
	for {
		id := s.newID(c, prefix)
		if _, taken := known.byID[id]; !taken {
			return id
		}
		if c != nil {
			c.salt++
		}
	}
}

// move books one change of a balance.
func (s *Sim) move(c *call, a *account, kind, category string, amount int64, currency, source string) *txn {
	t := &txn{
		head: s.stamp(freshID(s, c, "txn_", &s.world.txns)), owner: a.id, kind: kind, category: category,
		amount: amount, currency: currency, source: source,
	}
	a.balance[currency] += amount
	a.txns = append(a.txns, t)
	s.world.txns.add(t)
	return t
}

// seller finds a connected account; a well-formed id comes into being unless strict.
func (s *Sim) seller(id string) (*account, bool) {
	if a, ok := s.world.accounts.get(id); ok {
		return a, true
	}
	if s.cfg.Strict || !wellFormedAccount(id) || id == s.world.platform.id {
		return nil, false
	}
	return s.addAccount(id, s.world.platform.country), true
}

func (s *Sim) addAccount(id, country string) *account {
	a := newAccount(id, country)
	a.head = s.stamp(id)
	s.world.accounts.add(a)
	return a
}

// wellFormedAccount is acct_ and at least one letter, digit or underscore.
func wellFormedAccount(id string) bool {
	const prefix = "acct_"
	if len(id) <= len(prefix) || id[:len(prefix)] != prefix {
		return false
	}
	for _, r := range id[len(prefix):] {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_':
		default:
			return false
		}
	}
	return true
}
