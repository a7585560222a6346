package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/schema"
)

// errStandby reports a server that may become the primary.
var errStandby = errors.New("PostgreSQL is a standby; connect to the primary")

// A network that swallows everything tells nobody that it does. These bound how long one
// connection can take us in; the statements have their callers' limits beside.
const (
	connectWait = 10 * time.Second // for a server to take a connection, and to tell what it is
	pingWait    = 3 * time.Second  // for a connection that was idle to show that it is alive
	idleTrust   = time.Second      // a connection used since then needs not show it
	keepIdle    = 15 * time.Second // of silence before the kernel asks the other side
	keepEvery   = 5 * time.Second
	keepCount   = 3

	idleInTransaction = 20 * time.Second // on the server; ours take milliseconds between statements

	// lockPatience is how long a statement waits for a lock that another session holds. Ours hold
	// theirs for milliseconds; a person's "select … for update" may last for hours, and a group of
	// changes must not wait for its one row: who fails by it goes on without.
	lockPatience = 500 * time.Millisecond

	// connLife bounds a connection's age, so that a change of the name's address, or of the
	// server behind a balancer, is followed by and by.
	connLife = 30 * time.Minute
)

// postgres is what is PostgreSQL's own.
type postgres struct {
	grouped pgx.QueryExecMode // of the statements with array parameters
	log     *slog.Logger
	source  atomic.Pointer[string] // the cluster and timeline of the first connection
	sessions
}

func openPostgres(ctx context.Context, address string, opts Options) (*DB, error) {
	config, err := parsePostgres(address)
	if err != nil {
		return nil, err
	}
	p := &postgres{grouped: pgx.QueryExecModeCacheStatement, log: opts.Log}
	if strings.Contains(address, "default_query_exec_mode=") {
		// A pooler between us may not know prepared statements; who says so is believed.
		p.grouped = config.DefaultQueryExecMode
	}
	// bun writes its values into the text of the statement, so every text is a new one:
	// preparing it costs a round trip and fills the cache of statements for nothing. In exec
	// mode it goes out at once (and, having no parameters, by the simple protocol). The
	// statements of the hot path, few and with parameters, ask for the cache by name.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	// bun's texts are right only under these.
	config.RuntimeParams["standard_conforming_strings"] = "on"
	config.RuntimeParams["client_encoding"] = "UTF8"
	config.RuntimeParams["timezone"] = "UTC"
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "settled"
	}
	if config.ConnectTimeout == 0 { // the URL's connect_timeout goes before
		config.ConnectTimeout = connectWait
	}
	config.DialFunc = (&net.Dialer{Timeout: config.ConnectTimeout, Control: setUserTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepIdle, Interval: keepEvery, Count: keepCount}}).DialContext
	config.OnPgError = p.heard(config.OnPgError)
	pool := opts.pool(stdlib.GetConnector(*config, stdlib.OptionAfterConnect(p.fit), stdlib.OptionShouldPing(dead), stdlib.OptionResetSession(p.reset)))
	conns := opts.MaxConns
	if conns <= 0 {
		conns = 16
	}
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns) // the default of 2 would reconnect under load
	pool.SetConnMaxIdleTime(5 * time.Minute)
	pool.SetConnMaxLifetime(connLife)
	if err := pool.PingContext(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("open PostgreSQL at %s:%d, database %q: %w", config.Host, config.Port, config.Database, err)
	}
	var fsync string
	if err := pool.QueryRowContext(ctx, "SHOW fsync").Scan(&fsync); err == nil && fsync == "off" {
		p.log.Warn("PostgreSQL runs with fsync=off: a power failure destroys the ledger")
	}
	b := bun.NewDB(pool, pgdialect.New())
	return &DB{engine: p, groups: makeGroups(p, b), write: b, read: b, log: opts.Log, seals: newSealer()}, nil
}

// dead looks whether a connection that was idle still has anybody at its other end, before a
// statement with all the patience of its caller finds out: of a pool whose connections were
// cut without a word, each would cost that anew. The ping that fails closes the connection,
// so that the driver's own, which this asks for, fails at once.
func dead(ctx context.Context, p stdlib.ShouldPingParams) bool {
	if p.IdleDuration <= idleTrust {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, pingWait)
	defer cancel()
	return p.Conn.Ping(ctx) != nil
}

