package stripe

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// userTimeout is how long written bytes may stay unacknowledged before the kernel gives the
// connection up. Without it a request may sit in a dead connection's buffer for a quarter of
// an hour, and arrive after all (tcp(7), TCP_USER_TIMEOUT).
const userTimeout = time.Minute

// setUserTimeout is a [net.Dialer]'s Control.
func setUserTimeout(_, _ string, conn syscall.RawConn) error {
	var failed error
	err := conn.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout/time.Millisecond))
	})
	if err != nil {
		return err
	}
	return failed
}
