package actors_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// An actor may hold a record that another daemon has left behind, or that a page of recovery
// brought late. A change by it loses to the guard; a refusal must not be drawn from it. (The
// real daemon, killed under load, refused to reverse what it had just shown as completed.)
func TestAMessageIsNotRefusedByARecordThatIsBehind(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		id := w.one()
		synctest.Wait() // its actor asks for a permit, and gets none: the account is not verified
		behind := w.node
		w.node = w.start()
		w.becomes(id, ledger.Completed)
		if got := w.transfer(id).Status(); got != ledger.Completed {
			w.Fatal(got)
		}
		if _, err := behind.inject(id, ledger.Message{Type: ledger.MessageReverse, Amount: 10}); err != nil {
			w.Errorf("the daemon that is behind: %v", err)
		}
		w.becomes(id, ledger.PartiallyReversed)
	}, shut())
}

// A commit that happened and was cut off is tried again, and loses to itself. The answer that
// it recorded is then weighed a second time, and must not be taken off the count again: of two
// sends of which one is lost and one was turned away, the lost one would be denied.
func TestAnAnswerWhoseCommitWasCutOffIsCountedOnce(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(
			stripesim.Rule{Kind: stripesim.KindLoseAnswer, Path: creating},
			stripesim.Rule{Kind: stripesim.KindRateLimit, Path: creating, Arrival: 2},
		)
		var cut atomic.Bool
		w.node.store.onAfter(func(call string, changes []ledger.Change) error {
			if call == "commit" && len(changes) == 1 && changes[0].History.Answer.Row == "T12" && cut.CompareAndSwap(false, true) {
				return errOutage
			}
			return nil
		})
		id := w.one()
		w.becomes(id, ledger.Completed)
		if !cut.Load() {
			w.Fatal("no commit was cut off")
		}
		for _, h := range w.history(id) {
			if h.To.Open() && h.OpenSends == 0 && h.Event != ledger.EventConfirm || h.Event == ledger.EventRefuse || h.Event == ledger.EventNotExecuted {
				w.Errorf("version %d: %s to %s with %d open sends, although one was lost", h.Version, h.Event, h.To, h.OpenSends)
			}
		}
		w.alarms(nil)
	})
}

// After the database lost commits, a cancel could deny a send that was lost with them.
func TestACancelWaitsForTheLookAfterLostCommits(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		id := w.one()
		synctest.Wait()
		w.raises()
		w.restart()
		w.refuses(id, ledger.Message{Type: ledger.MessageCancel}, ledger.ErrTooEarly)
		if x := w.becomes(id, ledger.Completed); x.Operation.Epoch != 2 {
			w.Errorf("sent in epoch %d", x.Operation.Epoch)
		}
		if _, err := w.inject(id, ledger.Message{Type: ledger.MessageCancel}); !errors.Is(err, ledger.ErrIllegalMove) {
			w.Errorf("a cancel of what is paid: %v", err)
		}
	}, shut())
}
