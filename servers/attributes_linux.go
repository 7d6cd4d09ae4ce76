package servers

import "syscall"

const supported = true

// attributes makes a process one of the account's (−1: our own), a leader of its own group so that Ctrl-C does not reach it, and ends it when
// the thread that starts it is gone.
func attributes(uid, gid int, dies syscall.Signal) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: dies}
	if uid >= 0 {
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)} //nolint:gosec // an account's numbers
	}
	return attr
}

// room is how many bytes are free on the file system of a folder.
func room(folder string) uint64 {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(folder, &fs); err != nil {
		return 0
	}
	return fs.Bavail * uint64(fs.Bsize) //nolint:gosec // a block's size
}
