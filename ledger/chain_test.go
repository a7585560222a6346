package ledger_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/settled/settled/ledger"
)

// chained is a transfer with a history of several rows, and their postings.
func chained(t *testing.T) (Transfer, []History, map[int64][]Posting) {
	t.Helper()
	return chainedTo(t, 100)
}

// chainedTo is chained as of a version.
func chainedTo(t *testing.T, version int64) (Transfer, []History, map[int64][]Posting) {
	t.Helper()
	var x Transfer
	var rows []History
	postings := map[int64][]Posting{}
	add := func(c Change, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if x.Version == version {
			return
		}
		c.Stamp(dawn)
		c.Stamp(dawn.Add(1000)) // a commit that is tried again is stamped again
		x, rows = c.After, append(rows, c.History)
		postings[c.After.Version] = c.Postings
	}
	add(Accept(order(), id(1), 1, dawn, By{}), nil)
	p := policy()
	p.Epoch = 1
	add(x.Begin(p, dawn))
	c, _, err := x.Conclude(x.ID, x.Operation.Epoch, x.Operation.Generation, refused)
	add(c, err)
	add(x.Retry(By{Message: id(9), Principal: "ops", Reason: "because"}))
	add(x.Begin(p, dawn))
	if x.Version == version {
		return x, rows, postings
	}
	c, _, err = x.Conclude(x.ID, x.Operation.Epoch, x.Operation.Generation, paid)
	add(c, err)
	return x, rows, postings
}

func TestAChainHoldsTogether(t *testing.T) {
	x, rows, postings := chained(t)
	if err := x.CheckChain(rows, postings); err != nil {
		t.Error(err)
	}
}

// Rows of a time without a chain are not taken as they are: they are given theirs once.
func TestAHistoryWithoutAChainIsGivenOne(t *testing.T) {
	for without := range 7 {
		x, rows, postings := chained(t)
		for i := range rows {
			rows[i].Content = nil
		}
		for i := range rows[:min(without, len(rows))] {
			rows[i].Chain = ""
		}
		if without >= len(rows) {
			x.Chain = ""
		}
		if x.CheckChain(rows, postings) == nil {
			t.Errorf("%d rows without a chain are taken as they are", without)
		}
		if without < len(rows) {
			if err := x.Rechain(rows, postings); err == nil {
				t.Errorf("%d rows without a chain, the others without their content: it was given a new chain", without)
			}
			continue
		}
		if err := x.Rechain(rows, postings); err != nil {
			t.Fatal(err)
		}
		if err := x.CheckChain(rows, postings); err != nil {
			t.Errorf("%d rows that were given their chain: %v", without, err)
		}
		x.Seller += "x"
		if x.CheckChain(rows, postings) == nil {
			t.Error("a change of a column does not show")
		}
	}
}

// Rows of a time that had a chain, and no hash of what a row left, are not taken as they are either: they are
// given it once, unless one of them is not as it was written.
func TestAChainWithoutTheHashOfItsContentIsGivenIt(t *testing.T) {
	_, whole, postings := chained(t)
	for i := range whole {
		whole[i].Chain, whole[i].Content = "", nil
	}
	all, _, _ := chained(t)
	all.Chain = ""
	if err := all.Rechain(whole, postings); err != nil {
		t.Fatal(err)
	}
	// A new chain has the hash in its last row only: the rows before are as they were then.
	before := func() (Transfer, []History) {
		x, _, _ := chainedTo(t, int64(len(whole))-1)
		rows := slices.Clone(whole[:len(whole)-1])
		x.Chain = rows[len(rows)-1].Chain
		return x, rows
	}
	x, rows := before()
	if err := x.CheckChain(rows, postings); err == nil || !strings.Contains(err.Error(), "has no hash of the rows that it left") {
		t.Errorf("without the hash: %v", err)
	}
	if err := x.Rechain(rows, postings); err != nil {
		t.Fatal(err)
	}
	if err := x.CheckChain(rows, postings); err != nil {
		t.Errorf("with the hash that it was given: %v", err)
	}
	if x.Seller += "x"; x.CheckChain(rows, postings) == nil {
		t.Error("a change of a column does not show")
	}
	for what, change := range map[string]func(x *Transfer, rows []History){
		"a row was changed":          func(_ *Transfer, rows []History) { rows[1].By.Principal += "x" },
		"a row's hash was taken out": func(_ *Transfer, rows []History) { rows[2].Chain = "" },
		"its end is another":         func(x *Transfer, _ []History) { x.Chain = rows[0].Chain },
	} {
		x, rows := before()
		change(&x, rows)
		if err := x.Rechain(rows, postings); err == nil {
			t.Errorf("%s, and it was given a new chain", what)
		}
	}
}

