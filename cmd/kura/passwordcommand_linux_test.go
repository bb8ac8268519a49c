package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPasswordCommand_Interrupted_IsEndedAtOnce: the shell ends when it is told to, and what it waits for keeps its output open.
func TestPasswordCommand_Interrupted_IsEndedAtOnce(t *testing.T) {
	t.Parallel()
	u := newUser(t, "KURA_REPOSITORY=repo")
	u.run(exitOK, "init", "--password-command", "echo a")
	cmd := u.command("snapshots", "--password-command", "echo > started; sleep 60; echo a")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started := filepath.Join(cmd.Dir, "started")
	waitUntil(t, "the command", func() bool { _, err := os.Stat(started); return err == nil })
	began := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if took := time.Since(began); cmd.ProcessState.ExitCode() != exitInterrupted || took > 40*time.Second {
		t.Errorf("%v after %v", cmd.ProcessState, took)
	}
}

// TestPasswordCommand_LeavesAProcessBehind_IsNotWaitedForForEver: such as an agent that is started for what is to come.
func TestPasswordCommand_LeavesAProcessBehind_IsNotWaitedForForEver(t *testing.T) {
	t.Parallel()
	u := newUser(t, "KURA_REPOSITORY=repo")
	u.run(exitOK, "init", "--password-command", "sleep 30 >/dev/null 2>&1 & echo a")
	_, stderr := u.run(exitError, "snapshots", "--password-command", "sleep 30 2>/dev/null & echo a")
	if !strings.Contains(stderr, "keeps its output open") {
		t.Errorf("%s", stderr)
	}
}
