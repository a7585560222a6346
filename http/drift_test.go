package http

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

const findingID = "0198a3c0-5b7e-7c21-9d3f-3f1c2a4b5d6e"

// aFinding is one that every world begins with.
func aFinding() audit.Finding {
	at := time.Date(2026, 1, 31, 11, 0, 0, 0, time.UTC)
	return audit.Finding{
		ID:         uuid.MustParse(findingID),
		Difference: audit.Difference{Class: audit.ReversedOutside, Transfer: uuid.MustParse("0198a3c0-0000-7000-8000-000000000001"), StripeID: "trr_1", Detail: "300 was reversed by others"},
		Object:     "tr_1", Amount: 300, Currency: "eur", FirstSeen: at, LastSeen: at, OpenedAt: at, Repair: audit.RepairAdopt,
	}
}

func (w *world) status() audit.Status {
	began := w.clock.Add(-time.Minute)
	return audit.Status{Doing: "walking", Newest: audit.Walk{No: 2, BeganAt: began, Until: began.Add(-time.Hour), Reads: 7, AtStripe: 700, InLedger: 650, Different: 1},
		Ended: audit.Walk{No: 1, BeganAt: began.Add(-time.Hour), EndedAt: began.Add(-time.Minute)}}
}

func (w *world) Reconciler(context.Context) (audit.Status, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status(), w.broken
}

func (w *world) Reconcile(_ context.Context, by ledger.By) (audit.Status, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return audit.Status{}, w.broken
	}
	if !slices.ContainsFunc(w.runs, func(k ledger.By) bool { return k.Message == by.Message }) {
		w.runs = append(w.runs, by)
	}
	return w.status(), nil
}

func (w *world) Mend(ctx context.Context, id ledger.ID, how audit.Mending, until time.Time, by ledger.By) (audit.Finding, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.findings {
		f := &w.findings[i]
		switch {
		case w.broken != nil || f.ID != id:
			continue
		case how == audit.Accept:
			if err := f.Accept(by, until, w.clock); err != nil {
				return *f, err
			}
		case how == audit.Reopen:
			if err := f.Reopen(); err != nil {
				return *f, err
			}
		case how == audit.Apply && !f.AppliedAt.IsZero() && f.AppliedBy.Message != by.Message:
			return *f, fmt.Errorf("%w: it was applied", ledger.ErrIllegalMove)
		case how == audit.Apply:
			f.AppliedAt, f.AppliedBy = w.clock, by
		}
		return *f, nil
	}
	if w.broken != nil {
		return audit.Finding{}, w.broken
	}
	return audit.Finding{}, audit.ErrNotFound
}

func (w *world) Finding(_ context.Context, id ledger.ID) (audit.Finding, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.findings {
		if f.ID == id && w.broken == nil {
			return f, nil
		}
	}
	if w.broken != nil {
		return audit.Finding{}, w.broken
	}
	return audit.Finding{}, audit.ErrNotFound
}

func (w *world) Findings(_ context.Context, f audit.Filter) (list []audit.Finding, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.findings {
		there := x.ClearedAt.IsZero()
		switch {
		case f.Class != "" && x.Class != f.Class, f.Open && !x.Open(w.clock), f.Cleared && there, f.Accepted && (!there || !x.Accepted(w.clock)),
			f.Before != uuid.Nil && x.ID.String() >= f.Before.String(), len(list) == f.Limit:
			continue
		}
		list = append(list, x)
	}
	return list, w.broken
}

func (w *world) DriftCounts(context.Context) ([]audit.Count, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return []audit.Count{{Class: audit.ReversedOutside, Currency: "eur", Number: 1, Amount: 300}}, w.broken
}

