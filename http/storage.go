package http

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// Answers are kept for a week under the keys that they answer. A small request may not make a large one
// that is kept, and nobody may fill the database with them.
const (
	refusalKept = 2 << 10 // bytes of a refusal that are kept; a longer one is kept as its hash
	keyOverhead = 400     // bytes that a key costs beside its answer
	storedMost  = 32 << 20
	storedTime  = 24 * time.Hour // in which a principal may store so much
)

// kept is the part of an answer that is kept under its key.
func kept(r reply) []byte {
	if r.status < 400 || len(r.body) <= refusalKept {
		return r.body
	}
	var p problem
	if err := json.Unmarshal(r.body, &p); err != nil {
		panic(fmt.Sprintf("http: a refusal is no problem: %v", err))
	}
	short := problem{Type: p.Type, Title: p.Title, Status: p.Status, RequestID: p.RequestID, Retryable: p.Retryable,
		Existing: p.Existing}
	short.Detail = fmt.Sprintf("This was refused before, and named %d errors. That answer was too long to keep (sha256 %x): send the request under another key to hear it again.",
		len(p.Errors), sha256.Sum256(r.body))
	return mustJSON(short)
}

// storage is how much the answers take that were kept for each principal. Principals have tokens, so they are few.
// Beyond its quota a principal's answers are not kept: its requests still act once, but are answered anew.
type storage struct {
	mu    sync.Mutex
	spent map[string]*spending
}

type spending struct {
	bytes float64
	at    time.Time
}

// spend takes so many bytes from a principal's quota, if there are as many.
func (s *storage) spend(principal string, bytes int, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spent == nil {
		s.spent = make(map[string]*spending)
	}
	p := s.spent[principal]
	if p == nil {
		p = &spending{at: now}
		s.spent[principal] = p
	}
	if passed := now.Sub(p.at); passed > 0 {
		p.bytes = max(0, p.bytes-storedMost*passed.Seconds()/storedTime.Seconds())
	}
	p.at = now
	if p.bytes+float64(bytes) > storedMost {
		return false
	}
	p.bytes += float64(bytes)
	return true
}
