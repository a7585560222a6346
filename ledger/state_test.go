package ledger_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/settled/settled/ledger"
)

// leavesTo is the column of that name in the design's table of states, written down again:
// the code is held to it, not it to the code.
var leavesTo = map[State][]State{
	"held":               {"pending", "canceled"},
	"pending":            {"sending", "held", "canceled", "permanently_failed"},
	"sending":            {"completed", "failed", "unresolved", "pending"},
	"failed":             {"sending", "held", "canceled", "permanently_failed"},
	"unresolved":         {"sending", "completed", "failed", "parked"},
	"parked":             {"completed", "failed"},
	"pending_at_stripe":  nil, // a reversal's alone
	"completed":          {"reversal_pending"},
	"reversal_pending":   {"reversed", "partially_reversed", "completed", "permanently_failed"},
	"partially_reversed": {"reversal_pending"},
	"reversed":           nil,
	"canceled":           nil,
	"permanently_failed": {"pending", "reversal_pending", "canceled"},
}

// reversalLeavesTo is the same for a reversal: "with the same meaning", without holds, without
// reversals of its own, and with one way more, by event moot: a reversal that Stripe refused
// because all of the transfer came back by other hands is canceled out of an open state.
var reversalLeavesTo = map[State][]State{
	"pending":            {"sending", "canceled", "permanently_failed"},
	"sending":            {"completed", "failed", "unresolved", "pending", "canceled", "pending_at_stripe"},
	"failed":             {"sending", "canceled", "permanently_failed"},
	"unresolved":         {"sending", "completed", "failed", "parked", "canceled", "pending_at_stripe"},
	"parked":             {"completed", "failed", "canceled", "pending_at_stripe"},
	"pending_at_stripe":  {"completed", "failed"},
	"completed":          nil,
	"canceled":           nil,
	"permanently_failed": {"pending", "canceled"},
}

func TestEveryStateLeavesToWhatTheDesignSays(t *testing.T) {
	if len(States) != len(leavesTo) {
		t.Errorf("there are %d states, and the design has %d", len(States), len(leavesTo))
	}
	for _, s := range States {
		want, known := leavesTo[s]
		if !known {
			t.Errorf("the design has no state %s", s)
		}
		compareStates(t, "a transfer", s, Follows(s), want)
		compareStates(t, "a reversal", s, ReversalFollows(s), reversalLeavesTo[s])
	}
}

func TestATransferBeginsOwedOrHeld(t *testing.T) {
	compareStates(t, "a transfer", "nothing", Follows(""), []State{"completed", "held", "pending"}) // completed: made again from Stripe
	compareStates(t, "a reversal", "nothing", ReversalFollows(""), []State{"completed", "pending"}) // completed: made outside
}

func compareStates(t *testing.T, what string, s State, got, want []State) {
	t.Helper()
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%s leaves %s to %v, want %v", what, s, got, want)
	}
}

func TestFinalStatesAreFinal(t *testing.T) {
	for _, s := range []State{Reversed, Canceled} {
		if to := Follows(s); len(to) > 0 {
			t.Errorf("a transfer leaves %s to %v", s, to)
		}
	}
	for _, s := range []State{Completed, Canceled} {
		if to := ReversalFollows(s); len(to) > 0 {
			t.Errorf("a reversal leaves %s to %v", s, to)
		}
	}
	// Money that came to rest at Stripe never comes back as owed: no path leads from
	// completed to a state from which the transfer itself is sent, except by giving up,
	// whose retry is decided by whether Stripe holds it (see the retry stories).
	seen := map[State]bool{}
	var walk func(State)
	walk = func(s State) {
		if seen[s] || s == PermanentlyFailed {
			return
		}
		seen[s] = true
		for _, to := range Follows(s) {
			walk(to)
		}
	}
	walk(Completed)
	for _, s := range []State{Pending, Sending, FailedState, Unresolved, Parked, Held, Canceled} {
		if seen[s] {
			t.Errorf("completed leads to %s", s)
		}
	}
}

func TestOnlyOpenStatesMayHaveMovedMoney(t *testing.T) {
	for _, s := range States {
		if want := s == Sending || s == Unresolved || s == Parked; s.Open() != want {
			t.Errorf("%s: open is %t", s, s.Open())
		}
	}
}

func TestStatesAreReadByName(t *testing.T) {
	for _, s := range States {
		if got, err := ParseState(string(s)); err != nil || got != s {
			t.Errorf("%s reads as %q (%v)", s, got, err)
		}
	}
	for _, s := range []string{"", "FAILED", "paid", "pending "} {
		if got, err := ParseState(s); err == nil {
			t.Errorf("%q reads as %s", s, got)
		}
	}
}

func TestVerdictsAndReactionsAreReadByName(t *testing.T) {
	for _, v := range []Verdict{Unknown, Done, Failed, NotExecuted} {
		if got, err := ParseVerdict(v.String()); err != nil || got != v {
			t.Errorf("%s reads as %s (%v)", v, got, err)
		}
	}
	for _, r := range []Reaction{BackOff, AwaitFunds, AwaitSeller, AwaitSellerFunds, AskOperator, LookFirst, AwaitPlatform} {
		if got, err := ParseReaction(r.String()); err != nil || got != r {
			t.Errorf("%s reads as %s (%v)", r, got, err)
		}
	}
	if v, err := ParseVerdict("paid"); err == nil || v != Unknown {
		t.Errorf("a verdict nobody knows reads as %s (%v), want unknown and an error", v, err)
	}
	if r, err := ParseReaction(""); err == nil {
		t.Errorf("no reaction reads as %s", r)
	}
	var zero Verdict
	if zero != Unknown {
		t.Error("the zero verdict must be the safe one")
	}
}

func TestTheDrawingHasEveryMove(t *testing.T) {
	for kind, table := range map[Kind]map[State][]State{CreateTransfer: leavesTo, MakeReversal: reversalLeavesTo} {
		drawing := Mermaid(kind)
		if !strings.HasPrefix(drawing, "stateDiagram-v2\n") {
			t.Errorf("%s: no state diagram: %q", kind, drawing[:20])
		}
		for from, all := range table {
			for _, to := range all {
				if !strings.Contains(drawing, "    "+string(from)+" --> "+string(to)+": ") {
					t.Errorf("%s: %s --> %s is not drawn", kind, from, to)
				}
			}
			if len(all) == 0 && from != PendingAtStripe && !strings.Contains(drawing, string(from)+" --> [*]\n") {
				t.Errorf("%s: %s is not drawn as final", kind, from)
			}
		}
		if drawing != Mermaid(kind) {
			t.Errorf("%s: drawn differently the second time", kind)
		}
	}
}

func TestTheReadmeShowsTheTables(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(moduleRoot(t), "README.md"))
	if os.IsNotExist(err) {
		t.Skip("there is no README.md yet")
	}
	if err != nil {
		t.Fatal(err)
	}
	readme := strings.ReplaceAll(string(text), "\r\n", "\n")
	for _, kind := range []Kind{CreateTransfer, MakeReversal} {
		if fenced := "```mermaid\n" + Mermaid(kind) + "```"; !strings.Contains(readme, fenced) {
			t.Errorf("README.md does not show the %s's moves as they are; it must have:\n\n%s", kind, fenced)
		}
	}
}

// moduleRoot finds the module that the test belongs to.
func moduleRoot(t testing.TB) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
}
