package dbtest

import (
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// attributes makes a server's process end with ours, however ours ends, and run as an ordinary
// user, because PostgreSQL refuses to run as root.
func attributes(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if uid, gid, ok := ordinary(); ok {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	}
}

// handOver gives a directory to the user that the server runs as.
func handOver(dir string) error {
	if uid, gid, ok := ordinary(); ok {
		return os.Chown(dir, int(uid), int(gid))
	}
	return nil
}

// ordinary finds a user for the server; false: ours is one.
func ordinary() (uid, gid uint32, ok bool) {
	if os.Geteuid() != 0 {
		return 0, 0, false
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		n, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			continue
		}
		g, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			continue
		}
		return uint32(n), uint32(g), true
	}
	return 65534, 65534, true
}
