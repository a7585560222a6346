package http

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	lingerTime  = time.Second // an answer to a request that was not read waits so long to be read
	lingerBytes = 16 << 20    // and swallows no more than this
	refusalTime = 100 * time.Millisecond
)

// listener limits how many connections are open, in all and from one address. fasthttp can do
// that too, but counts IPv4 addresses only, and answers in plain text.
type listener struct {
	net.Listener
	most, mostPerIP int // 0: no limit
	refused         func(status int)

	closed sync.Once
	mu     sync.Mutex
	open   int
	perIP  map[netip.Addr]int
}

func newListener(l net.Listener, most, mostPerIP int, refused func(status int)) *listener {
	return &listener{Listener: l, most: most, mostPerIP: mostPerIP, refused: refused, perIP: make(map[netip.Addr]int)}
}

// Close may be called again, by whoever shuts down.
func (l *listener) Close() (err error) {
	l.closed.Do(func() { err = l.Listener.Close() })
	return err
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := addressOf(c.RemoteAddr())
		refusal := l.enter(from)
		if refusal == nil {
			return &conn{Conn: c, from: from, listener: l}, nil
		}
		l.refused(refusal.kind.status)
		// The one goroutine that accepts must not wait for anybody.
		c.SetWriteDeadline(time.Now().Add(refusalTime))
		c.Write(refusal.raw())
		c.Close()
	}
}

// enter counts a connection in, or says why not.
func (l *listener) enter(from netip.Addr) *fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.most > 0 && l.open >= l.most:
		return &fault{kind: unavailable, detail: "There are too many connections.", retryAfter: retryAfterAMoment}
	case l.mostPerIP > 0 && from.IsValid() && l.perIP[from] >= l.mostPerIP:
		return &fault{kind: tooManyRequests, detail: "There are too many connections from this address.", retryAfter: retryAfterAMoment}
	}
	l.open++
	l.perIP[from]++
	return nil
}

func (l *listener) leave(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.perIP[from]--; l.perIP[from] == 0 {
		delete(l.perIP, from)
	}
}

// raw is a whole answer, for a connection that gets no handler.
func (f *fault) raw() []byte {
	body := f.text("", "")
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nRetry-After: %d\r\nConnection: close\r\n\r\n%s",
		f.kind.status, f.kind.title, problemType, len(body), int(f.retryAfter.Seconds()), body)
}

// conn is one accepted connection.
type conn struct {
	net.Conn
	from     netip.Addr
	listener *listener
	linger   atomic.Bool // there is input that nobody will read
	closed   atomic.Bool
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
		c.Conn.SetReadDeadline(time.Now().Add(lingerTime))
		io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	c.listener.leave(c.from)
	return c.Conn.Close()
}
