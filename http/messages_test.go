package http

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/ledger"
)

// message sends one message to a transfer.
func (s *site) message(id ledger.ID, body string, headers ...string) answer {
	s.t.Helper()
	return s.post("/v1/transfers/"+id.String()+"/messages", body, headers...)
}

func TestAMessageActsAndIsAudited(t *testing.T) {
	s := open(t)
	id := s.created()
	a := s.message(id, `{"type":"hold","reason":"the seller is being looked at","until":"2026-03-01T00:00:00Z"}`)
	if a.status != 202 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	got := a.json(t)
	if got["status"] != "held" || got["held_by"] != "operator" || got["held_until"] != "2026-03-01T00:00:00Z" {
		t.Errorf("%s", a.body)
	}
	same(t, got["why"], map[string]any{"sentence": "Held by backend since 2026-01-31T12:00:00Z until 2026-03-01T00:00:00Z: 'the seller is being looked at'. `release` lets it go.", "code": "held_by_operator", "mover": "settled", "next_at": "2026-03-01T00:00:00Z"})
	rows := s.history()
	by := rows[len(rows)-1].By
	if by.Principal != "backend" || by.Reason != "the seller is being looked at" || by.Message.Version() != 7 {
		t.Errorf("by %+v", by)
	}
	if m := s.messages[by.Message]; m.Type != ledger.MessageHold || m.Transfer != id || m.By != by {
		t.Errorf("message %+v", m)
	}
	for _, step := range []struct{ body, status string }{
		{`{"type":"release","reason":"fine"}`, "pending"},
		{`{"type":"retry","reason":"now"}`, "pending"},
		{`{"type":"restart","reason":"try it"}`, "pending"},
		{`{"type":"cancel","reason":"wrong seller","amount":null}`, "canceled"},
	} {
		if a := s.message(id, step.body); a.status != 202 || a.json(t)["status"] != step.status {
			t.Errorf("%s: %d %s", step.body, a.status, a.body)
		}
	}
}

