package actors_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// brief is a daemon that gives up after an hour of attempts.
func brief(c *actors.Config) { c.Policy.Transfers.MaxAge = time.Hour }

// forbidding answers every call to a path as Stripe answers a platform that may not make it.
func forbidding(status int, message string) stripesim.Rule {
	return stripesim.Rule{Kind: stripesim.KindAnswer, Path: creating, Status: status, Type: "invalid_request_error", Message: message, Times: -1}
}

func TestWhatIsAboutThePlatformGivesNoTransferUp(t *testing.T) {
	for name, rule := range map[string]stripesim.Rule{
		"T15, a key without a permission": forbidding(http.StatusForbidden, "The provided key 'rk_test_*****abcd' does not have the required permissions for this endpoint."),
		"T15, a restricted account":       forbidding(http.StatusBadRequest, "Cannot create live transfers: your account is restricted. Please contact us."),
		"T16, an unknown URL":             forbidding(http.StatusNotFound, "Unrecognized request URL (POST: /v1/transfers)."),
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, stripesim.Config{}, func(w *world) {
				w.script(rule)
				ids := w.waits(40) // 32 at once
				before := w.sent()
				ids = append(ids, w.create(5)...)
				w.passes(3 * time.Hour) // longer than attempts may take
				if n := w.sent() - before; n > 3*12+60 {
					w.Errorf("%d calls in three hours", n)
				}
				all := w.states(ids)
				if all[ledger.PermanentlyFailed] > 0 {
					w.Errorf("after three hours: %v", all)
				}
				n := w.node.system.Notices()
				if len(n) != 1 || !n[0].Hinders(ledger.CreateTransfer) || n[0].Hinders(ledger.MakeReversal) || n[0].Mover != ledger.MoveOfPlatform ||
					!strings.HasSuffix(n[0].Detail, rule.Message[len(rule.Message)-20:]) {
					w.Errorf("people are told %+v", n)
				}
				if alarms, still := w.count("alarms_total", "kind", "platform"), w.count("gate_platform_refused"); alarms != 1 || still != 1 {
					w.Errorf("%v alarms, the metric is %v", alarms, still)
				}
				w.sim.ClearRules()
				w.passes(2 * time.Hour)
				if all = w.states(ids); all[ledger.Completed] != len(ids) {
					w.Errorf("when it is over: %v", all)
				}
				if n := w.node.system.Notices(); len(n) != 0 || w.count("gate_platform_refused") != 0 {
					w.Errorf("when it is over people are told %+v", n)
				}
			}, brief)
		})
	}
}

func TestReversalsGoOnWhileThePlatformMayMakeNoTransfers(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		id := w.one()
		w.becomes(id, ledger.Completed)
		w.script(forbidding(http.StatusForbidden, "no permission"))
		w.waits(3)
		w.says(id, ledger.Message{Type: ledger.MessageReverse})
		w.passes(time.Second)
		if x := w.transfer(id); x.Status() != ledger.Reversed {
			w.Errorf("it is %s", x.Status())
		}
	})
}

func TestTheSameUnmodelledRefusalForSeveralSellersIsAboutThePlatform(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.script(stripesim.Rule{Kind: stripesim.KindAnswer, Status: 400, Code: "brand_new", Message: "Transfer 17 to 'acct_x' is not possible.", Times: -1})
		ids := w.waits(40)
		w.passes(3 * time.Hour)
		all := w.states(ids)
		if all[ledger.PermanentlyFailed] > 2 { // who is first cannot know
			w.Errorf("given up: %v", all)
		}
		w.sim.ClearRules()
		w.passes(2 * time.Hour)
		if again := w.states(ids); again[ledger.Completed] != 40-all[ledger.PermanentlyFailed] {
			w.Errorf("when it is over: %v", again)
		}
	})
}

func TestAnUnmodelledRefusalOfOneSellerIsItsOwn(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.script(stripesim.Rule{Kind: stripesim.KindAnswer, Status: 400, Code: "brand_new", Message: "no", Times: -1,
			Match: func(r stripesim.RequestInfo) bool { return strings.Contains(r.Form.Get("destination"), "bad") }})
		for i := range 8 {
			o := order(i)
			if o.Destination = fmt.Sprintf("acct_good%d", i); i%2 == 0 {
				o.Destination = "acct_bad"
			}
			want := ledger.Completed
			if i%2 == 0 {
				want = ledger.PermanentlyFailed
			}
			if x := w.becomes(w.orders(o)[0], want); x.Status() != want {
				w.Errorf("order %d is %s", i, x.Status())
			}
		}
	})
}

func TestAKeyThatStaysBadForLongerThanAttemptsMayTakeGivesNothingUp(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.script(stripesim.Rule{Kind: stripesim.KindAuth, Times: -1})
		ids := w.waits(5)
		w.passes(5 * time.Hour)
		w.sim.ClearRules()
		w.passes(2 * time.Hour)
		if all := w.states(ids); all[ledger.Completed] != 5 {
			w.Errorf("%v", all)
		}
	}, brief)
}
