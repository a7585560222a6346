package http

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/settled/settled/ledger"
)

func (w *world) Clocks() ledger.ClockStanding {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clocks
}

func (w *world) Trust(_ context.Context, clock ledger.Clock, by ledger.By) (ledger.ClockStanding, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.clocks.Trust; t != nil && t.ID == by.Message || w.broken != nil {
		return w.clocks, w.broken
	}
	if w.clocks.Trouble == "" {
		return w.clocks, fmt.Errorf("%w: the clocks agree: there is nothing to trust", ledger.ErrIllegalMove)
	}
	w.acted++
	w.clocks.State, w.clocks.Trust = "trusted", &ledger.Trust{ID: by.Message, Clock: clock, By: by, At: w.clock}
	return w.clocks, nil
}

func (w *world) Distrust(context.Context, ledger.By) (ledger.ClockStanding, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.clocks.Trust == nil {
		return w.clocks, fmt.Errorf("%w: no clock is trusted", ledger.ErrIllegalMove)
	}
	w.clocks.State, w.clocks.Trust = "disagree", nil
	return w.clocks, nil
}

func TestAPersonSaysWhichClockIsRight(t *testing.T) {
	s := open(t)
	const path, word = "/v1/actors/clocks", `{"type":"trust","clock":"database","reason":"I looked at my watch"}`
	if a := s.get(path); a.status != 200 || string(a.body) != `{"path":"clocks","state":"","trouble":null,"database_ahead_seconds":null,"stripe_ahead_seconds":null,"trust":null}` {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.get(path+"?x=1").wants(t, invalidRequest, "x")
	s.post(path+"/messages", word).wants(t, illegalMove)
	s.post(path+"/messages", `{"type":"distrust","reason":"x"}`).wants(t, illegalMove)
	s.set(func(w *world) {
		w.clocks = ledger.ClockStanding{State: "disagree", Trouble: "They do.", Heard: true, Database: 11 * time.Hour}
	})
	for range 2 {
		a := s.post(path+"/messages", word, "Idempotency-Key", "one")
		trust, _ := a.json(t)["trust"].(map[string]any)
		by, _ := trust["by"].(map[string]any)
		if a.status != 202 || a.json(t)["state"] != "trusted" || a.json(t)["database_ahead_seconds"] != 39600.0 || trust["clock"] != "database" ||
			trust["at"] != "2026-01-31T12:00:00Z" || by["principal"] != "backend" || by["reason"] != "I looked at my watch" || by["message"] == nil {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if s.acted != 1 {
		t.Errorf("it acted %d times", s.acted)
	}
	if a := s.post(path+"/messages", `{"type":"distrust","reason":"it was wrong"}`); a.status != 202 || a.json(t)["state"] != "disagree" || a.json(t)["trust"] != nil {
		t.Errorf("%d %s", a.status, a.body)
	}
	for body, fields := range map[string][]string{
		`{}`:                            {"reason", "type"},
		`{"type":"trust","reason":"x"}`: {"clock"},
		`{"type":"trust","clock":"mine","reason":"x"}`:             {"clock"},
		`{"type":"distrust","clock":"database","reason":"x"}`:      {"clock"},
		`{"type":"trust","clock":"database"}`:                      {"reason"},
		`{"type":"trust","clock":"database","reason":"x","at":1}`:  {"at"},
		`{"type":"trust","clock":"database","reason":"a\u0000"}`:   {"reason"},
		`{"type":"trust","clock":["database"],"reason":"because"}`: {"clock"},
	} {
		s.post(path+"/messages", body).wants(t, invalidRequest, fields...)
	}
	s.set(func(w *world) { w.broken = fmt.Errorf("%w: %w: 500", ledger.ErrUnavailable, ledger.ErrStripeAway) })
	s.post(path+"/messages", word).wants(t, unavailable)
}
