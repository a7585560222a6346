package faulty

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"slices"
)

// Connector puts the faults between database/sql and what makes its connections. One process
// may have several.
func (f *Faults) Connector(real driver.Connector) driver.Connector { return &connector{f, real} }

type connector struct {
	faults *Faults
	real   driver.Connector
}

func (c *connector) Driver() driver.Driver { return c.real.Driver() }

func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	var real driver.Conn
	lost, err := c.faults.run(Point{Call: Connect}, func() (err error) {
		real, err = c.real.Connect(ctx)
		return err
	})
	if lost && real != nil {
		real.Close()
	}
	if err != nil {
		return nil, err
	}
	c.faults.opened()
	return &conn{faults: c.faults, real: real}, nil
}

// conn is one connection. database/sql uses it from one goroutine at a time.
type conn struct {
	faults *Faults
	real   driver.Conn
	open   []io.Closer // its statements and results, in order
	lost   bool        // the real one is closed
	tx     bool        // in a transaction
	writes bool        // which may write
}

// call makes a call to the database, or fails as the faults want it. A connection that was
// lost says what drivers say of one that was lost before.
func (c *conn) call(p Point, do func() error) error {
	if c.lost {
		return driver.ErrBadConn
	}
	p.Stores = p.Call == Commit && c.writes || p.Call == Exec && !c.tx
	lost, err := c.faults.run(p, do)
	if lost {
		c.lose()
	}
	return err
}

// lose closes the real connection, which rolls its transaction back. SQLite does so only once
// nothing of the connection is open any more.
func (c *conn) lose() {
	if c.lost {
		return
	}
	c.lost = true
	for _, o := range slices.Backward(c.open) {
		o.Close()
	}
	c.real.Close()
	c.faults.closed()
}

// opened notes a statement or a result, before its answer can be lost.
func (c *conn) opened(o io.Closer, err error) error {
	if err == nil {
		c.open = append(c.open, o)
	}
	return err
}

// end closes a statement or a result, if the connection's end has not.
func (c *conn) end(o io.Closer) error {
	if c.lost {
		return nil
	}
	c.open = slices.DeleteFunc(c.open, func(x io.Closer) bool { return x == o })
	return o.Close()
}

func (c *conn) Close() error {
	c.lose()
	return nil
}

func (c *conn) IsValid() bool {
	if v, ok := c.real.(driver.Validator); ok && !c.lost {
		return v.IsValid()
	}
	return !c.lost
}

func (c *conn) ResetSession(ctx context.Context) error {
	if c.lost {
		return driver.ErrBadConn
	}
	if r, ok := c.real.(driver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := c.real.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (c *conn) Ping(ctx context.Context) error {
	return c.call(Point{Call: Ping}, func() error { return c.real.(driver.Pinger).Ping(ctx) })
}

// errOld refuses the forms of a call that database/sql has not used for many years.
var errOld = errors.New("faulty: give a context")

func (c *conn) Begin() (driver.Tx, error)                { return nil, errOld }
func (c *conn) Prepare(string) (driver.Stmt, error)      { return nil, errOld }
func (*stmt) Exec([]driver.Value) (driver.Result, error) { return nil, errOld }
func (*stmt) Query([]driver.Value) (driver.Rows, error)  { return nil, errOld }

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	var real driver.Tx
	err := c.call(Point{Call: Begin}, func() (err error) {
		real, err = c.real.(driver.ConnBeginTx).BeginTx(ctx, opts)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.tx, c.writes = true, !opts.ReadOnly
	return &tx{c, real}, nil
}

type tx struct {
	conn *conn
	real driver.Tx
}

func (t *tx) Commit() error {
	err := t.conn.call(Point{Call: Commit}, t.real.Commit)
	if err != nil && !t.conn.lost {
		t.real.Rollback() // the connection goes on, and must not be in a transaction
	}
	t.conn.tx, t.conn.writes = false, false
	return err
}

func (t *tx) Rollback() error {
	err := t.conn.call(Point{Call: Rollback}, t.real.Rollback)
	t.conn.tx, t.conn.writes = false, false
	return err
}

func (c *conn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (result driver.Result, err error) {
	err = c.call(Point{Call: Exec, Text: text}, func() (err error) {
		result, err = c.real.(driver.ExecerContext).ExecContext(ctx, text, args)
		return err
	})
	if err != nil {
		return nil, err
	}
	return result, nil
}

func (c *conn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	return c.query(text, func() (driver.Rows, error) {
		return c.real.(driver.QueryerContext).QueryContext(ctx, text, args)
	})
}

func (c *conn) query(text string, do func() (driver.Rows, error)) (driver.Rows, error) {
	var real driver.Rows
	err := c.call(Point{Call: Query, Text: text}, func() (err error) {
		real, err = do()
		return c.opened(real, err)
	})
	if err != nil {
		return nil, err
	}
	return &rows{c, real}, nil
}

// rows is a result. It has what package db uses of one, which is the least there is.
type rows struct {
	conn *conn
	real driver.Rows
}

func (r *rows) Columns() []string { return r.real.Columns() }

func (r *rows) Next(dest []driver.Value) error {
	return r.conn.call(Point{Call: Fetch}, func() error { return r.real.Next(dest) })
}

func (r *rows) Close() error { return r.conn.end(r.real) }

func (c *conn) PrepareContext(ctx context.Context, text string) (driver.Stmt, error) {
	var real driver.Stmt
	err := c.call(Point{Call: Prepare, Text: text}, func() (err error) {
		real, err = c.real.(driver.ConnPrepareContext).PrepareContext(ctx, text)
		return c.opened(real, err)
	})
	if err != nil {
		return nil, err
	}
	return &stmt{c, real, text}, nil
}

type stmt struct {
	conn *conn
	real driver.Stmt
	text string
}

func (s *stmt) NumInput() int { return s.real.NumInput() }

func (s *stmt) Close() error { return s.conn.end(s.real) }

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (result driver.Result, err error) {
	err = s.conn.call(Point{Call: Exec, Text: s.text}, func() (err error) {
		result, err = s.real.(driver.StmtExecContext).ExecContext(ctx, args)
		return err
	})
	if err != nil {
		return nil, err
	}
	return result, nil
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.query(s.text, func() (driver.Rows, error) {
		return s.real.(driver.StmtQueryContext).QueryContext(ctx, args)
	})
}
