package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// hideTyping turns off that a terminal shows what is typed, before the question is there: who answers it at once would
// otherwise see the first letters.
func hideTyping(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Lflag &^= unix.ECHO
	t.Lflag |= unix.ICANON | unix.ISIG
	t.Iflag |= unix.ICRNL
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

// readHidden reads a line after hideTyping. It leaves the terminal as it is: term.ReadPassword would turn the echo off once
// more, and that, from beside a run which is interrupted, after it was turned on again for good.
func readHidden(tty *os.File) ([]byte, error) {
	line, err := readAnswer(tty, unix.PathMax) // no more than the kernel's line discipline has of one
	if err == io.EOF && len(line) > 0 {
		err = nil
	}
	return line, err
}
