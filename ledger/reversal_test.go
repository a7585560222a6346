package ledger_test

import (
	"errors"
	"testing"
	"time"

	. "github.com/settled/settled/ledger"
)

func made(n string) Answer { return Answer{Row: "R1", Verdict: Done, HTTPStatus: 200, StripeID: n} }

// at is the transfer as Stripe holds it, with reversals oldest first.
func at(reversals ...StripeReversal) StripeTransfer {
	x := StripeTransfer{ID: "tr_1", Amount: 1000, Currency: "eur", Destination: "acct_1"}
	for _, r := range reversals {
		x.AmountReversed += r.Amount
		x.Reversals = append([]StripeReversal{r}, x.Reversals...)
	}
	return x
}

func outside(n string, amount int64) StripeReversal { return StripeReversal{ID: n, Amount: amount} }

func ours(n string, amount int64, op ID) StripeReversal {
	return StripeReversal{ID: n, Amount: amount, Metadata: map[string]string{MetaOperation: ReversalName(TransferName("", "inv-1"), op.String()).String()}}
}

func (s *story) reads(x StripeTransfer) *story {
	s.Helper()
	c, changed, err := s.x.Reconcile(x, reversedAll)
	if err == nil && !changed {
		s.Fatalf("in %s: reading %+v changed nothing", s.x.Status(), x)
	}
	return s.did(c, err)
}

func (s *story) learnsNothing(x StripeTransfer) *story {
	s.Helper()
	if _, changed, err := s.x.Reconcile(x, reversedAll); changed || err != nil {
		s.Fatalf("in %s: reading %+v changed it (%v)", s.x.Status(), x, err)
	}
	return s
}

func (s *story) returned(want int64) *story {
	s.Helper()
	if s.x.AmountReversed != want {
		s.Fatalf("%d came back, want %d", s.x.AmountReversed, want)
	}
	return s
}

