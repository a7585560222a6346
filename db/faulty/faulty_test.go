package faulty_test

import (
	"testing"

	"github.com/settled/settled/db"
	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/db/faulty"
	"github.com/settled/settled/ledger"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// TestAFaultDoesWhatItSays spoils one call of a transaction that binds the ledger to an account.
func TestAFaultDoesWhatItSays(t *testing.T) {
	for name, tc := range map[string]struct {
		call  faulty.Call
		fault faulty.Fault
		told  bool // the caller hears of success
		done  bool // it was bound
		dead  bool
	}{
		"nothing fails":                             {faulty.Commit, faulty.None, true, true, false},
		"a refused commit stores nothing":           {faulty.Commit, faulty.Refused, false, false, false},
		"a commit is not tried again unseen":        {faulty.Commit, faulty.RefusedBad, false, false, false},
		"a lost commit stores":                      {faulty.Commit, faulty.Lost, false, true, false},
		"a lost commit says that nothing was sent":  {faulty.Commit, faulty.LostBad, false, true, false},
		"death before the commit":                   {faulty.Commit, faulty.DiesBefore, false, false, true},
		"death after the commit":                    {faulty.Commit, faulty.DiesAfter, false, true, true},
		"a refused beginning":                       {faulty.Begin, faulty.Refused, false, false, false},
		"a refused beginning is tried again unseen": {faulty.Begin, faulty.RefusedBad, true, true, false},
		"a lost beginning is tried again unseen":    {faulty.Begin, faulty.LostBad, true, true, false},
		"a lost statement rolls back":               {faulty.Exec, faulty.Lost, false, false, false},
		"death after a statement rolls back":        {faulty.Exec, faulty.DiesAfter, false, false, true},
		"a lost result rolls back":                  {faulty.Query, faulty.Lost, false, false, false},
		"a lost row rolls back":                     {faulty.Fetch, faulty.Lost, false, false, false},
		"death before a row":                        {faulty.Fetch, faulty.DiesBefore, false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, url string) {
				ctx := t.Context()
				armed := false
				f := faulty.New(func(p faulty.Point) faulty.Fault {
					if !armed || p.Call != tc.call {
						return faulty.None
					}
					armed = false
					return tc.fault
				})
				d := open(t, url, db.Options{Connector: f.Connector})
				if _, err := d.Migrate(ctx); err != nil {
					t.Fatal(err)
				}
				watch := open(t, url, db.Options{})

				armed = true
				err := d.Bind(ctx, ledger.Binding{Account: "acct_1", Mode: ledger.TestMode})
				if told := err == nil; told != tc.told || !told && !db.Transient(err) {
					t.Errorf("the caller heard: %v", err)
				}
				if armed {
					t.Errorf("there was no %s", tc.call)
				}
				if b, err := watch.Binding(ctx); err != nil || (b != ledger.Binding{}) != tc.done {
					t.Errorf("it is bound to %s, %v", b, err)
				}
				// What was rolled back holds no lock, and what was lost can be had again.
				if err := watch.Bind(ctx, ledger.Binding{Account: "acct_1", Mode: ledger.TestMode}); err != nil {
					t.Error(err)
				}
				if err := d.Bind(ctx, ledger.Binding{Account: "acct_1", Mode: ledger.TestMode}); (err != nil) != tc.dead {
					t.Errorf("the next call: %v", err)
				}
				if !tc.dead {
					return
				}
				d.Close()
				select {
				case <-f.Gone():
				default:
					t.Error("a dead process has connections")
				}
			})
		})
	}
}

func open(t *testing.T, url string, o db.Options) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}
