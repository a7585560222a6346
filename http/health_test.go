package http

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/settled/settled/ledger"
)

func TestVerboseReadinessTellsWarningsAndKeepsNamesForWhoHasAToken(t *testing.T) {
	s := open(t)
	if a := s.get("/readyz?verbose", "Authorization", ""); a.status != 200 || !strings.HasSuffix(string(a.body), `"warnings":[]}`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.set(func(w *world) {
		w.unready = &ledger.NotReady{Reason: "the ledger's database cannot be reached", Err: errors.New("dial db.internal:5432 as paul")}
		w.notices = []ledger.Notice{{Code: "account_unverified", Text: "The account is not known.", Detail: "dial proxy.internal", Since: w.clock, Mover: ledger.MoveOfPlatform, Bars: true}}
	})
	told := s.get("/readyz?verbose")
	for _, want := range []string{"db.internal", "proxy.internal", `"code":"account_unverified"`, `"bars":true`, `"mover":"platform"`} {
		if told.status != 503 || !strings.Contains(string(told.body), want) {
			t.Errorf("with a token %q is missing: %d %s", want, told.status, told.body)
		}
	}
	for _, header := range []string{"", "Bearer settled_nobody"} {
		for _, path := range []string{"/readyz", "/readyz?verbose"} {
			a := s.get(path, "Authorization", header)
			if body := string(a.body); a.status != 503 || strings.Contains(body, "internal") || strings.Contains(body, "paul") || !strings.Contains(body, "cannot be reached") {
				t.Errorf("%s with %q: %d %s", path, header, a.status, a.body)
			}
			if strings.Contains(string(a.body), "account_unverified") != (path != "/readyz") {
				t.Errorf("%s: %s", path, a.body)
			}
		}
	}
}

// A text that may name something is not told to who has no token.
func TestReadinessTellsNoErrorThatNobodyLookedAt(t *testing.T) {
	s := open(t)
	s.set(func(w *world) { w.unready = errors.New("dial db.internal:5432 as paul") })
	if a := s.get("/readyz", "Authorization", ""); a.status != 503 || strings.Contains(string(a.body), "internal") || strings.Contains(string(a.body), "paul") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.get("/readyz"); !strings.Contains(string(a.body), "db.internal") {
		t.Errorf("with a token: %s", a.body)
	}
}

func TestReadinessIsNoPlaceToGuessTokens(t *testing.T) {
	s := open(t)
	for i := range 100 {
		if a := s.get("/readyz?verbose", "Authorization", fmt.Sprintf("Bearer guess-number-%06d", i)); a.status != 200 {
			t.Fatalf("a probe is answered %d", a.status)
		}
	}
	s.get("/v1/transfers", "Authorization", "Bearer guess-number-100000").wants(t, tooManyRequests)
}

func TestWhyTellsOfAllThatBarsTheCalls(t *testing.T) {
	s := open(t)
	id := s.created()
	path := "/v1/transfers/" + id.String()
	if a := s.get(path); !strings.Contains(string(a.body), `"code":"due"`) {
		t.Errorf("%s", a.body)
	}
	s.set(func(w *world) {
		w.notices = []ledger.Notice{{Code: "account_unverified", Text: "Nothing is sent yet.", Mover: ledger.MoveOfPlatform, Bars: true}, {Code: "simulated_time"}}
	})
	if a := s.get(path); !strings.Contains(string(a.body), `"why":{"sentence":"Nothing is sent yet.","code":"account_unverified","mover":"platform","next_at":null}`) {
		t.Errorf("%s", a.body)
	}
	s.set(func(w *world) { w.notices[0].Bars = false })
	if a := s.get(path); !strings.Contains(string(a.body), `"code":"due"`) {
		t.Errorf("a warning that bars nothing is taken for the reason: %s", a.body)
	}
}