// fit refuses a connection that would lose what it acknowledges, or could not keep it.
func (p *postgres) fit(ctx context.Context, c *pgx.Conn) error {
	p.begin(c)
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	var sync, encoding, patience, locks string
	var standby bool
	// Of a client that vanished in the middle of a transaction the server keeps the locks for as
	// long as it takes it for alive, which may be hours: whoever comes next to the same
	// transfers would wait for it. Set here and not as a parameter of the connection, because
	// poolers refuse those that they do not know.
	err := c.QueryRow(ctx, `SELECT current_setting('synchronous_commit'), current_setting('server_encoding'), pg_is_in_recovery(),
		CASE current_setting('idle_in_transaction_session_timeout') WHEN '0' THEN set_config('idle_in_transaction_session_timeout', $1, false) ELSE '' END,
		CASE current_setting('lock_timeout') WHEN '0' THEN set_config('lock_timeout', $2, false) ELSE '' END`,
		fmt.Sprintf("%ds", int(idleInTransaction.Seconds())), fmt.Sprintf("%dms", lockPatience.Milliseconds())).
		Scan(&sync, &encoding, &standby, &patience, &locks)
	switch {
	case err != nil:
		return err
	case sync == "off":
		return fmt.Errorf("%w: synchronous_commit is off, and a crash would lose payments that were acknowledged; set it to on", ErrUnfit)
	case encoding != "UTF8":
		return fmt.Errorf("%w: the database's encoding is %s; create it with UTF8", ErrUnfit, encoding)
	case standby:
		return errStandby
	}
	return p.same(ctx, c)
}

// same refuses a server that is not the one that was opened: it may lack commits, under keys of
// an epoch that must end with them. A failover breaks every connection, so that who connects
// again sees it first here.
func (p *postgres) same(ctx context.Context, c *pgx.Conn) error {
	var source string
	err := c.QueryRow(ctx, "SELECT "+sourceText+" FROM pg_control_system()").Scan(&source)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && !Transient(err) {
		return nil // a server that does not tell; who opens the ledger warns of it
	}
	if err != nil {
		return err
	}
	if !p.source.CompareAndSwap(nil, &source) && *p.source.Load() != source {
		return fmt.Errorf("%w: it was %s and is %s (system/timeline)", ErrMoved, *p.source.Load(), source)
	}
	return nil
}

func (*postgres) Dialect() string { return "postgres" }
func (*postgres) close()          {}

func (*postgres) now() schema.QueryAppender { return bun.SafeQuery("now()") }

func (*postgres) ago(d time.Duration) schema.QueryAppender {
	return bun.SafeQuery("now() - interval '" + strconv.FormatInt(d.Microseconds(), 10) + " microseconds'")
}

func (*postgres) clock(ctx context.Context, q querier) (time.Time, error) {
	var at time.Time
	err := q.QueryRowContext(ctx, "SELECT now()").Scan(&at)
	return at.UTC(), err
}

func (*postgres) clockAndEpoch(ctx context.Context, q querier) (at time.Time, epoch string, err error) {
	err = q.QueryRowContext(ctx, "SELECT now(), value FROM meta WHERE key = 'epoch' FOR SHARE").Scan(&at, &epoch)
	return at.UTC(), epoch, err
}

func (*postgres) lockMigrations(ctx context.Context, tx bun.Tx) error {
	// A migration waits for as long as it takes: for another process's, and for tables in use.
	if _, err := tx.ExecContext(ctx, "SET LOCAL lock_timeout = 0"); err != nil {
		return err
	}
	// The transaction's, not the session's: it ends with it, whatever happens.
	_, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(7237389417)")
	return err
}

func (*postgres) hasTable(ctx context.Context, q bun.IDB, name string) (bool, error) {
	var has bool
	err := q.NewRaw("SELECT to_regclass(?) IS NOT NULL", name).Scan(ctx, &has)
	return has, err
}

// identity is made of the system identifier (another cluster: a logical copy, a restored
// dump), the timeline (a failover, a recovery to a point in time) and the number of a table
// (a dump restored into the same cluster). The timeline is read from the name of the WAL file,
// because pg_control_checkpoint() tells the new one only after the next checkpoint.
func (p *postgres) identity(ctx context.Context, tx bun.Tx) (string, error) {
	var source, table string
	err := tx.NewRaw("SELECT "+sourceText+", 'meta'::regclass::oid::text FROM pg_control_system()").Scan(ctx, &source, &table)
	if err != nil {
		return "", err
	}
	return source + "/" + table, nil
}

