package ledger_test

import (
	"testing"
	"time"

	. "github.com/settled/settled/ledger"
)

// A refusal that nobody understands, fresh and replayed.
var (
	puzzle       = Answer{Row: "T18", Verdict: Failed, Reaction: AskOperator, HTTPStatus: 400, Code: "novel", Alert: true}
	storedPuzzle = Answer{Row: "T28", Verdict: Failed, Reaction: AskOperator, HTTPStatus: 400, Code: "novel", Alert: true, Replayed: true}
)

// puzzled is a transfer that was given up after such a refusal, and that a person retries.
func puzzled(t *testing.T, a Answer) *story {
	s := begin(t).sends().answers(a)
	if step := s.plan(); step.Action != GiveUp {
		t.Fatalf("the plan is %+v", step)
	}
	return s.did(s.x.GiveUp(a.Code, "novel.")).is(PermanentlyFailed).passes(time.Hour).did(s.x.Retry(person))
}

// looks is the plan after a read that found nothing.
func (s *story) looks() Step {
	d := s.digest()
	d.Read = s.now
	return Plan(&s.x, d, s.p, s.now, time.Time{})
}

func TestARetryAfterAPuzzleReadsStripeFirst(t *testing.T) {
	for name, a := range map[string]Answer{
		"a code that nobody knows":           puzzle,
		"a reversal's, which was read after": {Row: "T18", Verdict: Failed, Reaction: LookFirst, HTTPStatus: 400, Alert: true},
		"a card's error":                     {Row: "T17", Verdict: Failed, Reaction: AskOperator, HTTPStatus: 402, Alert: true},
		"an unknown URL":                     {Row: "T16", Verdict: NotExecuted, Reaction: AskOperator, HTTPStatus: 404, Alert: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := puzzled(t, a)
			if step := s.plan(); step.Action != Look || step.Decides || step.At.After(s.now) {
				t.Fatalf("the plan is %+v", step)
			}
			s.finds(id(1), "tr_1").is(Completed)
		})
	}
	if step := puzzled(t, Answer{Row: "T4", Verdict: Failed, Reaction: AskOperator, HTTPStatus: 400}).plan(); step.Action != Send {
		t.Errorf("after a refusal that was understood the plan is %+v", step)
	}
}

func TestAPuzzleKeepsItsKeyUntilItIsSolved(t *testing.T) {
	s := puzzled(t, puzzle)
	if step := s.looks(); step.Action != Send {
		t.Fatalf("while the key is young the plan is %+v", step)
	}
	s.sends().drives(Sending, 1, 1).answers(storedPuzzle).drives(FailedState, 1, 0)
	if step := s.plan(); step.Action != Send || step.At.After(s.now) {
		t.Fatalf("the refusal is proved, and the person's word stands, but the plan is %+v", step)
	}
	s.sends().drives(Sending, 2, 1).answers(paid).is(Completed)
}

func TestAPuzzleThatRepeatsItselfIsGivenUpAgain(t *testing.T) {
	s := puzzled(t, puzzle).sends().drives(Sending, 1, 1).answers(puzzle)
	if step := s.plan(); step.Action != GiveUp {
		t.Errorf("the plan is %+v", step)
	}
	// A rate limit in between solves nothing.
	s = puzzled(t, puzzle).sends().answers(rateLimited).passes(time.Hour)
	if step := s.plan(); step.Action != Look {
		t.Errorf("after a rate limit the plan is %+v", step)
	}
}

func TestAPuzzleWhoseKeyIsOldWaitsForQuiet(t *testing.T) {
	s := puzzled(t, puzzle).passes(6 * time.Hour)
	quiet := dawn.Add(s.p.Windows.Quiet)
	if step := s.looks(); step.Action != Look || !step.Decides || !step.At.After(quiet) {
		t.Fatalf("before QUIET the plan is %+v", step)
	}
	s.forbids(ErrTooEarly, func() (Change, error) { return s.x.RenewEpoch(s.p, s.now) })
	s.now = quiet.Add(1)
	if step := s.looks(); step.Action != Look || !step.Decides {
		t.Fatalf("after QUIET the plan is %+v", step)
	}
	s.did(s.x.RenewEpoch(s.p, s.now))
	if step := s.plan(); step.Action != Send {
		t.Fatalf("once it is proved the plan is %+v", step)
	}
	s.sends().drives(Sending, 2, 1)
}

func TestARetryOfAllReversalsReadsForEachPuzzle(t *testing.T) {
	s := begin(t).sends().answers(paid).reverses(2, 100).reverses(3, 200)
	for range 2 {
		s.sends().answers(puzzle).did(s.x.GiveUp("novel", "novel."))
	}
	s.is(PermanentlyFailed).did(s.x.Retry(person))
	for _, trr := range []string{"trr_1", "trr_2"} {
		if step := s.plan(); step.Action != Look {
			t.Fatalf("before %s the plan is %+v", trr, step)
		}
		op, _ := s.x.Current()
		s.finds(op.ID, trr)
	}
	s.is(PartiallyReversed)
}

func TestAHoldDoesNotHideAPuzzle(t *testing.T) {
	s := begin(t).sends().answers(puzzle)
	s.did(s.x.Hold(HeldByOperator, time.Time{}, person)).did(s.x.Release(person))
	if step := s.plan(); step.Action != Look {
		t.Errorf("the plan is %+v", step)
	}
	s.sends().drives(Sending, 1, 1)
}
