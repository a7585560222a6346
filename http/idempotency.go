package http

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

const (
	keyLongest   = 255             // characters of an Idempotency-Key
	keyStoreTime = 2 * time.Second // storing an answer takes no longer
)

// once answers a request that carries an Idempotency-Key: acted on the first time, and
// answered with the stored answer ever after. A refusal that may pass is not stored: such a
// request may be repeated, and its effects are known by its reference or its message's ID.
//
// A key belongs to the client, who is the principal, and not to the token that it came with: a
// token is replaced while requests are repeated.
func (s *Server) once(c *call) (reply, error) {
	given := c.ctx.Request.Header.Peek("Idempotency-Key")
	if len(given) == 0 {
		if len(c.ctx.Request.Header.PeekAll("Idempotency-Key")) > 0 {
			return reply{}, headerFault("Idempotency-Key", "is empty: give a value, or leave it out")
		}
		return c.route.handle(s, c)
	}
	if len(given) > keyLongest || strings.ContainsFunc(string(given), func(r rune) bool { return r < ' ' || r > '~' }) {
		return reply{}, headerFault("Idempotency-Key",
			fmt.Sprintf("must have 1 to %d printable ASCII characters", keyLongest))
	}
	// Two principals, or two routes, may use the same key without meeting each other.
	// In capitals an ID is the same, and all else of a path has small letters alone.
	path := strings.ToLower(string(c.ctx.URI().PathOriginal()))
	scope := hashOf(c.principal.Name, string(c.ctx.Method()), path, string(given))
	// A claim that outlasts its handler's own limit was left behind by a crash. Taking it over
	// cannot act twice: an order is known by its reference, a message by its ID.
	claim, err := s.keys.ClaimKey(c.within, scope, hashOf(string(c.ctx.PostBody())), s.limits.Call+2*keyStoreTime)
	if err != nil {
		return reply{}, fmt.Errorf("claim the idempotency key: %w", err)
	}
	switch claim.State {
	case KeyDone:
		return reply{status: claim.Status, body: claim.Body, replayed: true}, nil
	case KeyRunning:
		f := faultf(keyInUse, "Wait for its answer, then ask again with the same key.")
		f.retryAfter = time.Second
		return reply{}, f
	case KeyMismatch:
		return reply{}, faultf(keyMismatch, "Send exactly what was sent before under this key, or use another key.")
	}
	c.key = scope
	r := reply{status: internalError.status, passing: true}
	defer func() { // also when the handler panics
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.within), keyStoreTime)
		defer cancel()
		var err error
		kept := kept(r)
		if r.passing || !s.stored.spend(c.principal.Name, len(kept)+keyOverhead, s.now()) {
			// It does not act twice: an order is known by its reference, a message by its ID.
			err = s.keys.ReleaseKey(ctx, scope)
		} else {
			err = s.keys.FinishKey(ctx, scope, r.status, kept)
		}
		if err != nil {
			// The answer stands: the effects that it tells of are durable. The claim goes stale by itself.
			s.log.Warn("idempotency key not settled", "request_id", c.id, "error", err)
		}
	}()
	r, err = c.route.handle(s, c)
	if err != nil {
		r = s.refuse(c, err)
	}
	return r, nil
}

// hashOf hashes texts so that no two lists of texts meet by accident.
func hashOf(texts ...string) string {
	h := sha256.New()
	for _, t := range texts {
		fmt.Fprintf(h, "%d:%s", len(t), t)
	}
	return hex.EncodeToString(h.Sum(nil))
}
