package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	nethttp "net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/db"
	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/ledger"
	"go.uber.org/goleak"
)

// program is the real binary, built once for all tests of this package.
var program string

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" || flag.Lookup("test.list").Value.String() != "" {
		dbtest.Main(m) // no such run starts the program, and each worker would build it
	}
	// Tests that run beside others mostly wait: for deadlines, and for hours to pass at Stripe.
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		flag.Set("test.parallel", fmt.Sprint(2*runtime.GOMAXPROCS(0)))
	}
	dir, err := os.MkdirTemp("", "settled-bin-")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "settled")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build: %v\n%s", err, out))
	}
	// The library's clock for the Date header runs for as long as the process; its pool looks for its end every ten seconds only.
	code := dbtest.Run(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		// A proxy forgets its own goroutines when a connection ends in the middle of a toxic.
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"))
	os.RemoveAll(dir)
	os.Exit(code)
}

// hang ends a test that waits for an event that never comes. No test fails because something took long: the
// machine may be slow, and busy.
const hang = 15 * time.Minute

// stand is the daemon as a process, a simulator as another, and a database.
type stand struct {
	t      testing.TB
	began  time.Time
	seed   uint64
	sim    string // the simulator's base URL
	db     *db.DB // to watch it
	worker *worker
	api    *api
	public string
	secret string
	shared []string // the environment that all daemons of the stand have
}

const (
	// standSpeed is not so fast that a machine that is busy starting processes is taken for one
	// whose requests are hours late.
	standSpeed = 2500
	standToken = "token-of-the-stand"
)

// newStand starts a simulator and a daemon over the database of a URL.
func newStand(t testing.TB, ctx context.Context, url, faults string, seed uint64) *stand {
	t.Helper()
	s := prepareStand(t, ctx, url, faults, seed, standSpeed)
	s.migrate(ctx)
	s.begin(ctx)
	return s
}

// prepareStand starts a simulator, and makes a daemon ready to be started over the database of
// a URL, which it leaves as it is.
func prepareStand(t testing.TB, ctx context.Context, url, faults string, seed uint64, speed int) *stand {
	t.Helper()
	s := &stand{t: t, began: time.Now(), seed: seed, secret: "whsec_of_the_stand"}
	s.worker, s.api, s.public = s.newWorker("worker")
	s.sim = s.startSimulator("--addr", "127.0.0.1:0", "--seed", fmt.Sprint(seed), "--faults", faults,
		"--speed", fmt.Sprint(speed), "--webhook", "http://"+s.public+"/webhooks/stripe", "--webhook-secret", s.secret)
	var err error
	if s.db, err = db.Open(ctx, url, db.Options{}); err != nil {
		t.Fatal(err)
	}
	opened := s.db // a test that restores the data opens another
	t.Cleanup(func() { opened.Close() })
	s.shared = []string{"DATABASE_URL=" + url, "STRIPE_API_BASE=" + s.sim, fmt.Sprintf("SIMULATED_SPEED=%d", speed)}
	s.worker.env = append(s.worker.env, s.shared...)
	return s
}

// migrate makes the tables, so that the stand can look at them from the beginning.
func (s *stand) migrate(ctx context.Context) {
	s.t.Helper()
	if _, err := s.db.Migrate(ctx); err != nil {
		s.t.Fatal(err)
	}
}

// begin starts the daemon, and ends it after the test.
func (s *stand) begin(ctx context.Context) {
	s.t.Helper()
	if err := s.worker.start(ctx); err != nil {
		s.t.Fatal(err, s.log())
	}
	s.t.Cleanup(func() {
		s.worker.stop()
		if s.t.Failed() {
			s.t.Log(s.log())
		}
	})
}

// newWorker makes a daemon's process, with addresses of its own; what it shares with others
// (database, Stripe) is still to be added to its environment.
func (s *stand) newWorker(name string) (w *worker, a *api, public string) {
	s.t.Helper()
	public, admin := s.freeAddr(), s.freeAddr()
	a = newAPI("http://"+admin, standToken)
	dir := s.t.TempDir()
	return &worker{bin: program, dir: dir, log: filepath.Join(dir, name+".log"), ready: a.ready, env: []string{
		"STRIPE_SECRET_KEY=sk_test_stand", "STRIPE_WEBHOOK_SECRET=" + s.secret,
		"PUBLIC_ADDR=" + public, "ADMIN_ADDR=" + admin, "ADMIN_TOKEN=" + standToken,
		"STRIPE_RATE_LIMIT=0", "STRIPE_ENDPOINT_RATE_LIMIT=0", "LOG_FORMAT=json", "LOG_LEVEL=warn",
	}}, a, public
}

