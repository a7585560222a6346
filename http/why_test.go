package http

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/ledger"
)

// whyOf reads why a transfer waits.
func (s *site) whyOf(path string) (sentence, code, mover, next string) {
	s.t.Helper()
	why, _ := s.get(path).json(s.t)["why"].(map[string]any)
	text := func(name string) string { v, _ := why[name].(string); return v }
	return text("sentence"), text("code"), text("mover"), text("next_at")
}

func TestWhyTellsWhatKeepsTheCallsBackAndForHowLong(t *testing.T) {
	s := open(t)
	path := "/v1/transfers/" + s.created().String()
	for name, tc := range map[string]struct {
		set                         func(*world)
		sentence, code, mover, next string
	}{
		"nothing": {func(w *world) {}, "It is about to be sent.", "due", "settled", "2026-01-31T12:00:00Z"},
		"a refused key": {func(w *world) {
			w.notices = []ledger.Notice{{Code: "key_refused", Text: "Stripe refuses the secret key.", Detail: "Stripe says: Expired API Key.", Bars: true, Mover: ledger.MoveOfPlatform, Until: w.clock.Add(time.Minute)}}
		}, "Stripe refuses the secret key. Stripe says: Expired API Key.", "key_refused", "platform", "2026-01-31T12:01:00Z"},
		"transfers that Stripe does not answer": {func(w *world) {
			w.notices = []ledger.Notice{{Code: "stripe_down_transfers", Text: "Stripe does not answer transfers.", Bars: true, Kinds: []ledger.Kind{ledger.CreateTransfer}, Mover: ledger.MoveOfStripe}}
		}, "Stripe does not answer transfers.", "stripe_down_transfers", "stripe", ""},
		"lists that Stripe does not answer are no reason": {func(w *world) {
			w.notices = []ledger.Notice{{Code: "stripe_down_lists", Bars: true, Kinds: []ledger.Kind{ledger.CreateTransfer}, Reads: true, Mover: ledger.MoveOfStripe}}
		}, "It is about to be sent.", "due", "settled", "2026-01-31T12:00:00Z"},
		"the queue": {func(w *world) {
			w.live = &ledger.Live{Alive: true, Doing: "asking", Queued: true, Before: 753, Rate: 20}
		},
			"It is about to be sent. 753 before it at 20 a second.", "due", "settled", "2026-01-31T12:00:37.65Z"},
		"the queue without a limit": {func(w *world) { w.live = &ledger.Live{Alive: true, Doing: "asking", Queued: true, Before: 753} },
			"It is about to be sent. 753 before it.", "due", "settled", "2026-01-31T12:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			s.set(func(w *world) { w.notices, w.live = nil, nil; tc.set(w) })
			sentence, code, mover, next := s.whyOf(path)
			if sentence != tc.sentence || code != tc.code || mover != tc.mover || next != tc.next {
				t.Errorf("%q %s, move of %s, next at %s", sentence, code, mover, next)
			}
		})
	}
}

func TestThatStripeCannotBeReadIsNotBlamedOnTheLedger(t *testing.T) {
	f, known := faultOf(fmt.Errorf("adopt transfer 01a2: %w: %w: %s", ledger.ErrUnavailable, ledger.ErrStripeAway, "read transfer tr_1: http_500: no"))
	if want := "Stripe could not be read, so nothing was done (read transfer tr_1: http_500: no). Ask again once it answers."; !known || f.kind != unavailable || f.detail != want || f.retryAfter == 0 {
		t.Errorf("%v %+v", known, f)
	}
}

func TestWhyTellsWhoAsksForThoseThatWaitForTheSame(t *testing.T) {
	s := open(t)
	id := s.created()
	s.refused(id)
	path := "/v1/transfers/" + id.String()
	s.set(func(w *world) {
		w.live = &ledger.Live{Alive: true, Doing: "waiting", Asleep: 41, ProbeAt: w.clock.Add(20 * time.Minute)}
	})
	sentence, _, mover, next := s.whyOf(path)
	if !strings.HasSuffix(sentence, "sent when that changes. 41 wait for the same; one of them asks Stripe.") || mover != "platform" || next != "2026-01-31T12:20:00Z" {
		t.Errorf("%q, move of %s, next at %s", sentence, mover, next)
	}
}
