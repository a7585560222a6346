package ledger_test

import (
	"testing"
	"time"

	. "github.com/settled/settled/ledger"
)

// The rules of the money protocol, one story each.
func TestTheMoneyProtocol(t *testing.T) {
	const safe, quiet = 6 * time.Hour, 10*time.Hour + 30*time.Minute
	for name, tell := range map[string]func(*story){
		// Intent before call.
		"an intent records generation, hash, count and time before the call": func(s *story) {
			c, err := s.x.Begin(s.p, s.now)
			if !c.Begins {
				s.Error("the database is not asked to write the time")
			}
			s.did(c, err).is(Sending).drives(Sending, 1, 1)
			if op, _ := s.x.Current(); !op.FirstSentAt.Equal(s.now) || op.RequestHash != s.x.Request(op).Hash() {
				s.Errorf("%+v", op)
			}
		},
		"only the winner of the intent may send": func(s *story) {
			s.sends().forbids(ErrIllegalMove, func() (Change, error) { return s.x.Begin(s.p, s.now) })
		},
		"a held transfer is not sent": func(s *story) {
			s.did(s.x.Hold(HeldByDispute, time.Time{}, person))
			s.forbids(ErrIllegalMove, func() (Change, error) { return s.x.Begin(s.p, s.now) })
		},

		// The verdicts, one send open.
		"done settles": func(s *story) {
			s.sends().answers(paid).is(Completed)
			if s.x.Operation.StripeID != "tr_1" || s.x.Operation.OpenSends != 0 || s.x.Operation.ErrorCode != "" {
				s.Errorf("%+v", s.x.Operation)
			}
		},
		"a refusal closes the generation when no other send is open": func(s *story) {
			s.sends().answers(refused).is(FailedState).drives(FailedState, 1, 0)
		},
		"a call that was not executed keeps the key": func(s *story) { s.sends().answers(rateLimited).drives(Pending, 1, 0).sends().drives(Sending, 1, 1) },
		"and its age": func(s *story) { s.sends().answers(rateLimited).passes(time.Hour).sends(); s.sentFirst(dawn) },
		"but not once it is old: then it earns another": func(s *story) { s.sends().answers(rateLimited).passes(safe).sends().drives(Sending, 2, 1) },
		"a lost answer leaves the outcome open":         func(s *story) { s.sends().answers(timedOut).drives(Unresolved, 1, 1) },
		"a dead owner leaves the outcome open":          func(s *story) { s.sends().loses().drives(Unresolved, 1, 1) },
		"a server error leaves the outcome open":        func(s *story) { s.sends().answers(serverError).drives(Unresolved, 1, 1) },

		// Several sends open.
		"a refusal while an earlier send is open does not close": func(s *story) {
			s.sends().answers(timedOut).sends().drives(Sending, 1, 2).answers(refused).drives(Unresolved, 1, 1)
		},
		"nor does a rate limit": func(s *story) {
			s.sends().answers(timedOut).sends().answers(rateLimited).drives(Unresolved, 1, 1)
		},
		"nor do many: a lost send stays open for ever": func(s *story) {
			s.sends().answers(timedOut)
			for range 5 {
				s.sends().answers(rateLimited).drives(Unresolved, 1, 1)
				s.sends().answers(refused).drives(Unresolved, 1, 1)
			}
		},
		"a replayed refusal closes although others are open": func(s *story) {
			s.sends().answers(timedOut).sends().answers(timedOut).sends().answers(storedNo).drives(FailedState, 1, 0)
		},
		"every send answered closes, whichever answer comes last": func(s *story) {
			s.sends().loses().sends().drives(Sending, 1, 2) // the first owner lives after all
			s.answers(rateLimited).drives(Unresolved, 1, 1).answers(refused).drives(FailedState, 1, 0)
		},
		"also when the last was not executed": func(s *story) {
			s.sends().loses().sends().answers(refused).drives(Unresolved, 1, 1).answers(rateLimited).drives(FailedState, 1, 0)
		},
		"a send that was taken for lost and is found not executed closes": func(s *story) {
			s.sends().loses().answers(rateLimited).drives(FailedState, 1, 0)
		},
		"done settles although others are open": func(s *story) { s.sends().answers(timedOut).sends().answers(paid).is(Completed) },
		"done settles from unresolved":          func(s *story) { s.sends().loses().answers(paid).is(Completed) },

		// †: each answer that proves something only when no earlier send is unknown.
		"† T3 a missing capability":      daggered(Answer{Row: "T3", Verdict: Failed, Reaction: AwaitSeller, HTTPStatus: 400}, FailedState),
		"† T4 no such destination":       daggered(Answer{Row: "T4", Verdict: Failed, Reaction: AskOperator, HTTPStatus: 400}, FailedState),
		"† T5 no such charge":            daggered(Answer{Row: "T5", Verdict: Failed, Reaction: AskOperator, HTTPStatus: 400}, FailedState),
		"† T6 a country not allowed":     daggered(Answer{Row: "T6", Verdict: Failed, Reaction: AskOperator, HTTPStatus: 400}, FailedState),
		"† T7 the charge is used up":     daggered(Answer{Row: "T7", Verdict: Failed, Reaction: LookFirst, HTTPStatus: 400}, FailedState),
		"† T8 another currency":          daggered(Answer{Row: "T8", Verdict: Failed, Reaction: AskOperator, HTTPStatus: 400}, FailedState),
		"† T9 a parameter":               daggered(Answer{Row: "T9", Verdict: Failed, Reaction: AskOperator, HTTPStatus: 400, Alert: true}, FailedState),
		"† T12 a rate limit":             daggered(rateLimited, Pending),
		"† T13 a lock":                   daggered(Answer{Row: "T13", Verdict: NotExecuted, HTTPStatus: 429, Code: "lock_timeout"}, Pending),
		"† T14 a bad key of the account": daggered(Answer{Row: "T14", Verdict: NotExecuted, Scope: ScopeAuth, HTTPStatus: 401}, Pending),
		"† T15 no permission":            daggered(Answer{Row: "T15", Verdict: NotExecuted, Reaction: AskOperator, HTTPStatus: 403}, Pending),
		"† T16 no such path":             daggered(Answer{Row: "T16", Verdict: NotExecuted, Reaction: AskOperator, HTTPStatus: 404}, Pending),
		"† T26 not sent":                 daggered(Answer{Row: "T26", Verdict: NotExecuted, Code: "dial"}, Pending),

		// Unknown: the same key while it is young, and never afterwards.
		"an unknown is sent again under the same key": func(s *story) {
			s.sends().answers(timedOut)
			before := s.x.Operation.RequestHash
			s.passes(time.Hour).sends().drives(Sending, 1, 2)
			if s.x.Operation.RequestHash != before {
				s.Error("with another request")
			}
			s.sentFirst(dawn)
		},
		"until a nanosecond before SAFE": func(s *story) { s.sends().answers(timedOut).passes(safe-1).sends().drives(Sending, 1, 2) },
		"not at SAFE": func(s *story) {
			s.sends().answers(timedOut).passes(safe).forbids(ErrTooOld, func() (Change, error) { return s.x.Begin(s.p, s.now) })
		},
		"a request that would differ is not sent": func(s *story) {
			s.sends().answers(timedOut)
			s.x.TransferGroup, s.x.OrderHash = "changed by a deploy", with(s.x.Order, func(o *Order) { o.TransferGroup = "changed by a deploy" }).Hash()
			s.forbids(ErrDrift, func() (Change, error) { return s.x.Begin(s.p, s.now) })
		},
		"nor after a rate limit": func(s *story) {
			s.sends().answers(rateLimited)
			s.x.TransferGroup, s.x.OrderHash = "changed by a deploy", with(s.x.Order, func(o *Order) { o.TransferGroup = "changed by a deploy" }).Hash()
			s.forbids(ErrDrift, func() (Change, error) { return s.x.Begin(s.p, s.now) })
		},
		"only a closed generation earns the next one": func(s *story) {
			s.sends().answers(refused).passes(time.Minute).sends().drives(Sending, 2, 1)
			s.sentFirst(dawn.Add(time.Minute))
		},
		"a closed generation's key is not sent again after a hold": func(s *story) {
			s.sends().answers(storedNo).did(s.x.Hold(HeldByOperator, time.Time{}, person)).did(s.x.Release(person)).sends().drives(Sending, 2, 1)
		},
		"nor after a person's retry": func(s *story) {
			s.sends().answers(storedNo).did(s.x.GiveUp("", "")).did(s.x.Retry(person)).is(Pending).sends().drives(Sending, 2, 1)
		},
		"nor a reversal's": func(s *story) {
			s.sends().answers(paid).reverses(2, 0).sends().answers(storedNo).did(s.x.GiveUp("", "")).did(s.x.Retry(person)).sends().drives(Sending, 2, 1)
		},

		// Absence.
		"absence before QUIET is no evidence": func(s *story) {
			s.sends().loses().passes(quiet-1).forbids(ErrTooEarly, func() (Change, error) { return s.x.Absent(s.p, false, s.now) })
		},
		"absence at exactly QUIET is no evidence": func(s *story) {
			s.sends().loses().passes(quiet).forbids(ErrTooEarly, func() (Change, error) { return s.x.Absent(s.p, false, s.now) })
		},
		"absence after QUIET is proof": func(s *story) {
			s.sends().loses().passes(quiet+1).did(s.x.Absent(s.p, false, s.now)).drives(FailedState, 1, 0).sends().drives(Sending, 2, 1)
		},
		"but not of a doubtful generation: that is parked": func(s *story) {
			s.sends().answers(serverError).passes(quiet+1).did(s.x.Absent(s.p, s.digest().Doubtful, s.now)).drives(Parked, 1, 1)
		},
		"nor under the policy always": func(s *story) {
			s.p.Unresolved = ParkAlways
			s.sends().loses().passes(quiet + 1).did(s.x.Absent(s.p, false, s.now)).is(Parked)
		},
		"QUIET counts from the first send, not from the last": func(s *story) {
			s.sends().loses().passes(safe - 1).sends().loses().passes(quiet - safe + 2).did(s.x.Absent(s.p, false, s.now)).is(FailedState)
		},
		"a send under way cannot be proved absent": func(s *story) {
			s.sends().passes(quiet+1).forbids(ErrIllegalMove, func() (Change, error) { return s.x.Absent(s.p, false, s.now) })
		},
		"nor can what is owed": func(s *story) {
			s.passes(quiet+1).forbids(ErrIllegalMove, func() (Change, error) { return s.x.Absent(s.p, false, s.now) })
		},

		// Parked only leaves by evidence.
		"parked is left by an answer":        func(s *story) { s.parked().answers(paid).is(Completed) },
		"parked is left by what is found":    func(s *story) { s.parked().finds(id(1), "tr_1").is(Completed) },
		"parked is left by a stored refusal": func(s *story) { s.parked().answers(storedNo).is(FailedState) },
		"parked is left by a person's word": func(s *story) {
			s.parked().did(s.x.ResolveAbsent(s.p, s.digest(), s.now, person)).drives(FailedState, 1, 0)
		},
		"parked is not left by another no":    func(s *story) { s.sends().loses().sends().loses().parkedNow().ignores(id(1), 0, 1, refused).is(Parked) },
		"parked is not left by not knowing":   func(s *story) { s.parked().ignores(id(1), 0, 1, timedOut).is(Parked) },
		"parked is not left by anything else": func(s *story) { s.parked().stuck() },
		"a person's word is too early before QUIET": func(s *story) {
			s.sends().loses().did(s.x.SetAside("bug")).is(Parked).passes(quiet)
			s.forbids(ErrTooEarly, func() (Change, error) { return s.x.ResolveAbsent(s.p, s.digest(), s.now, person) })
			s.passes(1).did(s.x.ResolveAbsent(s.p, s.digest(), s.now, person)).is(FailedState)
		},
		"a person's word is taken of parked operations only": func(s *story) {
			s.sends().loses().passes(quiet+1).forbids(ErrIllegalMove, func() (Change, error) { return s.x.ResolveAbsent(s.p, s.digest(), s.now, person) })
		},

		// Answers of closed generations.
		"an answer of an earlier generation says nothing": func(s *story) {
			s.sends().answers(refused).sends().ignores(id(1), 0, 1, refused).ignores(id(1), 0, 1, rateLimited).ignores(id(1), 0, 1, timedOut).drives(Sending, 2, 1)
		},
		"unless it is done": func(s *story) { s.sends().answers(refused).sends().hears(id(1), 0, 1, paid).is(Completed) },
		"an answer of another epoch says nothing": func(s *story) {
			s.sends().ignores(id(1), 1, 1, refused).drives(Sending, 1, 1)
		},
		"an answer to what is owed says nothing": func(s *story) { s.sends().answers(rateLimited).ignores(id(1), 0, 1, refused).is(Pending) },

		// Evidence.
		"evidence that is known changes nothing": func(s *story) {
			s.sends().answers(paid).ignores(id(1), 0, 1, paid)
			if _, changed, err := s.x.Found(id(1), "tr_1", ""); changed || err != nil {
				s.Error(changed, err)
			}
		},
		"a second object is a conflict": func(s *story) {
			s.sends().answers(paid)
			_, _, err := s.x.Found(id(1), "tr_2", "")
			s.refuses(ErrConflict, Change{}, err)
		},
		"evidence against a canceled transfer is a conflict": func(s *story) { s.did(s.x.Cancel(person)).conflicts() },
		"and against one given up":                           func(s *story) { s.did(s.x.GiveUp("bug", "")).conflicts() },
		"and against a reversal given up": func(s *story) {
			s.sends().answers(paid).reverses(2, 0).did(s.x.GiveUp("bug", ""))
			_, _, err := s.x.Found(id(2), "trr_1", "")
			s.refuses(ErrConflict, Change{}, err)
		},
		"evidence settles what the ledger says is owed, for it would be sent again": func(s *story) { s.finds(id(1), "tr_1").is(Completed) },
		"and what it says failed": func(s *story) { s.sends().answers(refused).finds(id(1), "tr_1").is(Completed) },
		"and what it says is held": func(s *story) {
			s.did(s.x.Hold(HeldByPayment, time.Time{}, person)).finds(id(1), "tr_1").is(Completed)
			if s.x.HeldBy != "" {
				s.Error("still held")
			}
		},
		"and a reversal that it says was never sent": func(s *story) {
			s.sends().answers(paid).reverses(2, 0).finds(id(2), "trr_1").is(Reversed)
		},

		// Cancel, hold, release.
		"what was never sent can be held, released and canceled": func(s *story) {
			s.did(s.x.Hold(HeldByOperator, s.now.Add(time.Hour), person)).is(Held)
			s.did(s.x.Release(person)).is(Pending)
			s.did(s.x.Hold(HeldByOperator, time.Time{}, person)).did(s.x.Hold(HeldByDispute, time.Time{}, person))
			s.did(s.x.Cancel(person)).is(Canceled)
			if s.x.HeldBy != "" {
				s.Error("canceled, and still held")
			}
		},
		"what failed can be held":                     func(s *story) { s.sends().answers(refused).did(s.x.Hold(HeldByOperator, time.Time{}, person)).is(Held) },
		"what failed can be canceled":                 func(s *story) { s.sends().answers(refused).did(s.x.Cancel(person)).is(Canceled) },
		"hold and cancel are refused while sending":   func(s *story) { s.sends().frozen() },
		"hold and cancel are refused when lost":       func(s *story) { s.sends().loses().frozen() },
		"hold and cancel are refused when parked":     func(s *story) { s.parked().frozen() },
		"hold and cancel are refused when it is paid": func(s *story) { s.sends().answers(paid).frozen() },
		"also when its reversal was given up":         func(s *story) { s.sends().answers(paid).reverses(2, 0).did(s.x.GiveUp("bug", "")).frozen() },

		// Giving up, and retrying.
		"what is open is not given up": func(s *story) {
			s.sends().loses().forbids(ErrIllegalMove, func() (Change, error) { return s.x.GiveUp("", "") })
		},
		"a bug with an open send parks":       func(s *story) { s.sends().loses().did(s.x.SetAside("nil map")).is(Parked) },
		"a bug without one gives up":          func(s *story) { s.did(s.x.SetAside("nil map")).is(PermanentlyFailed) },
		"a bug while sending must first lose": func(s *story) { s.sends().forbids(ErrIllegalMove, func() (Change, error) { return s.x.SetAside("") }) },
		"a bug of what is done changes nothing": func(s *story) {
			s.sends().answers(paid).forbids(ErrIllegalMove, func() (Change, error) { return s.x.SetAside("") })
		},
		"a retry of what was given up is owed again": func(s *story) { s.did(s.x.GiveUp("", "")).did(s.x.Retry(person)).is(Pending) },
		"a retry of what failed begins its count anew": func(s *story) {
			s.sends().answers(refused).sends().answers(refused).did(s.x.Retry(person)).is(FailedState)
			if d := s.digest(); d != (Digest{}) {
				s.Errorf("%+v", d)
			}
		},
		"what is open is not retried by hand": func(s *story) {
			s.sends().forbids(ErrIllegalMove, func() (Change, error) { return s.x.Retry(person) })
			s.loses().forbids(ErrIllegalMove, func() (Change, error) { return s.x.Retry(person) })
		},
		"what is done is not retried": func(s *story) {
			s.sends().answers(paid).forbids(ErrIllegalMove, func() (Change, error) { return s.x.Retry(person) })
		},
		"a completed transfer is never paid again after its reversal was given up and retried": func(s *story) {
			s.sends().answers(paid).reverses(2, 400).sends().answers(refused).did(s.x.GiveUp("", "")).is(PermanentlyFailed)
			s.did(s.x.Retry(person)).is(ReversalPending).sends()
			if op, kind := s.x.Current(); kind != MakeReversal || op.ID != id(2) {
				s.Fatalf("a %s is sent", kind)
			}
			s.answers(Answer{Row: "R1", Verdict: Done, StripeID: "trr_1"}).is(PartiallyReversed)
		},
		"one retry takes up all reversals that were given up": func(s *story) {
			s.sends().answers(paid).reverses(2, 400).reverses(3, 300)
			for range 2 {
				for range 5 {
					s.sends().answers(refused)
				}
				s.did(s.x.GiveUp("", ""))
			}
			s.is(PermanentlyFailed).passes(time.Hour).did(s.x.Retry(person)).is(ReversalPending)
			for _, r := range s.x.Reversals {
				if r.State != Pending || !r.Since.Equal(s.now) {
					s.Errorf("%s is %s since %s", r.ID, r.State, r.Since)
				}
				if d := NewDigest(s.rows, r.ID); d != (Digest{}) {
					s.Errorf("%s would be given up again at once: %+v", r.ID, d)
				}
			}
			s.sends().answers(Answer{Verdict: Done, StripeID: "trr_1"})
			if step := s.plan(); step.Action != Send {
				s.Errorf("the second is not sent: %+v", step)
			}
			s.sends().answers(Answer{Verdict: Done, StripeID: "trr_2"}).is(PartiallyReversed)
		},

		// Nothing is being driven.
		"nothing happens to what is done": func(s *story) {
			s.sends().answers(paid).passes(100 * time.Hour)
			for _, step := range []func() (Change, error){
				func() (Change, error) { return s.x.Begin(s.p, s.now) },
				func() (Change, error) { return s.x.Lost("") },
				func() (Change, error) { return s.x.Absent(s.p, false, s.now) },
				func() (Change, error) { return s.x.RenewEpoch(s.p, s.now) },
				func() (Change, error) { return s.x.GiveUp("", "") },
				func() (Change, error) { return s.x.ResolveAbsent(s.p, s.digest(), s.now, person) },
				func() (Change, error) { return s.x.Release(person) },
			} {
				s.forbids(ErrIllegalMove, step)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { tell(begin(t)) })
	}
}

// daggered tells both sides of a row marked † in the classification table.
func daggered(a Answer, alone State) func(*story) {
	return func(s *story) {
		s.sends().answers(a).is(alone)
		other := begin(s.TB)
		other.sends().answers(timedOut).sends().answers(a).drives(Unresolved, 1, 1)
		third := begin(s.TB)
		third.sends().answers(serverError).sends().answers(a).drives(Unresolved, 1, 1)
		if !third.digest().Doubtful {
			s.Error("the generation's server error is forgotten")
		}
	}
}

func (s *story) forbids(want error, step func() (Change, error)) *story {
	s.Helper()
	c, err := step()
	return s.refuses(want, c, err)
}

func (s *story) sentFirst(want time.Time) {
	s.Helper()
	if op, _ := s.x.Current(); !op.FirstSentAt.Equal(want) {
		s.Errorf("first sent at %s, want %s", op.FirstSentAt, want)
	}
}

func (s *story) parkedNow() *story {
	s.Helper()
	s.passes(s.p.Windows.Quiet + 1)
	s.did(s.x.Absent(s.p, true, s.now))
	if op, _ := s.x.Current(); op.State != Parked {
		s.Fatalf("the operation is %s, want parked", op.State)
	}
	return s
}

func (s *story) parked() *story { s.Helper(); return s.sends().answers(serverError).parkedNow() }

func (s *story) conflicts() *story {
	s.Helper()
	_, _, err := s.x.Found(id(1), "tr_1", "read")
	s.refuses(ErrConflict, Change{}, err)
	_, _, err = s.x.Conclude(id(1), 0, s.x.Operation.Generation, paid)
	return s.refuses(ErrConflict, Change{}, err)
}

// frozen wants what only an unsent transfer may have done to it to be refused.
func (s *story) frozen() *story {
	s.Helper()
	s.forbids(ErrIllegalMove, func() (Change, error) { return s.x.Hold(HeldByOperator, time.Time{}, person) })
	return s.forbids(ErrIllegalMove, func() (Change, error) { return s.x.Cancel(person) })
}

// stuck wants every step that is no evidence to be refused.
func (s *story) stuck() *story {
	s.Helper()
	s.passes(1000 * time.Hour).frozen()
	for _, step := range []func() (Change, error){
		func() (Change, error) { return s.x.Begin(s.p, s.now) },
		func() (Change, error) { return s.x.Lost("") },
		func() (Change, error) { return s.x.Absent(s.p, true, s.now) },
		func() (Change, error) { return s.x.RenewEpoch(s.p, s.now) },
		func() (Change, error) { return s.x.GiveUp("", "") },
		func() (Change, error) { return s.x.SetAside("") },
		func() (Change, error) { return s.x.Retry(person) },
		func() (Change, error) { return s.x.Release(person) },
		func() (Change, error) { return s.x.Reverse(id(9), id(9).String(), 0, 0, person) },
	} {
		s.forbids(ErrIllegalMove, step)
	}
	return s
}

func TestAfterTheDatabaseLostCommits(t *testing.T) {
	const quiet = 10*time.Hour + 30*time.Minute
	lost := func(s *story) *story { // the epoch is raised now
		s.p.Epoch, s.p.EpochSince = 1, s.now
		return s
	}
	for name, tell := range map[string]func(*story){
		"what is owed is not sent before it was looked up": func(s *story) {
			lost(s).forbids(ErrTooOld, func() (Change, error) { return s.x.Begin(s.p, s.now) })
			step := s.plan()
			if step.Action != Look || !step.Decides || !step.At.Equal(dawn.Add(quiet+1)) {
				s.Errorf("%+v", step)
			}
		},
		"nor what failed": func(s *story) {
			lost(s.sends().answers(refused)).forbids(ErrTooOld, func() (Change, error) { return s.x.Begin(s.p, s.now) })
		},
		"nor what is unresolved: its key is of the old epoch": func(s *story) {
			lost(s.sends().loses()).forbids(ErrTooOld, func() (Change, error) { return s.x.Begin(s.p, s.now) })
			if step := s.plan(); step.Action != Look {
				s.Errorf("%+v", step)
			}
		},
		"it rests for QUIET": func(s *story) {
			lost(s).passes(quiet).forbids(ErrTooEarly, func() (Change, error) { return s.x.RenewEpoch(s.p, s.now) })
		},
		"and goes on under a key of the new epoch": func(s *story) {
			lost(s.sends().answers(refused)).passes(quiet+1).did(s.x.RenewEpoch(s.p, s.now)).is(FailedState).sends().drives(Sending, 2, 1)
			if s.x.Operation.Epoch != 1 {
				s.Errorf("epoch %d", s.x.Operation.Epoch)
			}
		},
		"a key that was not executed is not used again": func(s *story) {
			lost(s.sends().answers(rateLimited)).passes(quiet+1).did(s.x.RenewEpoch(s.p, s.now)).sends().drives(Sending, 2, 1)
		},
		"an unresolved one rests for QUIET after the loss": func(s *story) {
			s.sends().loses().passes(quiet - time.Hour)
			lost(s).passes(quiet)
			s.forbids(ErrTooEarly, func() (Change, error) { return s.x.Absent(s.p, false, s.now) })
			s.passes(1).did(s.x.Absent(s.p, false, s.now)).sends().drives(Sending, 2, 1)
			if s.x.Operation.Epoch != 1 {
				s.Errorf("epoch %d", s.x.Operation.Epoch)
			}
		},
		"so does a person's word": func(s *story) {
			s.parked()
			lost(s).forbids(ErrTooEarly, func() (Change, error) { return s.x.ResolveAbsent(s.p, s.digest(), s.now, person) })
			s.passes(quiet + 1).did(s.x.ResolveAbsent(s.p, s.digest(), s.now, person))
			if s.x.Operation.Epoch != 1 {
				s.Errorf("epoch %d", s.x.Operation.Epoch)
			}
		},
		"what the lost commits paid is settled when it is found": func(s *story) {
			lost(s).passes(quiet+1).finds(id(1), "tr_1").is(Completed)
		},
		"an owner that has not heard of the loss cannot send": func(s *story) {
			old := s.p
			lost(s).passes(quiet + 1).did(s.x.RenewEpoch(s.p, s.now))
			s.forbids(ErrTooOld, func() (Change, error) { return s.x.Begin(old, s.now) })
			s.sends().loses().passes(quiet + 1).did(s.x.Absent(old, false, s.now))
			if s.x.Operation.Epoch != 1 {
				s.Errorf("it took the epoch back to %d", s.x.Operation.Epoch)
			}
		},
		"a new reversal is of the new epoch": func(s *story) {
			lost(s.sends().answers(paid)).reverses(2, 0).sends().answers(Answer{Verdict: Done, StripeID: "trr_1"}).is(Reversed)
		},
		"what is settled rests in peace": func(s *story) {
			if step := lost(s.sends().answers(paid)).plan(); step.Action != Rest {
				s.Errorf("%+v", step)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { tell(begin(t)) })
	}
}

func TestAChangeSharesNoMemoryWithWhatItCameFrom(t *testing.T) {
	o := order()
	x := Accept(o, id(1), 0, dawn, By{}).After
	o.Metadata["invoice"] = "changed by the caller"
	if x.Metadata["invoice"] != "7" {
		t.Error("a transfer's request changes with its caller's map")
	}
	s := begin(t).sends().answers(paid).reverses(2, 400).reverses(3, 300)
	before := s.x
	kept := append([]Reversal{}, before.Reversals...)
	a, err := before.Begin(s.p, s.now)
	b, err2 := before.Reverse(id(4), id(4).String(), 300, 0, person)
	c, err3 := before.GiveUp("x", "y")
	f, _, err4 := before.Found(id(2), "trr_1", "")
	if err != nil || err2 != nil || err3 != nil || err4 != nil {
		t.Fatal(err, err2, err3, err4)
	}
	for _, ch := range []*Change{&a, &b, &c, &f} {
		ch.Stamp(s.now)
		for i := range ch.After.Reversals {
			ch.After.Reversals[i].ErrorCode = "scribbled"
		}
	}
	for i, r := range before.Reversals {
		if r != kept[i] {
			t.Errorf("reversal %d changed under the reader's hands: %+v", i, r)
		}
	}
	if a.Subject() != &a.After.Reversals[0].Operation {
		t.Error("a change's subject is not the row that will be written")
	}
}

func TestAConfirmationNeedsAnID(t *testing.T) {
	for name, s := range map[string]*story{
		"a transfer's": begin(t).sends(),
		"a reversal's": begin(t).sends().answers(paid).reverses(2, 0).sends(),
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: completed without an ID", name)
				}
			}()
			op, _ := s.x.Current()
			_, _, _ = s.x.Conclude(op.ID, 0, 1, Answer{Row: "T1", Verdict: Done})
		}()
	}
}

