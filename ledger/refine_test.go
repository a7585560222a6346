package ledger_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	. "github.com/settled/settled/ledger"
)

// The table of moves and the model are held together here. An operation stands somewhere in
// the model:
//
//	NEW      nothing of it was ever sent
//	SENDING  a send may be open, or its outcome is unknown
//	REST     it was sent, and nothing of the last generation is open
//	PARKED, PAID, FAILED
//
// The model has no REST: there one write closes a generation and begins the next, or ends it
// all. Here that is two commits, and between them the model is still in SENDING, about to write.
// That is sound because nobody sends in between: the model's worker that holds a definite
// answer may wait as long as it likes before it writes.

// place is where an operation stands in the model.
func place(s State, sent, atStripe bool) string {
	switch {
	case s == "":
		return ""
	case atStripe:
		return "PAID"
	case s == Canceled, s == PermanentlyFailed:
		return "FAILED"
	case s == Parked, s == PendingAtStripe: // only evidence leaves either
		return "PARKED"
	case s.Open():
		return "SENDING"
	case !sent:
		return "NEW"
	default:
		return "REST"
	}
}

// can reports a combination that exists: what is open or failed was sent, and what Stripe
// holds is completed.
func can(s State, sent, atStripe bool) bool {
	switch s {
	case Pending, Canceled, PermanentlyFailed:
		return !atStripe
	case Sending, Unresolved, Parked, PendingAtStripe, FailedState:
		return sent && !atStripe
	default:
		return sent && atStripe
	}
}

// step is a move as the model sees it, with its event: "NEW->SENDING+1 by send".
func step(from, to string, begins bool, e Event) string {
	s := from + "->" + to
	if begins {
		s += "+1"
	}
	return s + " by " + string(e)
}

// steps lists what a table can do, as the model sees it.
func steps(table map[State]map[Event]State) map[string]bool {
	all := map[string]bool{}
	for from, by := range table {
		if from == "" {
			continue // a birth; the model begins with the row there
		}
		for e, to := range by {
			for n := range 4 {
				sent, atStripe := n&1 != 0, n&2 != 0
				sentAfter, atStripeAfter := sent || e == EventSend, atStripe || e == EventConfirm
				if !can(from, sent, atStripe) {
					continue
				}
				a, b := place(from, sent, atStripe), place(to, sentAfter, atStripeAfter)
				if !can(to, sentAfter, atStripeAfter) { // nothing may lead to what does not exist
					all[step(a, "nowhere", false, e)] = true
					continue
				}
				if e == EventSend && from != Unresolved { // Begin: see [Transfer.Begin]
					all[step(a, b, true, e)] = true
					if !sent {
						continue // nothing has no generation
					}
				}
				all[step(a, b, false, e)] = true
			}
		}
	}
	return all
}

