package db

import (
	"testing"
	"time"
)

// Found by the simulation: a walk that began while the database's clock was ahead kept every other from beginning,
// also one that a person asked for, until that moment came.
func TestAWalkOfAClockThatWasAheadHoldsUpNoOther(t *testing.T) {
	ctx, now := t.Context(), time.Unix(1_800_000_000, 0)
	ahead := 9 * time.Hour
	d, err := Open(ctx, "sqlite::memory:", Options{Now: func() time.Time { return now.Add(ahead) }})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	first, mine, err := d.OpenWalk(ctx, newID(), time.Hour, time.Minute, 0)
	if err != nil || !mine {
		t.Fatalf("the first walk: %v, %v", mine, err)
	}
	ahead = 0
	taken, mine, err := d.OpenWalk(ctx, newID(), time.Hour, time.Minute, 0)
	if err != nil || !mine || taken.No != first.No {
		t.Errorf("a walk whose owner was last seen in the future is nobody's to go on with: %v, %v", mine, err)
	}
	taken.Until = time.Time{} // to its end
	if _, ok, err := d.SaveWalk(ctx, taken); err != nil || !ok {
		t.Fatalf("end the walk: %v, %v", ok, err)
	}
	for name, every := range map[string]time.Duration{"one that was asked for": 0, "the next": time.Hour} {
		if next, mine, err := d.OpenWalk(ctx, newID(), every, 0, 0); err != nil || !mine && next.No == first.No {
			t.Errorf("%s does not begin: %v", name, err)
		}
	}
}