func TestReversals(t *testing.T) {
	for name, tell := range map[string]func(*story){
		"all of it, when no amount is said": func(s *story) {
			s.reverses(2, 0).is(ReversalPending).returned(0).sends().answers(made("trr_1")).is(Reversed).returned(1000)
		},
		"a part, then another, then the rest": func(s *story) {
			s.reverses(2, 300).sends().answers(made("trr_1")).is(PartiallyReversed).returned(300)
			s.reverses(3, 200).sends().answers(made("trr_2")).is(PartiallyReversed).returned(500)
			s.reverses(4, 0).sends().answers(made("trr_3")).is(Reversed).returned(1000)
			s.forbids(ErrIllegalMove, func() (Change, error) { return s.x.Reverse(id(5), id(5).String(), 0, 0, person) })
		},
		"two at a time are driven one after the other": func(s *story) {
			s.reverses(2, 300).reverses(3, 700).sends().answers(made("trr_1")).is(ReversalPending).sends().answers(made("trr_2")).is(Reversed)
		},
		"not more than remains": func(s *story) {
			s.reverses(2, 300)
			s.wrong(701)
			s.wrong(-1)
			s.reverses(3, 700)
			s.forbids(ErrIllegalMove, func() (Change, error) { return s.x.Reverse(id(4), id(4).String(), 0, 0, person) })
			s.forbids(ErrIllegalMove, func() (Change, error) { return s.x.Reverse(id(4), id(4).String(), 1, 0, person) })
		},
		"not more than remains when more came back outside than was asked for": func(s *story) {
			s.reverses(2, 300).reverses(3, 700).sends().reads(at(outside("trr_x", 800)))
			if s.x.Remaining() >= 0 {
				s.Fatal("the story is about less than nothing")
			}
			s.forbids(ErrIllegalMove, func() (Change, error) { return s.x.Reverse(id(4), id(4).String(), 0, 0, person) })
		},
		"one given up leaves the transfer to a person": func(s *story) {
			s.reverses(2, 300).sends().answers(refused).did(s.x.GiveUp("", "")).is(PermanentlyFailed).returned(0)
		},
		"but not before the others are done": func(s *story) {
			s.reverses(2, 300).reverses(3, 200).did(s.x.GiveUp("bug", "")).is(ReversalPending).sends().answers(made("trr_1")).is(PermanentlyFailed).returned(200)
		},
		"a new one replaces what was given up": func(s *story) {
			s.reverses(2, 600).did(s.x.GiveUp("bug", "")).passes(1).reverses(3, 0)
			if r := s.x.Reversals; r[0].State != Canceled || !r[0].Since.Equal(s.now) || r[1].Amount != 1000 {
				s.Fatalf("%+v", r)
			}
			s.sends().answers(made("trr_1")).is(Reversed)
		},
		"a lost one is not undone by the next": func(s *story) {
			s.reverses(2, 300).sends().answers(timedOut).reverses(3, 100)
			if op, _ := s.x.Current(); op.ID != id(2) {
				s.Error("the second overtook the first, whose outcome is not known")
			}
		},
		"an answer of one says nothing of another": func(s *story) {
			s.reverses(2, 300).sends().answers(refused).did(s.x.GiveUp("", "")).reverses(3, 300).sends().ignores(id(2), 0, 1, storedNo).drives(Sending, 1, 1)
		},

		// What others did.
		"ours is there: it is confirmed": func(s *story) {
			s.reverses(2, 300).sends().answers(timedOut).reads(at(ours("trr_1", 300, id(2)))).is(PartiallyReversed).returned(300)
		},
		"ours is there, and others' too": func(s *story) {
			s.reverses(2, 300).sends().answers(timedOut).reads(at(outside("trr_x", 700), ours("trr_1", 300, id(2)))).returned(300)
		},
		"another's leaves room: nothing is learned": func(s *story) {
			s.reverses(2, 300).sends().learnsNothing(at(outside("trr_x", 700)))
		},
		"nothing was reversed: nothing is learned": func(s *story) { s.reverses(2, 300).sends().learnsNothing(at()) },
		"one of the same amount, with no room left, stands for ours": func(s *story) {
			s.reverses(2, 600).sends().answers(timedOut).reads(at(outside("trr_x", 600))).is(PartiallyReversed).returned(600)
			if r := s.x.Reversals[0]; len(s.x.Reversals) != 1 || r.StripeID != "trr_x" || !r.External || r.OpenSends != 0 || r.ErrorCode != "" {
				s.Errorf("%+v", s.x.Reversals)
			}
		},
		"the oldest of several stands, the others are booked": func(s *story) {
			s.reverses(2, 400).sends().reads(at(outside("trr_a", 300), outside("trr_b", 400), outside("trr_c", 200))).is(PartiallyReversed).returned(900)
			if r := s.x.Reversals; len(r) != 3 || r[0].StripeID != "trr_b" || r[1].StripeID != "trr_a" || r[2].StripeID != "trr_c" || r[1].ID != ExternalID("trr_a") {
				s.Errorf("%+v", r)
			}
		},
		"all came back by other hands: ours is moot": func(s *story) {
			s.reverses(2, 300).sends().reads(at(outside("trr_x", 1000))).is(Reversed).returned(1000)
			if s.x.Reversals[0].State != Canceled {
				s.Errorf("%+v", s.x.Reversals)
			}
		},
		"moot also when its outcome was not known: nothing is left for it to have taken": func(s *story) {
			s.reverses(2, 300).sends().answers(serverError).reads(at(outside("trr_x", 1000))).is(Reversed)
		},
		"and when it was parked": func(s *story) {
			s.reverses(2, 300).parked().reads(at(outside("trr_x", 1000))).is(Reversed)
		},
		"too little is left: what others took is booked, and ours goes on": func(s *story) {
			s.reverses(2, 300).sends().reads(at(outside("trr_x", 800))).is(ReversalPending).returned(800).drives(Sending, 1, 1)
			s.learnsNothing(at(outside("trr_x", 800))) // it is known now
			s.answers(refused).did(s.x.GiveUp("", "")).is(PermanentlyFailed).returned(800)
			s.reverses(3, 0).sends().answers(made("trr_1")).is(Reversed)
		},
		"a list that lags behind the amount is not believed: what it lacks may be ours": func(s *story) {
			s.reverses(2, 100).sends().answers(timedOut)
			x := at(outside("trr_x", 900), ours("trr_1", 100, id(2)))
			x.Reversals = x.Reversals[1:] // newest first
			s.learnsNothing(x)
			s.reads(at(outside("trr_x", 900), ours("trr_1", 100, id(2))))
			if r := s.x.Reversals[0]; r.State != Completed || r.StripeID != "trr_1" {
				s.Errorf("%+v", r)
			}
		},
		"a list that shows one twice is not believed": func(s *story) {
			s.reverses(2, 600).sends()
			x := at(outside("trr_x", 500))
			x.Reversals = append(x.Reversals, x.Reversals[0])
			s.learnsNothing(x)
		},
		"what was never sent is not confirmed by another's": func(s *story) {
			s.reverses(2, 600).learnsNothing(at(outside("trr_x", 600))).learnsNothing(at(outside("trr_x", 1000)))
		},
		"nothing is booked where nothing is driven": func(s *story) { s.learnsNothing(at(outside("trr_x", 600))) },
	} {
		t.Run(name, func(t *testing.T) { tell(begin(t).sends().answers(paid)) })
	}
}

