package stripesim

import (
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Sim is one simulated Stripe account with its connected accounts. It is safe for
// concurrent use. Close it when done.
type Sim struct {
	cfg   Config
	log   *slog.Logger
	clock *clock
	post  *courier
	done  chan struct{} // closed by Close; releases whoever waits for an answer
	once  sync.Once

	// mu guards everything below. It is never held while sleeping, writing to a
	// connection or calling out.
	mu        sync.Mutex
	world     world
	keys      keyTable
	plan      plan
	rules     []*armedRule
	limits    map[string]*bucket
	locks     map[string]struct{} // objects an execution under way holds
	counts    map[string]int
	webhook   endpointURL
	downUntil time.Time
	revoked   bool
	requests  uint64
	underWay  int // effects on the agenda
}

// endpointURL is where events go.
type endpointURL struct{ url, secret string }

// New makes a simulator. It starts no goroutine before something is scheduled.
func New(cfg Config) *Sim {
	cfg = cfg.withDefaults()
	s := &Sim{
		cfg:     cfg,
		log:     cfg.Log,
		clock:   &clock{base: cfg.Now},
		done:    make(chan struct{}),
		plan:    plan{seed: cfg.Seed, level: cfg.Faults},
		keys:    keyTable{known: make(map[string]*keyRecord)},
		limits:  make(map[string]*bucket),
		locks:   make(map[string]struct{}),
		counts:  make(map[string]int),
		webhook: endpointURL{cfg.WebhookURL, cfg.WebhookSecret},
	}
	s.world = newWorld(cfg, s.clock.now())
	s.post = newCourier(cfg.HTTPClient)
	return s
}

// Handler serves the API under /v1/ and the controls under /_sim/. A dropped
// connection is a panic with [http.ErrAbortHandler], which net/http turns into one.
func (s *Sim) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_sim/") {
			s.serveControl(w, r)
			return
		}
		s.serveAPI(w, r)
	})
}

// Close stops timers and deliveries, waits for the simulator's goroutines, and makes
// calls still waiting for an answer lose their connection. It can be called twice.
func (s *Sim) Close() {
	s.once.Do(func() { close(s.done) })
	s.clock.close()
	s.post.close()
}

// Advance moves the simulator's clock by d and does what falls due on the way, each
// thing at its own moment: hanging requests, late effects, deliveries. Webhooks are
// under way, but not necessarily delivered, when it returns; see [Sim.Flush].
func (s *Sim) Advance(d time.Duration) { s.clock.advance(d) }

// Flush waits until no webhook delivery that was due is still under way.
func (s *Sim) Flush() { s.post.flush() }

// Now is the simulator's clock, in UTC.
func (s *Sim) Now() time.Time { return s.clock.now() }

// SetFaults changes the level of the plan for the calls to come.
func (s *Sim) SetFaults(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plan.level = f
}

// SetWebhook changes where events are delivered from now on; "" stops delivering.
func (s *Sim) SetWebhook(url, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.webhook = endpointURL{url, secret}
}

// Counts reports what happened so far, by name: "request" and "request <endpoint>",
// "answer <status>", "fault <kind>", "event <type>", "key replayed|in_use|mismatch|
// expired", "webhook delivered|refused|given_up|lost".
func (s *Sim) Counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts)
}

// count is called with mu held.
func (s *Sim) count(name string) { s.counts[name]++ }

// hit notes that a fault was really applied; called with mu held.
func (s *Sim) hit(k Kind) { s.counts[faultName[k]]++ }

// faultName holds the counter of each kind, so that counting does not allocate.
var faultName = func() map[Kind]string {
	names := make(map[Kind]string, len(kindTable))
	for _, k := range kindTable {
		names[k.kind] = "fault " + string(k.kind)
	}
	return names
}()
