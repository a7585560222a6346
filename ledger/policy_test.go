package ledger_test

import (
	"math"
	"testing"
	"time"

	. "github.com/settled/settled/ledger"
	"pgregory.net/rapid"
)

var fixedZone = time.FixedZone("somewhere", 5*3600)

func TestTheWindowsKeepTheInequality(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Windows)
		ok     bool
	}{
		"the defaults hold":                        {func(*Windows) {}, true},
		"quiet may be longer":                      {func(w *Windows) { w.Quiet += time.Hour }, true},
		"quiet may not be a nanosecond shorter":    {func(w *Windows) { w.Quiet-- }, false},
		"a longer safe needs a longer quiet":       {func(w *Windows) { w.Safe += time.Second }, false},
		"with which it holds again":                {func(w *Windows) { w.Safe += time.Second; w.Quiet += time.Second }, true},
		"a shorter safe is fine":                   {func(w *Windows) { w.Safe = time.Second }, true},
		"safe must be something":                   {func(w *Windows) { w.Safe = 0 }, false},
		"and not negative":                         {func(w *Windows) { w.Safe = -time.Hour }, false},
		"a key must outlive its last arrival":      {func(w *Windows) { w.Safe, w.Quiet = 21*time.Hour+45*time.Minute, 48*time.Hour }, false},
		"by a nanosecond":                          {func(w *Windows) { w.Safe, w.Quiet = 21*time.Hour+45*time.Minute-1, 48*time.Hour }, true},
		"a day is too long, however long quiet is": {func(w *Windows) { w.Safe, w.Quiet = 24*time.Hour, 1000*time.Hour }, false},
		"centuries do not pass by overflowing":     {func(w *Windows) { w.Safe = math.MaxInt64 }, false},
		"nor together with a quiet of centuries":   {func(w *Windows) { w.Safe, w.Quiet = math.MaxInt64, math.MaxInt64 }, false},
		"all may shrink together, as in tests":     {func(w *Windows) { *w = Windows{60, 105, 3, 20, 20, 2, 240} }, true},
		"but not the inequality":                   {func(w *Windows) { *w = Windows{60, 104, 3, 20, 20, 2, 240} }, false},
	} {
		w := DefaultWindows()
		tc.change(&w)
		if err := w.Check(); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWindowsThatPassAreSafe(t *testing.T) {
	span := rapid.Int64Range(0, int64(100*time.Hour))
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) time.Duration { return time.Duration(span.Draw(t, label)) }
		w := Windows{Safe: draw("safe"), Quiet: draw("quiet"), Skew: draw("skew"), Wire: draw("wire"), Late: draw("late"), Lag: draw("lag"), KeyLife: draw("key life")}
		safe := w.Safe > 0 && w.Safe+w.Skew+w.Wire < w.KeyLife && w.Quiet >= w.Safe+w.Skew+w.Wire+w.Late+w.Lag
		if err := w.Check(); (err == nil) != safe {
			t.Fatalf("%+v: %v", w, err)
		}
	})
}

func TestAWaitDoublesUpToItsCap(t *testing.T) {
	b := Backoff{Base: time.Minute, Max: time.Hour}
	for n, want := range map[int]time.Duration{
		1: time.Minute, 2: 2 * time.Minute, 3: 4 * time.Minute, 6: 32 * time.Minute,
		7: time.Hour, 8: time.Hour, 64: time.Hour, 1_000_000: time.Hour,
		0: time.Minute, -1: time.Minute,
	} {
		shortest, longest := b.Wait(n, 0), b.Wait(n, math.MaxUint32)
		if shortest != want/2 {
			t.Errorf("wait %d is at least %s, want half of %s", n, shortest, want)
		}
		if longest > want || longest < want*99/100 {
			t.Errorf("wait %d is at most %s, want about %s and no more", n, longest, want)
		}
	}
	for _, n := range []int{28, 29, 64, 65, 200} { // where doubling leaves what a duration can hold
		if got := (Backoff{Base: time.Minute, Max: math.MaxInt64}).Wait(n, 0); got < math.MaxInt64/4 {
			t.Errorf("wait %d of centuries is %s", n, got)
		}
	}
	if got := (Backoff{Base: 2 * time.Hour, Max: time.Hour}).Wait(1, math.MaxUint32); got > time.Hour {
		t.Errorf("a base above the cap waits %s", got)
	}
}

func TestAWaitStaysInItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Backoff{Base: time.Duration(rapid.Int64Range(1, math.MaxInt64).Draw(t, "base")), Max: time.Duration(rapid.Int64Range(1, math.MaxInt64).Draw(t, "max"))}
		n := rapid.IntRange(1, 200).Draw(t, "n")
		j := rapid.Uint32().Draw(t, "jitter")
		w := b.Wait(n, j)
		if w < min(b.Base, b.Max)/2 || w > b.Max {
			t.Fatalf("%+v: wait %d is %s", b, n, w)
		}
		if more := b.Wait(n+1, j); more < w {
			t.Fatalf("%+v: wait %d is %s, and the next only %s", b, n, w, more)
		}
		if j < math.MaxUint32 {
			if more := b.Wait(n, j+1); more < w {
				t.Fatalf("%+v: more jitter waits less: %s, %s", b, w, more)
			}
		}
	})
}

func TestJitterIsDerivedAndSpread(t *testing.T) {
	if first, again := Jitter(id(5), 3), Jitter(id(5), 3); first != again {
		t.Error("a restart in the middle of a wait would end it at another time")
	}
	const buckets, draws = 16, 16000
	for name, draw := range map[string]func(i int) uint32{
		"over operations": func(i int) uint32 { return Jitter(id(uint64(i)), 1) },
		"over operations of one millisecond": func(i int) uint32 {
			op := id(uint64(i) << 40)
			return Jitter(op, 2)
		},
		"over waits": func(i int) uint32 { return Jitter(id(1), i) },
	} {
		var count [buckets]int
		for i := range draws {
			count[draw(i)>>28]++
		}
		for b, n := range count {
			// A thousand each is expected; a fifth off is six standard deviations.
			if n < 800 || n > 1200 {
				t.Errorf("%s: bucket %d of %d has %d of %d", name, b, buckets, n, draws)
			}
		}
	}
}
