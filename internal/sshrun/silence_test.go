package sshrun_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/sshrun"
)

// A machine that takes the connection and does nothing more is not waited for for ever.
func TestStart_NothingMoves_EndsAfterThePatience(t *testing.T) {
	t.Parallel()
	programs := t.TempDir()
	write(t, filepath.Join(programs, "gzip"), "#!/bin/sh\nexec sleep 1000\n")
	if err := os.Chmod(filepath.Join(programs, "gzip"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, line := range map[string]string{
		"from the beginning":   "sleep 1000",
		"while it is sent":     "PATH=" + programs + `:$PATH; export PATH; sh -c "$SSH_ORIGINAL_COMMAND"`,
		"but for what is said": "while :; do echo still there; sleep 0.2; done",
		"but for a message":    "echo This is your administrator. >&2; sleep 1000",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "ForceCommand "+line)
			o := w.options(t, echo)
			o.Patience = 2 * time.Second
			_, err := sshrun.Start(t.Context(), o)
			if !errors.Is(err, sshrun.ErrConnection) || !strings.Contains(err.Error(), "nothing has moved for 2s") {
				t.Errorf("%v", err)
			}
		})
	}
}

// What start-up files have printed is no reason to take a connection that broke for a machine without a shell.
func TestStart_CutBehindWhatWasPrinted_IsNoConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ForceCommand echo This machine goes down now.; sleep 1; kill -9 $PPID; sleep 1000")
	_, err := sshrun.Start(t.Context(), w.options(t, echo))
	if !errors.Is(err, sshrun.ErrConnection) || errors.Is(err, sshrun.ErrShell) {
		t.Errorf("%v", err)
	}
}

// What a shell was denied is not that ssh was.
func TestConnectionError_ShellIsDeniedSomething_NotInVain(t *testing.T) {
	for said, want := range map[string]bool{
		"sh: /etc/profile.local: Permission denied":                                                 false,
		"me@host: Permission denied (publickey).":                                                   true,
		`Load key "/root/key": Permission denied; me@host: Permission denied (publickey,password).`: true,
	} {
		if got := (&sshrun.ConnectionError{Said: said}).InVain(); got != want {
			t.Errorf("%q: %v", said, got)
		}
	}
}
