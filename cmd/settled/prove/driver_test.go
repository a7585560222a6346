package prove

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/settled/settled/ledger"
)

type told struct {
	id   ledger.ID
	to   *actor.PID
	n    *int
	at   time.Time
	done func()
	ctx  context.Context
	text string
}

func TestAMessageIsKnownByWhatItSaysAndNotByWhereItIs(t *testing.T) {
	one := func(n int, text string) told {
		return told{id: ledger.ID{1, 2}, to: actor.NewPID("here", "gate"), n: &n, at: time.Now(), done: func() { _ = n }, ctx: t.Context(), text: text}
	}
	if a, b := content(one(1, "x")), content(one(1, "x")); a != b {
		t.Errorf("the same message is %q and %q", a, b)
	}
	for _, other := range []told{one(2, "x"), one(1, "y")} {
		if content(other) == content(one(1, "x")) {
			t.Errorf("%+v is not told apart", other)
		}
	}
}

// Whatever comes at one moment has the same order, whichever goroutine was first.
func TestWhatComesAtOneMomentIsOrderedByNameAndContent(t *testing.T) {
	order := func(first ...int) (names []string) {
		synctest.Test(t, func(t *testing.T) {
			d := newDriver(1, true)
			for _, i := range first {
				go func() {
					time.Sleep(time.Second)
					d.park(context.Background(), []string{"b", "a", "c"}[i%3], told{text: string(rune('0' + i))})
					names = append(names, string(rune('0'+i)))
				}()
			}
			go func() {
				time.Sleep(time.Minute)
				d.finish()
			}()
			d.run()
			if len(d.alike) > 0 {
				t.Errorf("%q are not told apart", d.alike)
			}
		})
		return names
	}
	want := order(0, 1, 2, 3, 4, 5)
	for range 20 {
		if got := order(5, 3, 4, 0, 2, 1); !slices.Equal(got, want) {
			t.Fatalf("the order is %v, and was %v", got, want)
		}
	}
}

func TestStepsThatNothingTellsApartAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDriver(1, false)
		for range 2 {
			go d.park(context.Background(), "same", told{text: "same"})
		}
		go func() {
			time.Sleep(time.Second)
			d.finish()
		}()
		d.run()
		if !slices.Equal(d.alike, []string{"same"}) {
			t.Errorf("%q were reported", d.alike)
		}
	})
}
