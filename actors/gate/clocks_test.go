package gate

import (
	"testing"
	"time"

	"github.com/settled/settled/ledger"
)

func TestWhileTheClocksForbidSendsTheyAreHeardForWhoWaits(t *testing.T) {
	inGate(t, Limits{Concurrency: 4}, func(r *gateRig) {
		halted, heard := true, 0
		r.gate.Halted = func() bool { return halted }
		r.gate.Hear = func(no uint64, of ledger.ID, done func()) {
			if of != ageOf(7) {
				t.Errorf("they are heard by %s, who does not wait", of)
			}
			heard++
			r.system.Root.Send(r.pid, AfterRead(no, Lists, nil))
			time.AfterFunc(time.Minute, done)
		}
		if _, took := r.wait(Reads); took != 0 || heard != 0 {
			t.Errorf("a read waited %s, and the clocks were heard %d times for nobody", took, heard)
		}
		sends := r.ask(Transfers, "s", 7)
		r.passes(10*time.Minute + time.Second)
		if _, out := r.out[sends]; out || heard != 11 {
			t.Errorf("sent: %v; the clocks were heard %d times in ten minutes", out, heard)
		}
		halted = false
		r.passes(time.Minute)
		if _, out := r.out[sends]; !out || heard != 11 {
			t.Errorf("once they agree again: sent: %v; heard %d times", out, heard)
		}
	})
}
