package ledger_test

import (
	"errors"
	"fmt"
	"testing"

	. "github.com/settled/settled/ledger"
)

func TestARefusalIsReadAsItWasWritten(t *testing.T) {
	for name, tc := range map[string]struct {
		err error
		is  error
	}{
		"a state that forbids it": {fmt.Errorf("%w: Stripe holds it", ErrIllegalMove), ErrIllegalMove},
		"too early":               {fmt.Errorf("resolve: %w: not before noon", ErrTooEarly), ErrTooEarly},
		"a conflict":              {fmt.Errorf("%w: tr_1 and tr_2", ErrConflict), ErrConflict},
	} {
		var r Receipt
		if !r.Refuse(tc.err) {
			t.Errorf("%s is no refusal", name)
		}
		if got := r.Err(); !errors.Is(got, tc.is) || got.Error() != tc.err.Error() {
			t.Errorf("%s is read as %v", name, got)
		}
	}
	var r Receipt
	wrong := FieldErrors{{Field: "amount", Detail: "9 is more: at most 5; or leave it out"}}
	var got FieldErrors
	if !r.Refuse(fmt.Errorf("reverse: %w", wrong)) || !errors.As(r.Err(), &got) || len(got) != 1 || got[0] != wrong[0] {
		t.Errorf("a wrong field is read as %v", r.Err())
	}
	for _, err := range []error{ErrUnavailable, ErrNotFound, errors.New("a bug")} {
		if (&Receipt{}).Refuse(err) {
			t.Errorf("%v would be what every repetition hears", err)
		}
	}
	if err := (Receipt{Before: Held, After: Pending}).Err(); err != nil {
		t.Errorf("what acted is refused: %v", err)
	}
	if err := (Receipt{Refusal: "no"}).Err(); !errors.Is(err, ErrIllegalMove) {
		t.Errorf("a refusal without a ground: %v", err)
	}
}
