//go:build !linux

package servers

import "syscall"

const supported = false // neither Pdeathsig nor /proc

func attributes(int, int, syscall.Signal) *syscall.SysProcAttr { return nil }
