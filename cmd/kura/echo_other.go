//go:build !linux

package main

import (
	"os"

	"golang.org/x/term"
)

// hideTyping leaves it to readHidden.
func hideTyping(int) error { return nil }

func readHidden(tty *os.File) ([]byte, error) { return term.ReadPassword(int(tty.Fd())) }
