package http

import (
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	lingerTime  = time.Second // an answer to a request that was not read waits so long to be read
	lingerBytes = 16 << 20    // and swallows no more than this
)

// standing is how a connection is counted.
type standing uint8

const (
	outside  standing = iota // not, or no more
	stranger                 // no request of it has shown a token or a signature
	known                    // one has
)

// conn is one accepted connection.
type conn struct {
	net.Conn
	from     netip.Addr
	listener *listener

	standing standing    // guarded by the listener's lock
	familiar atomic.Bool // it is known, to be read without the lock
	waiting  atomic.Bool // nothing of its next request, or not all of it, has come
	linger   atomic.Bool // there is input that nobody will read
	out      atomic.Bool // the listener has put it out
	closed   atomic.Bool
}

// Read notes that the connection is waited for: fasthttp reads only between requests, and in one.
func (c *conn) Read(b []byte) (int, error) {
	c.waiting.Store(true)
	return c.Conn.Read(b)
}

// Close counts the connection out, once.
//
// A socket that is closed with unread input sends a reset, which may overtake the answer: the
// client then sees no 413, but a broken pipe. So the input is swallowed first, for a while.
func (c *conn) Close() error {
	if !c.closed.CompareAndSwap(false, true) {
		return nil
	}
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && c.linger.Load() && half.CloseWrite() == nil {
		c.waiting.Store(true) // of it nothing is wanted any more
		c.Conn.SetReadDeadline(time.Now().Add(lingerTime))
		io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	c.listener.leave(c)
	return c.Conn.Close()
}

// connOf returns the connection of a request; nil when it came without one, in a simulation.
func connOf(ctx *fasthttp.RequestCtx) *conn {
	c, _ := ctx.Conn().(*conn)
	return c
}

// begin says that a request is there in whole.
func (c *conn) begin() {
	if c != nil {
		c.waiting.Store(false)
	}
}

// know says that who holds the connection has shown who it is; and why it is not served, if there
// are too many who have.
func (c *conn) know() *fault {
	if c == nil || c.familiar.Load() {
		return nil
	}
	f := c.listener.know(c)
	c.familiar.Store(f == nil)
	return f
}

// unread says that more input comes which nobody will read.
func (c *conn) unread() {
	if c != nil {
		c.linger.Store(true)
	}
}