// sourceText names the cluster and its timeline.
const sourceText = "system_identifier::text || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"

// unnest is the rows as a table: one array parameter for each column.
func (s sheet) unnest() string {
	params := make([]string, len(s.columns))
	for i, c := range s.columns {
		params[i] = fmt.Sprintf("$%d::%s[]", i+1, [...]string{
			text: "text", integer: "bigint", boolean: "boolean", moment: "timestamptz", uid: "uuid", blob: "bytea"}[c.kind])
	}
	return "unnest(" + strings.Join(params, ", ") + ")"
}

func (*postgres) insertText(s sheet, onConflict string) string {
	q := "INSERT INTO " + s.table + " (" + strings.Join(s.names(), ", ") + ") SELECT * FROM " + s.unnest()
	if onConflict != "" {
		q += " " + onConflict + " RETURNING " + s.columns[0].name + "::text"
	}
	return q
}

func (*postgres) updateText(s sheet) string {
	var set []string
	for _, c := range s.columns[1:] {
		set = append(set, c.name+" = c."+c.name)
	}
	return "UPDATE " + s.table + " AS t SET " + strings.Join(set, ", ") +
		" FROM " + s.unnest() + " AS c (" + strings.Join(s.names(), ", ") + ")" +
		" WHERE t.id = c.id AND t.version = c.version - 1 RETURNING t.id::text"
}

// prepare has nothing to do: each connection prepares a group when it first runs it.
func (*postgres) prepare(context.Context, ...*group) error { return nil }

func (p *postgres) run(ctx context.Context, tx *sql.Tx, g *group, rows reflect.Value) ([]bool, error) {
	n := rows.Len()
	args := make([]any, 1, 1+len(g.columns))
	args[0] = p.grouped
	for _, c := range g.columns {
		args = append(args, c.array(rows))
	}
	stored := make([]bool, n)
	if !g.decides {
		for i := range stored {
			stored[i] = true
		}
		_, err := tx.ExecContext(ctx, g.sql, args...)
		return stored, err
	}
	found, err := tx.QueryContext(ctx, g.sql, args...)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	keys := make(map[string]bool, n)
	for found.Next() {
		var key string
		if err := found.Scan(&key); err != nil {
			return nil, err
		}
		keys[key] = true
	}
	key := g.columns[0]
	for i := range stored {
		k := key.value(rows.Index(i)).(string)
		stored[i] = keys[k]
		delete(keys, k) // of two rows with one key, the first was stored
	}
	return stored, found.Err()
}

// array is a column of all rows as a parameter. Its elements go out by pointer, because a value
// in an interface would cost an allocation each.
type array[T any] []T

func (a array[T]) Dimensions() []pgtype.ArrayDimension {
	return []pgtype.ArrayDimension{{Length: int32(len(a)), LowerBound: 1}}
}
func (a array[T]) Index(i int) any { return &a[i] }
func (a array[T]) IndexType() any  { return new(T) }

// array reads a column of all rows.
func (c column) array(rows reflect.Value) any {
	switch c.kind {
	case integer:
		return gather(c, rows, func(v reflect.Value) pgtype.Int8 {
			return pgtype.Int8{Int64: v.Int(), Valid: !c.null || v.Int() != 0}
		})
	case boolean:
		return gather(c, rows, func(v reflect.Value) pgtype.Bool {
			return pgtype.Bool{Bool: v.Bool(), Valid: !c.null || v.Bool()}
		})
	case moment:
		return gather(c, rows, func(v reflect.Value) pgtype.Timestamptz {
			i := v.Addr().Interface().(*instant)
			return pgtype.Timestamptz{Time: i.time(), Valid: !i.IsZero()}
		})
	case uid:
		return gather(c, rows, func(v reflect.Value) pgtype.UUID {
			id := v.Addr().Interface().(*uuid.UUID)
			return pgtype.UUID{Bytes: *id, Valid: !c.null || *id != uuid.Nil}
		})
	case blob:
		return gather(c, rows, func(v reflect.Value) []byte { return v.Bytes() })
	default:
		return gather(c, rows, func(v reflect.Value) pgtype.Text {
			return pgtype.Text{String: v.String(), Valid: !c.null || v.Len() > 0}
		})
	}
}

func gather[T any](c column, rows reflect.Value, read func(reflect.Value) T) array[T] {
	a := make(array[T], rows.Len())
	for i := range a {
		a[i] = read(rows.Index(i).FieldByIndex(c.path))
	}
	return a
}