func TestWhatIsChangedInAHistoryShows(t *testing.T) {
	x, rows, postings := chained(t)
	at := len(rows) / 2
	var walk func(v reflect.Value, name string)
	fields := 0
	walk = func(v reflect.Value, name string) {
		if v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]() {
			for i := range v.NumField() {
				walk(v.Field(i), name+"."+v.Type().Field(i).Name)
			}
			return
		}
		if v.Type() == reflect.TypeFor[[]Hold]() {
			return // see TestWhatIsChangedInAHoldShows
		}
		was := reflect.New(v.Type()).Elem()
		was.Set(v)
		switch {
		case v.Type() == reflect.TypeFor[time.Time]():
			v.Set(reflect.ValueOf(dawn.Add(1_000_000)))
		case v.Kind() == reflect.String:
			v.SetString(v.String() + "x")
		case v.Kind() == reflect.Bool:
			v.SetBool(!v.Bool())
		case v.Kind() == reflect.Array:
			v.Index(3).SetUint(v.Index(3).Uint() + 1)
		case v.Kind() == reflect.Slice:
			v.SetBytes(append([]byte{1}, v.Bytes()...))
		case v.CanInt():
			v.SetInt(v.Int() + 1)
		case v.CanUint():
			v.SetUint(1 - v.Uint()%2)
		default:
			t.Fatalf("%s is a %s, which this test cannot change", name, v.Kind())
		}
		fields++
		if x.CheckChain(rows, postings) == nil {
			t.Errorf("a change of %s does not show", name)
		}
		v.Set(was)
	}
	walk(reflect.ValueOf(&rows[at]).Elem(), "History")
	if err := x.CheckChain(rows, postings); err != nil || fields < 25 {
		t.Fatalf("%d fields; put back: %v", fields, err)
	}
	for name, change := range map[string]func(rows []History, postings map[int64][]Posting) []History{
		"a row taken out":     func(r []History, _ map[int64][]Posting) []History { return slices.Delete(r, at, at+1) },
		"the last taken out":  func(r []History, _ map[int64][]Posting) []History { return r[:len(r)-1] },
		"the first taken out": func(r []History, _ map[int64][]Posting) []History { return r[1:] },
		"two exchanged":       func(r []History, _ map[int64][]Posting) []History { r[1], r[2] = r[2], r[1]; return r },
		"one put in":          func(r []History, _ map[int64][]Posting) []History { return slices.Insert(r, at, r[at]) },
		"all taken out":       func([]History, map[int64][]Posting) []History { return nil },
		"a hash taken out":    func(r []History, _ map[int64][]Posting) []History { r[at].Chain = ""; return r },
		"all hashes taken out": func(r []History, _ map[int64][]Posting) []History {
			for i := range r {
				r[i].Chain = ""
			}
			return r
		},
		"a posting of another amount": func(r []History, p map[int64][]Posting) []History {
			p[1] = slices.Clone(p[1])
			p[1][0].Amount++
			return r
		},
		"a posting more": func(r []History, p map[int64][]Posting) []History {
			p[2] = append(slices.Clone(p[2]), p[1]...)
			return r
		},
		"a posting less": func(r []History, p map[int64][]Posting) []History { delete(p, 1); return r },
	} {
		x, rows, postings := chained(t)
		if err := x.CheckChain(change(rows, postings), postings); err == nil {
			t.Errorf("%s: it does not show", name)
		}
	}
	x.Chain = strings.Repeat("0", 64)
	if x.CheckChain(rows, postings) == nil {
		t.Error("another end: it does not show")
	}
}

// A hold is one row, and two rows of the history tell of it: the one that began it, and the one
// that ended it.
func TestWhatIsChangedInAHoldShows(t *testing.T) {
	var x Transfer
	var rows []History
	add := func(c Change, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		c.Stamp(dawn.Add(time.Duration(len(rows)) * time.Hour))
		x, rows = c.After, append(rows, c.History)
	}
	add(Accept(order(), id(1), 1, dawn, By{}), nil)
	add(x.Hold(HeldByDispute, dawn.Add(24*time.Hour), person))
	add(x.Hold(HeldByOperator, time.Time{}, person))
	add(x.Release(person))
	add(x.LetGo(x.ID, "dispute", person))
	holds := []Hold{rows[4].Holds[0], rows[3].Holds[0]} // as they ended
	check := func() error {
		all := slices.Clone(rows)
		for i := range all {
			all[i].Holds = nil
			for _, h := range holds {
				if h.Begun == all[i].Version || h.Ended == all[i].Version {
					all[i].Holds = append(all[i].Holds, h)
				}
			}
		}
		return x.CheckChain(all, map[int64][]Posting{1: Accept(order(), id(1), 1, dawn, By{}).Postings})
	}
	if err := check(); err != nil {
		t.Fatal(err)
	}
	for i := range holds {
		v := reflect.ValueOf(&holds[i]).Elem()
		for f := range v.NumField() {
			was := reflect.New(v.Field(f).Type()).Elem()
			was.Set(v.Field(f))
			switch field := v.Field(f); field.Kind() {
			case reflect.Struct:
				field.Set(reflect.ValueOf(dawn.Add(time.Minute)))
			case reflect.String:
				field.SetString("x" + field.String())
			case reflect.Array:
				field.Index(3).SetUint(field.Index(3).Uint() + 1)
			default:
				field.SetInt(field.Int() + 1)
			}
			if check() == nil {
				t.Errorf("a change of a hold's %s does not show", v.Type().Field(f).Name)
			}
			v.Field(f).Set(was)
		}
	}
	holds = holds[:1]
	if check() == nil {
		t.Error("a hold taken out does not show")
	}
}