func (s *story) wrong(amount int64) {
	s.Helper()
	_, err := s.x.Reverse(id(99), id(99).String(), amount, 0, person)
	if wrong, ok := err.(FieldErrors); !ok || len(wrong) != 1 || wrong[0].Field != "amount" {
		s.Errorf("reverse %d: %v, want a problem with the amount", amount, err)
	}
}

func TestAReversalOfWholeUnitsIsWhole(t *testing.T) {
	s := begin(t).sends().answers(paid)
	s.x.Money = Money{100000, "isk"}
	s.wrong(150)
	if _, err := s.x.Reverse(id(2), id(2).String(), 500, 0, person); err != nil {
		t.Error(err)
	}
}

func TestAnExternalReversalHasOneID(t *testing.T) {
	first, again, other := ExternalID("trr_1"), ExternalID("trr_1"), ExternalID("trr_2")
	if first != again || first == other {
		t.Error("finding one twice would book it twice, or two as one")
	}
}

// An order of a later epoch may repeat a lost one under its keys, which are older than its row.
func TestAReplayedRefusalOfARetracedKeyDoesNotCloseWhatIsOpen(t *testing.T) {
	for _, epoch := range []int{1, 2} {
		p := Policy{Windows: DefaultWindows(), Epoch: epoch, EpochSince: dawn.Add(-time.Hour)}
		x := Accept(order(), id(1), epoch, dawn, By{}).After
		if x.Operation.Retraces() != (epoch > 1) || x.Operation.Epoch != 1 {
			t.Fatalf("in epoch %d it begins with the keys of %d", epoch, x.Operation.Epoch)
		}
		if _, err := x.Begin(p, dawn); errors.Is(err, ErrTooOld) != (epoch > 1) {
			t.Fatalf("before it was looked up in epoch %d: %v", epoch, err)
		}
		x.Operation.ClearAt = dawn
		c, err := x.Begin(p, dawn)
		if err != nil {
			t.Fatal(err)
		}
		c.Stamp(dawn)
		x = c.After
		c, _, err = x.Conclude(x.ID, 1, 1, timedOut)
		if err != nil {
			t.Fatal(err)
		}
		x = c.After
		if c, err = x.Begin(p, dawn); err != nil {
			t.Fatal(err)
		}
		x = c.After
		a := refused
		a.Replayed = true
		c, _, err = x.Conclude(x.ID, 1, 1, a)
		if want := map[int]State{1: FailedState, 2: Unresolved}[epoch]; err != nil || c.After.Status() != want {
			t.Errorf("in epoch %d: %s, %v, want %s", epoch, c.After.Status(), err, want)
		}
	}
}
