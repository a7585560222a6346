package main

import (
	"context"
	"errors"
	"fmt"
	nethttp "net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/settled/settled/db/dbtest"
)

// disk is a small file system of its own, which can be filled.
type disk struct {
	t   testing.TB
	dir string
}

// newDisk mounts one, which takes root. Elsewhere the test is skipped, loudly; in CI it fails.
func newDisk(t testing.TB, megabytes int) *disk {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=1777", megabytes)); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("a full disk cannot be tested: mount a tmpfs: %v", err)
		}
		t.Skipf("NOT TESTED WITH A FULL DISK (that takes root): mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		// The files there are thrown away; a process that is late may hold it for a moment.
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	// The server's user has to get here.
	for d := dir; strings.HasPrefix(d, os.TempDir()) && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return &disk{t, dir}
}

func (d *disk) filler() string { return filepath.Join(d.dir, "filler") }

// fill leaves so much room.
func (d *disk) fill(left int64) {
	d.t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &s); err != nil {
		d.t.Fatal(err)
	}
	f, err := os.OpenFile(d.filler(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 16<<10)
	for rest := int64(s.Bavail)*int64(s.Bsize) - left; rest > 0; rest -= int64(len(block)) {
		if _, err := f.Write(block[:min(int64(len(block)), rest)]); err != nil {
			if errors.Is(err, syscall.ENOSPC) {
				return // others were faster
			}
			d.t.Fatal(err)
		}
	}
}

// free gives all the room back.
func (d *disk) free() {
	d.t.Helper()
	if err := os.Remove(d.filler()); err != nil {
		d.t.Fatal(err)
	}
}

// SQLite's file system fills up, and gets room again.
func TestDeathByAFullDiskUnderSQLite(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	d := newDisk(t, 24)
	url := "sqlite:" + filepath.Join(d.dir, "settled.db")
	runFull(t, d, url, "full", nil)
}

// The tablespace of the database fills up: statements fail, and the server stays up.
func TestDeathByAFullTablespace(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	d := newDisk(t, 24)
	server := dbtest.NewServer(t)
	place := filepath.Join(d.dir, "space")
	if err := os.Mkdir(place, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := server.HandOver(place); err != nil {
		t.Fatal(err)
	}
	c, err := pgx.Connect(t.Context(), server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{"CREATE TABLESPACE small LOCATION '" + place + "'", "CREATE DATABASE full_space TABLESPACE small"} {
		if _, err := c.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	c.Close(t.Context())
	runFull(t, d, server.URL("full_space"), "No space left on device", nil)
}

// The disk of the whole server fills up: it dies of it, and cannot start before there is room.
func TestDeathByAFullDiskUnderPostgreSQL(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	d := newDisk(t, 160)
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	server, err := dbtest.StartServer(ctx, filepath.Join(d.dir, "server"))
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no PostgreSQL: %v", err)
		}
		t.Skipf("NOT TESTED ON POSTGRESQL: %v", err)
	}
	t.Cleanup(func() { server.Close() })
	url, err := server.CreateDatabase(ctx, "full_disk")
	if err != nil {
		t.Fatal(err)
	}
	runFull(t, d, url, "No space left on device", server)
}

// panicServer has a server ask for one more file of its log, for which there is no room: it
// dies of that, and of each try to start again.
func panicServer(ctx context.Context, d *disk, server *dbtest.Server) error {
	return again(ctx, 20*time.Millisecond, func() (bool, error) {
		d.fill(0)
		c, err := pgx.Connect(ctx, server.URL("postgres"))
		if err != nil {
			return server.Ended(), nil
		}
		defer c.Close(ctx)
		_, _ = c.Exec(ctx, "SELECT pg_switch_wal(), txid_current()")
		return false, nil
	})
}

// runFull drives a daemon while its database's disk fills up, looks at its answers then, and
// gives it room again.
//
// A server that is given dies of it, and is started again as its supervisor would.
func runFull(t *testing.T, d *disk, url, says string, server *dbtest.Server) {
	seed := seedOf(t)
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	s := prepareStand(t, ctx, url, "light", seed, standSpeed)
	s.migrate(ctx)
	s.begin(ctx)
	p := newPlatform([]*api{s.api}, planTraffic(seed, 100_000), seed)
	ordered := make(chan error, 1)
	go func() { ordered <- p.run(ctx, func() int { return len(p.plan) }) }()
	await := func(what string, over func() bool) {
		t.Helper()
		if err := again(ctx, 10*time.Millisecond, func() (bool, error) { return over(), nil }); err != nil {
			t.Fatalf("%s: %v\n%s", what, err, s.log())
		}
	}
	await("work", func() bool { over, _, _ := s.states(ctx); return over > 50 })

	d.fill(100 << 10)
	from := time.Now()
	var why string
	await("/readyz tells nothing", func() bool {
		d.fill(0)                                              // space that is freed on the way is taken
		err := s.api.call(ctx, "GET", "/readyz", "", nil, nil) // only who has a token is told of the database
		why = fmt.Sprint(err)
		return errors.Is(err, errAskAgain) && strings.Contains(why, says)
	})
	t.Logf("full for %s: %s", time.Since(from).Round(time.Millisecond), why)
	// A large event, for which no page has room.
	await("a webhook that cannot be stored", func() bool {
		d.fill(0)
		status, _ := s.webhook(ctx, largeEvent(seed, 200<<10))
		return status == nethttp.StatusServiceUnavailable
	})
	await("the log does not tell", func() bool {
		d.fill(0)
		text, err := os.ReadFile(s.worker.log)
		return err == nil && strings.Contains(string(text), "the ledger cannot be reached; waiting for it")
	})
	if server != nil {
		if err := panicServer(ctx, d, server); err != nil {
			t.Fatalf("the server does not die of a full disk: %v", err)
		}
		await("/readyz does not tell of a dead server", func() bool {
			status, body := get(ctx, s.api.base+"/readyz")
			why = body
			return status == nethttp.StatusServiceUnavailable && strings.Contains(body, "cannot be reached")
		})
		t.Logf("the server died: %s", why)
	}
	d.free()
	if server != nil {
		if err := server.Restart(ctx); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("works again after %s", s.works(ctx, seed+1_000_000, 1).Round(time.Millisecond))
	await("an event is taken again", func() bool {
		status, _ := s.webhook(ctx, largeEvent(seed, 1<<10))
		return status == nethttp.StatusOK
	})
	p.enough.Store(true)
	s.finish(ctx, p, ordered, 1, s.worker.env, "1 full disk")
}

// largeEvent is an event of a size, which does not compress, and of a type whose payload is kept.
func largeEvent(seed uint64, size int) string {
	var b strings.Builder
	for x := seed | 1; b.Len() < size; x = x*6364136223846793005 + 1442695040888963407 {
		fmt.Fprintf(&b, "%016x", x)
	}
	return fmt.Sprintf(`{"id":"evt_large_%d","object":"event","type":"transfer.updated","api_version":"2023-10-16","created":1,"livemode":false,"data":{"object":{"id":"tr_1","object":"transfer","description":"%s"}}}`, size, b.String())
}
