package http

import (
	"errors"
	"strings"
	"testing"
)

func TestAReferenceThatLooksLikeAnotherIsTakenWithAWarning(t *testing.T) {
	s := open(t)
	if a := s.post("/v1/transfers", order("reference", `"order-1001"`)); a.status != 201 || strings.Contains(string(a.body), "warnings") {
		t.Fatalf("%d %s", a.status, a.body)
	}
	const warning = `"warnings":[{"field":"reference","code":"looks_alike","detail":"`
	a := s.post("/v1/transfers", order("reference", `"оrder-1001"`), "Idempotency-Key", "k")
	if a.status != 201 || !strings.Contains(string(a.body), warning) || !strings.Contains(string(a.body), `\\u043erder-1001`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if again := s.post("/v1/transfers", order("reference", `"оrder-1001"`), "Idempotency-Key", "k"); string(again.body) != string(a.body) {
		t.Errorf("said again: %s", again.body)
	}
	a = s.post("/v1/transfers/batch", `{"transfers":[`+order("reference", `"inv-7"`)+`,`+order("reference", `"lnv-7"`)+`,`+order("reference", `"inv-8"`)+`]}`)
	if a.status != 200 || strings.Count(string(a.body), warning) != 2 {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.set(func(w *world) { w.blind = errors.New("the database is busy") })
	if a := s.post("/v1/transfers", order("reference", `"order-l00l"`)); a.status != 201 || strings.Contains(string(a.body), "warnings") {
		t.Errorf("an order that was taken is refused for want of a warning: %d %s", a.status, a.body)
	}
}
