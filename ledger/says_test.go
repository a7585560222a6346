package ledger

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestARefusalSaysWhereItStandsAndWhatLeadsOn(t *testing.T) {
	paid := Transfer{Order: Order{Money: Money{1000, "eur"}}, ID: ID{1}, Operation: Operation{ID: ID{1}, State: Completed, StripeID: "tr_1"}}
	parked := Transfer{Order: Order{Money: Money{1000, "eur"}}, ID: ID{1}, Operation: Operation{ID: ID{1}, State: Parked}}
	for want, refused := range map[string]func() error{
		"Nothing is left to retry: the transfer is completed.":                  func() error { _, err := paid.Retry(By{}); return err },
		"It is parked: only `resolve` (completed or failed) leaves this state.": func() error { _, err := parked.Retry(By{}); return err },
		"Stripe holds it already; the way back is a reversal.":                  func() error { _, err := paid.Cancel(By{}); return err },
	} {
		err := refused()
		if !errors.Is(err, ErrIllegalMove) {
			t.Errorf("%q is refused by %v", want, err)
			continue
		}
		if got := Sentence(fmt.Errorf("retry transfer 01a2: %w", err)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAStoredRefusalIsTheSameSentence(t *testing.T) {
	parked := Transfer{Order: Order{Money: Money{1000, "eur"}}, ID: ID{1}, Operation: Operation{ID: ID{1}, State: Parked}}
	_, err := parked.Cancel(By{})
	var r Receipt
	if !r.Refuse(err) || Sentence(r.Err()) != Sentence(err) {
		t.Errorf("%q, then %q", Sentence(err), Sentence(r.Err()))
	}
}

// operationIn is the state of the operation that moves next in a status; empty: a reversal that is to begin.
var operationIn = map[State]State{Held: Pending, Pending: Pending, FailedState: FailedState, PermanentlyFailed: PermanentlyFailed}

func TestEveryStateSaysWhatLeadsOn(t *testing.T) {
	for _, s := range States {
		if waysOn[s] == "" {
			t.Errorf("nothing is said of %s", s)
		}
		for _, word := range []string{"hold", "release", "cancel", "retry", "reverse"} {
			_, own := moves[operationIn[s]][Event(word)]
			if strings.Contains(waysOn[s], "`"+word+"`") && !own {
				t.Errorf("%s is said to lead on from %s", word, s)
			}
		}
	}
}

func TestWhatIsGivenUpSaysWhyAndWhatToDo(t *testing.T) {
	x := Transfer{Order: Order{Money: Money{1000, "eur"}}, ID: ID{1}, Operation: Operation{ID: ID{1}, State: PermanentlyFailed, ErrorCode: "resource_missing", ErrorMessage: "No such destination: acct_a4"}}
	want := "settled gave up: No such destination: acct_a4. Mend it and `retry`, or `cancel`."
	if step := Plan(&x, Digest{}, Policy{}, x.Operation.Since, x.Operation.Since); step.Why != want || step.Mover != MoveOfPlatform || step.Code != "resource_missing" {
		t.Errorf("%+v", step)
	}
	x.Operation.ErrorMessage = "No such destination: acct_a4."
	if got := x.LeftToPeople(&x.Operation); got != want {
		t.Errorf("%q", got)
	}
	x.Operation.StripeID = "tr_1"
	x.Reversals = []Reversal{{Amount: 700, Operation: Operation{ID: ID{2}, State: PermanentlyFailed, ErrorMessage: "it is gone"}}}
	if step := Plan(&x, Digest{}, Policy{}, x.Operation.Since, x.Operation.Since); !strings.HasPrefix(step.Why, "settled gave up the reversal of ") || !strings.Contains(step.Why, ": It is gone. Mend it and `retry`") {
		t.Errorf("%+v", step)
	}
}

func TestACurrencyThatIsNotGivenIsRequired(t *testing.T) {
	if _, err := ParseCurrency(""); err == nil || !strings.HasPrefix(err.Error(), "is required") {
		t.Errorf("%v", err)
	}
}
