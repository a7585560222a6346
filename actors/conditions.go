package actors

import (
	"bytes"
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/settled/settled/ledger"
)

// conditions decides who asks Stripe again. Refused operations wait for a condition of the world: the platform's
// funds in a currency, one seller's capability, one seller's funds. Thousands may wait for the same, and all would
// hear the same answer; so one of them probes, and the others sleep. Its success lets the next one go; its refusal
// keeps the rest asleep until an event speaks of the condition, or the slow timer is over.
//
//	asleep ── an event, or the net's timer ──▶ one probes ─┬─ refused ─▶ asleep
//	                                             ▲         └─ passed ──▶ the next
//	                                             └───────────────────────────┘
//
// Nothing of it is durable. Each actor says that it waits when it has read so in the ledger, and since when; a probe
// whose actor died, stopped or has other things to do is noticed, and another takes its turn. Two daemons over one
// ledger probe once each. Events are hints: they choose who probes, and the money in them is never believed.
type conditions struct {
	sys      *System
	of       map[ledger.Condition]*waiting
	sleeping map[string]*sleeper                // by the actor's name: it waits for one condition at a time
	probing  map[uint64]ledger.Condition        // by the probe's number
	heard    map[ledger.Condition]news          // when an event last spoke of it
	no       uint64                             // of the newest probe or event
	count    map[ledger.Reaction]int            // of sleepers, for the metric
	told     map[ledger.Condition]time.Time     // when somebody was last told
	retry    func(ledger.Reaction) ledger.Retry // whose backoff is the net
}

// waiting is all that wait for one condition.
type waiting struct {
	asleep   sleepers
	probes   []probe   // out; one, unless many have passed
	born     time.Time // when the first was heard of
	touched  time.Time // when somebody last came or a probe ended
	refused  time.Time // the newest refusal
	answered uint64    // the newest probe that was refused: it answers every event before
	open     bool      // the last probe passed: the next may go
	passed   int       // probes in a row
	failed   int       // probes in a row that were refused, or came to nothing
	later    time.Time // no probe before, after one that came to nothing
	again    bool      // that one's question has no answer yet
	ticks    uint64    // only the tick armed last counts
	timer    *time.Timer
}

// probe is one actor's turn.
type probe struct {
	no    uint64
	who   *actor.PID
	began time.Time
}

// news is an event; it and the probes are numbered in the order in which they came.
type news struct {
	no uint64
	at time.Time
}

const (
	probeCheck   = time.Minute      // how often who probes is asked whether it still does
	gatherWait   = time.Second      // after a start, until those that wait have said so
	lingers      = time.Minute      // a condition for which nobody waits is forgotten
	probeSpread  = 5 * time.Minute  // a start spreads the sellers' overdue probes over it
	probeSpacing = time.Second      // between probes of one burst of events; doubles, up to the backoff's base
	answerLag    = 30 * time.Second // an event may be newer than a refusal that was recorded so much after it
	widenEach    = 16               // so many successes in a row let one more probe at once
	widestProbes = 32
	heardMost    = 100_000        // conditions remembered
	tellEach     = 24 * time.Hour // somebody is told again
)

// Messages of conditions.
type (
	// await: the actor waits for a condition, as the ledger says.
	await struct {
		condition ledger.Condition
		urgent    bool      // a reversal: it goes before transfers
		operation ledger.ID // UUIDv7: what is older goes first
		who       *actor.PID
		since     time.Time // the refusal, by the local clock
	}
	// heardOf: an event spoke of the conditions of an account, in these currencies if it said which.
	heardOf struct {
		reaction   ledger.Reaction
		account    string
		currencies []ledger.Currency
		said       bool
	}
	// probed is how a probe ended.
	probed struct {
		no    uint64
		ended probeEnd
	}
	came          struct{ condition ledger.Condition } // evidence, not a probe's, that it came true
	conditionTick struct {
		condition ledger.Condition
		no        uint64
	}

	// To an actor: it is its turn to probe; does it still?
	beginProbe   struct{ no uint64 }
	stillProbing struct{ no uint64 }
)

// probeEnd is how a probe ended.
type probeEnd uint8

const (
	probeYielded probeEnd = iota // it does not wait any more, or for something else: the next one's turn
	probeInVain                  // no answer about the condition came
	probeRefused                 // the condition has not come true
	probePassed                  // it has
)

func newConditions(s *System) *conditions {
	p := s.conf.Policy
	return &conditions{sys: s, of: make(map[ledger.Condition]*waiting), sleeping: make(map[string]*sleeper), probing: make(map[uint64]ledger.Condition),
		heard: make(map[ledger.Condition]news), count: make(map[ledger.Reaction]int), told: make(map[ledger.Condition]time.Time),
		retry: func(r ledger.Reaction) ledger.Retry {
			if r == ledger.AwaitSellerFunds {
				return p.Reversals
			}
			return p.Transfers
		}}
}

