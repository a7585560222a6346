package ledger_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/settled/settled/ledger"
)

// holding wants these sources to hold an operation, and no other, in the order they came.
func (s *story) holding(operation ID, want ...HoldSource) *story {
	s.Helper()
	var got []HoldSource
	for _, h := range s.x.HoldsOf(operation) {
		got = append(got, h.Source)
	}
	if !slices.Equal(got, want) {
		s.Errorf("held by %v, want %v", got, want)
	}
	return s
}

// laterOrder begins a story of an order with a date.
func laterOrder(s *story, date time.Time) *story {
	o := order()
	o.Reference, o.NotBefore = "later", date
	s.x, s.rows, s.books = Transfer{}, nil, Books{}
	s.commit(Accept(o, id(1), 0, s.now, By{}))
	return s.is(Held)
}

// refusedFor wants a step to be refused in words that have all of these in them.
func (s *story) refusedFor(err error, words ...string) *story {
	s.Helper()
	if !errors.Is(err, ErrIllegalMove) {
		s.Errorf("in %s: %v is no refusal", s.x.Status(), err)
		return s
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			s.Errorf("%q does not say %q", err, w)
		}
	}
	return s
}

func TestAHoldNeverShortensAnother(t *testing.T) {
	christmas := dawn.Add(270 * 24 * time.Hour)
	for name, tell := range map[string]func(*story){
		"a hold and its release do not end the order's own date": func(s *story) {
			laterOrder(s, christmas).did(s.x.Hold(HeldByOperator, time.Time{}, person)).holding(id(1), HeldBySchedule, HeldByOperator)
			s.did(s.x.Release(person)).is(Held).holding(id(1), HeldBySchedule)
			if s.x.HeldBy != HeldBySchedule || !s.x.HoldEndsAt.Equal(christmas) {
				s.Errorf("held by %s until %s", s.x.HeldBy, s.x.HoldEndsAt)
			}
			s.now = christmas
			s.did(s.x.Lapse(s.now)).is(Pending)
		},
		"a release that finds no operator's hold says what stands": func(s *story) {
			laterOrder(s, christmas)
			_, err := s.x.Release(person)
			s.refusedFor(err, "no operator holds it", "schedule", christmas.Format(time.RFC3339), "override").holding(id(1), HeldBySchedule)
		},
		"an override ends what it names by its source, and nothing else": func(s *story) {
			laterOrder(s, christmas).did(s.x.Hold(HeldByOperator, time.Time{}, person))
			s.did(s.x.LetGo(id(1), "schedule", person)).is(Held).holding(id(1), HeldByOperator)
			s.did(s.x.Release(person)).is(Pending)
		},
		"or by its ID": func(s *story) {
			s.did(s.x.Hold(HeldByOperator, time.Time{}, By{Message: id(7), Reason: "one"}))
			s.did(s.x.Hold(HeldByOperator, time.Time{}, By{Message: id(8), Reason: "two"}))
			s.did(s.x.LetGo(id(1), id(7).String(), person)).is(Held)
			if left := s.x.HoldsOf(id(1)); len(left) != 1 || left[0].ID != id(8) || left[0].Reason != "two" {
				s.Errorf("left: %v", left)
			}
		},
		"an override of what does not stand says what does": func(s *story) {
			s.did(s.x.Hold(HeldByOperator, time.Time{}, person))
			_, err := s.x.LetGo(id(1), "dispute", person)
			s.refusedFor(err, "dispute", "operator")
		},
		"each ends at its own time": func(s *story) {
			s.did(s.x.Hold(HeldByOperator, s.now.Add(3*time.Hour), person)).did(s.x.Hold(HeldByDispute, s.now.Add(time.Hour), person))
			first := s.now.Add(time.Hour)
			if step := s.plan(); step.Action != Release || !step.At.Equal(first) || step.Code != "held_by_operator" {
				s.Errorf("%+v", step)
			}
			_, err := s.x.Lapse(first.Add(-1))
			s.refusedFor(err)
			s.now = first
			s.did(s.x.Lapse(s.now)).is(Held).holding(id(1), HeldByOperator)
			s.passes(2 * time.Hour).did(s.x.Lapse(s.now)).is(Pending).holding(id(1))
		},
		"a later hold with an early end does not end one without": func(s *story) {
			s.did(s.x.Hold(HeldByOperator, time.Time{}, person)).did(s.x.Hold(HeldByOperator, s.now.Add(time.Hour), person))
			s.passes(time.Hour).did(s.x.Lapse(s.now)).is(Held)
			if s.x.HeldBy != HeldByOperator || !s.x.HoldEndsAt.IsZero() {
				s.Errorf("held by %s until %s", s.x.HeldBy, s.x.HoldEndsAt)
			}
		},
		"held_by is who holds it longest, and of those the weightiest": func(s *story) {
			longest := func(want HoldSource) {
				s.Helper()
				if s.x.HeldBy != want {
					s.Errorf("held by %s, want %s", s.x.HeldBy, want)
				}
			}
			s.did(s.x.Hold(HeldByDispute, s.now.Add(time.Hour), person))
			longest(HeldByDispute)
			s.did(s.x.Hold(HeldByRefund, s.now.Add(2*time.Hour), person))
			longest(HeldByRefund)
			s.did(s.x.Hold(HeldByOperator, time.Time{}, person))
			longest(HeldByOperator)
			s.did(s.x.Hold(HeldByPayment, time.Time{}, person))
			longest(HeldByPayment)
		},
		"what holds it is told with who, since when, until when, and why": func(s *story) {
			laterOrder(s, christmas).did(s.x.Hold(HeldByOperator, time.Time{}, By{Principal: "anna", Reason: "stocktaking"}))
			step := s.plan()
			for _, words := range []string{"Held by anna since 2026-03-29T00:30:00Z: 'stocktaking'.", "Held by schedule since ", "until " + christmas.Format(time.RFC3339), "`release`", "`override`"} {
				if !strings.Contains(step.Why, words) {
					s.Errorf("%q does not say %q", step.Why, words)
				}
			}
			if step.Mover != MoveOfPlatform || !step.At.Equal(christmas) {
				s.Errorf("%+v", step)
			}
		},
		"so many may stand": func(s *story) {
			for range HoldsMax {
				s.did(s.x.Hold(HeldByOperator, time.Time{}, person))
			}
			_, err := s.x.Hold(HeldByOperator, time.Time{}, person)
			s.refusedFor(err)
		},
		"evidence ends all of them": func(s *story) {
			laterOrder(s, christmas).did(s.x.Hold(HeldByDispute, time.Time{}, person)).finds(id(1), "tr_1").is(Completed).holding(id(1))
		},
	} {
		t.Run(name, func(t *testing.T) { tell(begin(t)) })
	}
}

