package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	nethttp "net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/ledger"
)

// control acts at the simulator as a person does in Stripe's dashboard.
func (s *stand) control(name, body string) (id string) {
	s.t.Helper()
	res, err := nethttp.Post(s.sim+"/_sim/"+name, "application/json", bytes.NewReader([]byte(body)))
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var shown struct {
		ID string `json:"id"`
	}
	if err := json.NewDecoder(res.Body).Decode(&shown); err != nil || res.StatusCode != 200 {
		s.t.Fatalf("%s: %d, %v", name, res.StatusCode, err)
	}
	return shown.ID
}

// audited runs `settled audit`; a finding is no failure.
func (s *stand) audited(ctx context.Context, more ...string) (code int, out string) {
	s.t.Helper()
	args := []string{"audit"}
	for len(more) > 0 && strings.HasPrefix(more[0], "--") {
		args, more = append(args, more[0]), more[1:]
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = s.worker.dir, append(s.worker.env, more...)
	text, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(text)
}

// A transfer made in the dashboard, and one reversed there, on the real program: found, shown,
// measured and audited; the one is accepted, the other adopted.
func TestWhatPeopleDoInTheDashboardIsFound(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		ctx, cancel := context.WithTimeout(t.Context(), hang)
		defer cancel()
		s := newStand(t, ctx, url, "none", 7)
		ids, err := s.api.create(ctx, planTraffic(7, 5))
		if err != nil {
			t.Fatal(err)
		}
		s.settleAll(ctx, 5)
		s.control("webhook", `{"url":"","secret":""}`) // nothing but a walk tells of the later steps
		if code, out := s.audited(ctx); code != exitDone {
			t.Fatalf("exit %d\n%s", code, out)
		}
		foreign := s.control("transfer", `{"destination":"acct_dashboard","amount":700,"currency":"eur"}`)
		held := heldTransfer(s, ids[0])
		s.control("reverse", fmt.Sprintf(`{"transfer":%q,"amount":1}`, held))
		if err := s.api.call(ctx, "POST", "/v1/actors/reconciler/messages", "", message{Type: "run", Reason: "a test"}, nil); err != nil {
			t.Fatal(err)
		}
		var drift struct {
			Data []struct {
				ID       ledger.ID `json:"id"`
				Class    string    `json:"class"`
				Status   string    `json:"status"`
				StripeID string    `json:"stripe_id"`
			} `json:"data"`
		}
		err = again(ctx, 50*time.Millisecond, func() (bool, error) {
			if err := s.api.call(ctx, "GET", "/v1/drift", "", nil, &drift); err != nil {
				return false, err
			}
			return len(drift.Data) == 2 && (drift.Data[0].Status == "cleared" || drift.Data[1].Status == "cleared"), nil
		})
		if err != nil {
			t.Fatalf("%v: %+v", err, drift)
		}
		one := drift.Data[0]
		if one.Class != "foreign" {
			one = drift.Data[1]
		}
		if one.StripeID != foreign || one.Status != "open" {
			t.Errorf("%+v", drift.Data)
		}
		if x, err := s.api.get(ctx, ids[0]); err != nil || x.Status != ledger.PartiallyReversed {
			t.Errorf("what was reversed outside is %s, %v", x.Status, err)
		}
		err = again(ctx, 200*time.Millisecond, func() (bool, error) { // it is counted every few seconds
			_, metrics := get(ctx, s.api.base+"/metrics")
			return strings.Contains(metrics, `settled_drift{class="foreign"} 1`) && strings.Contains(metrics, `settled_drift{class="reversed_outside"} 0`) &&
				strings.Contains(metrics, `settled_drift_amount_minor_units{class="foreign",currency="eur"} 700`), nil
		})
		if err != nil {
			t.Error("the metrics do not show it")
		}
		if code, out := s.audited(ctx); code != exitFailed || !strings.Contains(out, "foreign "+foreign) || !strings.HasSuffix(out, "audit: 1 difference\n") {
			t.Errorf("exit %d\n%s", code, out)
		}
		if code, out := s.audited(ctx, "RECONCILE_FOREIGN=ignore"); code != exitDone {
			t.Errorf("ignoring what is foreign: exit %d\n%s", code, out)
		}
		// It is about money: one person's word silences nothing, and two are told by name, for a time.
		kept := filepath.Join(t.TempDir(), "heads")
		decide := func(a *api, kind ledger.MessageType, why string) error {
			return a.call(ctx, "POST", "/v1/drift/"+one.ID.String()+"/messages", "", message{Type: kind, Reason: why}, nil)
		}
		if err := decide(s.api, "accept", "a bonus"); err != nil {
			t.Fatal(err)
		}
		if err := decide(s.api, "accept", "a bonus, I said"); err == nil {
			t.Error("the same person accepted it a second time")
		}
		if code, out := s.audited(ctx); code != exitFailed || !strings.HasSuffix(out, "audit: 1 difference\n") {
			t.Errorf("accepted by one: exit %d\n%s", code, out)
		}
		bob := s.another(ctx, "bob")
		if err := again(ctx, 100*time.Millisecond, func() (bool, error) { return decide(bob, "accept", "I asked him") == nil, nil }); err != nil {
			t.Fatal(err)
		}
		code, out := s.audited(ctx, "--anchor="+kept)
		if code != exitDone || !strings.HasSuffix(out, "audit: 0 differences\n") || !strings.Contains(out, "accepted: foreign "+foreign) ||
			!strings.Contains(out, ` and bob until `) || !strings.Contains(out, `"a bonus", "I asked him"`) || !strings.Contains(out, "accepted in all: 7.00") {
			t.Errorf("accepted: exit %d\n%s", code, out)
		}
		if code, out := s.audited(ctx, "--strict"); code != exitFailed || !strings.HasSuffix(out, "audit: 1 difference\n") {
			t.Errorf("strict: exit %d\n%s", code, out)
		}
		// The ends that were kept elsewhere must still be there.
		if code, out := s.audited(ctx, "--anchor="+kept); code != exitDone {
			t.Errorf("with what was kept: exit %d\n%s", code, out)
		}
		text, err := os.ReadFile(kept)
		if err != nil || !strings.Contains(string(text), " 1:") {
			t.Fatalf("%q, %v", text, err)
		}
		if text[len(text)-2] = '0' + (text[len(text)-2]+1)%10; os.WriteFile(kept, text, 0o600) != nil {
			t.Fatal("cannot write")
		}
		if code, out := s.audited(ctx, "--anchor="+kept); code != exitFailed || !strings.Contains(out, "is missing; expected the hash") {
			t.Errorf("with a seal that the ledger does not have: exit %d\n%s", code, out)
		}
		if err := decide(bob, "reopen", "it was none"); err != nil {
			t.Fatal(err)
		}
		if code, out := s.audited(ctx); code != exitFailed || strings.Contains(out, "accepted") {
			t.Errorf("reopened: exit %d\n%s", code, out)
		}
		if _, metrics := get(ctx, s.api.base+"/metrics"); !strings.Contains(metrics, "settled_seals ") || !strings.Contains(metrics, "settled_seals_head ") {
			t.Error("the metrics do not tell where the seals end")
		}
	})
}

// another is the API as another person uses it.
func (s *stand) another(ctx context.Context, name string) *api {
	s.t.Helper()
	cmd := exec.CommandContext(ctx, program, "token", "create", name, "--role", "operator")
	cmd.Dir, cmd.Env = s.worker.dir, s.worker.env
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	_, token, _ := strings.Cut(strings.TrimSpace(string(out)), ": ")
	return newAPI(s.api.base, token)
}

func heldTransfer(s *stand, id ledger.ID) string {
	s.t.Helper()
	x, err := s.api.get(context.Background(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	held := heldAs(s.truth(), x.Reference, "")
	if held == "" {
		s.t.Fatalf("Stripe does not hold %s", id)
	}
	return held
}
