package db

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// userTimeout is how long written bytes may stay unacknowledged before the kernel gives the
// connection up. Without it a statement to a server that vanished is repeated for a quarter of
// an hour (tcp(7), TCP_USER_TIMEOUT).
const userTimeout = 30 * time.Second

// setUserTimeout is a [net.Dialer]'s Control.
func setUserTimeout(network, _ string, conn syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var failed error
	err := conn.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout/time.Millisecond))
	})
	return errors.Join(err, failed)
}
