// Package faulty lets a database fail at a call of one's choice, in the ways databases fail. It
// stands between database/sql and the real driver, so that everything above it, database/sql's
// own hidden retries included, is what runs in production:
//
//	f := faulty.New(func(p faulty.Point) faulty.Fault {
//		if n++; n == 17 {
//			return faulty.Lost
//		}
//		return faulty.None
//	})
//	d, err := db.Open(ctx, url, db.Options{Connector: f.Connector})
//
// Every call that a connection makes to its database is a [Point], each row that it fetches
// included. What is not a point, such as closing a statement, cannot change a row.
package faulty

import (
	"database/sql/driver"
	"net"
	"sync"
	"syscall"
)

// Call is what a connection asks of its database.
type Call string

// The calls.
const (
	Connect  Call = "connect"
	Ping     Call = "ping"
	Prepare  Call = "prepare"
	Begin    Call = "begin"
	Exec     Call = "exec"
	Query    Call = "query"
	Fetch    Call = "fetch" // one row of a result, or its end
	Commit   Call = "commit"
	Rollback Call = "rollback"
)

// Point is one call, before it is made.
type Point struct {
	Call Call
	Text string // the statement
	// Stores says that what succeeds here may be durable: the commit of a transaction that may
	// write, or an execution outside of any transaction.
	Stores bool
}

// Fault is what goes wrong at a point.
type Fault uint8

// The faults. All but None and Failed lose the connection: its transaction is rolled back,
// unless the call was its commit and was executed.
const (
	None Fault = iota
	// Refused executes nothing; the error is the network's.
	Refused
	// RefusedBad executes nothing, and says [driver.ErrBadConn]: database/sql then tries again
	// by itself where it can.
	RefusedBad
	// Lost executes the call and loses its answer.
	Lost
	// LostBad executes the call and then says [driver.ErrBadConn], as no driver should:
	// database/sql executes it a second time where it can.
	LostBad
	// DiesBefore ends the process before the call: from then on none of its calls has an effect,
	// and all of them fail. A dead process's other connections lose their transactions too.
	DiesBefore
	// DiesAfter is DiesBefore, once the call was executed.
	DiesAfter
	// Failed executes nothing, and the connection stays: the one of a database in memory has to.
	// A commit that failed is a rollback.
	Failed
)

// executes reports whether the call is made.
func (f Fault) executes() bool {
	return f != Refused && f != RefusedBad && f != DiesBefore && f != Failed
}

// errReset is what a process sees when a connection breaks.
var errReset = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}

// err is what the caller sees.
func (f Fault) err() error {
	if f == RefusedBad || f == LostBad {
		return driver.ErrBadConn
	}
	return errReset
}

// Faults is the faults of one process's database.
type Faults struct {
	decide func(Point) Fault

	mu   sync.Mutex
	dead chan struct{} // closed when the process died
	open int           // connections of the real driver
	gone chan struct{} // closed when it is dead and none is open
}

// New makes faults. decide is asked at every point, one at a time, in order; it must not call
// back. nil: nothing fails.
func New(decide func(Point) Fault) *Faults {
	if decide == nil {
		decide = func(Point) Fault { return None }
	}
	return &Faults{decide: decide, dead: make(chan struct{}), gone: make(chan struct{})}
}

// Dead is closed when the process has died.
func (f *Faults) Dead() <-chan struct{} { return f.dead }

// Gone is closed when the process has died and the database knows it: no connection of it is
// left. For that its pool must be closed.
func (f *Faults) Gone() <-chan struct{} { return f.gone }

// Kill ends the process; it may have ended already.
func (f *Faults) Kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kill()
}

func (f *Faults) kill() {
	if f.isDead() {
		return
	}
	close(f.dead)
	if f.open == 0 {
		close(f.gone)
	}
}

func (f *Faults) isDead() bool {
	select {
	case <-f.dead:
		return true
	default:
		return false
	}
}

// at asks what happens at a point; live is false for a process that is no more.
func (f *Faults) at(p Point) (fault Fault, live bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.isDead() {
		return DiesBefore, false
	}
	fault = f.decide(p)
	if fault == DiesBefore {
		f.kill()
	}
	return fault, true
}

// run makes a call unless a fault prevents it. lost says that the connection is.
func (f *Faults) run(p Point, call func() error) (lost bool, err error) {
	fault, live := f.at(p)
	if !live || !fault.executes() {
		return fault != Failed, fault.err()
	}
	err = call()
	if fault == DiesAfter {
		f.Kill()
	}
	if f.isDead() { // it was under way when the process died, and nobody hears of its end
		return true, errReset
	}
	if fault != None {
		return true, fault.err()
	}
	return false, err
}

// opened and closed count the real driver's connections.
func (f *Faults) opened() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open++
}

func (f *Faults) closed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open--; f.open == 0 && f.isDead() {
		close(f.gone)
	}
}
