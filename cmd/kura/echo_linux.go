package main

import "golang.org/x/sys/unix"

// hideTyping turns off that a terminal shows what is typed. term.ReadPassword does so, too, but only once the question is
// there, and who answers it at once would see the first letters.
func hideTyping(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Lflag &^= unix.ECHO
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}