func TestHoldsAreShownOneByOneAndOverriddenByName(t *testing.T) {
	s := open(t)
	id := s.created()
	s.message(id, `{"type":"hold","reason":"one"}`)
	s.message(id, `{"type":"hold","reason":"two","until":"2026-03-01T00:00:00Z"}`)
	got := s.get("/v1/transfers/" + id.String()).json(t)
	first := got["holds"].([]any)[0].(map[string]any)["id"].(string)
	same(t, holdsOf(got), []any{
		map[string]any{"source": "operator", "reason": "one", "by": "backend", "since": "2026-01-31T12:00:00Z", "until": nil},
		map[string]any{"source": "operator", "reason": "two", "by": "backend", "since": "2026-01-31T12:00:00Z", "until": "2026-03-01T00:00:00Z"},
	})
	if got["held_by"] != "operator" || got["held_until"] != nil {
		t.Errorf("held by %v until %v", got["held_by"], got["held_until"])
	}
	s.message(id, `{"type":"release","reason":"x","override":"schedule"}`).wants(t, illegalMove)
	a := s.message(id, `{"type":"release","reason":"x","override":"`+first+`"}`)
	if got := a.json(t); a.status != 202 || got["status"] != "held" || len(holdsOf(got)) != 1 || got["held_until"] != "2026-03-01T00:00:00Z" {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.message(id, `{"type":"release","reason":"x"}`)
	s.paid(id)
	r := s.message(id, `{"type":"reverse","amount":30,"reason":"x","reference":"r-1"}`).json(t)["reversals"].([]any)[0].(map[string]any)["id"].(string)
	a = s.message(id, `{"type":"hold","reason":"wrong one","reversal":"`+r+`"}`)
	if got := a.json(t)["reversals"].([]any)[0].(map[string]any); a.status != 202 || got["held_by"] != "operator" || len(holdsOf(got)) != 1 {
		t.Errorf("%d %s", a.status, a.body)
	}
	a = s.message(id, `{"type":"cancel","reason":"wrong","reversal":"`+r+`"}`)
	if got := a.json(t); a.status != 202 || got["status"] != "completed" || got["amount_remaining"] != 1230.0 {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.message(id, `{"type":"cancel","reason":"x","reversal":"`+id.String()+`"}`).wants(t, invalidRequest, "reversal")
}

func TestAMessageThatTheStateForbidsIsAConflict(t *testing.T) {
	s := open(t)
	id := s.created()
	s.message(id, `{"type":"release","reason":"x"}`).wants(t, illegalMove)
	s.message(id, `{"type":"reverse","reason":"x","reference":"re_1"}`).wants(t, illegalMove)
	s.message(id, `{"type":"resolve","outcome":"failed","reason":"x"}`).wants(t, illegalMove)
	s.paid(id)
	a := s.message(id, `{"type":"cancel","reason":"x"}`)
	a.wants(t, illegalMove)
	if says := a.detail(t, ""); !strings.Contains(says, "the way back is a reversal") {
		t.Errorf("%q", says)
	}
	s.message(id, `{"type":"hold","reason":"x"}`).wants(t, illegalMove)
	s.message(id, `{"type":"retry","reason":"x"}`).wants(t, illegalMove)
	s.message(id, `{"type":"reverse","reference":"re_11","amount":1231,"reason":"x"}`).wants(t, invalidRequest, "amount")
	if a := s.message(id, `{"type":"reverse","reference":"re_12","reason":"x"}`); a.status != 202 {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.message(id, `{"type":"reverse","reason":"x","reference":"re_1"}`).wants(t, illegalMove)
}

func TestAWrongMessageIsRefusedFieldByField(t *testing.T) {
	s := open(t)
	id := s.created()
	for body, fields := range map[string][]string{
		`{}`:                             {"reason", "type"},
		`{"type":"pay","reason":"x"}`:    {"type"},
		`{"type":"Cancel","reason":"x"}`: {"type"},
		`{"type":7,"reason":"x"}`:        {"type"},
		`{"type":"cancel"}`:              {"reason"},
		`{"type":"cancel","reason":""}`:  {"reason"},
		`{"type":"cancel","reason":"` + strings.Repeat("x", 501) + `"}`:                    {"reason"},
		`{"type":"cancel","reason":"x","status":"completed"}`:                              {"status"},
		`{"type":"cancel","reason":"x","amount":5}`:                                        {"amount"},
		`{"type":"retry","reason":"x","until":"2027-01-01T00:00:00Z"}`:                     {"until"},
		`{"type":"reverse","reason":"x","reference":"re_1","amount":0}`:                    {"amount"},
		`{"type":"reverse","reason":"x","reference":"re_1","amount":-1}`:                   {"amount"},
		`{"type":"reverse","reason":"x","reference":"re_1","amount":1.5}`:                  {"amount"},
		`{"type":"reverse","reason":"x","reference":"re_1","amount":"5"}`:                  {"amount"},
		`{"type":"hold","reason":"x","until":"2026-01-31T11:59:59Z"}`:                      {"until"},
		`{"type":"hold","reason":"x","until":"tomorrow"}`:                                  {"until"},
		`{"type":"resolve","reason":"x"}`:                                                  {"outcome"},
		`{"type":"resolve","reason":"x","outcome":"completed"}`:                            {"stripe_id"},
		`{"type":"resolve","reason":"x","outcome":"completed","stripe_id":"py_1"}`:         {"stripe_id"},
		`{"type":"resolve","reason":"x","outcome":"failed","stripe_id":"tr_1"}`:            {"stripe_id"},
		`{"type":"reverse","reason":"x","amount":5}`:                                       {"reference"},
		`{"type":"cancel","reason":"x","reference":"re_1"}`:                                {"reference"},
		`{"type":"cancel","type":"reverse","reason":"x"}`:                                  {"type"},
		`{"type":"hold","reason":"x","override":"schedule"}`:                               {"override"},
		`{"type":"release","reason":"x","override":"christmas"}`:                           {"override"},
		`{"type":"cancel","reason":"x","reversal":"trr_1"}`:                                {"reversal"},
		`{"type":"cancel","reason":"x","reversal":"` + ledger.ID{}.String() + `"}`:         {"reversal"},
		`{"type":"reverse","reason":"x","reference":"r","reversal":"` + id.String() + `"}`: {"reversal"},
		`{"type":"cancel","reason":"x","by":"somebody else"}`:                              {"by"},
	} {
		s.message(id, body).wants(t, invalidRequest, fields...)
	}
	s.message(id, `[]`).wants(t, malformedJSON)
	s.message(id, ``).wants(t, malformedJSON)
	if s.acted != 0 || len(s.messages) != 0 {
		t.Errorf("%d acted, %d messages", s.acted, len(s.messages))
	}
}

func TestAnIdempotencyKeyActsOnce(t *testing.T) {
	s := open(t)
	key := []string{"Idempotency-Key", "order 17: first try"}
	first := s.post("/v1/transfers", orderText, key...)
	if first.status != 201 || first.header.Get("Idempotent-Replayed") != "" {
		t.Fatalf("%d %s", first.status, first.body)
	}
	again := s.post("/v1/transfers", orderText, key...)
	if again.status != 201 || string(again.body) != string(first.body) || again.header.Get("Idempotent-Replayed") != "true" || again.header.Get("Content-Type") != jsonType {
		t.Errorf("%d %v %s", again.status, again.header, again.body)
	}
	if s.commits != 1 {
		t.Errorf("%d commits", s.commits)
	}
	s.post("/v1/transfers", order("amount", "9"), key...).wants(t, keyMismatch)
	// The same words, but another route or another principal: another key.
	if a := s.post("/v1/transfers/batch", `{"transfers":[`+orderText+`]}`, key...); a.status != 200 || a.header.Get("Idempotent-Replayed") != "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	other := s.token("other", RoleOperator, nil)
	s.pass(2 * time.Second)
	if a := s.post("/v1/transfers", orderText, append(key, "Authorization", "Bearer "+other)...); a.status != 200 || a.header.Get("Idempotent-Replayed") != "" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestARefusalIsReplayedToo(t *testing.T) {
	s := open(t)
	first := s.post("/v1/transfers", order("amount", "-1"), "Idempotency-Key", "k")
	first.wants(t, invalidRequest, "amount")
	again := s.post("/v1/transfers", order("amount", "-1"), "Idempotency-Key", "k")
	if again.status != 422 || string(again.body) != string(first.body) || again.header.Get("Idempotent-Replayed") != "true" || again.header.Get("Content-Type") != problemType {
		t.Errorf("%d %v %s", again.status, again.header, again.body)
	}
}

func TestAnAnswerOf500IsNotStored(t *testing.T) {
	s := open(t)
	s.set(func(w *world) { w.broken = ledger.ErrUnavailable })
	s.post("/v1/transfers", orderText, "Idempotency-Key", "k").wants(t, unavailable)
	s.set(func(w *world) { w.broken, w.panics = nil, true })
	s.post("/v1/transfers", orderText, "Idempotency-Key", "k").wants(t, internalError)
	s.set(func(w *world) { w.panics = false })
	if len(s.keys) != 0 {
		t.Fatalf("%d keys are claimed", len(s.keys))
	}
	if a := s.post("/v1/transfers", orderText, "Idempotency-Key", "k"); a.status != 201 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestARefusalThatMayPassIsNotStoredUnderTheKey(t *testing.T) {
	s := open(t)
	id := s.created()
	body := `{"type":"reverse","amount":100,"reason":"refund 5"}`
	s.message(id, body, "Idempotency-Key", "refund-5").wants(t, illegalMove)
	s.set(func(w *world) { w.broken = fmt.Errorf("%w: absence is no evidence yet", ledger.ErrTooEarly) })
	s.message(id, body, "Idempotency-Key", "refund-5").wants(t, tooEarly)
	s.set(func(w *world) { w.broken = nil })
	if len(s.keys) != 0 {
		t.Fatalf("%d answers are stored", len(s.keys))
	}
	s.paid(id)
	if a := s.message(id, body, "Idempotency-Key", "refund-5"); a.status != 202 || a.header.Get("Idempotent-Replayed") != "" {
		t.Errorf("what may be done by now is still refused: %d %s", a.status, a.body)
	}
	if a := s.message(id, body, "Idempotency-Key", "refund-5"); a.status != 202 || a.header.Get("Idempotent-Replayed") != "true" || s.acted != 1 {
		t.Errorf("%d, acted %d times", a.status, s.acted)
	}
}

func TestEveryRefusalThatMayPassIsKnown(t *testing.T) {
	for _, k := range problems {
		want := k.status >= 500 || k == tooEarly || k == illegalMove || k == aboveCeiling || k == keyInUse || k == tooManyRequests || k == requestTimeout
		if k.passing() != want {
			t.Errorf("%s: passing %t", k.slug, k.passing())
		}
	}
}

func TestAKeyBelongsToThePrincipalAndNotToTheToken(t *testing.T) {
	s := open(t)
	id := s.created()
	s.paid(id)
	old := s.token("shop", RoleOperator, nil)
	s.set(func(w *world) { // another token of the same name
		text := w.tokens[len(w.tokens)-1]
		text.Prefix, text.Hash = tokenForm.FindStringSubmatch(rotated)[1], HashToken(rotated)
		w.tokens = append(w.tokens, text)
	})
	s.pass(2 * time.Second)
	body := `{"type":"reverse","amount":100,"reason":"refund 5"}`
	first := s.message(id, body, "Idempotency-Key", "refund-5", "Authorization", "Bearer "+old)
	again := s.message(id, body, "Idempotency-Key", "refund-5", "Authorization", "Bearer "+rotated)
	if first.status != 202 || again.status != 202 || string(again.body) != string(first.body) || again.header.Get("Idempotent-Replayed") != "true" || s.acted != 1 {
		t.Errorf("%d, then %d %s; acted %d times", first.status, again.status, again.body, s.acted)
	}
}

// rotated is a token of the right form.
const rotated = "settled_abcdefgh_0123456789012345678901234567890123456789012"

func TestAKeyInUseIsAConflict(t *testing.T) {
	s := open(t)
	s.wait, s.entered = make(chan struct{}), make(chan struct{})
	first := make(chan answer)
	go func() { first <- s.post("/v1/transfers", orderText, "Idempotency-Key", "k") }()
	<-s.entered
	a := s.post("/v1/transfers", orderText, "Idempotency-Key", "k")
	a.wants(t, keyInUse)
	if a.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
	close(s.wait)
	if a := <-first; a.status != 201 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestARepeatedMessageDoesNotActTwiceThoughItsAnswerWasLost(t *testing.T) {
	s := open(t)
	id := s.created()
	s.paid(id)
	body := `{"type":"reverse","amount":100,"reason":"x"}`
	s.message(id, body, "Idempotency-Key", "k")
	s.set(func(w *world) { clear(w.keys) }) // a crash before the answer was stored
	if a := s.message(id, body, "Idempotency-Key", "k"); a.status != 202 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if s.acted != 1 || len(s.messages) != 1 {
		t.Errorf("%d acted", s.acted)
	}
	for m := range s.messages {
		if m.Version() != 5 {
			t.Errorf("message %s", m)
		}
	}
	s.message(id, `{"type":"reverse","amount":100,"reason":"x","reference":"re_1"}`)
	s.message(id, body, "Idempotency-Key", "k2")
	if s.acted != 3 {
		t.Errorf("%d acted", s.acted)
	}
}

func TestAWrongIdempotencyKeyIsRefused(t *testing.T) {
	s := open(t)
	for _, key := range []string{strings.Repeat("k", 256), "ä", "a\tb"} {
		s.post("/v1/transfers", orderText, "Idempotency-Key", key).wants(t, invalidHeader, "Idempotency-Key")
	}
	if a := s.post("/v1/transfers", orderText, "Idempotency-Key", strings.Repeat("k", 255)); a.status != 201 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if len(s.keys) != 1 {
		t.Errorf("%d keys", len(s.keys))
	}
	for _, key := range slices.Collect(func(yield func(string) bool) {
		for k := range s.keys {
			if !yield(k) {
				return
			}
		}
	}) {
		if len(key) != 64 {
			t.Errorf("stored key %q", key)
		}
	}
}

func TestEveryProblemIsWellFormed(t *testing.T) {
	seen := make(map[string]bool)
	for _, k := range problems {
		if seen[k.slug] || k.slug == "" || k.title == "" || k.status < 400 || k.status > 599 || strings.Trim(k.slug, "abcdefghijklmnopqrstuvwxyz-") != "" {
			t.Errorf("problem %+v", *k)
		}
		seen[k.slug] = true
	}
	var many ledger.FieldErrors
	for i := range 1000 {
		many = append(many, ledger.FieldError{Field: fmt.Sprint(i), Detail: "x"})
	}
	if n := len(wrongFields(many).problem("", "").Errors); n != errorsMax {
		t.Errorf("%d errors in one answer", n)
	}
}

func TestKeysThatCannotBeKeptStopNothingThatIsDone(t *testing.T) {
	s := open(t)
	s.set(func(w *world) { w.badKey = ledger.ErrUnavailable })
	s.post("/v1/transfers", orderText, "Idempotency-Key", "k").wants(t, unavailable)
	s.set(func(w *world) { w.badKey, w.lostKey = nil, ledger.ErrUnavailable })
	if a := s.post("/v1/transfers", orderText, "Idempotency-Key", "k"); a.status != 201 || s.commits != 1 {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.post("/v1/transfers", orderText, "Idempotency-Key", "k").wants(t, keyInUse) // until the claim is stale
}
