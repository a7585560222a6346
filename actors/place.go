package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/settled/settled/actors/gate"
)

// tellLive answers with the actor's doing. The gate, or conditions, completes the answer of an actor that waits there:
// the actor knows neither its place in the gate nor, because it holds no record, the condition that it waits for.
func (t *transfer) tellLive(c actor.Context, m live) {
	l := t.live()
	switch w := t.w; {
	case w != nil && w.errand == asking:
		c.Send(t.sys.gate, gate.Place{Endpoint: w.asked, Seller: w.record.Transfer.Destination, Age: t.id, Live: l, Reply: m.reply})
	case w == nil && !t.resting:
		c.Send(t.sys.conditions, gate.Sleep{Who: c.Self().Id, Live: l, Reply: m.reply})
	default:
		m.reply <- l
	}
}
