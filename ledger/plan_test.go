package ledger_test

import (
	"strings"
	"testing"
	"time"

	. "github.com/settled/settled/ledger"
)

func TestADigestSaysWhatTheHistorySaysAboutWaiting(t *testing.T) {
	at := func(minutes int) time.Time { return dawn.Add(time.Duration(minutes) * time.Minute) }
	send := func(open int) History { return History{Event: EventSend, OpenSends: open, At: at(0)} }
	row := func(e Event, a Answer, minutes int) History { return History{Event: e, Answer: a, At: at(minutes)} }
	for name, tc := range map[string]struct {
		rows []History
		want Digest
	}{
		"nothing happened yet":       {[]History{row(EventAccept, Answer{}, 0)}, Digest{}},
		"a send is no setback":       {[]History{send(1)}, Digest{}},
		"a refusal counts":           {[]History{send(1), row(EventRefuse, refused, 1)}, Digest{Refusals: 1, Setbacks: 1, First: at(1), Last: at(1), LastAnswer: refused}},
		"refusals add up":            {[]History{send(1), row(EventRefuse, refused, 1), send(1), row(EventRefuse, storedNo, 5)}, Digest{Refusals: 2, Setbacks: 2, First: at(1), Last: at(5), LastAnswer: storedNo}},
		"a rate limit is no refusal": {[]History{send(1), row(EventNotExecuted, rateLimited, 1)}, Digest{Setbacks: 1, First: at(1), Last: at(1), LastAnswer: rateLimited}},
		"one of what was taken for lost is none": {[]History{send(1), row(EventLose, timedOut, 1), row(EventRefuse, rateLimited, 2)},
			Digest{Setbacks: 2, First: at(1), Last: at(2), LastAnswer: rateLimited}},
		"a lost answer is no refusal":       {[]History{send(1), row(EventLose, timedOut, 1)}, Digest{Setbacks: 1, First: at(1), Last: at(1), LastAnswer: timedOut}},
		"a proof of absence is a refusal":   {[]History{send(1), row(EventLose, timedOut, 1), row(EventProveAbsent, Answer{}, 700)}, Digest{Refusals: 1, Setbacks: 2, First: at(1), Last: at(700)}},
		"a server error makes it doubtful":  {[]History{send(1), row(EventLose, serverError, 1)}, Digest{Setbacks: 1, First: at(1), Last: at(1), LastAnswer: serverError, Doubtful: true}},
		"a replayed one spends the key too": {[]History{send(1), row(EventLose, storedError, 1)}, Digest{Setbacks: 1, First: at(1), Last: at(1), LastAnswer: storedError, Doubtful: true, Spent: true}},
		"another request under the key does as well": {[]History{send(1), row(EventLose, otherRequest, 1)},
			Digest{Setbacks: 1, First: at(1), Last: at(1), LastAnswer: otherRequest, Doubtful: true, Spent: true}},
		"doubt outlives later answers": {[]History{send(1), row(EventLose, serverError, 1), send(2), row(EventLose, rateLimited, 2), send(2), row(EventLose, timedOut, 3)},
			Digest{Setbacks: 3, First: at(1), Last: at(3), LastAnswer: timedOut, Doubtful: true}},
		"but not its generation": {[]History{send(1), row(EventLose, storedError, 1), send(2), row(EventRefuse, storedNo, 2)},
			Digest{Refusals: 1, Setbacks: 2, First: at(1), Last: at(2), LastAnswer: storedNo}},
		"nor a person's proof of absence": {[]History{send(1), row(EventLose, storedError, 1), row(EventPark, Answer{}, 2), row(EventProveAbsent, Answer{}, 3)},
			Digest{Refusals: 1, Setbacks: 2, First: at(1), Last: at(3)}},
		"parking is no setback":  {[]History{send(1), row(EventLose, serverError, 1), row(EventPark, Answer{}, 9)}, Digest{Setbacks: 1, First: at(1), Last: at(1), LastAnswer: serverError, Doubtful: true}},
		"a hold changes nothing": {[]History{send(1), row(EventRefuse, refused, 1), row(EventHold, Answer{}, 2)}, Digest{Refusals: 1, Setbacks: 1, First: at(1), Last: at(1), LastAnswer: refused}},
		"a retry begins anew":    {[]History{send(1), row(EventRefuse, refused, 1), row(EventRetry, Answer{}, 2)}, Digest{}},
		"a release does":         {[]History{send(1), row(EventRefuse, refused, 1), row(EventHold, Answer{}, 2), row(EventRelease, Answer{}, 3)}, Digest{}},
		"a new epoch does":       {[]History{send(1), row(EventNotExecuted, rateLimited, 1), row(EventRenewEpoch, Answer{}, 2)}, Digest{}},
		"what was given up goes on by a person's word, so it begins anew too": {[]History{send(1), row(EventRefuse, refused, 1), row(EventGiveUp, Answer{}, 2)}, Digest{}},
		"and what follows counts": {[]History{send(1), row(EventRefuse, refused, 1), row(EventRetry, Answer{}, 2), send(1), row(EventRefuse, storedNo, 3)}, Digest{Refusals: 1, Setbacks: 1, First: at(3), Last: at(3), LastAnswer: storedNo}},
	} {
		if got := NewDigest(tc.rows, ID{}); got != tc.want {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, tc.want)
		}
	}
	others := []History{{Subject: id(2), Event: EventRefuse}, {Subject: id(1), Event: EventLose, At: at(1)}}
	if got := NewDigest(others, id(1)); got.Refusals != 0 || got.Setbacks != 1 {
		t.Errorf("another operation's rows count: %+v", got)
	}
}

