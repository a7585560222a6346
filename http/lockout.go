package http

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	lockoutAfter     = 20 // wrong tokens
	lockoutWindow    = time.Minute
	lockoutFor       = time.Minute
	lockoutAddresses = 1024 // remembered at most
)

// lockout turns an address away that shows wrong tokens again and again. It also turns away
// right tokens from that address meanwhile: otherwise guessing would go on undisturbed.
type lockout struct {
	now func() time.Time

	mu   sync.Mutex
	seen map[netip.Addr]*failures
}

type failures struct {
	count int
	since time.Time // of the first that counts
	until time.Time // locked until; zero: not locked
}

func newLockout(now func() time.Time) *lockout {
	return &lockout{now: now, seen: make(map[netip.Addr]*failures)}
}

// wait returns how long the address is still turned away, or 0.
func (l *lockout) wait(a netip.Addr) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.seen[a]
	if f == nil {
		return 0
	}
	return max(0, f.until.Sub(l.now()))
}

// fail counts one wrong token.
func (l *lockout) fail(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	f := l.seen[a]
	if f == nil {
		l.makeRoom(now)
		f = &failures{since: now}
		l.seen[a] = f
	}
	if now.Sub(f.since) > lockoutWindow {
		*f = failures{since: now}
	}
	if f.count++; f.count >= lockoutAfter {
		*f = failures{since: now, until: now.Add(lockoutFor)}
	}
}

// makeRoom forgets what is over, and then, if that does not help, anyone.
func (l *lockout) makeRoom(now time.Time) {
	if len(l.seen) < lockoutAddresses {
		return
	}
	for a, f := range l.seen {
		if now.Sub(f.since) > lockoutWindow && !now.Before(f.until) {
			delete(l.seen, a)
		}
	}
	for a := range l.seen {
		if len(l.seen) < lockoutAddresses {
			return
		}
		delete(l.seen, a)
	}
}

// addressOf names who is at the other end. All of an IPv6 network of 64 bits is one: whoever
// has one of its addresses has them all. What has no IP address is invalid, and one.
func addressOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip, _ := netip.AddrFromSlice(tcp.IP)
	ip = ip.Unmap()
	if ip.Is6() {
		network, err := ip.Prefix(64)
		if err == nil {
			return network.Addr()
		}
	}
	return ip
}
