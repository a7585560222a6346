package dbtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// ErrNoPostgres reports a machine without PostgreSQL's server programs.
var ErrNoPostgres = errors.New("PostgreSQL is not installed here: initdb and postgres are in neither PATH, nor pg_config --bindir, nor /usr/lib/postgresql")

// superuser of every throw-away server.
const superuser = "settled"

// Server is a throw-away PostgreSQL: its own cluster in its own directory, on a free port of
// the loopback interface, with PostgreSQL's own settings (and so durable). It ends with the
// process that started it, however that ends.
type Server struct {
	dir  string
	bin  string
	port int
	own  bool // the directory is ours to remove

	// Env is added to the server's environment from its next start on.
	Env []string

	mu      sync.Mutex
	process *os.Process   // nil: it is down
	ended   chan struct{} // closed when the process has ended
}

// StartServer makes a cluster below dir and starts it. Without a dir it makes a temporary one,
// which [Server.Close] removes.
func StartServer(ctx context.Context, dir string) (*Server, error) {
	bin, err := programs(ctx)
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, bin: bin}
	if dir == "" {
		sweep()
		if s.dir, err = os.MkdirTemp("", fmt.Sprintf("%s%d-", prefix, os.Getpid())); err != nil {
			return nil, err
		}
		s.own = true
	}
	if err := s.create(ctx); err != nil {
		s.Close()
		return nil, err
	}
	if err := s.Start(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// create makes the cluster.
func (s *Server) create(ctx context.Context) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if err := handOver(s.dir); err != nil {
		return fmt.Errorf("hand %s to PostgreSQL's user: %w", s.dir, err)
	}
	initdb := exec.CommandContext(ctx, filepath.Join(s.bin, "initdb"), "--pgdata", s.data(), "--username", superuser,
		"--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions")
	initdb.Dir = s.dir
	attributes(initdb)
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	port, err := FreePort()
	s.port = port
	return err
}

// HandOver gives a directory to the user that the server runs as.
func (s *Server) HandOver(dir string) error { return handOver(dir) }

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// URL returns the URL of a database of the server, which need not exist.
func (s *Server) URL(name string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", superuser, s.port, name)
}

// CreateDatabase makes a database and returns its URL.
func (s *Server) CreateDatabase(ctx context.Context, name string) (string, error) {
	return s.URL(name), execute(ctx, s.URL("postgres"), "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
}

func execute(ctx context.Context, url, statement string) error {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	_, err = c.Exec(ctx, statement)
	return err
}

// Start starts the server and waits until it takes connections. It does nothing to one that runs.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		return nil
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	output, input, err := os.Pipe()
	if err != nil {
		log.Close()
		return err
	}
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.data(), "-p", strconv.Itoa(s.port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=200", "-c", "lc_messages=C")
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), s.Env...)
	cmd.Stderr = input
	attributes(cmd)

	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		// The kernel ends the server with the thread that started it, so this one stays for
		// as long as it runs.
		runtime.LockOSThread()
		err := cmd.Start()
		input.Close()
		started <- err
		if err == nil {
			cmd.Wait() // how it ended is in its log
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		log.Close()
		output.Close()
		return fmt.Errorf("start postgres: %w", err)
	}
	ready := make(chan struct{})
	go func() {
		defer log.Close()
		defer output.Close()
		follow(output, log, ready)
	}()
	select {
	case <-ready:
		s.process, s.ended = cmd.Process, ended
		return nil
	case <-ended:
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("postgres ended as it started:\n%s", text)
	case <-ctx.Done():
		cmd.Process.Signal(syscall.SIGQUIT) // it may have ended
		<-ended
		return ctx.Err()
	}
}

// follow copies the server's log, and closes ready when it says so.
func follow(from io.Reader, to io.Writer, ready chan struct{}) {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		fmt.Fprintln(to, lines.Text())
		if ready != nil && strings.Contains(lines.Text(), "database system is ready to accept connections") {
			close(ready)
			ready = nil
		}
	}
}

// Stop ends the server as a power failure would (an "immediate" shutdown), and waits for its
// end. Acknowledged commits are found again by [Server.Start].
func (s *Server) Stop() error { return s.stop(syscall.SIGQUIT) }

// Shutdown ends the server in an orderly way, connections and all (a "fast" shutdown).
func (s *Server) Shutdown() error { return s.stop(syscall.SIGINT) }

func (s *Server) stop(how syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return nil
	}
	if err := s.process.Signal(how); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-s.ended
	s.process = nil
	return nil
}

