package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	nethttp "net/http"
	"net/url"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/settled/settled/db"
	"github.com/settled/settled/db/dbtest"
)

// odd is something that a PostgreSQL does to its clients now and then.
type odd struct {
	name       string
	begin, end string // statements; %s is the database
	lasts      time.Duration
	outlived   bool // the daemon works again while it lasts
}

// failing has every so many of the statements that write history fail with a code.
func failing(name, code string) odd {
	return odd{name, `CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF random() < 0.3 THEN RAISE EXCEPTION 'injected' USING ERRCODE = '` + code + `'; END IF; RETURN NULL; END $$;
		CREATE TRIGGER odd AFTER INSERT ON history FOR EACH STATEMENT EXECUTE FUNCTION odd()`,
		`DROP TRIGGER odd ON history; DROP FUNCTION odd`, 1500 * time.Millisecond, false}
}

// flipped is a change of the server's role as a managed database does it: the sessions of before
// are read-only from now on, their sockets stay open, and new sessions can write.
var flipped = odd{"a role flip", `CREATE TABLE flipped AS SELECT clock_timestamp() AS at;
	CREATE FUNCTION flip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()) < (SELECT at FROM flipped) THEN
			RAISE EXCEPTION 'cannot execute INSERT in a read-only transaction' USING ERRCODE = '25006'; END IF; RETURN NULL; END $$;
	CREATE TRIGGER flip BEFORE INSERT ON transfers FOR EACH STATEMENT EXECUTE FUNCTION flip();
	CREATE TRIGGER flip BEFORE INSERT ON history FOR EACH STATEMENT EXECUTE FUNCTION flip();
	CREATE TRIGGER flip BEFORE INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION flip()`,
	`DROP TRIGGER flip ON transfers; DROP TRIGGER flip ON history; DROP TRIGGER flip ON events; DROP FUNCTION flip; DROP TABLE flipped`, 0, true}

var odds = []odd{
	failing("serialization failures", "40001"),
	failing("deadlocks", "40P01"),
	failing("statements canceled", "57014"),
	failing("out of memory", "53200"),
	flipped,
	{"a table locked", "BEGIN; LOCK TABLE transfers IN ACCESS EXCLUSIVE MODE", "ROLLBACK", 4 * time.Second, false},
	{"history locked", "BEGIN; LOCK TABLE history IN SHARE MODE", "ROLLBACK", 2 * time.Second, false},
	{"rows locked", "BEGIN; SELECT 1 FROM transfers WHERE state <> 'completed' FOR UPDATE", "ROLLBACK", 2 * time.Second, true},
	{"transactions ended for being idle", "ALTER DATABASE %s SET idle_in_transaction_session_timeout = '1ms'; " + disconnect,
		"ALTER DATABASE %s RESET idle_in_transaction_session_timeout; " + disconnect, 2 * time.Second, false},
	{"statements ended for being slow", "ALTER DATABASE %s SET statement_timeout = '2ms'; " + disconnect,
		"ALTER DATABASE %s RESET statement_timeout; " + disconnect, 2 * time.Second, false},
	{"read only", "ALTER DATABASE %s SET default_transaction_read_only = on; " + disconnect,
		"ALTER DATABASE %s SET default_transaction_read_only = off; " + disconnect, 2 * time.Second, false},
	{"synchronous_commit turned off", "ALTER DATABASE %s SET synchronous_commit = off; " + disconnect,
		"ALTER DATABASE %s RESET synchronous_commit; " + disconnect, 2 * time.Second, false},
}

// disconnect ends the daemon's connections, so that the next ones have the new setting.
const disconnect = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

