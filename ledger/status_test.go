package ledger_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	. "github.com/settled/settled/ledger"
)

// statusLeavesTo is the design's table of a transfer's states, written down again. One thing stands in it besides: when
// a person cancels the reversal that was given up, a transfer is what the others make of it.
var statusLeavesTo = map[State][]State{
	"held":               {"pending", "canceled"},
	"pending":            {"sending", "held", "canceled", "permanently_failed"},
	"sending":            {"completed", "failed", "unresolved", "pending"},
	"failed":             {"sending", "held", "canceled", "permanently_failed"},
	"unresolved":         {"sending", "completed", "failed", "parked"},
	"parked":             {"completed", "failed"},
	"completed":          {"reversal_pending"},
	"reversal_pending":   {"reversed", "partially_reversed", "completed", "permanently_failed"},
	"partially_reversed": {"reversal_pending"},
	"reversed":           nil,
	"canceled":           nil,
	"permanently_failed": {"pending", "reversal_pending", "canceled", "completed", "partially_reversed"},
}

// row is a transfer of 300 as its status is derived from it: its operation, whether it is held, and its reversals of 100.
type row struct {
	own  State
	held bool
	back string // a letter for each reversal, sorted
}

var letters = map[byte]State{'p': Pending, 's': Sending, 'f': FailedState, 'u': Unresolved, 'k': Parked, 'w': PendingAtStripe, 'c': Completed, 'x': Canceled, 'g': PermanentlyFailed}

func (r row) transfer() Transfer {
	t := Transfer{Operation: Operation{State: r.own}, Order: Order{Money: Money{Amount: 300, Currency: "eur"}}}
	if r.held {
		t.HeldBy = HeldByOperator
	}
	for i := range len(r.back) {
		s := letters[r.back[i]]
		t.Reversals = append(t.Reversals, Reversal{Operation: Operation{State: s}, Amount: 100})
		if s == Completed {
			t.AmountReversed += 100
		}
	}
	return t
}

// next lists the rows one step away: the operation, or one of the reversals, takes a step of the table, or a hold
// begins or ends, or a reversal begins.
func (r row) next() (all []row) {
	if r.own != Completed {
		for e, to := range Table()[r.own] {
			hold := r.held && to.Holdable() && e != EventRelease
			switch {
			case e == EventHold:
				hold = true
			case e == EventLetGo && !r.held, e == EventRelease && !r.held,
				r.held && e != EventLetGo && e != EventRelease && e != EventCancel,
				e == EventMoot, e == EventKeep: // a reversal's alone
				continue
			}
			all = append(all, row{to, hold, ""})
		}
		return all
	}
	open := 0
	for i := range len(r.back) {
		rest := r.back[:i] + r.back[i+1:]
		for letter, to := range letters {
			if slices.Contains(Follows(letters[r.back[i]]), to) {
				all = append(all, row{Completed, false, sorted(rest + string(letter))})
			}
		}
		if s := letters[r.back[i]]; s != Canceled && s != PermanentlyFailed {
			open++
		}
	}
	if open < 3 && len(r.back) < 3 {
		all = append(all, row{Completed, false, sorted(r.back + "p")})
	}
	return all
}

func sorted(s string) string {
	b := []byte(s)
	slices.Sort(b)
	return string(b)
}

func TestAStatusFollowsAnotherAsTheDesignSays(t *testing.T) {
	seen := map[row]bool{}
	made := map[State][]State{}
	var walk func(row)
	walk = func(r row) {
		if seen[r] {
			return
		}
		seen[r] = true
		from := r.transfer().Status()
		for _, n := range r.next() {
			if to := n.transfer().Status(); to != from && !slices.Contains(made[from], to) {
				made[from] = append(made[from], to)
				if !slices.Contains(statusLeavesTo[from], to) {
					t.Errorf("%s follows %s: from %+v to %+v", to, from, r, n)
				}
			}
			walk(n)
		}
	}
	walk(row{own: Pending})
	for from, all := range statusLeavesTo {
		for _, to := range all {
			if !slices.Contains(made[from], to) {
				t.Errorf("nothing leads from %s to %s", from, to)
			}
		}
	}
	if len(seen) < 200 {
		t.Errorf("%d rows were seen", len(seen))
	}
}

// Every row that there can be has one status.
func TestAStatusIsWhatItsPartsSay(t *testing.T) {
	for own := range Table() {
		for _, held := range []bool{false, true} {
			if own != Completed {
				want := own
				if held && (own == Pending || own == FailedState) {
					want = Held
				}
				if got := (row{own, held, ""}).transfer().Status(); got != want {
					t.Errorf("%s, held: %v, is %s, want %s", own, held, got, want)
				}
			}
		}
	}
	kinds := slices.Sorted(maps.Keys(letters))
	for _, a := range append([]byte{' '}, kinds...) {
		for _, b := range append([]byte{' '}, kinds...) {
			for _, c := range append([]byte{' '}, kinds...) {
				back := ""
				count := map[byte]int{}
				for _, l := range []byte{a, b, c} {
					if l != ' ' {
						back += string(l)
						count[l]++
					}
				}
				ended := count['c'] + count['x'] + count['g']
				want := Completed
				switch {
				case ended < len(back):
					want = ReversalPending
				case count['c'] == 3:
					want = Reversed
				case count['g'] > 0:
					want = PermanentlyFailed
				case count['c'] > 0:
					want = PartiallyReversed
				}
				if got := (row{own: Completed, back: back}).transfer().Status(); got != want {
					t.Errorf("with the reversals %q it is %s, want %s", back, got, want)
				}
			}
		}
	}
}

// A status that changes has a time of its own: a hold does not move the operation, and a reversal does not either.
func TestAStatusIsEnteredWhenItChanges(t *testing.T) {
	s := begin(t)
	accepted := s.now
	s.passes(time.Hour).did(s.x.Hold(HeldByOperator, time.Time{}, person)).is(Held)
	if !s.x.Since.Equal(s.now) || !s.x.Operation.Since.Equal(accepted) {
		t.Errorf("held since %s, and owed since %s", s.x.Since, s.x.Operation.Since)
	}
	s.passes(time.Hour).did(s.x.Release(person)).passes(time.Hour).sends().answers(paid)
	paidAt := s.now
	s.passes(time.Hour).reverses(2, 400).is(ReversalPending)
	if !s.x.Since.Equal(s.now) || !s.x.Operation.Since.Equal(paidAt) {
		t.Errorf("%s since %s, and paid since %s", s.x.Status(), s.x.Since, s.x.Operation.Since)
	}
	if got := fmt.Sprint(s.rows[len(s.rows)-1].Status); got != string(ReversalPending) {
		t.Errorf("its history says %s", got)
	}
}