func (s *conditions) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case await:
		s.await(c, m)
	case heardOf:
		s.hear(c, m)
	case sleep:
		s.tellSleep(m)
	case probed:
		s.ended(c, m)
	case came:
		if w := s.of[m.condition]; w != nil {
			w.open = true
			s.next(c, m.condition, w)
		}
	case conditionTick:
		if w := s.of[m.condition]; w != nil && w.ticks == m.no {
			w.timer = nil
			s.check(c, w)
			s.next(c, m.condition, w)
		}
	case *actor.Stopping, *actor.Restarting:
		for _, w := range s.of {
			w.disarm()
		}
	}
}

// await puts an actor to sleep. It may say so again, when it has read the ledger again.
func (s *conditions) await(c actor.Context, m await) {
	name := m.who.Id
	if old := s.sleeping[name]; old != nil {
		if old.condition == m.condition && old.operation == m.operation {
			s.refusedAt(s.of[m.condition], m.since)
			return
		}
		s.forget(old)
	}
	w := s.of[m.condition]
	if w == nil {
		w = &waiting{born: time.Now()}
		s.of[m.condition] = w
	}
	s.refusedAt(w, m.since)
	w.touched = time.Now()
	x := &sleeper{m, false}
	s.sleeping[name] = x
	heap.Push(&w.asleep, x)
	s.counted(m.condition, 1)
	s.next(c, m.condition, w)
}

// refusedAt takes in a refusal that was no probe's. While probes are out they know better.
func (s *conditions) refusedAt(w *waiting, at time.Time) {
	if at.After(w.refused) {
		w.refused = at
		if len(w.probes) == 0 {
			w.open, w.passed = false, 0
		}
	}
}

// hear takes in an event: of one condition, or of every currency of an account whose event does not say.
func (s *conditions) hear(c actor.Context, m heardOf) {
	s.sys.metrics.events.WithLabelValues("woke").Inc()
	if len(s.heard) >= heardMost {
		clear(s.heard) // a probe that is missed costs a longer wait, no more
	}
	s.no++
	said := news{s.no, time.Now()}
	about := func(x ledger.Condition) {
		s.heard[x] = said
		if w := s.of[x]; w != nil {
			s.next(c, x, w)
		}
	}
	if m.reaction == ledger.AwaitSeller {
		about(ledger.Condition{Reaction: m.reaction, Account: m.account})
		return
	}
	for _, currency := range m.currencies {
		about(ledger.Condition{Reaction: m.reaction, Account: m.account, Currency: currency})
	}
	if m.said {
		return
	}
	about(ledger.Condition{Reaction: m.reaction, Account: m.account})
	var may []ledger.Condition
	for x := range s.of {
		if x.Reaction == m.reaction && x.Account == m.account && x.Currency != "" {
			may = append(may, x)
		}
	}
	slices.SortFunc(may, func(a, b ledger.Condition) int { return cmp.Compare(a.Currency, b.Currency) })
	for _, x := range may {
		about(x)
	}
}

// ended takes in the end of a probe's turn.
func (s *conditions) ended(c actor.Context, m probed) {
	x, known := s.probing[m.no]
	if !known {
		return
	}
	w := s.of[x]
	p := w.ends(m.no)
	delete(s.probing, m.no)
	now := time.Now()
	w.touched = now
	switch m.ended {
	case probePassed:
		w.open, w.passed, w.failed, w.again = true, w.passed+1, 0, false
	case probeRefused:
		w.open, w.passed, w.failed, w.again, w.refused = false, 0, w.failed+1, false, now
		w.answered = max(w.answered, p.no)
		s.warn(x, w)
	case probeInVain:
		w.again, w.failed = true, w.failed+1
		w.later = now.Add(s.spacing(x, w))
	}
	s.next(c, x, w)
}

// warn raises the alarm for what the platform has to mend: nothing else will.
func (s *conditions) warn(x ledger.Condition, w *waiting) {
	if x.Reaction != ledger.AwaitFunds || time.Since(s.told[x]) < tellEach {
		return
	}
	s.told[x] = time.Now()
	s.sys.alarm("platform_funds", "currency", x.Currency, "waiting", w.asleep.Len()+1, "do", "top up the platform's balance at Stripe")
}

// check takes a turn back whose actor has ended, and asks the others whether they still probe.
func (s *conditions) check(c actor.Context, w *waiting) {
	for _, p := range slices.Clone(w.probes) {
		switch {
		case time.Since(p.began) < probeCheck:
		case !alive(c, p.who):
			w.ends(p.no)
			delete(s.probing, p.no)
		default:
			c.Send(p.who, stillProbing{p.no})
		}
	}
}

