package main

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/db"
	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/ledger"
)

// The format of SQLite's write-ahead log (sqlite.org/fileformat2.html, section 4).
const (
	walHeader   = 32
	frameHeader = 24
	pageSize    = 4096
	frameSize   = frameHeader + pageSize
)

// walEnd finds the end of the log's valid frames. The rest is of an earlier round.
func walEnd(t testing.TB, wal []byte) int {
	t.Helper()
	if len(wal) < walHeader || binary.BigEndian.Uint32(wal[8:]) != pageSize {
		t.Fatalf("the log has %d bytes and is not as expected", len(wal))
	}
	salt, end := string(wal[16:24]), walHeader
	for ; end+frameSize <= len(wal) && string(wal[end+8:end+16]) == salt; end += frameSize {
	}
	return end
}

// damage is done to the files of a daemon that was killed.
type damage struct {
	name string
	// lossy says that commits may be lost, which a file cannot tell: a person has to.
	lossy bool
	do    func(t testing.TB, rng *rand.Rand, path string)
}

// onLog changes the log.
func onLog(change func(t testing.TB, rng *rand.Rand, wal []byte, end int) []byte) func(testing.TB, *rand.Rand, string) {
	return func(t testing.TB, rng *rand.Rand, path string) {
		t.Helper()
		wal, err := os.ReadFile(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+"-wal", change(t, rng, wal, walEnd(t, wal)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// someFrames is the size of at most so many of the last frames, and not to the byte.
func someFrames(rng *rand.Rand, end int) int {
	return min(1+rng.IntN(40*frameSize), (end-walHeader)/2)
}

var damages = []damage{
	{"the index of the log is gone", false, func(t testing.TB, _ *rand.Rand, path string) {
		if err := os.Remove(path + "-shm"); err != nil {
			t.Fatal(err)
		}
	}},
	{"the index of the log is garbage", false, func(t testing.TB, rng *rand.Rand, path string) {
		garbage := make([]byte, 32<<10)
		noise(rng, garbage)
		if err := os.WriteFile(path+"-shm", garbage, 0o600); err != nil {
			t.Fatal(err)
		}
	}},
	{"a frame was being written", false, onLog(func(_ testing.TB, rng *rand.Rand, wal []byte, end int) []byte {
		torn := make([]byte, 1+rng.IntN(3*frameSize))
		noise(rng, torn)
		return append(wal[:end:end], torn...)
	})},
	{"zeros follow the log", false, onLog(func(_ testing.TB, rng *rand.Rand, wal []byte, end int) []byte {
		return append(wal[:end:end], make([]byte, 1+rng.IntN(3*frameSize))...)
	})},
	{"the log is cut", true, onLog(func(_ testing.TB, rng *rand.Rand, wal []byte, end int) []byte {
		return wal[:end-someFrames(rng, end)]
	})},
	{"the end of the log is garbage", true, onLog(func(_ testing.TB, rng *rand.Rand, wal []byte, end int) []byte {
		noise(rng, wal[end-someFrames(rng, end):end])
		return wal
	})},
	{"the end of the log is zeros", true, onLog(func(_ testing.TB, rng *rand.Rand, wal []byte, end int) []byte {
		clear(wal[end-someFrames(rng, end) : end])
		return wal
	})},
	{"a bit of the log has flipped", true, onLog(func(_ testing.TB, rng *rand.Rand, wal []byte, end int) []byte {
		wal[end-someFrames(rng, end)] ^= 1 << rng.IntN(8)
		return wal
	})},
}

func noise(rng *rand.Rand, p []byte) {
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
}

// A daemon on SQLite is killed at work and its files are torn: what SQLite vouches for is there
// again; and of what it cannot vouch for, a new epoch makes one ledger with Stripe.
func TestDeathWithTornFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	for _, x := range damages {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			seed := seedOf(t)
			rng := rand.New(rand.NewPCG(seed, 17))
			ctx, cancel := context.WithTimeout(t.Context(), hang)
			defer cancel()
			url := dbtest.SQLite(t)
			path := strings.TrimPrefix(url, "sqlite:")
			s := prepareStand(t, ctx, url, "light", seed, standSpeed)
			s.db.Close() // it would hold on to the files, and to their locks
			n := s.newNode("node")
			s.adopt(n)
			if err := n.start(ctx); err != nil {
				t.Fatal(err, lastLog(n.log))
			}
			t.Cleanup(n.stop)
			// All is ordered before, so that only later steps are lost.
			p := newPlatform([]*api{n.api}, planTraffic(seed, 300), seed)
			p.batch, p.every = 300, 1_000_000
			if err := p.order(ctx, 300); err != nil {
				t.Fatal(err)
			}
			completed := func() int {
				list, err := n.api.list(ctx, ledger.Completed)
				if err != nil {
					return 0
				}
				return len(list)
			}
			reached := 0
			if err := again(ctx, time.Millisecond, func() (bool, error) { reached = completed(); return reached >= 40, nil }); err != nil {
				t.Fatal(err)
			}
			n.end()
			x.do(t, rng, path)
			if x.lossy {
				n.args = []string{"migrate", "restored"}
				if err := n.launch(); err != nil {
					t.Fatal(err)
				}
				<-n.done
				if n.args = nil; !n.cmd.ProcessState.Success() {
					t.Fatalf("migrate restored: %s\n%s", n.cmd.ProcessState, lastLog(n.log))
				}
			}
			var err error
			if s.db, err = db.Open(ctx, url, db.Options{}); err != nil {
				t.Fatal(err)
			}
			defer s.db.Close()
			_, _, by := s.states(ctx)
			t.Logf("at least %d were completed, of which %d are left", reached, by[ledger.Completed])
			if err := n.start(ctx); err != nil {
				t.Fatalf("the start that follows: %v\n%s", err, lastLog(n.log))
			}
			s.settleAll(ctx, 300)
			s.calm()
			n.stop()
			p.check(ctx, s)
			s.auditTwice(ctx)
			if epoch, _, _, err := s.db.Epoch(ctx); err != nil || (epoch == 2) != x.lossy {
				t.Errorf("the epoch is %d: %v", epoch, err)
			}
		})
	}
}

// A file that is broken beyond what SQLite mends ends the daemon with one line that says so; it
// is never taken for an empty ledger.
func TestDeathOfTheFileItselfIsSaid(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	// A ledger with some content, closed in an orderly way or killed.
	made := func(t *testing.T, killed bool) (*stand, *node, string) {
		url := dbtest.SQLite(t)
		s := prepareStand(t, ctx, url, "none", 1, standSpeed)
		s.db.Close()
		n := s.newNode("node")
		s.adopt(n)
		if err := n.start(ctx); err != nil {
			t.Fatal(err, lastLog(n.log))
		}
		p := newPlatform([]*api{n.api}, planTraffic(1, 500), 1)
		p.batch = 500
		if err := p.order(ctx, 500); err != nil {
			t.Fatal(err)
		}
		if killed {
			n.end()
		} else {
			n.stop()
		}
		return s, n, strings.TrimPrefix(url, "sqlite:")
	}
	change := func(do func(text []byte) []byte) func(testing.TB, string) {
		return func(t testing.TB, path string) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, do(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	rng := rand.New(rand.NewPCG(1, 19))
	for name, x := range map[string]struct {
		killed bool
		damage func(testing.TB, string)
		says   string
	}{
		"garbage at its head":     {false, change(func(b []byte) []byte { noise(rng, b[:512]); return b }), "not a database"},
		"garbage in the schema":   {false, change(func(b []byte) []byte { noise(rng, b[100:pageSize]); return b }), "malformed"},
		"garbage behind the head": {false, change(func(b []byte) []byte { noise(rng, b[pageSize:]); return b }), "malformed"},
		"cut to its first page":   {false, change(func(b []byte) []byte { return b[:pageSize] }), "malformed"},
		"cut in half":             {false, change(func(b []byte) []byte { return b[:len(b)/2] }), "malformed"},
		"empty, with its log":     {true, change(func([]byte) []byte { return nil }), "missing or empty"},
		"gone, with its log there": {true, func(t testing.TB, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, "missing or empty"},
	} {
		t.Run(name, func(t *testing.T) {
			s, n, path := made(t, x.killed)
			x.damage(t, path)
			cmd := exec.CommandContext(ctx, program, "serve")
			cmd.Dir, cmd.Env = filepath.Dir(n.log), append(s.worker.env, "LOG_LEVEL=error")
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != exitFailed {
				t.Fatalf("it ended with %v:\n%s", err, out)
			}
			last := strings.TrimSpace(string(out))
			last = last[strings.LastIndexByte(last, '\n')+1:]
			if !strings.HasPrefix(last, "settled: ") || !strings.Contains(last, x.says) {
				t.Errorf("its last line does not say %q:\n%s", x.says, out)
			}
		})
	}
}
