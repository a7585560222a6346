//go:build unix

package main

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// foreign says why a file may not be this user's own word: another one owns it, or may write it.
func foreign(info fs.FileInfo) string {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() && stat.Uid != 0 {
		return fmt.Sprintf("it belongs to the user %d, and this process is of the user %d: who owns it says where the key is sent (chown it)", stat.Uid, os.Geteuid())
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Sprintf("its mode %04o lets others write it, who would say where the key is sent (chmod go-w)",
			info.Mode().Perm())
	}
	return ""
}
