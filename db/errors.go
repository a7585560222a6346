package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/settled/settled/ledger"
)

// What callers decide on.
var (
	// ErrNotFound reports a token or message that is not there; of a transfer it is
	// [ledger.ErrNotFound].
	ErrNotFound = errors.New("not found")
	// ErrOtherRole reports a principal whose tokens have another role.
	ErrOtherRole = errors.New("the principal has a token of another role in force: revoke it first, or give the same role")
	// ErrTaken reports that another was first.
	ErrTaken = errors.New("another was first")
	// ErrNewer reports a database that a newer program has migrated.
	ErrNewer = errors.New("the database is newer than this program")
	// ErrPending reports a database that lacks migrations.
	ErrPending = errors.New("the database lacks migrations: run settled migrate up")
	// ErrMisbound reports a ledger that is not of the account and mode that it was opened for. No waiting mends it.
	ErrMisbound = errors.New("the ledger belongs to another Stripe account or mode")
	// ErrDamaged reports a database file that is not what it was; see [Damaged].
	ErrDamaged = errors.New("the database is damaged")
	// ErrMoved reports a server that was restored or failed over while it was open. What is
	// known of the ledger holds no longer; who opens it anew begins a new epoch.
	ErrMoved = fmt.Errorf("%w: the database was restored or failed over", ledger.ErrNewEpoch)
	// ErrUnfit reports a server that is not set to keep a ledger. It is transient to who runs
	// already, because a person can set it right; who starts had better say so and end.
	ErrUnfit = errors.New("PostgreSQL is not fit to keep a ledger")
)

// Transient reports an error that says nothing about the rows: the database was not reached,
// was stopped, is full, is locked, or somebody else was in the way. The same call may succeed
// later. After a transient error of a commit its outcome is unknown: it may have been stored.
//
// Everything else is about what was asked, and will fail again.
func Transient(err error) bool {
	var (
		pg      *pgconn.PgError
		lite    *sqlite.Error
		connect *pgconn.ConnectError
		network net.Error
	)
	switch {
	case err == nil:
		return false
	case errors.As(err, &pg):
		return transientPostgres(pg.Code)
	case errors.As(err, &lite):
		return transientSQLite(lite.Code())
	case errors.Is(err, ErrUnfit), errors.Is(err, errStandby):
		return true
	case errors.Is(err, ledger.ErrNewEpoch):
		return true // to whoever asks again after a new start
	case errors.As(err, &connect), errors.As(err, &network), pgconn.SafeToRetry(err), pgconn.Timeout(err):
		return true
	}
	for _, e := range []error{
		context.DeadlineExceeded, context.Canceled,
		driver.ErrBadConn, sql.ErrConnDone, sql.ErrTxDone, net.ErrClosed,
		io.EOF, io.ErrUnexpectedEOF, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Exhausted reports an error that says that the database has no room left, on its disk or in its memory, or cannot use
// it. A commit that needs no room may succeed all the same, and shows nothing.
func Exhausted(err error) bool {
	var (
		pg   *pgconn.PgError
		lite *sqlite.Error
	)
	switch {
	case errors.As(err, &pg):
		class := pg.Code[:min(2, len(pg.Code))]
		return class == "53" || class == "58" // insufficient resources, system error
	case errors.As(err, &lite):
		code := lite.Code() & 0xff
		return code == sqlite3.SQLITE_FULL || code == sqlite3.SQLITE_NOMEM || code == sqlite3.SQLITE_IOERR
	}
	return false
}

// Damaged reports an error that says that the database itself is broken: no other answer of it
// can be relied on, and nothing but a copy mends it.
func Damaged(err error) bool {
	var (
		pg   *pgconn.PgError
		lite *sqlite.Error
	)
	switch {
	case errors.Is(err, ErrDamaged):
		return true
	case errors.As(err, &pg):
		return pg.Code == "XX001" || pg.Code == "XX002" // data_corrupted, index_corrupted
	case errors.As(err, &lite):
		code := lite.Code() & 0xff
		return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB
	}
	return false
}

// transientPostgres knows the codes of PostgreSQL's appendix A.
func transientPostgres(code string) bool {
	switch code {
	case "25006", // read_only_sql_transaction: the primary became a standby
		"25P03", "25P04", // idle_in_transaction_session_timeout, transaction_timeout
		"55P03": // lock_not_available
		return true
	}
	switch code[:min(2, len(code))] {
	case "08", // connection
		"40", // rollback: serialization, deadlock
		"53", // resources: disk full, out of memory, too many connections
		"57", // intervention: shutdown, crash, starting up, canceled
		"58": // the system below: I/O
		return true
	}
	return false
}

func transientSQLite(code int) bool {
	switch code & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT,
		sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL:
		return true
	}
	return false
}
