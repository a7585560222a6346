package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/settled/settled/db"
)

// worker is the daemon as a process of its own, which can be killed.
type worker struct {
	bin   string   // the program; empty: this one
	args  []string // of the program; none: serve
	dir   string
	log   string    // file that its log is appended to
	out   io.Writer // hears its log too; nil: nobody does
	env   []string  // all of its environment
	ready func(context.Context) bool

	mu    sync.Mutex
	cmd   *exec.Cmd
	done  chan struct{} // closed when the process has ended
	count atomic.Int64

	cleanly bool // the last stop ended with exit code 0, in time
}

func (w *worker) killed() int { return int(w.count.Load()) }

// start starts the process and waits until it is ready.
func (w *worker) start(ctx context.Context) error {
	if err := w.launch(); err != nil {
		return err
	}
	w.mu.Lock()
	cmd, done := w.cmd, w.done
	w.mu.Unlock()
	return again(ctx, 10*time.Millisecond, func() (bool, error) {
		select {
		case <-done:
			return false, fmt.Errorf("the worker ended at once: %s", cmd.ProcessState)
		default:
			return w.ready(ctx), nil
		}
	})
}

// launch starts the process and returns at once.
func (w *worker) launch() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	bin := w.bin
	if bin == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		bin = self
	}
	log, err := os.OpenFile(w.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	args := w.args
	if len(args) == 0 {
		args = []string{"serve"}
	}
	cmd := exec.Command(bin, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = w.dir, w.env, log, log
	if w.out != nil {
		both := io.MultiWriter(log, w.out)
		cmd.Stdout, cmd.Stderr = both, both
	}
	if err := cmd.Start(); err != nil {
		log.Close()
		return err
	}
	w.cmd, w.done = cmd, make(chan struct{})
	go func(done chan struct{}) {
		cmd.Wait()
		log.Close()
		close(done)
	}(w.done)
	return nil
}

// end kills the process, and waits for its end.
func (w *worker) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cmd.Process.Kill()
	<-w.done
	w.count.Add(1)
}

// kill ends the process as a power cut would, and starts it again.
func (w *worker) kill(ctx context.Context) error {
	w.end()
	return w.start(ctx)
}

// stop ends the process gracefully.
func (w *worker) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cmd == nil {
		return
	}
	w.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(2 * time.Minute) // longer than its own budget, on a busy machine too
	defer timer.Stop()
	select {
	case <-w.done:
	case <-timer.C:
		w.cmd.Process.Kill()
		<-w.done
	}
	w.cleanly = w.cmd.ProcessState.Success()
	w.cmd = nil
}

// freeAddrs finds two loopback addresses that nobody listens on. They are below those that systems hand out by
// themselves: nobody is given one of them before the worker, or between two of its lives.
func freeAddrs() (a, b string, err error) {
	var addrs []string
	for range 100 {
		var ln net.Listener
		if ln, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))); err != nil {
			continue
		}
		defer ln.Close()
		if addrs = append(addrs, ln.Addr().String()); len(addrs) == 2 {
			return addrs[0], addrs[1], nil
		}
	}
	return "", "", fmt.Errorf("no free port between 10000 and 30000: %w", err)
}

// demoDatabase returns the URL of a database that holds nothing, and how to drop it. In a
// PostgreSQL server it makes one of its own; a role that may not is told so.
func demoDatabase(ctx context.Context, given, dir string) (string, func(), error) {
	u, err := url.Parse(given)
	switch {
	case given == "":
		return "sqlite:" + filepath.Join(dir, "demo.db"), func() {}, nil
	case err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" && u.Scheme != "sqlite":
		return "", nil, usageError{fmt.Errorf("--database must be sqlite:path or postgres://…")}
	case u.Scheme == "sqlite":
		path := given[len("sqlite:"):]
		if _, err := os.Stat(path); err == nil {
			return "", nil, usageError{fmt.Errorf("--database: %s exists; the demo wants a new file", path)}
		}
		abs, err := filepath.Abs(path)
		return "sqlite:" + abs, func() {}, err
	}
	name := fmt.Sprintf("settled_demo_%d_%d", os.Getpid(), time.Now().UnixNano())
	drop, err := db.CreateDatabase(ctx, given, name)
	if err != nil {
		return "", nil, fmt.Errorf("make a throw-away database: %w", err)
	}
	u.Path = "/" + name
	return u.String(), drop, nil
}