func TestThePlan(t *testing.T) {
	const safe, quiet = 6 * time.Hour, 10*time.Hour + 30*time.Minute
	// within reports a time in the equal jitter of a wait after a moment.
	within := func(s *story, step Step, after time.Time, wait time.Duration) {
		s.Helper()
		if d := step.At.Sub(after); d < wait/2 || d > wait {
			s.Errorf("planned %s after, want between %s and %s", d, wait/2, wait)
		}
	}
	plan := func(s *story, want Action, mover Mover, code string) Step {
		s.Helper()
		step := s.plan()
		if step.Action != want || step.Mover != mover || step.Code != code {
			s.Errorf("in %s the plan is %d by %q (%s), want %d by %q (%s)", s.x.Status(), step.Action, step.Mover, step.Code, want, mover, code)
		}
		if !strings.HasSuffix(step.Why, ".") {
			s.Errorf("%q is no sentence", step.Why)
		}
		return step
	}
	newEpoch := func(s *story) *story {
		s.p.Epoch, s.p.EpochSince = s.p.Epoch+1, s.now
		return s
	}
	refusal := func(r Reaction) Answer {
		return Answer{Row: "T", Verdict: Failed, Reaction: r, HTTPStatus: 400, Code: "code", Message: "because."}
	}
	for name, tell := range map[string]func(*story){
		// What is over.
		"what is canceled rests":  func(s *story) { plan(s.did(s.x.Cancel(person)), Rest, MoveOfNobody, "canceled") },
		"what is completed rests": func(s *story) { plan(s.sends().answers(paid), Rest, MoveOfNobody, "completed") },
		"what came back in part rests": func(s *story) {
			s.sends().answers(paid).reverses(2, 400).sends().answers(Answer{Verdict: Done, StripeID: "trr_1"})
			step := plan(s, Rest, MoveOfNobody, "partially_reversed")
			if !strings.Contains(step.Why, "4.00 EUR") {
				s.Errorf("%q", step.Why)
			}
		},
		"what came back whole rests": func(s *story) {
			s.sends().answers(paid).reverses(2, 0).sends().answers(Answer{Verdict: Done, StripeID: "trr_1"})
			plan(s, Rest, MoveOfNobody, "reversed")
		},
		"what was given up waits for a person": func(s *story) { plan(s.did(s.x.GiveUp("bug", "nil map.")), Rest, MoveOfPlatform, "bug") },
		"a reversal's reason is told as the transfer's": func(s *story) {
			s.sends().answers(paid).reverses(2, 0).did(s.x.GiveUp("account_closed", "The account is closed."))
			step := plan(s, Rest, MoveOfPlatform, "account_closed")
			if !strings.Contains(step.Why, "The account is closed.") {
				s.Errorf("%q", step.Why)
			}
		},

		// Holds.
		"a hold without an end rests": func(s *story) {
			plan(s.did(s.x.Hold(HeldByDispute, time.Time{}, person)), Rest, MoveOfPlatform, "held_by_dispute")
		},
		"a hold with an end is released then": func(s *story) {
			step := plan(s.did(s.x.Hold(HeldByOperator, s.now.Add(time.Hour), person)), Release, MoveOfSettled, "held_by_operator")
			if !step.At.Equal(s.now.Add(time.Hour)) {
				s.Errorf("at %s", step.At)
			}
		},

		// To be sent.
		"what is new is sent at once": func(s *story) {
			if step := plan(s, Send, MoveOfSettled, "due"); step.At.After(s.now) {
				s.Errorf("at %s", step.At)
			}
		},
		"what was refused waits its backoff": func(s *story) {
			s.sends().answers(refused)
			within(s, plan(s, Send, MoveOfSettled, "balance_insufficient"), s.now, time.Minute)
		},
		"what Stripe asks to wait is waited": func(s *story) {
			for _, a := range []Answer{refused, rateLimited, timedOut} {
				a.RetryAfter = 10 * time.Minute
				s.sends().answers(a)
				if at := s.plan().At; !at.Equal(s.now.Add(a.RetryAfter)) {
					s.Errorf("after %s: %s", a.Row, at.Sub(s.now))
				}
				s.passes(time.Hour)
			}
		},
		"but the backoff is not cut short": func(s *story) {
			a := rateLimited
			a.RetryAfter = time.Second
			within(s, s.sends().answers(a).plan(), s.now, time.Minute)
		},
		"the second time twice as long": func(s *story) {
			s.sends().answers(refused).passes(time.Minute).sends().answers(refused)
			within(s, s.plan(), s.now, 2*time.Minute)
		},
		"a restart in the middle ends the wait at the same time": func(s *story) {
			s.sends().answers(refused)
			first := s.plan()
			s.passes(10 * time.Second)
			if again := s.plan(); !again.At.Equal(first.At) {
				s.Errorf("%s, then %s", first.At, again.At)
			}
		},
		"a rate limit is no refusal, but waits as well": func(s *story) {
			s.sends().answers(rateLimited)
			within(s, plan(s, Send, MoveOfSettled, "rate_limit"), s.now, time.Minute)
		},
		"the fourth refusal is tried again": func(s *story) {
			for range 4 {
				s.sends().answers(refused).passes(time.Hour)
			}
			plan(s, Send, MoveOfSettled, "balance_insufficient")
		},
		"the fifth refusal gives up": func(s *story) {
			for range 5 {
				s.sends().answers(refused).passes(time.Hour)
			}
			plan(s, GiveUp, MoveOfPlatform, "balance_insufficient")
		},
		"fifty rate limits do not": func(s *story) {
			for range 50 {
				s.sends().answers(rateLimited).passes(time.Hour)
			}
			plan(s, Send, MoveOfSettled, "rate_limit")
		},
		"but their age does, past its bound": func(s *story) {
			s.sends().answers(rateLimited).passes(72 * time.Hour)
			plan(s, Send, MoveOfSettled, "rate_limit")
			s.passes(1)
			plan(s, GiveUp, MoveOfPlatform, "rate_limit")
		},
		"what a person must mend is given up at once": func(s *story) {
			plan(s.sends().answers(refusal(AskOperator)), GiveUp, MoveOfPlatform, "code")
		},
		"so is a hint that it was paid already, after the look found nothing": func(s *story) {
			plan(s.sends().answers(refusal(LookFirst)), GiveUp, MoveOfPlatform, "code")
		},
		"with retries off a refusal waits for a person": func(s *story) {
			s.p.Transfers.Enabled = false
			plan(s.sends().answers(refused), Idle, MoveOfPlatform, "balance_insufficient")
		},
		"but what is new is sent all the same": func(s *story) {
			s.p.Transfers.Enabled = false
			plan(s, Send, MoveOfSettled, "due")
		},
		"and a person's retry is": func(s *story) {
			s.p.Transfers.Enabled = false
			plan(s.sends().answers(refused).did(s.x.Retry(person)), Send, MoveOfSettled, "due")
		},
		"no funds: the platform's balance is awaited, with a slow timer as a net": func(s *story) {
			step := plan(s.sends().answers(refusal(AwaitFunds)), Send, MoveOfPlatform, "code")
			if step.Awaits != AwaitFunds || !step.At.Equal(s.now.Add(time.Hour)) {
				s.Errorf("%+v", step)
			}
		},
		"no capability: the seller is awaited": func(s *story) {
			if step := plan(s.sends().answers(refusal(AwaitSeller)), Send, MoveOfSeller, "code"); step.Awaits != AwaitSeller {
				s.Errorf("%+v", step)
			}
		},
		"no funds to take back: the seller's balance is awaited": func(s *story) {
			s.sends().answers(paid).reverses(2, 0)
			if step := plan(s.sends().answers(refusal(AwaitSellerFunds)), Send, MoveOfSeller, "code"); step.Awaits != AwaitSellerFunds {
				s.Errorf("%+v", step)
			}
		},

		// Reversals.
		"a reversal is sent at once": func(s *story) { plan(s.sends().answers(paid).reverses(2, 0), Send, MoveOfSettled, "due") },
		"unless reversals are off": func(s *story) {
			s.p.Reversals.Enabled = false
			plan(s.sends().answers(paid).reverses(2, 0), Idle, MoveOfPlatform, "reversals_disabled")
		},
		"one whose outcome is unknown is resolved even so": func(s *story) {
			s.sends().answers(paid).reverses(2, 0).sends().answers(timedOut)
			s.p.Reversals.Enabled = false
			plan(s, Send, MoveOfStripe, "timeout")
		},
		"reversals have their own bounds": func(s *story) {
			s.p.Reversals.MaxAttempts = 1
			plan(s.sends().answers(refused), Send, MoveOfSettled, "balance_insufficient")
			plan(s.sends().answers(paid).reverses(2, 0).sends().answers(refused), GiveUp, MoveOfPlatform, "balance_insufficient")
		},
		"the older reversal goes first": func(s *story) {
			s.sends().answers(paid).reverses(2, 400).reverses(3, 300).sends()
			if op, _ := s.x.Current(); op.ID != id(2) {
				s.Errorf("%s", op.ID)
			}
		},

		// Not known.
		"a call under way whose owner is gone is noted as lost": func(s *story) { plan(s.sends(), NoteLost, MoveOfStripe, "sending") },
		"an unknown outcome sends the same key again": func(s *story) {
			s.sends().answers(timedOut)
			within(s, plan(s, Send, MoveOfStripe, "timeout"), s.now, time.Minute)
		},
		"also with retries off, for it is no retry": func(s *story) {
			s.p.Transfers.Enabled = false
			plan(s.sends().answers(timedOut), Send, MoveOfStripe, "timeout")
		},
		"also after the last attempt": func(s *story) {
			for range 20 {
				s.sends().answers(timedOut).passes(time.Minute)
			}
			plan(s, Send, MoveOfStripe, "timeout")
		},
		"until the next would be too old: then Stripe is read": func(s *story) {
			s.sends().answers(timedOut).passes(safe - 1)
			plan(s, Send, MoveOfStripe, "timeout") // its wait is long over: it goes now
			s.passes(1)
			if step := plan(s, Look, MoveOfStripe, "timeout"); step.Decides || step.At.After(s.now) {
				s.Errorf("%+v", step)
			}
		},
		"a wait that would end too late is not begun": func(s *story) {
			s.sends().passes(safe - time.Second).answers(timedOut)
			if step := plan(s, Look, MoveOfStripe, "timeout"); step.Decides {
				s.Errorf("%+v", step)
			}
		},
		"a spent key is not sent, but Stripe is read":       func(s *story) { plan(s.sends().answers(storedError), Look, MoveOfStripe, "api_error") },
		"T10: a key of another request is never sent again": func(s *story) { plan(s.sends().answers(otherRequest), Look, MoveOfStripe, "idempotency_error") },
		"T10: nor after a while": func(s *story) {
			s.sends().answers(otherRequest).passes(5 * time.Hour)
			plan(s, Look, MoveOfStripe, "idempotency_error")
		},
		"T10: and its absence is no proof": func(s *story) {
			s.sends().answers(otherRequest).passes(quiet + 1).did(s.x.Absent(s.p, s.digest().Doubtful, s.now)).is(Parked)
		},
		"reads in vain are spaced": func(s *story) {
			s.sends().answers(storedError)
			within(s, Plan(&s.x, s.digest(), s.p, s.now, s.now), s.now, time.Hour)
		},
		"under a new epoch as well, once it was quiet": func(s *story) {
			newEpoch(s).passes(quiet + time.Minute)
			within(s, Plan(&s.x, s.digest(), s.p, s.now, s.now), s.now, time.Hour)
			step := Plan(&s.x, s.digest(), s.p, s.now, time.Time{})
			if step.Action != Look || !step.Decides || step.At.After(s.now) {
				s.Errorf("before the first read: %+v", step)
			}
		},
		"and not before it was": func(s *story) {
			newEpoch(s).passes(time.Minute)
			step := Plan(&s.x, s.digest(), s.p, s.now, s.now)
			if step.Action != Look || !step.At.Equal(s.p.EpochSince.Add(quiet+1)) {
				s.Errorf("%+v", step)
			}
		},
		"the last of them waits for QUIET to be over, and decides": func(s *story) {
			s.sends().answers(storedError).passes(quiet - time.Minute)
			step := Plan(&s.x, s.digest(), s.p, s.now, s.now)
			if step.Action != Look || !step.Decides || !step.At.Equal(dawn.Add(quiet+1)) {
				s.Errorf("%+v", step)
			}
		},
		"at exactly QUIET a read decides nothing": func(s *story) {
			s.sends().loses().passes(quiet)
			if step := s.plan(); step.Action != Look || step.Decides {
				s.Errorf("%+v", step)
			}
		},
		"strictly after QUIET it does": func(s *story) {
			s.sends().loses().passes(quiet + 1)
			if step := s.plan(); step.Action != Look || !step.Decides || step.At.After(s.now) {
				s.Errorf("%+v", step)
			}
		},
		"what is parked waits for a person, at rest": func(s *story) { plan(s.parked(), Rest, MoveOfPlatform, "api_error") },
		"a parked reversal keeps the actor, for its siblings": func(s *story) {
			plan(s.sends().answers(paid).reverses(2, 0).parked(), Idle, MoveOfPlatform, "api_error")
		},
	} {
		t.Run(name, func(t *testing.T) { tell(begin(t)) })
	}
}

