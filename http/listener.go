package http

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// listener limits how many connections are open, in all and from one address. fasthttp can do
// that too, but counts IPv4 addresses only, and answers in plain text.
//
// A connection is a stranger until one of its requests has shown a token or a signature, and then
// it is known. The two are counted apart: strangers keep nobody away who is known, and the known
// keep no probe away. Strangers are never refused: when there are too many, the one goes of whom a
// request has been awaited for the longest time. So silent sockets keep nobody away either.
type listener struct {
	net.Listener
	known     limit
	strangers limit
	refused   func(status int)

	closed sync.Once
	mu     sync.Mutex
	queue  []*conn // the strangers, in the order of their arrival
}

// How many strangers there may be. One costs about 16 kB. The more they are, the longer a probe has to
// send its request: at a flood of 10,000 connections a second from its own address, 25 ms.
const (
	strangersMost      = 512
	strangersMostPerIP = 256
)

// limit counts connections, in all and by address.
type limit struct {
	most, mostPerIP int // 0: no limit
	open            int
	perIP           map[netip.Addr]int
}

// exceeded says that one more connection is too many, and whether it is of its address.
func (l *limit) exceeded(from netip.Addr) (full, ofAddress bool) {
	if l.mostPerIP > 0 && from.IsValid() && l.perIP[from] >= l.mostPerIP {
		return true, true
	}
	return l.most > 0 && l.open >= l.most, false
}

func (l *limit) add(from netip.Addr) {
	if l.perIP == nil {
		l.perIP = make(map[netip.Addr]int)
	}
	l.open++
	l.perIP[from]++
}

func (l *limit) remove(from netip.Addr) {
	l.open--
	if l.perIP[from]--; l.perIP[from] == 0 {
		delete(l.perIP, from)
	}
}

func newListener(l net.Listener, most, mostPerIP int, refused func(status int)) *listener {
	return &listener{
		Listener: l, known: limit{most: most, mostPerIP: mostPerIP},
		strangers: limit{most: strangersMost, mostPerIP: strangersMostPerIP}, refused: refused,
	}
}

// Close may be called again, by whoever shuts down.
func (l *listener) Close() (err error) {
	l.closed.Do(func() { err = l.Listener.Close() })
	return err
}

// Accept lets everybody in, and somebody else out when there is no room. The one goroutine that
// accepts must not wait for anybody, so who is put out hears nothing.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	inside := &conn{Conn: c, from: addressOf(c.RemoteAddr()), listener: l}
	inside.waiting.Store(true)
	if out := l.enter(inside); out != nil {
		out.out.Store(true)
		out.closed.Store(true)
		out.Conn.Close()
		l.refused(unavailable.status)
	}
	return inside, nil
}

// enter counts a stranger in, and returns who must go for it, counted out.
func (l *listener) enter(c *conn) (out *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if full, ofAddress := l.strangers.exceeded(c.from); full {
		if out = l.idlest(c.from, ofAddress); out != nil {
			l.remove(out)
		}
	}
	c.standing = stranger
	l.strangers.add(c.from)
	l.queue = append(l.queue, c)
	return out
}

// idlest returns the stranger who goes first: the oldest one of whom a request is awaited, or else
// the oldest one.
func (l *listener) idlest(from netip.Addr, only bool) *conn {
	var oldest *conn
	for _, c := range l.queue {
		switch {
		case only && c.from != from:
		case c.waiting.Load():
			return c
		case oldest == nil:
			oldest = c
		}
	}
	return oldest
}

// know says that a connection's holder is known. If that makes too many of them, it stays a
// stranger, and its request is to be refused.
func (l *listener) know(c *conn) *fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.standing != stranger {
		return nil
	}
	if full, ofAddress := l.known.exceeded(c.from); full && ofAddress {
		return &fault{kind: tooManyRequests, detail: "There are too many connections from this address.",
			retryAfter: retryAfterAMoment}
	} else if full {
		return &fault{kind: unavailable, detail: "There are too many connections.", retryAfter: retryAfterAMoment}
	}
	l.remove(c)
	c.standing = known
	l.known.add(c.from)
	return nil
}

func (l *listener) leave(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(c)
}

// remove counts a connection out, once.
func (l *listener) remove(c *conn) {
	switch c.standing {
	case stranger:
		l.strangers.remove(c.from)
		if i := slices.Index(l.queue, c); i >= 0 {
			l.queue = slices.Delete(l.queue, i, i+1)
		}
	case known:
		l.known.remove(c.from)
	}
	c.standing = outside
}
