package actors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/ledger"
)

// A person's word on clocks that disagree. It is kept in the ledger, so that every daemon goes by it; and each
// daemon weighs it by the clocks that it hears itself, at every look. See [ledger.Trust] for what it allows.

// TrustStore keeps people's words on clocks.
type TrustStore interface {
	// Trust returns the word that was given last and has not ended, or nil; and the database's time.
	Trust(ctx context.Context) (t *ledger.Trust, at time.Time, err error)
	// StoreTrust stores a word, once, by the database's clock; it ends the ones before.
	StoreTrust(ctx context.Context, t ledger.Trust) error
	// EndTrust ends a word, once.
	EndTrust(ctx context.Context, id ledger.ID, why string) error
}

const (
	agree    = "agree"
	disagree = "disagree"
	trusted  = "trusted"

	messageTrust    ledger.MessageType = "trust"
	messageDistrust ledger.MessageType = "distrust"
)

// word is a person's word as far as this daemon goes by it.
type word struct {
	*ledger.Trust
	used   bool      // the clocks were as it says
	void   ledger.ID // the one that does not count here any more, even if it is read again
	ending *ended    // what the ledger is to be told
}

// ended is a word that has ended, and why.
type ended struct {
	word ledger.Trust
	why  string
}

// heed weighs a person's word against the clocks as they stand. It returns what may be done, and the
// sentences for people; "": there is no word that counts. A word ends with the trouble, and when an offset
// is not any more as it was: the clock that was said to be right may have stepped.
func (c *clocks) heed(s ledger.Clocks, now, wall time.Time) (ledger.Clocks, string) {
	w := c.word.Trust
	if w == nil || !c.stripe.heard {
		return s, ""
	}
	db, at, slackD, slackS := c.database.at(now), c.stripe.at(now), c.database.slack(), c.stripe.slack()
	// Another machine's clock may be right where this one's is not: its word is not this daemon's to end. The
	// two others are everybody's.
	theirs := c.apart(at, db.Add(w.Stripe-w.Database), slackS, slackD) != 0
	switch ends := c.word.used || theirs; {
	case s.Trouble == "":
		c.drop("the clocks agree again", ends)
		return s, ""
	case theirs, c.apart(db, wall.Add(w.Database), slackD, 0) != 0, c.apart(at, wall.Add(w.Stripe), slackS, 0) != 0:
		c.drop("a clock is not as far off any more as it was: "+s.Trouble, ends)
		return s, ""
	}
	c.word.used = true
	whole := w.Clock != ledger.ClockMachine && c.apart(at, db, slackS, slackD) == 0
	text := s.Trouble + " " + w.Explain(whole, c.quiet)
	if whole {
		return ledger.Clocks{Ahead: max(0, at.Sub(db)), Behind: max(0, db.Sub(at))}, text
	}
	s.Halt, s.Trouble, s.Trusted = false, text, w.At
	return s, text
}

// drop has a word count no more, here and (ends) everywhere.
func (c *clocks) drop(why string, ends bool) {
	w := c.word.Trust
	c.word = word{void: w.ID, ending: c.word.ending}
	if ends {
		c.word.ending = &ended{*w, why}
	}
}

// believe takes in the word that stands in the ledger, or that none does.
func (c *clocks) believe(t *ledger.Trust) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case t == nil:
		c.word.Trust, c.word.used = nil, false
	case t.ID == c.word.void || c.word.Trust != nil && c.word.ID == t.ID:
		return
	default:
		c.word.Trust, c.word.used = t, false
	}
	now, wall := c.read()
	c.look(now, wall)
}

// standing is how the clocks stand, for people.
func (c *clocks) standing() (s ledger.ClockStanding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, wall := c.read()
	c.look(now, wall)
	s.State, s.Heard = agree, c.database.heard && c.stripe.heard
	if s.Heard {
		s.Database, s.Stripe = c.database.at(now).Sub(wall), c.stripe.at(now).Sub(wall)
	}
	if c.database.heard {
		s.Trouble = c.compare(now, wall).Trouble
	}
	switch {
	case s.Trouble == "":
	case c.word.Trust != nil && c.word.used:
		s.State, s.Trust = trusted, c.word.Trust
	default:
		s.State = disagree
	}
	return s
}

// pending returns the word that the ledger is to be told the end of, if any, and whether the ledger is to be
// asked for one.
func (c *clocks) pending() (over *ended, ask bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.word.ending, c.last != "" || c.word.Trust != nil
}

// told notes that the ledger was told of an end.
func (c *clocks) told(over *ended) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.word.ending == over {
		c.word.ending = nil
	}
}

