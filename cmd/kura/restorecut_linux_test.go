package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Who interrupts a restore is told that files may be half old and half new until it is run again.
func TestRestore_Interrupted_SaysThatTheSameCommandCompletesIt(t *testing.T) {
	t.Parallel()
	u := newUser(t, "KURA_PASSWORD=x", "KURA_REPOSITORY=repo")
	u.run(exitOK, "init", "-q")
	write(t, filepath.Join(u.home, "files", "big"), string(randomBytes(4<<20, 1)))
	u.run(exitOK, "backup", "-q", "files")
	write(t, filepath.Join(u.home, "files", "big"), string(randomBytes(4<<20, 2)))

	files := filepath.Join(u.home, "files")
	restore := []string{"restore", "latest:" + files, "--target", files}
	cmd := u.command(append(restore, "--limit-download", "100")...)
	stderr := new(lockedBuffer)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "a restore", func() bool { return strings.Contains(stderr.String(), "restoring") })
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != exitInterrupted || !strings.Contains(stderr.String(), "the same command completes it") || strings.Contains(stderr.String(), "nothing needs repair") {
		t.Errorf("exit code %d: %s", got, stderr)
	}
	u.run(exitOK, restore...)
	if got, err := os.ReadFile(filepath.Join(files, "big")); err != nil || string(got) != string(randomBytes(4<<20, 1)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
