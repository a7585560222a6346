package ledger_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	. "github.com/settled/settled/ledger"
)

// An acceptor replays what the ledger committed as a run of the protocol's model: every commit
// must take the row {st, gen} of each operation where the model's row may go, or leave it. So
// what spin proved of the model's runs holds for the walks, as far as the row is concerned.

// modelRow is an operation as the model has it.
type modelRow struct {
	at         string
	generation int
	epoch      int
}

// rowOf is what the model says of an operation. Between two generations it is in SENDING still.
func rowOf(op *Operation) modelRow {
	at := place(op.State, op.Generation > 0, op.StripeID != "")
	if at == "REST" {
		at = "SENDING"
	}
	return modelRow{at, op.Generation, op.Epoch}
}

type acceptor struct {
	moves map[string]bool // the model's
	rows  map[ID]modelRow
	used  map[string]int // moves, and what is none of the model's
}

// outsideTheModel are the steps of people, and those that prove more than the model asks: see
// meaning. They are known by their event.
var outsideTheModel = func() map[string]bool {
	known := map[string]bool{}
	for _, m := range meaning {
		if m.model != "" {
			continue
		}
		from, to, _ := strings.Cut(strings.ReplaceAll(m.step, "REST", "SENDING"), "->")
		if from == to {
			continue // the model's row stays
		}
		for _, e := range m.events {
			known[step(from, to, false, e)] = true
		}
	}
	return known
}()

func newAcceptor(moves map[string]bool) *acceptor {
	return &acceptor{moves: moves, rows: map[ID]modelRow{}, used: map[string]int{}}
}

// accept takes one commit, and returns why the model could not have made it.
func (a *acceptor) accept(c *Change) (refused []string) {
	ops := append([]*Operation{&c.After.Operation}, operations(&c.After)...)
	for _, op := range ops {
		to := rowOf(op)
		from, known := a.rows[op.ID]
		a.rows[op.ID] = to
		e := c.History.Event
		move := from.at + "->" + to.at
		if to.generation > from.generation {
			move += "+1"
		}
		switch {
		case !known && to.generation == 0 && (to.at == "NEW" || to.at == "PAID" && op.ID != c.After.ID):
			a.used["born "+to.at]++ // a reversal made outside is born paid
		case to.generation < from.generation, to.generation > from.generation+1, to.epoch < from.epoch:
			refused = append(refused, fmt.Sprintf("%s leads from generation %d/%d to %d/%d", e, from.epoch, from.generation, to.epoch, to.generation))
		case to.at == from.at && to.generation == from.generation:
		case a.moves[move] && notMade[move] == "":
			a.used[move]++
		case outsideTheModel[move+" by "+string(e)]:
			a.used[move+" by "+string(e)]++
		default:
			refused = append(refused, fmt.Sprintf("%s by %s is no move of the model", move, e))
		}
	}
	return refused
}

// loses follows the database that loses its newest commit: the row is what it was, which the
// model has as well.
func (a *acceptor) loses(x *Transfer) {
	clear(a.rows)
	for _, op := range append([]*Operation{&x.Operation}, operations(x)...) {
		a.rows[op.ID] = rowOf(op)
	}
}

// modelMoves are the model's, read once for all walks.
var modelMoves = sync.OnceValue(func() map[string]bool {
	text, err := os.ReadFile(filepath.Join("model", "transfer.pml"))
	if err != nil {
		panic(err)
	}
	return readPromela(strings.ReplaceAll(string(text), "\r\n", "\n")).moves
})

// Every walk is replayed as it happens: see commit. Here it is the replay that is on trial: a
// model that lacks any of its moves must refuse a walk, and so must what people do be missed.
func TestTheAcceptorMissesEveryMoveThatTheModelLacks(t *testing.T) {
	lacks := func(name string, without func(*acceptor)) {
		t.Run(name, func(t *testing.T) {
			const worlds = 5_000
			for seed := range uint64(worlds) {
				w := newWorld(seeded(seed), mutant{})
				without(w.replay)
				if wrong := w.run(150); strings.Contains(wrong, "no move of the model") {
					t.Logf("refused in world %d: %s", seed, wrong)
					return
				} else if wrong != "" {
					t.Fatalf("seed %d: %s", seed, wrong)
				}
			}
			t.Errorf("not missed in %d worlds", worlds)
		})
	}
	for _, m := range slices.Sorted(maps.Keys(modelMoves())) {
		if notMade[m] != "" {
			continue
		}
		lacks(m, func(a *acceptor) {
			a.moves = maps.Clone(a.moves)
			delete(a.moves, m)
		})
	}
}

func TestTheAcceptorRefusesWhatTheModelNeverDoes(t *testing.T) {
	born := Accept(order(), id(1), 1, dawn, By{})
	at := func(s State, generation, epoch int) *Change {
		c := Change{After: born.After}
		c.After.Operation.State, c.After.Operation.Generation, c.After.Operation.Epoch = s, generation, epoch
		if s == Completed {
			c.After.Operation.StripeID = "tr_1"
		}
		return &c
	}
	for name, tc := range map[string]struct {
		run  []*Change
		last Event
		want bool
	}{
		"a payment":                         {[]*Change{at(Sending, 1, 1), at(Completed, 1, 1)}, EventConfirm, true},
		"the next generation":               {[]*Change{at(Sending, 1, 1), at(FailedState, 1, 1), at(Sending, 2, 1)}, EventSend, true},
		"a new epoch's generation":          {[]*Change{at(Sending, 1, 1), at(FailedState, 1, 2), at(Sending, 2, 2)}, EventSend, true},
		"a payment without a send":          {[]*Change{at(Parked, 0, 1)}, EventPark, false},
		"two generations at once":           {[]*Change{at(Sending, 1, 1), at(Sending, 3, 1)}, EventSend, false},
		"a generation that goes back":       {[]*Change{at(Sending, 1, 1), at(Sending, 2, 1), at(Sending, 1, 1)}, EventSend, false},
		"an epoch that goes back":           {[]*Change{at(Sending, 1, 2), at(Sending, 2, 1)}, EventSend, false},
		"what was paid is owed":             {[]*Change{at(Sending, 1, 1), at(Completed, 1, 1), at(Pending, 1, 1)}, EventRetry, false},
		"what was canceled is sent":         {[]*Change{at(Canceled, 0, 1), at(Sending, 1, 1)}, EventSend, false},
		"what is parked is sent":            {[]*Change{at(Sending, 1, 1), at(Parked, 1, 1), at(Sending, 2, 1)}, EventSend, false},
		"what is parked is given up":        {[]*Change{at(Sending, 1, 1), at(Parked, 1, 1), at(PermanentlyFailed, 1, 1)}, EventGiveUp, false},
		"what was given up is sent at once": {[]*Change{at(PermanentlyFailed, 0, 1), at(Sending, 1, 1)}, EventSend, false},
	} {
		a := newAcceptor(modelMoves())
		if r := a.accept(&born); r != nil {
			t.Fatal(r)
		}
		var refused []string
		for i, c := range tc.run {
			if c.History.Event = EventSend; i == len(tc.run)-1 {
				c.History.Event = tc.last
			}
			refused = append(refused, a.accept(c)...)
		}
		if (refused == nil) != tc.want {
			t.Errorf("%s: refused %q", name, refused)
		}
	}
}