func TestDeathByTheOddsOfPostgreSQL(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	seed := seedOf(t)
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	address := dbtest.Postgres(t)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	s := prepareStand(t, ctx, address, "light", seed, standSpeed)
	s.migrate(ctx)
	s.begin(ctx)
	s.api.client.Timeout = 20 * time.Second
	c, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	execute := func(text string) {
		t.Helper()
		if strings.Contains(text, "%s") {
			text = fmt.Sprintf(text, name)
		}
		for statement := range strings.SplitSeq(text, "; "+disconnect) { // its own transactions, ALTER DATABASE
			if statement != "" {
				if _, err := c.Exec(ctx, "SET default_transaction_read_only = off; "+statement); err != nil {
					t.Fatalf("%s: %v", statement, err)
				}
			}
		}
		if strings.HasSuffix(text, disconnect) {
			if _, err := c.Exec(ctx, disconnect); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := newPlatform([]*api{s.api}, planTraffic(seed, 100_000), seed)
	p.batch, p.every = 2, 3
	ordered := make(chan error, 1)
	go func() { ordered <- p.run(ctx, func() int { return len(p.plan) }) }()
	outlived := 0
	for i, x := range odds {
		execute(x.begin)
		end := time.NewTimer(x.lasts)
		if x.outlived {
			t.Logf("%s: works again, while it lasts, after %s", x.name, s.works(ctx, seed+2_000_000, i+1).Round(time.Millisecond))
			outlived++
		}
		<-end.C
		execute(x.end)
		t.Logf("%s: works again after %s", x.name, s.works(ctx, seed+1_000_000, i+1).Round(time.Millisecond))
	}
	p.enough.Store(true)
	s.finish(ctx, p, ordered, len(odds)+outlived, s.worker.env, fmt.Sprintf("%d odds", len(odds)))
}

// The database is restored from a backup under a daemon at work: acknowledged commits are gone,
// of transfers that were paid meanwhile. The daemon ends rather than go on; the next start
// begins a new epoch, looks up open operations, and pays nothing twice.
func TestDeathOfCommitsThatWereAcknowledged(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	seed := seedOf(t)
	rng := rand.New(rand.NewPCG(seed, 23))
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	server := dbtest.NewServer(t)
	address, err := server.CreateDatabase(ctx, "restored")
	if err != nil {
		t.Fatal(err)
	}
	s := prepareStand(t, ctx, address, "light", seed, standSpeed)
	s.migrate(ctx)
	n := s.newNode("node")
	s.adopt(n)
	if err := n.start(ctx); err != nil {
		t.Fatal(err, lastLog(n.log))
	}
	t.Cleanup(n.stop)
	const batch, rounds = 400, 10
	p := newPlatform([]*api{n.api}, planTraffic(seed, batch*rounds), seed)
	p.batch, p.every = batch, 1_000_000
	await := func(least int) int {
		reached := 0
		if err := again(ctx, time.Millisecond, func() (bool, error) {
			reached, _, _ = s.states(ctx)
			return reached >= least, nil
		}); err != nil {
			t.Fatal(err, lastLog(n.log))
		}
		return reached
	}
	// Most is to be done after the copy is made. On a busy machine all was done before: once more, with more.
	over := 0
	for round := 0; round == 0 || over > len(p.ids)-batch/2; round++ {
		if round == rounds {
			t.Fatal("everything was done before each copy: nothing was tested")
		}
		want := len(p.ids) + batch
		err := again(ctx, 10*time.Millisecond, func() (bool, error) { // the database was away just now
			err := p.order(ctx, want)
			return len(p.ids) == want, err
		})
		if err != nil {
			t.Fatal(err, lastLog(n.log))
		}
		over = await(over + 20 + rng.IntN(100))
		if err := server.Save(ctx); err != nil { // a mere restart to the daemon
			t.Fatal(err)
		}
		over = await(over) // in the copy it is no more
	}
	reached := await(over + 1 + rng.IntN(batch/2))
	if err := server.Restore(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Ping(ctx); !errors.Is(err, db.ErrMoved) {
		t.Errorf("who had it open reads on: %v", err)
	}
	if s.db, err = db.Open(ctx, address, db.Options{}); err != nil {
		t.Fatal(err)
	}
	defer s.db.Close()
	left, _, _ := s.states(ctx)
	t.Logf("%d transfers had come to their end, and the backup knows of %d", reached, left)
	if left >= reached {
		t.Error("no commit was lost: nothing was tested")
	}
	select {
	case <-n.done:
	case <-ctx.Done():
		t.Fatalf("the daemon goes on with another copy of the data:\n%s", lastLog(n.log))
	}
	if code := n.cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(lastLog(n.log), "restored or failed over") {
		t.Errorf("it ended with %d, and does not say why:\n%s", code, lastLog(n.log))
	}
	if err := n.start(ctx); err != nil {
		t.Fatal(err, lastLog(n.log))
	}
	s.settleAll(ctx, len(p.ids))
	s.calm()
	n.stop()
	p.check(ctx, s)
	s.auditTwice(ctx)
	if epoch, _, _, err := s.db.Epoch(ctx); err != nil || epoch != 2 {
		t.Errorf("the epoch is %d: %v", epoch, err)
	}
}

// A daemon that is started before its database waits for it, alive and not ready, and begins by
// itself; told to stop meanwhile, it stops.
func TestStartedBeforeItsDatabaseItWaits(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	server := dbtest.NewServer(t)
	address, err := server.CreateDatabase(ctx, "late")
	if err != nil {
		t.Fatal(err)
	}
	s := prepareStand(t, ctx, address, "none", 1, standSpeed)
	s.migrate(ctx)
	n := s.newNode("node")
	s.adopt(n)
	waits := func() {
		t.Helper()
		if err := n.launch(); err != nil {
			t.Fatal(err)
		}
		err := again(ctx, 10*time.Millisecond, func() (bool, error) {
			select {
			case <-n.done:
				return false, fmt.Errorf("the daemon ended: %s", n.cmd.ProcessState)
			default:
			}
			status, body := get(ctx, n.api.base+"/readyz")
			return status == nethttp.StatusServiceUnavailable && strings.Contains(body, "the ledger's database cannot be reached"), nil
		})
		if err != nil {
			t.Fatalf("/readyz does not tell: %v\n%s", err, lastLog(n.log))
		}
	}
	for range 2 { // also after a crash, as it recovers
		if err := server.Stop(); err != nil {
			t.Fatal(err)
		}
		waits()
		if status, _ := get(ctx, n.api.base+"/livez"); status != nethttp.StatusOK {
			t.Errorf("it is not alive: %d", status)
		}
		if status, body := get(ctx, n.api.base+"/v1/transfers"); status != nethttp.StatusServiceUnavailable {
			t.Errorf("the API answers %d: %s", status, body)
		}
		if status, body := s.webhook(ctx, largeEvent(1, 100)); status != nethttp.StatusServiceUnavailable {
			t.Errorf("a webhook is answered %d: %s", status, body)
		}
		if !strings.Contains(lastLog(n.log), "the database is away; waiting for it") {
			t.Errorf("the log does not tell:\n%s", lastLog(n.log))
		}
		n.cmd.Process.Signal(syscall.SIGTERM)
		<-n.done
		if !n.cmd.ProcessState.Success() {
			t.Errorf("told to stop while it waits, it ends with %s", n.cmd.ProcessState)
		}
		waits()
		if err := server.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if err := again(ctx, 10*time.Millisecond, func() (bool, error) { return n.api.ready(ctx), nil }); err != nil {
			t.Fatalf("it does not begin: %v\n%s", err, lastLog(n.log))
		}
		if status, body := s.webhook(ctx, largeEvent(1, 100)); status != nethttp.StatusOK {
			t.Errorf("a webhook is answered %d: %s", status, body)
		}
		n.stop()
	}
}

// A fault that waiting does not mend ends a start at once, with one line.
func TestAStartThatNothingMendsSaysWhy(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	address := dbtest.Postgres(t)
	s := prepareStand(t, ctx, address, "none", 1, standSpeed)
	for name, x := range map[string]struct{ database, says string }{
		"commits would be lost":   {address + "&synchronous_commit=off", "synchronous_commit is off"},
		"no such database":        {strings.Replace(address, "settled_test_", "settled_none_", 1), "does not exist"},
		"no directory for a file": {"sqlite:" + t.TempDir() + "/none/x.db", "does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(ctx, program, "serve")
			cmd.Dir, cmd.Env = s.worker.dir, append(s.worker.env, "DATABASE_URL="+x.database)
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(string(out), x.says) || strings.Count(string(out), "\n") != 1 {
				t.Errorf("it ended with %d and says:\n%s", code, out)
			}
		})
	}
}
