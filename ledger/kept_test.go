package ledger_test

import (
	"testing"

	. "github.com/settled/settled/ledger"
)

// TestTheEndOfAnEarlierGenerationEndsNoLaterOne: a reversal that Stripe kept and did not make
// stays in its list, beside the one of the next generation.
func TestTheEndOfAnEarlierGenerationEndsNoLaterOne(t *testing.T) {
	kept := Answer{Row: "R1", Verdict: Kept, Reaction: AwaitSellerFunds, HTTPStatus: 200, StripeID: "trr_1"}
	s := begin(t).sends().answers(paid).reverses(2, 400).sends().answers(kept)
	op, _ := s.x.Current()
	first := StripeReversal{ID: "trr_1", Amount: 400, Metadata: s.x.Request(op).Metadata}
	held := StripeTransfer{ID: "tr_1", Amount: 1000, Void: []StripeReversal{first}}
	c, changed, err := s.x.Kept(held)
	if err != nil || !changed {
		t.Fatalf("what came to nothing changes nothing: %v", err)
	}
	s.did(c, nil).drives(FailedState, 1, 0).sends().answers(kept).drives(PendingAtStripe, 2, 0)
	op, _ = s.x.Current()
	held.Waiting = []StripeReversal{{ID: "trr_2", Amount: 400, Metadata: s.x.Request(op).Metadata}}
	if c, changed, err := s.x.Kept(held); changed || err != nil {
		t.Errorf("generation 2 is kept, and generation 1's end is taken for its own: %s, %v", c.History.Event, err)
	}
}
