package storetest

import "syscall"

// dieWithUs sees to it that a server does not outlive a test that is killed.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