// exchange tells the ledger which word has ended, asks it for the one that stands, and hears its clock. It is of use
// only while the clocks disagree; what fails is tried again.
func (s *System) exchange() {
	s.clocks.state()
	over, ask := s.clocks.pending()
	if over == nil && !ask {
		return
	}
	err := s.query(func(ctx context.Context) error {
		if over != nil {
			if err := s.conf.Store.EndTrust(ctx, over.word.ID, over.why); err != nil {
				return err
			}
			s.log.Warn("a person's word on the clocks has ended", "clock", over.word.Clock, "principal", over.word.By.Principal, "why", over.why)
			s.clocks.told(over)
		}
		_, err := s.askWord(ctx)
		return err
	})
	if err != nil {
		s.log.Info("a person's word on the clocks cannot be read, or ended", "err", err)
	}
}

// askWord takes in the word that stands in the ledger, and the time there.
func (s *System) askWord(ctx context.Context) (*ledger.Trust, error) {
	began := time.Now()
	t, at, err := s.conf.Store.Trust(ctx)
	if err != nil {
		return nil, s.unavailable(err)
	}
	s.clocks.believe(t)
	s.clocks.stored(at, began)
	return t, nil
}

// Clocks says how the clocks stand.
func (s *System) Clocks() ledger.ClockStanding { return s.clocks.standing() }

// Trust takes a person's word that, of the clocks that disagree now, one is right. All three are heard anew for
// it, because the word is bound to how they stand.
func (s *System) Trust(ctx context.Context, clock ledger.Clock, by ledger.By) (ledger.ClockStanding, error) {
	return s.toClocks(ctx, ledger.Message{ID: by.Message, Type: messageTrust, By: by, Outcome: ledger.Outcome(clock)}, func(now ledger.ClockStanding) (do func() error, err error) {
		if now.Trouble == "" {
			return nil, fmt.Errorf("%w: the clocks agree: there is nothing to trust", ledger.ErrIllegalMove)
		}
		return func() error {
			return s.conf.Store.StoreTrust(ctx, ledger.Trust{ID: by.Message, Clock: clock, By: by, Database: now.Database, Stripe: now.Stripe})
		}, nil
	})
}

// Distrust takes the word back.
func (s *System) Distrust(ctx context.Context, by ledger.By) (ledger.ClockStanding, error) {
	return s.toClocks(ctx, ledger.Message{ID: by.Message, Type: messageDistrust, By: by}, func(ledger.ClockStanding) (do func() error, err error) {
		t, err := s.askWord(ctx)
		if err == nil && t == nil {
			err = fmt.Errorf("%w: no clock is trusted", ledger.ErrIllegalMove)
		}
		return func() error { return s.conf.Store.EndTrust(ctx, t.ID, "taken back by "+by.Principal) }, err
	})
}

// toClocks hears the clocks, stores a message to them, and does it, once.
func (s *System) toClocks(ctx context.Context, m ledger.Message, may func(ledger.ClockStanding) (func() error, error)) (now ledger.ClockStanding, err error) {
	if s.closing.Load() {
		return now, errStopping
	}
	if _, done, err := s.receipt(ctx, m); err != nil || done {
		return s.clocks.standing(), err
	}
	if m.Type == messageTrust {
		if err := s.hearAll(ctx); err != nil {
			return now, err
		}
	}
	before := s.clocks.standing()
	do, err := may(before)
	if err != nil {
		return before, s.unavailable(err)
	}
	if _, err := s.conf.Store.StoreMessage(ctx, m, ledger.State(before.State)); err != nil {
		return before, fmt.Errorf("store the message: %w", s.unavailable(err))
	}
	if err := do(); err != nil {
		return before, s.unavailable(err)
	}
	if _, err := s.askWord(ctx); err != nil {
		return before, err
	}
	now = s.clocks.standing()
	s.storeReceipt(ctx, ledger.Receipt{Message: m.ID, Before: ledger.State(before.State), After: ledger.State(now.State)})
	s.log.Warn("a person said which clock is right, or took that back", "message", m.Type, "clock", m.Outcome, "principal", m.By.Principal, "reason", m.By.Reason)
	return now, nil
}

// hearAll asks the database and Stripe for their time.
func (s *System) hearAll(ctx context.Context) error {
	if _, err := s.askWord(ctx); err != nil {
		return fmt.Errorf("hear the database's clock: %w", err)
	}
	if s.conf.Verify != nil && s.account.Load() == nil {
		return fmt.Errorf("%w: %w: the Stripe account is not verified yet", ledger.ErrUnavailable, ledger.ErrStripeAway)
	}
	asked := time.Now()
	ctx, cancel := context.WithTimeout(stripe.WithDates(ctx, s.clocks.dated), s.conf.ReadTimeout)
	defer cancel()
	_, err := s.conf.Stripe.Page(ctx, stripe.PageQuery{Limit: 1})
	if err == nil && !s.clocks.heardSince(asked) {
		err = errors.New("its answer does not say what time it is")
	}
	if err != nil {
		return fmt.Errorf("%w: %w: %v", ledger.ErrUnavailable, ledger.ErrStripeAway, err)
	}
	return nil
}