func TestAFindingIsShownWhole(t *testing.T) {
	s := open(t)
	a := s.get("/v1/drift/" + findingID)
	want := `{"id":"` + findingID + `","object":"finding","class":"reversed_outside","status":"open","transfer":"0198a3c0-0000-7000-8000-000000000001",` +
		`"stripe_id":"trr_1","stripe_transfer":"tr_1","amount":300,"currency":"eur","detail":"300 was reversed by others",` +
		`"advice":` + string(mustJSON(audit.ReversedOutside.Advice())) + `,"proposal":{"transfer":"0198a3c0-0000-7000-8000-000000000001","type":"adopt","outcome":null,"stripe_id":"tr_1"},` +
		`"first_seen":"2026-01-31T11:00:00Z","last_seen":"2026-01-31T11:00:00Z","opened_at":"2026-01-31T11:00:00Z","cleared_at":null,` +
		`"applied_at":null,"applied_by":null,"accepted_at":null,"accepted_by":null,"accepted_until":null,"seconded_at":null,"seconded_by":null,"needs_second":true}`
	if a.status != 200 || string(a.body) != want {
		t.Errorf("%d %s\nwant %s", a.status, a.body, want)
	}
	s.get("/v1/drift/0198a3c0-5b7e-7c21-9d3f-3f1c2a4b5d6f").wants(t, notFound)
	s.get("/v1/drift/x").wants(t, notFound)
	s.get("/v1/drift/"+findingID+"?x=1").wants(t, invalidRequest, "x")
	for _, c := range audit.Drifts {
		if c.Advice() == "" {
			t.Errorf("nobody is told what to do about %s", c)
		}
	}
}

