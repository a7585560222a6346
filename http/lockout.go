package http

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	lockoutAfter   = 20 // wrong tokens
	lockoutWindow  = time.Minute
	lockoutFor     = time.Minute
	lockoutGuesses = 1024 // remembered at most
)

// lockout turns guesses away that are made again and again. A right token is taken meanwhile: an
// address is shared, by a proxy or by loopback itself, so one who guesses would lock everybody out.
// Guessing is not worth more for it: 256 bits of chance are not found at any speed of this listener.
type lockout struct {
	now func() time.Time

	mu   sync.Mutex
	seen map[guess]*failures
}

// guess is who guesses at which token. All that are of no stored token's prefix are one.
type guess struct {
	from   netip.Addr
	prefix string
}

type failures struct {
	count int
	since time.Time // of the first that counts
	until time.Time // locked until; zero: not locked
}

func newLockout(now func() time.Time) *lockout {
	return &lockout{now: now, seen: make(map[guess]*failures)}
}

// fail counts one wrong token. It returns how long such guesses are still turned away, or 0; and
// whether that begins with the next one.
func (l *lockout) fail(g guess) (wait time.Duration, begins bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	f := l.seen[g]
	if f == nil {
		l.makeRoom(now)
		f = &failures{since: now}
		l.seen[g] = f
	}
	if wait := f.until.Sub(now); wait > 0 {
		return wait, false
	}
	if now.Sub(f.since) > lockoutWindow {
		*f = failures{since: now}
	}
	if f.count++; f.count >= lockoutAfter {
		*f = failures{since: now, until: now.Add(lockoutFor)}
		return 0, true
	}
	return 0, false
}

// makeRoom forgets lock-outs that are over, and then, if that does not help, anyone.
func (l *lockout) makeRoom(now time.Time) {
	if len(l.seen) < lockoutGuesses {
		return
	}
	for g, f := range l.seen {
		if now.Sub(f.since) > lockoutWindow && !now.Before(f.until) {
			delete(l.seen, g)
		}
	}
	for g := range l.seen {
		if len(l.seen) < lockoutGuesses {
			return
		}
		delete(l.seen, g)
	}
}

// addressOf names who is at the other end. All of an IPv6 network of 64 bits is one: whoever
// has one of its addresses has them all. All without an IP address are one, the invalid.
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