// Ended reports a server that has ended by itself.
func (s *Server) Ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return false
	}
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// Restart is [Server.Stop] and [Server.Start].
func (s *Server) Restart(ctx context.Context) error {
	if err := s.Stop(); err != nil {
		return err
	}
	return s.Start(ctx)
}

// Recover stops the server and starts it as one that was recovered from a backup: with the
// same data, on a new timeline.
func (s *Server) Recover(ctx context.Context) error {
	if err := s.Stop(); err != nil {
		return err
	}
	// Recovery asks for a way to fetch older WAL; there is none to be had.
	conf, err := os.OpenFile(filepath.Join(s.data(), "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = conf.WriteString("restore_command = 'false'\n")
	if err = errors.Join(err, conf.Close()); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.data(), "recovery.signal"), nil, 0o644); err != nil {
		return err
	}
	return s.Start(ctx)
}

// Save keeps a copy of the cluster as it is, for [Server.Restore]; it restarts the server.
func (s *Server) Save(ctx context.Context) error {
	if err := s.Shutdown(); err != nil {
		return err
	}
	if err := os.RemoveAll(s.data() + ".saved"); err != nil { // an older copy
		return err
	}
	if out, err := exec.CommandContext(ctx, "cp", "-a", s.data(), s.data()+".saved").CombinedOutput(); err != nil {
		return fmt.Errorf("copy the cluster: %w\n%s", err, out)
	}
	return s.Start(ctx)
}

// Restore puts back what was saved, as one does with a backup: whatever was committed since is
// lost, and the server is on a new timeline.
func (s *Server) Restore(ctx context.Context) error {
	if err := s.Stop(); err != nil {
		return err
	}
	if err := os.RemoveAll(s.data()); err != nil {
		return err
	}
	if err := os.Rename(s.data()+".saved", s.data()); err != nil {
		return err
	}
	return s.Recover(ctx)
}

// PutBack puts back what was saved, as one does with a snapshot of a disk: whatever was committed
// since is lost, and nothing about the server tells it, neither its identifier nor its timeline.
// The copy stays, to be put back again.
func (s *Server) PutBack(ctx context.Context) error {
	if err := s.Stop(); err != nil {
		return err
	}
	if err := os.RemoveAll(s.data()); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "cp", "-a", s.data()+".saved", s.data()).CombinedOutput(); err != nil {
		return fmt.Errorf("put the copy back: %w\n%s", err, out)
	}
	return s.Start(ctx)
}

// Close ends the server for good, and removes the directory if StartServer made it.
func (s *Server) Close() error {
	err := s.Stop()
	if s.own {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// programs finds the directory with PostgreSQL's server programs.
func programs(ctx context.Context) (string, error) {
	has := func(dir string) bool {
		_, err := exec.LookPath(filepath.Join(dir, "initdb"))
		if err == nil {
			_, err = exec.LookPath(filepath.Join(dir, "postgres"))
		}
		return err == nil
	}
	var dirs []string
	if path, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real // its sibling programs are where it really is
		}
		dirs = append(dirs, filepath.Dir(path))
	}
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.Reverse(installed) // the newest first
	dirs = append(dirs, installed...)
	if i := slices.IndexFunc(dirs, has); i >= 0 {
		return dirs[i], nil
	}
	return "", ErrNoPostgres
}

// givenPorts are all that FreePort gave.
var givenPorts sync.Map

// FreePort finds a port of the loopback interface that nobody listens on, below those that the
// kernel gives to outgoing connections: what is started again and again would find its port
// taken by one of them sooner or later (and a client that calls a port of those while nobody
// listens may even reach itself). It gives no port twice: of those that it gave, some are free for a
// moment, because their process was killed and is about to start again.
func FreePort() (int, error) {
	const lowest = 10_000
	highest := 32_767 // Linux's own, unless it was changed
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if n, err := strconv.Atoi(strings.Fields(string(text))[0]); err == nil {
			highest = n - 1
		}
	}
	for range 100 {
		port := lowest + rand.IntN(max(highest-lowest, 1))
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if _, given := givenPorts.LoadOrStore(port, true); given {
			l.Close()
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("no free port between %d and %d", lowest, highest)
}

// prefix of temporary directories; the process that made one follows.
const prefix = "settled-postgres-"

// sweep removes what processes left behind that were killed.
func sweep() {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	for _, dir := range left {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), prefix), "-")
		n, err := strconv.Atoi(pid)
		if err != nil {
			continue
		}
		if p, err := os.FindProcess(n); err == nil && errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone) {
			os.RemoveAll(dir)
		}
	}
}
