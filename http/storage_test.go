package http

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// held is how many bytes of answers are kept.
func (s *site) held() (n int) {
	s.set(func(w *world) {
		for _, k := range w.keys {
			n += len(k.claim.Body)
		}
	})
	return n
}

// wrongBatch is a batch of orders that have 50 wrong fields each.
func wrongBatch(orders int, right string) string {
	var fields []string
	for i := range 50 {
		fields = append(fields, fmt.Sprintf(`"%s%d":1`, strings.Repeat("f", 50), i))
	}
	list := strings.Repeat("{"+strings.Join(fields, ",")+"},", orders)
	return `{"transfers":[` + strings.TrimSuffix(list+right, ",") + `]}`
}

func TestASmallRequestMakesNoLargeAnswerThatIsKept(t *testing.T) {
	s := open(t)
	for i := range 5 {
		a := s.post(batchPath, wrongBatch(1000, ""), "Idempotency-Key", fmt.Sprint("batch", i))
		if a.status != 200 || len(a.body) > 500_000 {
			t.Fatalf("%d, %d bytes", a.status, len(a.body))
		}
		data := a.json(t)["data"].([]any)
		named := 0
		for _, item := range data {
			problem := item.(map[string]any)["error"].(map[string]any)
			errors, _ := problem["errors"].([]any)
			if named += len(errors); len(errors) > itemErrorsMax || !strings.Contains(problem["detail"].(string), "more are wrong") {
				t.Fatalf("%v", problem)
			}
		}
		if len(data) != 1000 || named != batchErrorsMax {
			t.Errorf("%d items, %d errors", len(data), named)
		}
	}
	if n := s.held(); n > 10_000 {
		t.Errorf("%d bytes are kept of batches that did nothing", n)
	}
	// One that did something is kept, and comes again as it was.
	batch := wrongBatch(50, orderText)
	first := s.post(batchPath, batch, "Idempotency-Key", "mixed")
	again := s.post(batchPath, batch, "Idempotency-Key", "mixed")
	if string(first.body) != string(again.body) || again.header.Get("Idempotent-Replayed") != "true" || s.commits != 1 {
		t.Errorf("%d commits, %v", s.commits, again.header)
	}
}

func TestALongRefusalIsKeptAsItsHash(t *testing.T) {
	s := open(t)
	wrong := strings.TrimSuffix(strings.TrimPrefix(wrongBatch(1, ""), `{"transfers":[`), "]}")
	first := s.post("/v1/transfers", wrong, "Idempotency-Key", "k")
	again := s.post("/v1/transfers", wrong, "Idempotency-Key", "k")
	if first.status != 422 || again.status != 422 || again.json(t)["type"] != first.json(t)["type"] {
		t.Errorf("%d, then %d %s", first.status, again.status, again.body)
	}
	if again.header.Get("Idempotent-Replayed") != "true" || !strings.Contains(string(again.body), "sha256") || len(first.body) < refusalKept {
		t.Errorf("%v %s", again.header, again.body)
	}
	if n := s.held(); n > refusalKept {
		t.Errorf("%d bytes are kept of a refusal of %d", n, len(first.body))
	}
	s.post("/v1/transfers", orderText, "Idempotency-Key", "k").wants(t, keyMismatch)
	// A short one is kept as it was.
	short := s.post("/v1/transfers", order("amount", "-1"), "Idempotency-Key", "short")
	if again := s.post("/v1/transfers", order("amount", "-1"), "Idempotency-Key", "short"); string(short.body) != string(again.body) {
		t.Errorf("%s became %s", short.body, again.body)
	}
}

// Beyond its quota a principal's answers are not kept, and its requests still act once.
func TestAPrincipalKeepsSoManyAnswersAndNoMore(t *testing.T) {
	s := open(t)
	id := s.created().String()
	restart := func(key, token string) answer {
		return s.post("/v1/transfers/"+id+"/messages", `{"type":"hold","reason":"x"}`, "Idempotency-Key", key, "Authorization", "Bearer "+token)
	}
	for s.server.stored.spend("backend", 1<<10, s.now()) {
		continue
	}
	for range 2 {
		if a := restart("a", s.operator); a.status != 202 || a.header.Get("Idempotent-Replayed") != "" {
			t.Errorf("%d %v %s", a.status, a.header, a.body)
		}
	}
	if s.acted != 1 || s.held() != 0 {
		t.Errorf("it acted %d times, %d bytes are kept", s.acted, s.held())
	}
	restart("b", adminToken)
	if s.held() == 0 {
		t.Error("another principal pays for it")
	}
	s.pass(time.Hour)
	restart("c", s.operator)
	if a := restart("c", s.operator); a.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("an hour later: %d %v", a.status, a.header)
	}
	s.pass(7 * 24 * time.Hour)
	for n := 0; ; n++ {
		if !s.server.stored.spend("backend", 1<<20, s.now()) {
			if n != storedMost>>20 {
				t.Errorf("%d MiB were kept", n)
			}
			break
		}
	}
}
