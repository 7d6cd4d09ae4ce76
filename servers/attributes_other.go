//go:build !linux

package servers

import "syscall"

const supported = false // neither Pdeathsig nor /proc

func attributes(int, int, syscall.Signal) *syscall.SysProcAttr { return nil }

func room(string) uint64 { return 0 }