// meaning gives each step of the table its place in the model.
var meaning = []struct {
	step   string
	events []Event
	model  string // the move of the model that it makes, or the second half of
	why    string // when it makes none: why that is safe
}{
	{"NEW->SENDING+1", []Event{EventSend}, "NEW->SENDING+1", ""},
	{"REST->SENDING+1", []Event{EventSend}, "SENDING->SENDING+1", ""},
	{"REST->FAILED", []Event{EventGiveUp, EventCancel}, "SENDING->FAILED", ""},
	{"SENDING->PARKED", []Event{EventPark, EventKeep}, "SENDING->PARKED", ""},
	{"SENDING->PAID", []Event{EventConfirm}, "SENDING->PAID", ""},
	{"PARKED->PAID", []Event{EventConfirm}, "PARKED->PAID", ""},

	{"PARKED->PARKED", []Event{EventKeep}, "", "Stripe is read to keep it pending: only evidence leaves that either"},
	{"SENDING->REST", []Event{EventRefuse, EventNotExecuted, EventProveAbsent}, "",
		"the first half of SENDING->SENDING+1 or SENDING->FAILED: the generation is closed (or, not executed, has nothing open)"},
	{"REST->SENDING", []Event{EventSend}, "",
		"the same key is sent again: it was never executed, or its refusal was a puzzle, and nothing of it was open"},
	{"SENDING->SENDING", []Event{EventSend, EventLose}, "",
		"the same key is sent again, or nothing became known: the model's row stays"},
	{"NEW->NEW", []Event{EventHold, EventLetGo, EventRelease, EventRetry, EventRenewEpoch}, "",
		"when to begin is the model's worker's to choose"},
	{"REST->REST", []Event{EventHold, EventLetGo, EventRelease, EventRetry, EventRenewEpoch, EventTell}, "",
		"when to go on is the model's worker's to choose"},
	{"FAILED->FAILED", []Event{EventCancel}, "",
		"a person ends what the machine gave up: no money moved, and none will"},

	// What the model does not have, because it has no people in it; and what proves more than
	// the model asks to be proved.
	{"NEW->FAILED", []Event{EventCancel, EventGiveUp}, "",
		"nothing was ever sent, so nothing can move (a person; or a bug before the first send)"},
	{"FAILED->NEW", []Event{EventRetry}, "",
		"a person has it begun after all: nothing was ever sent"},
	{"FAILED->REST", []Event{EventRetry}, "",
		"a person has it tried again: in FAILED every generation is closed (S3), and the next send begins a new one"},
	{"PARKED->REST", []Event{EventRefuse, EventProveAbsent}, "",
		"a late answer that binds the key to no; or a person's word, after QUIET and a read that found nothing. The model leaves a parked row to both"},
	{"SENDING->FAILED", []Event{EventMoot}, "",
		"Stripe refused a reversal because all of the transfer came back by other hands: nothing is left that it could take"},
	{"PARKED->FAILED", []Event{EventMoot}, "", "the same, of a parked reversal"},
}

// caughtUp are the moves that evidence makes when the row that had sent was lost: the table is
// walked through, in one commit (see the catching up of [Transfer.Found]).
var caughtUp = []string{"NEW->PAID"}

// notMade are moves of the model that nothing here makes.
var notMade = map[string]string{
	"NEW->PARKED": "leaving the quarantine after a lost commit, the parking model parks whatever was not found; here what was never known to be sent goes on under a key of the new epoch, which is the model without PARK",
}

// compare says how the table and the model's moves differ in what may follow what.
func compare(model map[string]bool, table map[State]map[Event]State) (wrong []string) {
	known, made := map[string]bool{}, map[string]bool{}
	for _, m := range meaning {
		for _, e := range m.events {
			known[m.step+" by "+string(e)] = true
		}
		if m.model != "" {
			made[m.model] = true
		}
		if (m.model == "") == (m.why == "") {
			wrong = append(wrong, m.step+" has no meaning")
		}
	}
	for _, m := range caughtUp {
		made[m] = true
	}
	can := steps(table)
	for s := range can {
		if !known[s] {
			wrong = append(wrong, s+" is in the table, and means nothing to the model")
		}
	}
	for s := range known {
		if !can[s] {
			wrong = append(wrong, s+" means something to the model, and is not in the table")
		}
	}
	for m := range made {
		if !model[m] {
			wrong = append(wrong, "the model does not have "+m+", which is made here")
		}
	}
	for m := range model {
		if made[m] == (notMade[m] != "") {
			wrong = append(wrong, fmt.Sprintf("the model's %s: made here: %t; said not to be: %q", m, made[m], notMade[m]))
		}
	}
	slices.Sort(wrong)
	return wrong
}

func TestTheTableAndTheModelAgreeOnWhatMayFollowWhat(t *testing.T) {
	for _, w := range compare(model(t), Table()) {
		t.Error(w)
	}
}

// What evidence makes of an operation whose send was lost with its commit is no line of the
// table: it is asked of the ledger.
func TestEvidenceCatchesUpAsInTheModel(t *testing.T) {
	for _, begin := range []Change{
		Accept(order(), id(1), 0, dawn, By{}),
		Accept(func() Order { o := order(); o.NotBefore = dawn.Add(1); return o }(), id(1), 0, dawn, By{}),
	} {
		x := begin.After
		c, changed, err := x.Found(x.ID, "tr_1", "listed")
		if err != nil || !changed {
			t.Fatalf("from %s: %v, %v", x.Status(), changed, err)
		}
		move := place(x.Status(), x.Operation.Generation > 0, false) + "->" + place(c.After.Status(), true, c.After.Operation.StripeID != "")
		if !slices.Contains(caughtUp, move) || !model(t)[move] {
			t.Errorf("from %s evidence makes %s", x.Status(), move)
		}
	}
}

