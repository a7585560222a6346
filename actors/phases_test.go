package actors

import (
	"strings"
	"testing"
)

// The sentence in the comment of the table, cell by cell.
func TestTheLegalPhasesAreTheseAndNoOthers(t *testing.T) {
	if len(legal) != int(committing)+1 || len(legal[0]) != int(reading)+1 {
		t.Fatal("the table does not have a row for each view and a column for each errand")
	}
	for v := range committing + 1 {
		for e := range reading + 1 {
			if want := e != holding || v == committing; legal[v][e] != want {
				t.Errorf("%s and %s: legal is %t", v, e, legal[v][e])
			}
		}
	}
}

func TestAnActorWhosePhasesContradictEachOtherPanics(t *testing.T) {
	for name, tc := range map[string]struct {
		w    work
		bugs bool
	}{
		"a permit is held while the intent is written":   {work{view: committing, errand: holding, permit: 7}, false},
		"a permit is held for nothing":                   {work{view: current, errand: holding, permit: 7}, true},
		"a permit is in hand that nobody holds":          {work{view: current, errand: calling, permit: 7}, true},
		"it holds a permit that has no number":           {work{view: committing, errand: holding}, true},
		"a command is committed while a call is out":     {work{view: committing, errand: calling}, false},
		"a written intent waits for a permit":            {work{view: current, errand: asking, intent: &intent{}}, false},
		"a written intent waits and nobody asks for it":  {work{view: current, errand: idle, intent: &intent{}}, true},
		"a read waits for its permit":                    {work{view: loading, errand: asking, read: &read{}}, false},
		"a read is under way":                            {work{view: loading, errand: reading, read: &read{}}, false},
		"a read is under way and none is wanted":         {work{view: current, errand: reading}, true},
		"a read is wanted and nobody asks for a permit":  {work{view: current, errand: idle, read: &read{}}, true},
		"nothing is committed and something follows it":  {work{view: current, next: setAsideNoted{}}, true},
		"the ledger is read again and nothing is done":   {work{view: loading}, false},
		"the ledger is not known after a commit is lost": {work{view: stale, errand: calling}, false},
	} {
		func() {
			defer func() {
				reason := recover()
				if text, _ := reason.(string); (reason != nil) != tc.bugs || tc.bugs && !strings.HasPrefix(text, "actors: a transfer is ") {
					t.Errorf("%s: panicked with %v", name, reason)
				}
			}()
			tc.w.check()
		}()
	}
}