func (s *stand) freeAddr() string {
	s.t.Helper()
	port, err := dbtest.FreePort()
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func (s *stand) log() string { return lastLog(s.worker.log) }

// lastLog returns the end of a log.
func lastLog(path string) string {
	text, _ := os.ReadFile(path)
	return tail(string(text), 8000)
}

// startSimulator starts `settled simulator` and returns its base URL.
func (s *stand) startSimulator(args ...string) string {
	s.t.Helper()
	cmd := exec.Command(program, append([]string{"simulator"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.t.Fatalf("the simulator said nothing: %v", err)
	}
	go io.Copy(io.Discard, out)
	_, rest, _ := strings.Cut(line, "http://")
	addr, _, _ := strings.Cut(rest, ",")
	return "http://" + addr
}

// truth is the simulator's own account of its objects.
func (s *stand) truth() stripesim.Truth {
	res, err := nethttp.Get(s.sim + "/_sim/truth")
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var truth stripesim.Truth
	if err := json.NewDecoder(res.Body).Decode(&truth); err != nil {
		s.t.Fatal(err)
	}
	return truth
}

// operate resolves parked operations by the simulator's objects, as a person would.
func (s *stand) operate(ctx context.Context) {
	for _, status := range []ledger.State{ledger.Parked, ledger.ReversalPending} {
		list, err := s.api.list(ctx, status)
		if err != nil {
			continue
		}
		var truth *stripesim.Truth
		for _, t := range list {
			reversal, ok := t.parked()
			if !ok {
				continue
			}
			if truth == nil {
				now := s.truth()
				truth = &now
			}
			m := message{Type: ledger.MessageResolve, Reason: "looked it up", Outcome: ledger.OutcomeFailed}
			if id := heldAs(*truth, t.Reference, reversal); id != "" {
				m.Outcome, m.StripeID = ledger.OutcomeCompleted, id
			}
			_ = s.api.send(ctx, t.ID, "", m) // too early, or the daemon is gone: another round comes
		}
	}
}

// states counts the transfers by state.
func (s *stand) states(ctx context.Context) (over, total int, by map[ledger.State]int) {
	counts, err := s.db.Counts(ctx)
	by = map[ledger.State]int{}
	if err != nil {
		return 0, 0, by
	}
	for _, n := range counts {
		by[n.Status] += int(n.Number)
		total += int(n.Number)
		if ended(n.Status) {
			over += int(n.Number)
		}
	}
	return over, total, by
}

// audit runs `settled audit` and returns its output.
func (s *stand) audit(ctx context.Context) string {
	s.t.Helper()
	cmd := exec.CommandContext(ctx, program, "audit")
	cmd.Dir, cmd.Env = s.worker.dir, s.worker.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Errorf("settled audit: %v", err)
	}
	return string(out)
}

// calm ends the simulator's faults, after a storm.
func (s *stand) calm() {
	res, err := nethttp.Post(s.sim+"/_sim/faults", "application/json", bytes.NewReader([]byte(`{"level":"none"}`)))
	if err != nil || res.StatusCode >= 300 {
		s.t.Fatalf("calm: %v %v", err, res)
	}
	res.Body.Close()
}

// settleAll waits until want transfers are there and all have come to their end.
func (s *stand) settleAll(ctx context.Context, want int) {
	s.t.Helper()
	last := time.Now()
	err := again(ctx, 50*time.Millisecond, func() (bool, error) {
		if time.Since(last) > 250*time.Millisecond {
			s.operate(ctx)
			last = time.Now()
		}
		over, total, _ := s.states(ctx)
		return total == want && over == want, nil
	})
	if err != nil {
		_, _, by := s.states(context.Background())
		s.t.Fatalf("not all came to their end: %v; %v", by, err)
	}
}
