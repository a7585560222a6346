package stripesim

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"time"
)

// keyTable is the idempotency layer's memory.
type keyTable struct {
	known map[string]*keyRecord
	order []*keyRecord // by first arrival, for forgetting
}

// keyRecord is one key: claimed by the call that executes, then holding its answer.
type keyRecord struct {
	scope  string
	path   string
	print  [sha256.Size]byte
	first  time.Time
	done   bool
	pinned bool // its effect is still to come, so it must not be forgotten
	answer answer
}

func (r *keyRecord) expired(now time.Time, life time.Duration) bool {
	return r.done && !r.pinned && now.Sub(r.first) >= life
}

// keyMax is the longest key Stripe takes, in characters.
const keyMax = 255

// claim looks a call's key up. It returns an answer when the key already has one, is
// in use, or belongs to another request; else the key is the call's to execute.
func (s *Sim) claim(c *call) (answer, bool) {
	if c.info.Key == "" {
		return answer{}, false
	}
	if s.cfg.Arrived != nil {
		s.cfg.Arrived(c.info.Key)
	}
	now, life := s.clock.now(), s.cfg.Times.KeyLife
	s.keys.forget(now, life)
	scope := c.scope()
	r, ok := s.keys.known[scope]
	if ok && r.expired(now, life) {
		s.count("key expired")
		delete(s.keys.known, scope)
		ok = false
	}
	if !ok {
		c.record = &keyRecord{scope: scope, path: c.info.Path, print: c.print, first: now, answer: answer{origin: c.id}}
		s.keys.known[scope] = c.record
		s.keys.order = append(s.keys.order, c.record)
		return answer{}, false
	}
	switch {
	case r.path != c.info.Path:
		s.count("key mismatch")
		return s.keyFailure(c, r, fmt.Sprintf("Keys for idempotent requests can only be used for the same endpoint they were "+
			"first used for ('%s' vs '%s'). Try using a key other than '%s' if you meant to execute a different request.",
			c.info.Path, r.path, c.info.Key)), true
	case r.print != c.print:
		s.count("key mismatch")
		return s.keyFailure(c, r, fmt.Sprintf("Keys for idempotent requests can only be used with the same parameters they were "+
			"first used with. Try using a key other than '%s' if you meant to execute a different request.", c.info.Key)), true
	case !r.done:
		s.count("key in_use")
		return s.fail(c, s.inUse(c)), true
	}
	s.count("key replayed")
	a := r.answer
	a.replayed = true
	return a, true
}

func (s *Sim) keyFailure(c *call, r *keyRecord, message string) answer {
	a := s.fail(c, &failure{status: http.StatusBadRequest, kind: "idempotency_error", message: message})
	a.origin = r.answer.origin
	return a
}

// inUse is the 409 of a key whose first call still runs. Sources disagree on its
// type (T11, unconfirmed), so half of the keys get each.
func (s *Sim) inUse(c *call) *failure {
	kind := "idempotency_error"
	if mix(s.cfg.Seed, "in use", c.info.Key)&1 == 0 {
		kind = "invalid_request_error"
	}
	return &failure{status: http.StatusConflict, kind: kind, code: "idempotency_key_in_use",
		message: "There is currently another in-progress request using this Idempotent Key (that probably means you submitted " +
			"twice, and the other request is still going through): " + c.info.Key + ". Please try again later."}
}

// unclaim gives a key back as if the call had never come.
func (s *Sim) unclaim(c *call) {
	if c.record != nil {
		delete(s.keys.known, c.record.scope)
		c.record = nil
	}
}

// store keeps the answer under the key.
func (s *Sim) store(c *call, a answer) {
	if c.record == nil {
		return
	}
	a.origin = c.record.answer.origin
	c.record.answer = a
	c.record.done = true
}

// forget drops expired keys, oldest first.
func (t *keyTable) forget(now time.Time, life time.Duration) {
	n := 0
	for _, r := range t.order {
		current := t.known[r.scope] == r // else it was given back, or claimed anew
		if current && !r.expired(now, life) {
			break
		}
		if current {
			delete(t.known, r.scope)
		}
		n++
	}
	clear(t.order[:n])
	t.order = t.order[n:]
}
