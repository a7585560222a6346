package ledger_test

import (
	"strings"
	"testing"
	"time"

	. "github.com/settled/settled/ledger"
)

func TestWaitingForAConditionIsNoAttempt(t *testing.T) {
	const day = 24 * time.Hour
	refusal := func(r Reaction) Answer {
		return Answer{Row: "T", Verdict: Failed, Reaction: r, HTTPStatus: 400, Code: "code", Message: "not yet."}
	}
	pays := func(t *testing.T) *story {
		s := begin(t)
		s.p.Transfers.ConditionMaxAge, s.p.Reversals.ConditionMaxAge = 30*day, 45*day
		return s
	}
	comesBack := func(t *testing.T) *story { return pays(t).sends().answers(paid).reverses(2, 0) }
	plans := func(s *story, want Action) Step {
		s.Helper()
		step := s.plan()
		if step.Action != want {
			s.Errorf("after %s the plan is %d (%s), want %d", s.now.Sub(dawn), step.Action, step.Why, want)
		}
		return step
	}
	for name, tell := range map[string]func(*testing.T){
		"a hundred refusals for funds give nothing up": func(t *testing.T) {
			s := pays(t)
			for range 100 {
				s.sends().answers(refusal(AwaitFunds)).passes(time.Hour)
			}
			if plans(s, Send); s.digest().Refusals != 0 {
				s.Errorf("%d refusals are counted", s.digest().Refusals)
			}
		},
		"a hundred for the seller's capability neither": func(t *testing.T) {
			s := pays(t)
			for range 100 {
				s.sends().answers(refusal(AwaitSeller)).passes(time.Hour)
			}
			plans(s, Send)
		},
		"nor a reversal's for the seller's funds": func(t *testing.T) {
			s := comesBack(t)
			for range 100 {
				s.sends().answers(refusal(AwaitSellerFunds)).passes(time.Hour)
			}
			plans(s, Send)
		},
		"a seller is waited for until the condition's own age, and no longer": func(t *testing.T) {
			s := pays(t).sends().answers(refusal(AwaitSeller)).passes(30*day - 1)
			if step := plans(s, Send); !step.Ends.Equal(dawn.Add(30 * day)) {
				s.Errorf("it ends at %s", step.Ends)
			}
			if step := plans(s.passes(1), GiveUp); !strings.Contains(step.Why, "2026-03-29T00:30:00Z") || !strings.Contains(step.Why, "not yet.") {
				s.Errorf("the reason tells neither since when nor why: %s", step.Why)
			}
		},
		"a reversal waits by an age of its own": func(t *testing.T) {
			s := comesBack(t).sends().answers(refusal(AwaitSellerFunds))
			plans(s.passes(45*day-1), Send)
			plans(s.passes(1), GiveUp)
		},
		"the age is the condition's: another one begins anew": func(t *testing.T) {
			s := pays(t).sends().answers(refusal(AwaitSeller)).passes(29 * day).sends().answers(refusal(AwaitFunds))
			plans(s.passes(20*day), Send)
		},
		"a setback in between does not make it younger": func(t *testing.T) {
			s := pays(t).sends().answers(refusal(AwaitSeller)).passes(29 * day).sends().answers(rateLimited)
			plans(s.passes(day), Send)
			plans(s.sends().answers(refusal(AwaitSeller)), GiveUp)
		},
		"the time that was waited is not that of the setback that follows": func(t *testing.T) {
			s := pays(t).sends().answers(rateLimited).passes(time.Hour).sends().answers(refusal(AwaitFunds)).passes(20 * day)
			plans(s.sends().answers(rateLimited).passes(72*time.Hour), Send)
			plans(s.passes(1), GiveUp)
		},
		"other refusals keep their count": func(t *testing.T) {
			s := pays(t)
			for range 4 {
				s.sends().answers(refused).passes(time.Hour).sends().answers(refusal(AwaitFunds)).passes(time.Hour)
			}
			plans(s, Send)
			plans(s.sends().answers(refused), GiveUp)
		},
		"the platform is told before it is given up, and has time to act": func(t *testing.T) {
			s := pays(t).sends().answers(refusal(AwaitFunds))
			if step := plans(s.passes(27*day-1), Send); !step.Ends.Equal(dawn.Add(27 * day)) {
				s.Errorf("it ends at %s", step.Ends)
			}
			s.did(s.x.Tell(plans(s.passes(1), Tell).Why))
			plans(s.passes(3*day-1), Send)
			plans(s.passes(1), GiveUp)
		},
		"also when nothing ran for months": func(t *testing.T) {
			s := pays(t).sends().answers(refusal(AwaitFunds)).passes(100 * day)
			s.did(s.x.Tell(plans(s, Tell).Why))
			plans(s.passes(3*day-1), Send)
			plans(s.passes(1), GiveUp)
		},
		"who was told of another wait is told again": func(t *testing.T) {
			s := pays(t).sends().answers(refusal(AwaitFunds)).passes(27 * day)
			s.did(s.x.Tell("")).sends().answers(refusal(AwaitSeller)).passes(day).sends().answers(refusal(AwaitFunds))
			plans(s.passes(40*day), Tell)
		},
		"a retry begins the wait anew": func(t *testing.T) {
			s := pays(t).sends().answers(refusal(AwaitSeller)).passes(29 * day)
			s.did(s.x.Retry(person)).sends().answers(refusal(AwaitSeller))
			plans(s.passes(29*day), Send)
		},
		"what is about the platform is not given up, however long it takes": func(t *testing.T) {
			s := pays(t)
			for range 100 {
				s.sends().answers(Answer{Row: "T15", Verdict: NotExecuted, Reaction: AwaitPlatform, HTTPStatus: 403, Code: "forbidden", Message: "no permission."})
				s.passes(7 * day)
			}
			step := plans(s, Send)
			if step.Mover != MoveOfPlatform || step.Awaits != BackOff || !strings.Contains(step.Why, "no permission.") {
				s.Errorf("%+v", step)
			}
		},
	} {
		t.Run(name, tell)
	}
}

func TestAConditionIsSharedByAllThatWaitForTheSame(t *testing.T) {
	s := begin(t)
	for r, want := range map[Reaction]Condition{
		AwaitFunds:       {Reaction: AwaitFunds, Currency: "eur"},
		AwaitSeller:      {Reaction: AwaitSeller, Account: "acct_1"},
		AwaitSellerFunds: {Reaction: AwaitSellerFunds, Account: "acct_1", Currency: "eur"},
	} {
		if got := s.x.Awaits(r); got != want {
			t.Errorf("%s: %+v", r, got)
		}
	}
}