// TestATableThatChangesIsNoticed edits the table in memory, one move at a time, in every way
// there is. What is not noticed must be nothing new: a step that the table could do already,
// from the same place to the same place by the same event.
func TestATableThatChangesIsNoticed(t *testing.T) {
	m := model(t)
	var events []Event
	for _, of := range Table() {
		events = slices.AppendSeq(events, maps.Keys(of))
	}
	slices.Sort(events)
	events = slices.Compact(events)
	edits, missed := 0, 0
	before := steps(Table())
	for from := range Table() {
		if from == "" {
			continue
		}
		for _, e := range events {
			for _, to := range append([]State{"gone"}, States...) {
				table := Table()
				was, had := table[from][e]
				switch {
				case had && to == was, !had && to == "gone":
					continue
				case to == "gone":
					delete(table[from], e)
				default:
					table[from][e] = to
				}
				edits++
				if len(compare(m, table)) > 0 {
					continue
				}
				missed++
				if after := steps(table); !maps.Equal(before, after) {
					t.Errorf("%s by %s to %s is not noticed", from, e, to)
				}
			}
		}
	}
	t.Logf("%d of %d edits are noticed; the others lead from the same to the same place as another move does", edits-missed, edits)
	if edits < 2000 || missed*10 > edits {
		t.Errorf("%d of %d edits are not noticed", missed, edits)
	}
	for name, edit := range map[string]func(map[State]map[Event]State){
		"time makes an unknown outcome a failure": func(x map[State]map[Event]State) { x[Unresolved][EventGiveUp] = PermanentlyFailed },
		"an unknown outcome is canceled":          func(x map[State]map[Event]State) { x[Unresolved][EventCancel] = Canceled },
		"what is under way is held":               func(x map[State]map[Event]State) { x[Sending][EventHold] = Sending },
		"what was paid is sent again":             func(x map[State]map[Event]State) { x[Completed][EventRetry] = Pending },
		"what was canceled is sent":               func(x map[State]map[Event]State) { x[Canceled][EventSend] = Sending },
		"what is parked is sent again":            func(x map[State]map[Event]State) { x[Parked][EventSend] = Sending },
		"a lost answer closes the generation":     func(x map[State]map[Event]State) { x[Sending][EventLose] = FailedState },
		"nothing is parked any more":              func(x map[State]map[Event]State) { delete(x[Unresolved], EventPark) },
		"evidence does not settle what is parked": func(x map[State]map[Event]State) {
			delete(x[Parked], EventConfirm)
			delete(x[PendingAtStripe], EventConfirm)
		},
		"a refusal leaves the generation open":     func(x map[State]map[Event]State) { x[Sending][EventRefuse] = Unresolved },
		"an unknown outcome is owed as if unsent":  func(x map[State]map[Event]State) { x[Unresolved][EventRelease] = Pending },
		"a person takes a parked one for canceled": func(x map[State]map[Event]State) { x[Parked][EventCancel] = Canceled },
	} {
		edited := Table()
		edit(edited)
		if len(compare(m, edited)) == 0 {
			t.Errorf("%s: not noticed", name)
		}
	}
}

// A model that changes makes the comparison fail as well.
func TestAModelThatMakesOtherMovesIsNoticed(t *testing.T) {
	all := model(t)
	places := []string{"NEW", "SENDING", "PARKED", "PAID", "FAILED"}
	for _, a := range places {
		for _, b := range places {
			for _, begins := range []string{"", "+1"} {
				edited := maps.Clone(all)
				if m := a + "->" + b + begins; edited[m] {
					delete(edited, m)
					if notMade[m] != "" {
						continue
					}
				} else {
					edited[m] = true
				}
				if len(compare(edited, Table())) == 0 {
					t.Errorf("a model with %s changed is not noticed: it has %v", a+"->"+b+begins, strings.Join(slices.Sorted(maps.Keys(edited)), " "))
				}
			}
		}
	}
}
