package http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"strings"
	"time"

	"github.com/settled/settled/ledger"
)

const readyTime = 2 * time.Second // asking whether all is ready takes no longer

// check is one thing that must hold before requests should come.
type check struct {
	Name   string  `json:"name"`
	OK     bool    `json:"ok"`
	Reason *string `json:"reason"`
}

type health struct {
	Status   string     `json:"status"`
	Checks   []check    `json:"checks"`
	Warnings *[]warning `json:"warnings,omitempty"` // nil: not asked for
}

// warning is a [ledger.Notice].
type warning struct {
	Code   string        `json:"code"`
	Text   string        `json:"text"`
	Detail *string       `json:"detail,omitempty"` // only for who has a token
	Since  *time.Time    `json:"since"`
	Mover  *ledger.Mover `json:"mover"`
	Bars   bool          `json:"bars"` // no call to Stripe is made while it lasts
}

// livez says that the process answers, and nothing more: a restart mends nothing else.
func (s *Server) livez(*call) (reply, error) {
	return reply{status: 200, body: []byte(`{"status":"live"}`)}, nil
}

// readyz says whether requests should come here, and if not, why; with ?verbose also the notices to people.
// Anybody may ask, so nothing that it says names a host, a user or a database, but to who has a token.
func (s *Server) readyz(c *call) (reply, error) {
	ctx, cancel := context.WithTimeout(s.base, readyTime)
	defer cancel()
	serving := check{Name: "serving", OK: true}
	if s.draining.Load() {
		reason := "it is draining, and stops soon"
		serving.OK, serving.Reason = false, &reason
	}
	trusted := s.trusted(ctx, c)
	engine := check{Name: "engine", OK: true}
	if err := s.engine.Ready(ctx); err != nil {
		reason := err.Error()
		var why *ledger.NotReady
		switch {
		case trusted:
		case errors.As(err, &why):
			reason = why.Reason
		default: // nobody checked it for names of hosts and users
			reason = "it is not ready; the log says why, and so does this page to who has a token"
		}
		engine.OK, engine.Reason = false, &reason
	}
	h, status := health{Status: "ready", Checks: []check{serving, engine}}, 200
	if !serving.OK || !engine.OK {
		h.Status, status = "unready", 503
	}
	if !c.ctx.QueryArgs().Has("verbose") {
		return reply{status: status, body: mustJSON(h)}, nil
	}
	warnings := []warning{}
	for _, n := range s.engine.Notices() {
		w := warning{Code: n.Code, Text: n.Text, Since: momentOrNull(n.Since), Mover: orNull(n.Mover), Bars: n.Bars}
		if trusted {
			w.Detail = orNull(n.Detail)
		}
		warnings = append(warnings, w)
	}
	h.Warnings = &warnings
	return reply{status: status, body: mustJSON(h)}, nil
}

// trusted reports that the request brings a token. A wrong one is counted as everywhere, so that a guess that is
// turned away elsewhere is not made here; but a probe is answered all the same.
func (s *Server) trusted(ctx context.Context, c *call) bool {
	header := string(c.ctx.Request.Header.Peek("Authorization"))
	if header == "" {
		return false
	}
	who, missed, err := s.identify(ctx, header)
	if err != nil {
		return false
	}
	if c.denied = missed; who == (Principal{}) {
		s.turnAway(c)
	}
	return who.Role.allows(RoleViewer)
}

// Probe asks the admin listener at addr whether it is ready. A container's health check runs
// it, so that the image needs no other program.
func Probe(ctx context.Context, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("probe %s: %w", addr, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost" // a listener for all addresses answers on this one too
	}
	url := "http://" + net.JoinHostPort(host, port) + "/readyz"
	request, err := nethttp.NewRequestWithContext(ctx, nethttp.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("probe %s: %w", addr, err)
	}
	// A transport of its own, without proxies: the question is about this machine.
	transport := &nethttp.Transport{DisableKeepAlives: true}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("probe %s: %w", addr, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("probe %s: %w", addr, err)
	}
	if answer.StatusCode == nethttp.StatusOK {
		return nil
	}
	var h health
	var reasons []string
	if json.Unmarshal(text, &h) == nil {
		for _, c := range h.Checks {
			if !c.OK && c.Reason != nil {
				reasons = append(reasons, c.Name+": "+*c.Reason)
			}
		}
	}
	return fmt.Errorf("probe %s: status %d: %s", addr, answer.StatusCode, strings.Join(reasons, "; "))
}
