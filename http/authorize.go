package http

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// denial is why somebody was not let in; it is a label of a metric.
type denial string

const (
	deniedMissing   denial = "missing"   // no token was sent
	deniedMalformed denial = "malformed" // it has no token's form
	deniedUnknown   denial = "unknown"   // nobody has this token
	deniedExpired   denial = "expired"
	deniedRevoked   denial = "revoked"
	deniedRole      denial = "role"   // it is somebody's, who may not do this
	deniedLocked    denial = "locked" // after too many wrong ones
	deniedHost      denial = "host"   // the request was meant for another host
)

var denials = [...]denial{deniedMissing, deniedMalformed, deniedUnknown, deniedExpired, deniedRevoked, deniedRole,
	deniedLocked, deniedHost}

// miss describes a token that lets nobody in; its zero value is of one that does.
type miss struct {
	why    denial
	prefix string // when stored tokens have it: it is not secret
	name   string // whose it was
}

// authorize finds out who is asking, and whether they may.
func (s *Server) authorize(c *call) error {
	header := string(c.ctx.Request.Header.Peek("Authorization"))
	if header == "" {
		c.denied.why = deniedMissing
		f := faultf(unauthorized, "Send the header Authorization: Bearer <token>.")
		f.challenge = `Bearer realm="settled"`
		return f
	}
	who, missed, err := s.identify(c.within, header)
	if err != nil {
		return err
	}
	if c.denied = missed; who == (Principal{}) {
		return s.turnAway(c)
	}
	c.principal = who
	if f := connOf(c.ctx).know(); f != nil {
		c.ctx.Response.SetConnectionClose()
		return f
	}
	if !who.Role.allows(c.route.role) {
		c.denied.why = deniedRole
		return faultf(forbidden, "This needs the role %s, and the token %s has %s.", c.route.role, quote(who.Name),
			who.Role)
	}
	return nil
}

// identify reads an Authorization header.
func (s *Server) identify(ctx context.Context, header string) (Principal, miss, error) {
	token, ok := bearer(header)
	if !ok {
		return Principal{}, miss{why: deniedMalformed}, nil
	}
	return s.keyring.find(ctx, token)
}

// turnAway counts a wrong token, and is the answer to it.
func (s *Server) turnAway(c *call) error {
	from := addressOf(c.ctx.RemoteAddr())
	wait, begins := s.lockout.fail(guess{from, c.denied.prefix})
	if begins {
		s.log.LogAttrs(s.base, slog.LevelWarn,
			"too many wrong tokens: more of them are turned away, and right ones are taken",
			slog.String("address", from.String()), slog.String("prefix", c.denied.prefix),
			slog.Duration("for", lockoutFor))
	}
	if wait > 0 {
		c.denied.why = deniedLocked
		f := faultf(tooManyRequests, "There were too many wrong tokens from this address. A right one is taken.")
		f.retryAfter = wait
		return f
	}
	f := faultf(unauthorized, "The token is malformed, unknown, expired or revoked.")
	f.challenge = `Bearer realm="settled", error="invalid_token"`
	return f
}

// recordDenial leaves a trace of who was not let in.
func (s *Server) recordDenial(c *call, status int) {
	if c.denied.why == "" {
		return
	}
	s.metrics.denied.WithLabelValues(string(c.denied.why)).Inc()
	level := slog.LevelWarn
	told, untold := s.denials.take(s.now())
	if !told {
		level = slog.LevelDebug
	}
	attrs := []slog.Attr{
		slog.String("cause", string(c.denied.why)), slog.Int("status", status),
		slog.String("remote", c.ctx.RemoteAddr().String()),
		slog.String("method", clip(string(c.ctx.Method()))), slog.String("path", clip(string(c.ctx.Path()))),
		slog.String("request_id", c.id), slog.String("settled_request_id", c.own),
	}
	for name, value := range map[string]string{"prefix": c.denied.prefix, "token": c.denied.name,
		"principal": c.principal.Name} {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	if untold > 0 {
		attrs = append(attrs, slog.Int("untold_before", untold))
	}
	s.log.LogAttrs(s.base, level, "access denied", attrs...)
}

// denialsTold bounds the log lines that others can cause; the metric counts them all.
const denialsTold = 60 // a minute

// quota is how many lines may still be written in this minute.
type quota struct {
	mu     sync.Mutex
	since  time.Time
	told   int
	untold int
}

// take reports whether a line may be written, and how many were not since the last one.
func (q *quota) take(now time.Time) (ok bool, untold int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if since := now.Sub(q.since); since < 0 || since >= time.Minute {
		q.since, q.told = now, 0
	}
	if q.told >= denialsTold {
		q.untold++
		return false, 0
	}
	q.told++
	untold, q.untold = q.untold, 0
	return true, untold
}
