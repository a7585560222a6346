package ledger_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/settled/settled/ledger"
)

// leavesTo is the design's table of an operation, written down again: the code is held to it, not it to the code.
// By event moot, a reversal that Stripe refused because all of the transfer came back by other hands is canceled out of
// an open state; by release, a failed operation that was held is owed as if it were new.
var leavesTo = map[State][]State{
	"pending":            {"sending", "canceled", "permanently_failed"},
	"sending":            {"completed", "failed", "unresolved", "pending", "canceled", "pending_at_stripe"},
	"failed":             {"sending", "canceled", "permanently_failed", "pending"},
	"unresolved":         {"sending", "completed", "failed", "parked", "canceled", "pending_at_stripe"},
	"parked":             {"completed", "failed", "canceled", "pending_at_stripe"},
	"pending_at_stripe":  {"completed", "failed"},
	"completed":          nil,
	"canceled":           nil,
	"permanently_failed": {"pending", "canceled"},
}

func TestEveryStateLeavesToWhatTheDesignSays(t *testing.T) {
	if n := len(Table()) - 1; n != len(leavesTo) {
		t.Errorf("there are %d states, and the design has %d", n, len(leavesTo))
	}
	for s := range Table() {
		if want, known := leavesTo[s]; known {
			compareStates(t, "an operation", s, Follows(s), want)
		} else if s != "" {
			t.Errorf("the design has no state %s", s)
		}
	}
}

func TestAnOperationBeginsOwedOrDone(t *testing.T) {
	compareStates(t, "an operation", "nothing", Follows(""), []State{"completed", "pending"}) // completed: made again from Stripe, or made outside
}

func compareStates(t *testing.T, what string, s State, got, want []State) {
	t.Helper()
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%s leaves %s to %v, want %v", what, s, got, want)
	}
}

func TestFinalStatesAreFinal(t *testing.T) {
	for _, s := range []State{Completed, Canceled} {
		if to := Follows(s); len(to) > 0 {
			t.Errorf("an operation leaves %s to %v", s, to)
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
	drawing := Mermaid()
	if !strings.HasPrefix(drawing, "stateDiagram-v2\n") {
		t.Errorf("no state diagram: %q", drawing[:20])
	}
	for from, all := range leavesTo {
		for _, to := range all {
			if !strings.Contains(drawing, "    "+string(from)+" --> "+string(to)+": ") {
				t.Errorf("%s --> %s is not drawn", from, to)
			}
		}
		if len(all) == 0 && !strings.Contains(drawing, string(from)+" --> [*]\n") {
			t.Errorf("%s is not drawn as final", from)
		}
	}
	if drawing != Mermaid() {
		t.Error("drawn differently the second time")
	}
}

func TestTheReadmeShowsTheTable(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(moduleRoot(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	readme := strings.ReplaceAll(string(text), "\r\n", "\n")
	if fenced := "```mermaid\n" + Mermaid() + "```"; !strings.Contains(readme, fenced) {
		t.Errorf("README.md does not show the moves as they are; it must have:\n\n%s", fenced)
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
