//go:build unix

package sshrun

import (
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// startApart starts a command in a process group of its own. If it may ask, and we have the terminal, it gets
// that until handBack is called: what is not in the foreground can not read from it.
func startApart(cmd *exec.Cmd, mayAsk bool) (handBack func(), err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	tty := foregroundTerminal(mayAsk)
	if err := cmd.Start(); err != nil {
		if tty != nil {
			tty.Close()
		}
		return nil, err
	}
	if tty == nil {
		return func() {}, nil
	}
	if unix.IoctlSetPointerInt(int(tty.Fd()), unix.TIOCSPGRP, cmd.Process.Pid) == nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGCONT) // it may have asked before it could
	}
	return func() {
		defer tty.Close()
		// Taking the terminal back from the background would stop us.
		signal.Ignore(syscall.SIGTTOU)
		defer signal.Reset(syscall.SIGTTOU)
		_ = unix.IoctlSetPointerInt(int(tty.Fd()), unix.TIOCSPGRP, unix.Getpgrp())
	}, nil
}

// foregroundTerminal returns the terminal that is ours, or nil.
func foregroundTerminal(wanted bool) *os.File {
	if !wanted {
		return nil
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	if err != nil || group != unix.Getpgrp() {
		tty.Close()
		return nil
	}
	return tty
}

// terminate ends a process with all that it has started.
func terminate(p *os.Process, force bool) {
	sig := syscall.SIGTERM
	if force {
		sig = syscall.SIGKILL
	}
	_ = syscall.Kill(-p.Pid, sig) // it may have ended
}