// Whatever the plan says, doing it is legal: a plan that the table refuses is a bug that
// would crash its actor.
func TestThePlanNeverAsksForWhatTheTableRefuses(t *testing.T) {
	answers := []Answer{refused, storedNo, rateLimited, timedOut, serverError, storedError, otherRequest, reversedAll}
	for i := range 3000 {
		n := uint64(i)
		pick := func(of int) int { n = n*6364136223846793005 + 1442695040888963407; return int(n>>33) % of }
		s := begin(t)
		for range 40 {
			step := s.plan()
			if step.At.After(s.now) {
				s.now = step.At
				if step = s.plan(); step.At.After(s.now) && step.Action != Look {
					t.Fatalf("run %d: due, and put off again: %+v", i, step)
				}
			}
			switch step.Action {
			case Rest, Idle:
				if s.x.Status() != Completed || len(s.x.Reversals) > 2 {
					continue
				}
				s.reverses(uint64(10+len(s.x.Reversals)), 1)
			case Send:
				s.sends()
				if pick(8) == 0 {
					continue // the owner dies
				}
				if pick(4) == 0 {
					s.answers(Answer{Verdict: Done, StripeID: "x" + s.x.Reference + string(rune('a'+len(s.x.Reversals)))})
					continue
				}
				s.answers(answers[pick(len(answers))])
			case NoteLost:
				s.loses()
			case Look:
				if step.Decides {
					s.now = s.now.Add(time.Duration(pick(2)))
					s.did(s.x.Absent(s.p, s.digest().Doubtful, s.now))
				} else {
					s.passes(time.Hour)
				}
			case GiveUp:
				s.did(s.x.GiveUp(step.Code, step.Why))
			case Release:
				s.did(s.x.Lapse(s.now))
			}
			if t.Failed() {
				t.Fatalf("in run %d", i)
			}
		}
	}
}
