package db

import (
	"fmt"
	"syscall"
)

// networked lists file systems whose locks and syncs cannot be relied on
// (sqlite.org/howtocorrupt.html, section 2), by the magic numbers of statfs(2).
var networked = map[uint32]string{
	0x6969: "NFS", 0x517b: "SMB", 0xff534d42: "CIFS", 0xfe534d42: "SMB2",
	0x5346414f: "AFS", 0x6b414653: "AFS", 0x00c36400: "Ceph", 0x564c: "NCP", 0x73757245: "Coda",
}

// checkFileSystem refuses a file on the network.
func checkFileSystem(path string) error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return nil // not knowing is no reason to refuse
	}
	if name, found := networked[uint32(s.Type)]; found {
		return fmt.Errorf("it is on %s: a network file system may lose what SQLite has written; use a local disk, or PostgreSQL", name)
	}
	return nil
}
