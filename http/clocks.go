package http

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/settled/settled/ledger"
)

// The clocks: how they stand, and a person's word on which is right.

// clocksView is the clocks from outside. The offsets are seconds ahead of this machine's wall clock.
type clocksView struct {
	Path     string     `json:"path"`
	State    string     `json:"state"`                  // agree, disagree, trusted
	Trouble  *string    `json:"trouble"`                // how they disagree
	Database *float64   `json:"database_ahead_seconds"` // null: it was not heard yet, or Stripe's was not
	Stripe   *float64   `json:"stripe_ahead_seconds"`
	Trust    *trustView `json:"trust"` // the word that counts; null: none
}

type trustView struct {
	Clock ledger.Clock `json:"clock"`
	At    *time.Time   `json:"at"`
	By    byView       `json:"by"`
}

func viewClocks(s *ledger.ClockStanding) clocksView {
	v := clocksView{Path: "clocks", State: s.State, Trouble: orNull(s.Trouble)}
	if s.Heard {
		database, stripe := s.Database.Seconds(), s.Stripe.Seconds()
		v.Database, v.Stripe = &database, &stripe
	}
	if t := s.Trust; t != nil {
		v.Trust = &trustView{t.Clock, momentOrNull(t.At),
			byView{t.By.Principal, orNull(t.By.Reason), orNull(t.By.Message)}}
	}
	return v
}

// getClocks answers how the clocks stand.
func (s *Server) getClocks(c *call) (reply, error) {
	if _, err := query(c, nil); err != nil {
		return reply{}, err
	}
	now := s.engine.Clocks()
	return reply{status: 200, body: mustJSON(viewClocks(&now))}, nil
}

// tellClocks takes a person's word: {"type": "trust", "clock": "database"|"stripe"|"machine", "reason": …}, or takes
// it back: {"type": "distrust", "reason": …}.
func (s *Server) tellClocks(c *call) (reply, error) {
	const trust, distrust = "trust", "distrust"
	text, err := checkJSON(c.ctx.PostBody(), requestDepth)
	if err != nil {
		return reply{}, err
	}
	f, err := readForm(text, []string{"type", "clock", "reason"})
	if err != nil {
		return reply{}, err
	}
	kind, clock := f.text("type"), ledger.Clock(f.text("clock"))
	by := ledger.By{Principal: c.principal.Name, Reason: f.text("reason")}
	wrong := ledger.FieldErrors{}
	refuse := func(field, detail string) { wrong = append(wrong, ledger.FieldError{Field: field, Detail: detail}) }
	if kind != trust && kind != distrust {
		refuse("type", "must be one of "+strings.Join([]string{trust, distrust}, ", "))
	}
	switch {
	case kind == trust && !slices.Contains(ledger.ClockNames, clock):
		refuse("clock", "must be one of "+words(ledger.ClockNames)+": the one that is right")
	case kind != trust && clock != "":
		refuse("clock", "goes with trust only")
	}
	if err := ledger.CheckReason(by.Reason); err != nil {
		refuse("reason", err.Error())
	}
	if err := f.check(wrong); err != nil {
		return reply{}, err
	}
	if by.Message, err = c.messageID(); err != nil {
		return reply{}, err
	}
	var now ledger.ClockStanding
	if kind == trust {
		now, err = s.engine.Trust(c.within, clock, by)
	} else {
		now, err = s.engine.Distrust(c.within, by)
	}
	if err != nil {
		return reply{}, fmt.Errorf("%s a clock: %w", kind, err)
	}
	return reply{status: 202, body: mustJSON(viewClocks(&now))}, nil
}
