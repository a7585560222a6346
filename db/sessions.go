package db

import (
	"context"
	"database/sql/driver"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// sessions tells connections from before a change of the server's role from those after it.
//
// When a managed database fails over, or a primary is demoted, the sessions of before become
// read-only while their sockets stay open, and new sessions can write. No error of the network
// says so; the pool would hand out one read-only session after the other. So the first session
// that answers like that ends the era of all: each one of before is closed before its next use.
type sessions struct{ era atomic.Uint64 }

// eraOf is where a connection keeps the era in which it was made.
const eraOf = "settled.era"

// begin notes the era of a new connection.
func (s *sessions) begin(c *pgx.Conn) { c.PgConn().CustomData()[eraOf] = s.era.Load() }

// heard is pgx's OnPgError: an error that is about the session, and no statement, closes it.
func (s *sessions) heard(next pgconn.PgErrorHandler) pgconn.PgErrorHandler {
	return func(c *pgconn.PgConn, e *pgconn.PgError) (keep bool) {
		keep = next(c, e)
		switch {
		case roleChanged(e.Code):
			// Of many sessions that answer so at once, the first ends the era.
			if era, begun := c.CustomData()[eraOf].(uint64); begun {
				s.era.CompareAndSwap(era, era+1)
			}
			return false
		case sessionSpoiled(e.Code):
			return false
		}
		return keep
	}
}

// reset is called before a connection of the pool is used again.
func (s *sessions) reset(_ context.Context, c *pgx.Conn) error {
	if era, begun := c.PgConn().CustomData()[eraOf].(uint64); !begun || era != s.era.Load() {
		return driver.ErrBadConn // database/sql takes another, or makes a new one
	}
	return nil
}

// roleChanged knows the codes by which a server says that it is no primary any more, or stops.
func roleChanged(code string) bool {
	switch code {
	case "25006", // read_only_sql_transaction: the primary became a standby
		"57P01", "57P02", "57P03": // admin_shutdown, crash_shutdown, cannot_connect_now
		return true
	}
	return false
}

// sessionSpoiled knows the codes that say that this session alone is of no use any more.
func sessionSpoiled(code string) bool {
	switch code {
	case "25P02", // in_failed_sql_transaction: we end those, so a pooler handed us another's
		"25P03", "25P04", "57P05": // idle_in_transaction_session_timeout, transaction_timeout, idle_session_timeout
		return true
	}
	return len(code) > 2 && code[:2] == "08" // connection_exception
}