func TestDriftIsListedWithItsSummary(t *testing.T) {
	s := open(t)
	s.set(func(w *world) {
		w.findings = nil
		for i := range 5 {
			f := aFinding()
			f.ID[15] = byte(0xf0 - i)
			f.Class = []audit.Class{audit.Foreign, audit.Amount}[i%2]
			if i == 3 {
				f.ClearedAt = w.clock
			}
			if i == 4 {
				f.AcceptedAt, f.AcceptedBy, f.AcceptedUntil = w.clock, ledger.By{Principal: "ann"}, w.clock.Add(time.Hour)
				f.SecondedAt, f.SecondedBy = w.clock, ledger.By{Principal: "bob"}
			}
			w.findings = append(w.findings, f)
		}
	})
	var p driftPage
	list := func(query string, want int) {
		t.Helper()
		a := s.get("/v1/drift" + query)
		p = driftPage{}
		if err := json.Unmarshal(a.body, &p); a.status != 200 || err != nil || len(p.Data) != want {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
	list("", 5)
	sum := p.Summary
	if len(sum.Open) != 1 || sum.Open[0].Number != 1 || sum.Open[0].Amount != 300 || sum.Reconciler.State != "walking" ||
		sum.Reconciler.Walk.No != 2 || sum.Reconciler.Walk.EndedAt != nil || sum.Reconciler.Walk.Reads != 7 || sum.Reconciler.Ended.EndedAt == nil {
		t.Errorf("%+v", sum)
	}
	list("?status=open", 3)
	list("?status=cleared", 1)
	list("?status=accepted", 1)
	if p.Data[0].Status != "accepted" || p.Data[0].AcceptedBy.Principal != "ann" {
		t.Errorf("%+v", p.Data[0])
	}
	list("?class=foreign&status=open", 2)
	list("?limit=2", 2)
	list("?limit=4&cursor="+*p.Next, 3)
	if p.Next != nil {
		t.Error("a next page after the last")
	}
	s.get("/v1/drift?class=strange&status=shut&limit=101&cursor=x&order=up").wants(t, invalidRequest, "order")
	s.get("/v1/drift?class=books&status=shut&limit=101&cursor=x").wants(t, invalidRequest, "class", "status", "limit", "cursor")
	s.set(func(w *world) { w.broken = ledger.ErrUnavailable })
	s.get("/v1/drift").wants(t, unavailable)
	s.get("/v1/drift/"+findingID).wants(t, unavailable)
	s.get("/v1/actors/reconciler").wants(t, unavailable)
	s.post("/v1/drift/"+findingID+"/messages", `{"type":"apply","reason":"x"}`).wants(t, unavailable)
	s.post("/v1/actors/reconciler/messages", `{"type":"run","reason":"x"}`).wants(t, unavailable)
}

func TestAProposalIsAppliedOnce(t *testing.T) {
	s := open(t)
	path := "/v1/drift/" + findingID + "/messages"
	for range 2 {
		a := s.post(path, `{"type":"apply","reason":"seen in the dashboard"}`, "Idempotency-Key", "one")
		by, _ := a.json(t)["applied_by"].(map[string]any)
		if a.status != 202 || by["principal"] != "backend" || by["reason"] != "seen in the dashboard" || by["message"] == nil {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	s.post(path, `{"type":"apply","reason":"again"}`).wants(t, illegalMove)
	// It is about money: one person's word leaves it open, and only another's accepts it.
	if a := s.post(path, `{"type":"accept","reason":"it is right"}`); a.status != 202 || a.json(t)["status"] != "open" {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.post(path, `{"type":"accept","reason":"it is right"}`).wants(t, illegalMove)
	s.set(func(w *world) {
		f := &w.findings[0]
		f.AcceptedBy.Principal = "ann"
	})
	if a := s.post(path, `{"type":"accept","reason":"I looked too","until":"2026-02-28T00:00:00Z"}`); a.status != 202 || a.json(t)["status"] != "accepted" ||
		a.json(t)["accepted_until"] != "2026-02-28T00:00:00Z" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.post(path, `{"type":"reopen","reason":"it was not"}`); a.status != 202 || a.json(t)["status"] != "open" || a.json(t)["accepted_by"] != nil {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.post(path, `{"type":"reopen","reason":"it was not"}`).wants(t, illegalMove)
	s.post(path, `{"type":"accept","reason":"for ever","until":"2036-01-01T00:00:00Z"}`).wants(t, invalidRequest, "until")
	for body, fields := range map[string][]string{
		`{}`:                            {"reason", "type"},
		`{"type":"retry","reason":"x"}`: {"type"},
		`{"type":7,"reason":"x"}`:       {"type"},
		`{"type":"apply"}`:              {"reason"},
		`{"type":"apply","reason":"x","until":"2026-02-28T00:00:00Z"}`:                {"until"},
		`{"type":"apply","reason":"a\u0000"}`:                                         {"reason"},
		`{"type":"apply","reason":"x","by":"me"}`:                                     {"by"},
		`{"type":"apply","reason":"` + strings.Repeat("x", ledger.ReasonMax+1) + `"}`: {"reason"},
	} {
		s.post(path, body).wants(t, invalidRequest, fields...)
	}
	s.post(path, `[]`).wants(t, malformedJSON)
	s.post("/v1/drift/x/messages", `{"type":"apply","reason":"x"}`).wants(t, notFound)
	s.post("/v1/drift/0198a3c0-5b7e-7c21-9d3f-3f1c2a4b5d6f/messages", `{"type":"apply","reason":"x"}`).wants(t, notFound)
}

func TestTheReconcilerIsToldToWalk(t *testing.T) {
	s := open(t)
	const path = "/v1/actors/reconciler"
	for range 2 {
		a := s.post(path+"/messages", `{"type":"run","reason":"to be sure"}`, "Idempotency-Key", "one")
		if a.status != 202 || a.json(t)["state"] != "walking" || a.json(t)["path"] != "reconciler" {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if len(s.runs) != 1 || s.runs[0].Principal != "backend" || s.runs[0].Reason != "to be sure" || s.runs[0].Message == (ledger.ID{}) {
		t.Errorf("%+v", s.runs)
	}
	s.post(path+"/messages", `{"type":"pause","reason":"x"}`).wants(t, invalidRequest, "type")
	s.post(path+"/messages", `{"type":"run"}`).wants(t, invalidRequest, "reason")
	if a := s.get(path); a.status != 200 || a.json(t)["walk"] == nil {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.get(path+"?x=1").wants(t, invalidRequest, "x")
}