// ends takes a probe out.
func (w *waiting) ends(no uint64) (p probe) {
	i := slices.IndexFunc(w.probes, func(p probe) bool { return p.no == no })
	p = w.probes[i]
	w.probes = slices.Delete(w.probes, i, i+1)
	return p
}

func alive(c actor.Context, who *actor.PID) bool {
	_, lives := c.ActorSystem().ProcessRegistry.GetLocal(who.Id)
	return lives
}

// next gives turns while there is room, and arms the timer for what comes then.
func (s *conditions) next(c actor.Context, x ledger.Condition, w *waiting) {
	now := time.Now()
	room := min(1+w.passed/widenEach, widestProbes)
	due := s.due(x, w)
	for len(w.probes) < room && !due.After(now) {
		m, ok := s.wake(w)
		if !ok {
			break
		}
		if !alive(c, m.who) {
			continue
		}
		s.no++
		w.probes, s.probing[s.no] = append(w.probes, probe{s.no, m.who, now}), x
		c.Send(m.who, beginProbe{s.no})
	}
	w.disarm()
	switch {
	case len(w.probes) > 0:
		due = now.Add(probeCheck)
	case w.asleep.Len() == 0: // who was just refused is about to come back, and what was learned still holds
		if due = w.touched.Add(lingers); !due.After(now) {
			delete(s.of, x)
			return
		}
	}
	w.ticks++
	self, sys, tick := c.Self(), s.sys, conditionTick{x, w.ticks}
	w.timer = time.AfterFunc(due.Sub(now), func() { sys.tell(self, tick) })
}

// due is when the next probe may begin.
func (s *conditions) due(x ledger.Condition, w *waiting) time.Time {
	h := s.heard[x]
	if wide := s.heard[ledger.Condition{Reaction: x.Reaction, Account: x.Account}]; wide.no > h.no { // an event may not say which
		h = wide
	}
	switch {
	case w.open:
		return w.later
	case h.no > w.answered && h.at.After(w.refused.Add(-answerLag)):
		return latest(w.refused.Add(s.spacing(x, w)), w.later)
	case w.again:
		return w.later
	}
	net := s.retry(x.Reaction).Backoff.Max
	at := w.refused.Add(net)
	if at.Before(w.born) { // overdue at a start
		at = w.born.Add(min(gatherWait, net))
		if x.Account != "" {
			at = at.Add(min(probeSpread, net) >> 16 * time.Duration(spread(x.Account)))
		}
	}
	return latest(at, w.later)
}

// spread is a number of 16 bits that an account always has.
func spread(account string) (n uint16) {
	for i := range len(account) {
		n = n*31 + uint16(account[i])
	}
	return n
}

// spacing keeps a burst of events from being a burst of probes.
func (s *conditions) spacing(x ledger.Condition, w *waiting) time.Duration {
	if w.failed == 0 {
		return 0
	}
	return min(probeSpacing<<min(w.failed-1, 16), s.retry(x.Reaction).Backoff.Base)
}

func (w *waiting) disarm() {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// wake takes the most urgent sleeper.
func (s *conditions) wake(w *waiting) (m await, ok bool) {
	for w.asleep.Len() > 0 {
		x := heap.Pop(&w.asleep).(*sleeper)
		if !x.gone {
			delete(s.sleeping, x.who.Id)
			s.counted(x.condition, -1)
			return x.await, true
		}
	}
	return await{}, false
}

// forget takes a sleeper out, that waits for something else now.
func (s *conditions) forget(x *sleeper) {
	x.gone = true
	delete(s.sleeping, x.who.Id)
	s.counted(x.condition, -1)
}

func (s *conditions) counted(x ledger.Condition, n int) {
	s.count[x.Reaction] += n
	s.sys.metrics.asleep.WithLabelValues(x.Reaction.String()).Set(float64(s.count[x.Reaction]))
}

// sleeper is an actor that waits.
type sleeper struct {
	await
	gone bool // it waits for something else, and is still in the heap
}

// sleepers is a heap: reversals first, then the oldest.
type sleepers []*sleeper

func (h sleepers) Len() int { return len(h) }
func (h sleepers) Less(i, j int) bool {
	if h[i].urgent != h[j].urgent {
		return h[i].urgent
	}
	return bytes.Compare(h[i].operation[:], h[j].operation[:]) < 0
}
func (h sleepers) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *sleepers) Push(x any)   { *h = append(*h, x.(*sleeper)) }
func (h *sleepers) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return x
}