func TestAcceptance(t *testing.T) {
	s := begin(t)
	s.is(Pending)
	if s.x.Version != 1 || !s.x.CreatedAt.Equal(dawn) || !s.x.Operation.Since.Equal(dawn) || s.x.Operation.OpenSends != 0 {
		t.Errorf("%+v", s.x)
	}
	o := order()
	for name, tc := range map[string]struct {
		date time.Time
		want State
	}{
		"a date to come holds":        {dawn.Add(1), Held},
		"this very moment is no wait": {dawn, Pending},
		"nor is the past":             {dawn.Add(-time.Hour), Pending},
	} {
		o.NotBefore = tc.date
		c := Accept(o, id(1), 3, dawn, By{})
		if c.After.Status() != tc.want || c.After.Operation.Epoch != 1 || c.After.Operation.Seen != 3 || (tc.want == Held) != (c.After.HeldBy == HeldBySchedule && c.After.HoldEndsAt.Equal(tc.date)) {
			t.Errorf("%s: %+v", name, c.After)
		}
	}
}

func TestAMessageIsChecked(t *testing.T) {
	good := func(typ MessageType) Message { return Message{ID: id(1), Type: typ, By: person} }
	for name, tc := range map[string]struct {
		m     Message
		field string // of the one problem; empty: none
	}{
		"a retry":                           {good(MessageRetry), ""},
		"a restart":                         {good(MessageRestart), ""},
		"a reversal of all":                 {with(good(MessageReverse), func(m *Message) { m.Reference = "re-1" }), ""},
		"a reversal without a name":         {good(MessageReverse), "reference"},
		"a name of a retry":                 {with(good(MessageRetry), func(m *Message) { m.Reference = "re-1" }), "reference"},
		"a type nobody knows":               {good("pay"), "type"},
		"no reason":                         {Message{Type: MessageRetry}, "reason"},
		"a reason with a control character": {Message{Type: MessageRetry, By: By{Reason: "a\x1b[2J"}}, "reason"},
		"an amount below nothing":           {with(good(MessageReverse), func(m *Message) { m.Amount, m.Reference = -1, "re-1" }), "amount"},
		"an amount of a retry":              {with(good(MessageRetry), func(m *Message) { m.Amount = 1 }), "amount"},
		"a hold until later":                {with(good(MessageHold), func(m *Message) { m.Until = dawn.Add(1) }), ""},
		"a hold until now":                  {with(good(MessageHold), func(m *Message) { m.Until = dawn }), "until"},
		"an end of a cancel":                {with(good(MessageCancel), func(m *Message) { m.Until = dawn.Add(1) }), "until"},
		"completed as a transfer":           {with(good(MessageResolve), func(m *Message) { m.Outcome, m.StripeID = OutcomeCompleted, "tr_1" }), ""},
		"completed as a reversal":           {with(good(MessageResolve), func(m *Message) { m.Outcome, m.StripeID = OutcomeCompleted, "trr_1" }), ""},
		"completed as nothing":              {with(good(MessageResolve), func(m *Message) { m.Outcome = OutcomeCompleted }), "stripe_id"},
		"completed as a payout":             {with(good(MessageResolve), func(m *Message) { m.Outcome, m.StripeID = OutcomeCompleted, "po_1" }), "stripe_id"},
		"failed":                            {with(good(MessageResolve), func(m *Message) { m.Outcome = OutcomeFailed }), ""},
		"failed, and yet an object":         {with(good(MessageResolve), func(m *Message) { m.Outcome, m.StripeID = OutcomeFailed, "tr_1" }), "stripe_id"},
		"no outcome":                        {good(MessageResolve), "outcome"},
		"an outcome of a hold":              {with(good(MessageHold), func(m *Message) { m.Outcome = OutcomeFailed }), "outcome"},
	} {
		err := tc.m.Check(dawn)
		wrong, _ := err.(FieldErrors)
		if tc.field == "" && err != nil || tc.field != "" && (len(wrong) != 1 || wrong[0].Field != tc.field) {
			t.Errorf("%s: %v, want a problem with %q", name, err, tc.field)
		}
	}
}

func with[T any](m T, change func(*T)) T { change(&m); return m }