func TestARepeatedHoldIsTheSame(t *testing.T) {
	s := begin(t)
	m := Message{ID: id(7), Transfer: id(1), Type: MessageHold, By: By{Message: id(7), Principal: "anna", Reason: "stocktaking"}}
	if s.x.Holding(m) {
		t.Error("nothing holds it")
	}
	s.did(s.x.Command(m))
	again := m
	again.ID = id(8)
	if !s.x.Holding(m) || !s.x.Holding(again) {
		t.Error("the same words by the same person are another hold")
	}
	for name, change := range map[string]func(*Message){
		"another's":          func(m *Message) { m.By.Principal = "bob" },
		"for another reason": func(m *Message) { m.By.Reason = "fraud" },
		"until a moment":     func(m *Message) { m.Until = dawn.Add(time.Hour) },
		"of a reversal":      func(m *Message) { m.Reversal = id(9) },
	} {
		other := again
		change(&other)
		if s.x.Holding(other) {
			t.Errorf("%s is the same", name)
		}
	}
}

// reversal returns one of the reversals.
func (s *story) reversal(n uint64) *Reversal {
	s.Helper()
	r, err := s.x.Reversal(id(n))
	if err != nil {
		s.Fatal(err)
	}
	return r
}

func TestAReversalIsStoppedByItsOwnID(t *testing.T) {
	done := func(n string) Answer { return Answer{Verdict: Done, StripeID: "trr_" + n} }
	for name, tell := range map[string]func(*story){
		"canceled, its amount remains": func(s *story) {
			s.reverses(2, 400).did(s.x.CancelReversal(id(2), person)).is(Completed)
			if s.x.Remaining() != 1000 || s.reversal(2).State != Canceled {
				s.Errorf("%d remain, and it is %s", s.x.Remaining(), s.reversal(2).State)
			}
			s.reverses(3, 0).sends().answers(done("3")).is(Reversed)
		},
		"canceled after one that came back": func(s *story) {
			s.reverses(2, 400).reverses(3, 100).sends().answers(done("2")).is(ReversalPending)
			s.did(s.x.CancelReversal(id(3), person)).is(PartiallyReversed)
		},
		"canceled beside one that was given up": func(s *story) {
			s.reverses(2, 400).reverses(3, 100).did(s.x.GiveUp("bug", "")).is(ReversalPending)
			s.did(s.x.CancelReversal(id(3), person)).is(PermanentlyFailed)
			s.did(s.x.CancelReversal(id(2), person)).is(Completed)
		},
		"one that is under way is not": func(s *story) {
			s.reverses(2, 400).sends()
			_, err := s.x.CancelReversal(id(2), person)
			s.refusedFor(err)
			_, err = s.x.HoldReversal(id(2), HeldByOperator, time.Time{}, person)
			s.refusedFor(err)
		},
		"one that came back is not": func(s *story) {
			s.reverses(2, 400).sends().answers(done("2"))
			_, err := s.x.CancelReversal(id(2), person)
			s.refusedFor(err)
		},
		"another transfer's is none": func(s *story) {
			var wrong FieldErrors
			if _, err := s.x.CancelReversal(id(77), person); !errors.As(err, &wrong) || wrong[0].Field != "reversal" {
				s.Errorf("%v", err)
			}
		},
		"a command to the transfer says to name the reversal": func(s *story) {
			s.reverses(2, 400)
			_, err := s.x.Cancel(person)
			s.refusedFor(err, id(2).String(), "name one of its reversals")
			_, err = s.x.Hold(HeldByOperator, time.Time{}, person)
			s.refusedFor(err, id(2).String())
			s.did(s.x.HoldReversal(id(2), HeldByOperator, time.Time{}, person))
			_, err = s.x.Release(person)
			s.refusedFor(err, id(2).String())
			_, err = s.x.Retry(person)
			s.refusedFor(err, id(2).String(), "release it")
		},
		"held, its siblings go on": func(s *story) {
			s.reverses(2, 400).reverses(3, 100)
			s.did(s.x.HoldReversal(id(2), HeldByOperator, time.Time{}, person)).is(ReversalPending).holding(id(2), HeldByOperator)
			s.sends().answers(done("3")).is(ReversalPending)
			if step := s.plan(); step.Action != Idle || step.Code != "held_by_operator" || !strings.Contains(step.Why, id(2).String()) {
				s.Errorf("%+v", step)
			}
			_, err := s.x.Begin(s.p, s.now)
			s.refusedFor(err)
			s.did(s.x.LetGo(id(2), "", person)).sends().answers(done("2")).is(PartiallyReversed)
		},
		"held until a moment, it goes on then": func(s *story) {
			s.reverses(2, 400).did(s.x.HoldReversal(id(2), HeldByOperator, s.now.Add(time.Hour), person))
			if step := s.plan(); step.Action != Release || !step.At.Equal(s.now.Add(time.Hour)) {
				s.Errorf("%+v", step)
			}
			s.passes(time.Hour).did(s.x.Lapse(s.now)).sends()
		},
		"let go while a younger one is under way, it waits for its end": func(s *story) {
			s.reverses(2, 400).reverses(3, 100).did(s.x.HoldReversal(id(2), HeldByOperator, time.Time{}, person))
			s.sends().loses().did(s.x.LetGo(id(2), "", person))
			if op, _ := s.x.Current(); op.ID != id(3) || op.State != Unresolved {
				s.Errorf("%s, which is %s, is driven", op.ID, op.State)
			}
		},
		"a hold keeps what its key is bound to": func(s *story) {
			s.reverses(2, 400).sends().answers(refused)
			s.did(s.x.HoldReversal(id(2), HeldByOperator, time.Time{}, person)).did(s.x.LetGo(id(2), "", person))
			if r := s.reversal(2); r.State != Pending || r.Generation != 1 {
				s.Errorf("%+v", r.Operation)
			}
			s.sends()
			if r := s.reversal(2); r.Generation != 2 {
				s.Errorf("%+v", r.Operation)
			}
		},
		"canceled, it is held by nothing": func(s *story) {
			s.reverses(2, 400).did(s.x.HoldReversal(id(2), HeldByDispute, time.Time{}, person)).did(s.x.CancelReversal(id(2), person)).is(Completed).holding(id(2))
		},
		"given up, it is retried alone": func(s *story) {
			s.reverses(2, 400).did(s.x.GiveUp("bug", "")).is(PermanentlyFailed)
			s.did(s.x.RetryReversal(id(2), person)).is(ReversalPending).sends().answers(done("2")).is(PartiallyReversed)
		},
		"given up and held by nobody, it is not retried above what remains": func(s *story) {
			s.reverses(2, 600).reverses(3, 400).did(s.x.GiveUp("bug", ""))
			s.did(s.x.RetryReversal(id(2), person)).is(ReversalPending)
		},
		"held, it is not retried": func(s *story) {
			s.reverses(2, 400).did(s.x.HoldReversal(id(2), HeldByOperator, time.Time{}, person))
			_, err := s.x.RetryReversal(id(2), person)
			s.refusedFor(err, "release it")
		},
		"what others reversed is booked once none of ours is left": func(s *story) {
			s.reverses(2, 400).did(s.x.HoldReversal(id(2), HeldByOperator, time.Time{}, person))
			seen := StripeTransfer{ID: "tr_1", Amount: 1000, AmountReversed: 800, Currency: "eur", Reversals: []StripeReversal{{ID: "trr_x", Amount: 800}}}
			_, _, err := s.x.AdoptOutside(seen, person)
			s.refusedFor(err, id(2).String())
			s.did(s.x.CancelReversal(id(2), person))
			c, _, err := s.x.AdoptOutside(seen, person)
			s.did(c, err).is(PartiallyReversed)
		},
	} {
		t.Run(name, func(t *testing.T) { tell(begin(t).sends().answers(paid)) })
	}
}
