package everyn_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/db"
	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/ledger"
)

// run has one life lived over a fresh database. It returns how many of the troubles did not
// happen, and how many points the life had.
type run func(t *testing.T, live func(*life), troubles ...trouble) (left int, had tally)

// worlds are the databases. open prepares one, and may skip the test.
var worlds = []struct {
	name string
	open func(*testing.T) run
	dear int // its lives, as against SQLite's
}{{"sqlite", onSQLite, 1}, {"postgres", onPostgres, 2}}

// inBubble is the pace of a life in a bubble: the real one, for hours pass at once.
func inBubble() pace {
	retry := ledger.Retry{Enabled: true, MaxAttempts: 5, MaxAge: 72 * time.Hour, Backoff: ledger.Backoff{Base: time.Minute, Max: time.Hour}}
	return pace{
		policy: ledger.Policy{Windows: ledger.DefaultWindows(), Transfers: retry, Reversals: retry, Unresolved: ledger.ParkDoubtful},
		times:  stripesim.DefaultTimes(), timeout: 20 * time.Second, sweep: 10 * time.Minute, onItsWay: 5 * time.Minute, patience: 5 * 24 * time.Hour,
		glance: func(waited time.Duration) time.Duration {
			return min(max(10*time.Millisecond, waited), 30*time.Minute)
		},
	}
}

// inRealTime is the pace of a life that has to be waited for. The spans that safety rests on are
// longer than a busy machine keeps a process waiting.
func inRealTime() pace {
	retry := ledger.Retry{Enabled: true, MaxAttempts: 10_000, MaxAge: time.Hour, Backoff: ledger.Backoff{Base: 4 * time.Millisecond, Max: 100 * time.Millisecond}}
	windows := ledger.Windows{Safe: 2 * time.Second, Skew: 100 * time.Millisecond, Wire: 3 * time.Second, Late: 300 * time.Millisecond,
		Lag: 100 * time.Millisecond, KeyLife: time.Minute}
	windows.Quiet = windows.Safe + windows.Skew + windows.Wire + windows.Late + windows.Lag
	return pace{
		policy: ledger.Policy{Windows: windows, Transfers: retry, Reversals: retry, Unresolved: ledger.ParkDoubtful},
		times: stripesim.Times{KeyLife: windows.KeyLife, LateMax: windows.Late, WireMax: windows.Wire, ListLag: windows.Lag,
			EventDelayMax: 2 * time.Second, SlowMax: 100 * time.Millisecond},
		timeout: 300 * time.Millisecond, cooldown: 5 * time.Millisecond, sweep: time.Second, onItsWay: 500 * time.Millisecond, patience: 2 * time.Minute,
		glance: func(waited time.Duration) time.Duration {
			return min(max(10*time.Millisecond, waited/2), 100*time.Millisecond)
		},
	}
}

// within lives one life at a pace, over the database of a URL; watch is another way to it.
func within(t *testing.T, p pace, url string, watch *db.DB, live func(*life), troubles []trouble) (left int, had tally) {
	l := begin(t, p, url, watch, troubles)
	defer func() { // also of a life that was given up
		l.end()
		left, had = l.points.left(), l.points.tally
	}()
	live(l)
	return
}

// onSQLite gives each life a copy of one migrated file.
func onSQLite(t *testing.T) run {
	template := filepath.Join(t.TempDir(), "template.db")
	migrate(t, "sqlite:"+template)
	content, err := os.ReadFile(template)
	if err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T, live func(*life), troubles ...trouble) (left int, had tally) {
		path := filepath.Join(inMemory(t), "ledger.db")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			watch := open(t, "sqlite:"+path)
			defer watch.Close()
			left, had = within(t, inBubble(), "sqlite:"+path, watch, live, troubles)
			time.Sleep(2 * time.Minute) // late timers' dead letters, and the library's throttle of their log
			synctest.Wait()
		})
		return left, had
	}
}

// onPostgres gives each life one of a few databases, emptied after the life before it, in a
// server that lives as long as the test.
func onPostgres(t *testing.T) run {
	server := dbtest.NewServerIn(t, inMemory(t))
	ctx := context.Background()
	type place struct {
		url   string
		watch *db.DB
		wiper *pgx.Conn
	}
	places := make(chan place, *lives)
	for i := range *lives {
		url, err := server.CreateDatabase(t.Context(), fmt.Sprintf("life_%d", i))
		if err != nil {
			t.Fatal(err)
		}
		migrate(t, url)
		watch := open(t, url)
		wiper, err := pgx.Connect(ctx, url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			wiper.Close(ctx)
			watch.Close()
		})
		places <- place{url, watch, wiper}
	}
	return func(t *testing.T, live func(*life), troubles ...trouble) (left int, had tally) {
		at := <-places
		defer func() {
			if _, err := at.wiper.Exec(ctx, wipe); err != nil {
				t.Errorf("wipe: %v", err)
			}
			places <- at
		}()
		return within(t, inRealTime(), at.url, at.watch, live, troubles)
	}
}

// wipe empties a database, past the triggers that keep its rows.
const wipe = `SET session_replication_role = replica;
	DO $$ DECLARE name text; BEGIN
		FOR name IN SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN ('schema_migrations', 'sums') LOOP
			EXECUTE 'DELETE FROM ' || name;
		END LOOP;
		UPDATE sums AS s SET hash = encode(sha256(''), 'hex') WHERE s.name <> 'schema_migrations'; -- of no rows
	END $$`

// inMemory makes a directory that no disk has to keep: processes die here, but no power fails.
func inMemory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "settled-everyn-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func open(t *testing.T, url string) *db.DB {
	t.Helper()
	d, err := db.Open(context.Background(), url, db.Options{MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func migrate(t *testing.T, url string) {
	t.Helper()
	d := open(t, url)
	defer d.Close()
	if _, err := d.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
}
