package gate

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/settled/settled/ledger"
)

// ConditionsConfig is all that conditions know of the tree around them.
type ConditionsConfig struct {
	Metrics *Metrics
	// Tell sends a message from a timer.
	Tell  func(to *actor.PID, message any)
	Alarm func(kind string, args ...any)
	// Retry tells whose backoff is the net under a condition for which no event comes.
	Retry func(ledger.Reaction) ledger.Retry
}

// conditions gives turns to ask Stripe again. Refused operations wait for a condition of the world: the platform's
// funds in a currency, one seller's capability, one seller's funds. Thousands may wait for the same, and all would
// hear the same answer; so one of them probes, and the others sleep. Its success lets the next one go; its refusal
// keeps the rest asleep until an event speaks of the condition, or the slow timer is over.
//
//	asleep ── an event, or the net's timer ──▶ one probes ─┬─ refused ─▶ asleep
//	                                             ▲         └─ passed ──▶ the next
//	                                             └───────────────────────────┘
//
// Nothing of it is durable. An actor reads in the ledger that it waits, and since when, and says so here; a probe
// whose actor died, stopped or has other things to do is noticed, and another takes its turn. Two daemons over one
// ledger probe once each. Events are hints: they choose who probes, and the money in them is never believed.
type conditions struct {
	ConditionsConfig

	of       map[ledger.Condition]*waiting
	sleeping map[string]*sleeper            // by the actor's name: it waits for one condition at a time
	probing  map[uint64]ledger.Condition    // by the probe's number
	heard    map[ledger.Condition]news      // when an event last spoke of it
	no       uint64                         // of the newest probe or event
	count    map[ledger.Reaction]int        // of sleepers, for the metric
	told     map[ledger.Condition]time.Time // when somebody was last told
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
	probeCheck   = time.Minute      // how often a prober is asked whether it still probes
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

// NewConditions makes the actor that gives turns.
func NewConditions(c ConditionsConfig) actor.Actor {
	return &conditions{ConditionsConfig: c,
		of:       make(map[ledger.Condition]*waiting),
		sleeping: make(map[string]*sleeper),
		probing:  make(map[uint64]ledger.Condition),
		heard:    make(map[ledger.Condition]news),
		count:    make(map[ledger.Reaction]int),
		told:     make(map[ledger.Condition]time.Time),
	}
}

func (s *conditions) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case Await:
		s.await(c, m)
	case HeardOf:
		s.hear(c, m)
	case Sleep:
		s.tellSleep(m)
	case Probed:
		s.ended(c, m)
	case Came:
		if w := s.of[m.Condition]; w != nil {
			w.open = true
			s.next(c, m.Condition, w)
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
func (s *conditions) await(c actor.Context, m Await) {
	name := m.Who.Id
	if old := s.sleeping[name]; old != nil {
		if old.Condition == m.Condition && old.Operation == m.Operation {
			s.refusedAt(s.of[m.Condition], m.Since)
			return
		}
		s.forget(old)
	}
	w := s.of[m.Condition]
	if w == nil {
		w = &waiting{born: time.Now()}
		s.of[m.Condition] = w
	}
	s.refusedAt(w, m.Since)
	w.touched = time.Now()
	x := &sleeper{m, false}
	s.sleeping[name] = x
	heap.Push(&w.asleep, x)
	s.counted(m.Condition, 1)
	s.next(c, m.Condition, w)
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
func (s *conditions) hear(c actor.Context, m HeardOf) {
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
	if m.Reaction == ledger.AwaitSeller {
		about(ledger.Condition{Reaction: m.Reaction, Account: m.Account})
		return
	}
	for _, currency := range m.Currencies {
		about(ledger.Condition{Reaction: m.Reaction, Account: m.Account, Currency: currency})
	}
	if m.Said {
		return
	}
	about(ledger.Condition{Reaction: m.Reaction, Account: m.Account})
	var may []ledger.Condition
	for x := range s.of {
		if x.Reaction == m.Reaction && x.Account == m.Account && x.Currency != "" {
			may = append(may, x)
		}
	}
	slices.SortFunc(may, func(a, b ledger.Condition) int { return cmp.Compare(a.Currency, b.Currency) })
	for _, x := range may {
		about(x)
	}
}

// ended takes in the end of a probe's turn.
func (s *conditions) ended(c actor.Context, m Probed) {
	x, known := s.probing[m.No]
	if !known {
		return
	}
	w := s.of[x]
	p := w.ends(m.No)
	delete(s.probing, m.No)
	now := time.Now()
	w.touched = now
	switch m.Ended {
	case Passed:
		w.open, w.passed, w.failed, w.again = true, w.passed+1, 0, false
	case Refused:
		w.open, w.passed, w.failed, w.again, w.refused = false, 0, w.failed+1, false, now
		w.answered = max(w.answered, p.no)
		s.warn(x, w)
	case InVain:
		w.again, w.failed = true, w.failed+1
		w.later = now.Add(s.spacing(x, w))
	}
	s.next(c, x, w)
}

// warn raises the alarm for a condition that only the platform can mend: nothing else will.
func (s *conditions) warn(x ledger.Condition, w *waiting) {
	if x.Reaction != ledger.AwaitFunds || time.Since(s.told[x]) < tellEach {
		return
	}
	s.told[x] = time.Now()
	s.Alarm("platform_funds", "currency", x.Currency, "waiting", w.asleep.Len()+1,
		"do", "top up the platform's balance at Stripe")
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
			c.Send(p.who, StillProbing{p.no})
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

// next gives turns while there is room, and arms the timer for the next one.
func (s *conditions) next(c actor.Context, x ledger.Condition, w *waiting) {
	now := time.Now()
	room := min(1+w.passed/widenEach, widestProbes)
	due := s.due(x, w)
	for len(w.probes) < room && !due.After(now) {
		m, ok := s.wake(w)
		if !ok {
			break
		}
		if !alive(c, m.Who) {
			continue
		}
		s.no++
		w.probes, s.probing[s.no] = append(w.probes, probe{s.no, m.Who, now}), x
		c.Send(m.Who, BeginProbe{s.no})
	}
	w.disarm()
	switch {
	case len(w.probes) > 0:
		due = now.Add(probeCheck)
	case w.asleep.Len() == 0: // the refused actor is about to come back, and the lesson still holds
		if due = w.touched.Add(lingers); !due.After(now) {
			delete(s.of, x)
			return
		}
	}
	w.ticks++
	self, tell, tick := c.Self(), s.Tell, conditionTick{x, w.ticks}
	w.timer = time.AfterFunc(due.Sub(now), func() { tell(self, tick) })
}

// due is when the next probe may begin.
func (s *conditions) due(x ledger.Condition, w *waiting) time.Time {
	h := s.heard[x]
	// An event may not say of which currency it speaks.
	if wide := s.heard[ledger.Condition{Reaction: x.Reaction, Account: x.Account}]; wide.no > h.no {
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
	net := s.Retry(x.Reaction).Backoff.Max
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
	return min(probeSpacing<<min(w.failed-1, 16), s.Retry(x.Reaction).Backoff.Base)
}

func (w *waiting) disarm() {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}
