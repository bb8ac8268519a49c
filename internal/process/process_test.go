package process

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// noTerminal makes commands be started as where there is no terminal: at one they stay in its process group.
func noTerminal(t *testing.T) {
	was := hasTerminal
	hasTerminal = func() bool { return false }
	t.Cleanup(func() { hasTerminal = was })
}

func TestCommand_Cancelled_EndsAllThatItStarted(t *testing.T) {
	noTerminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := New(ctx, []string{"sh", "-c", "sh -c 'trap \"\" TERM; echo $$; exec sleep 1000 <&-' & wait"})
	c.WaitDelay = 200 * time.Millisecond // nobody puts anything in order
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 32)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := c.Wait(); err == nil {
		t.Error("a command that was ended went well")
	}
	for i := 0; unix.Kill(pid, 0) == nil && !isZombie(t, pid); i++ {
		if i == 10_000 {
			t.Fatalf("process %d is still there", pid)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// isZombie reports whether a process has ended and nobody has waited for it, as happens in containers.
func isZombie(t *testing.T, pid int) bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err != nil || bytes.HasPrefix(bytes.TrimSpace(out), []byte("Z"))
}

func TestCommand_Ends_StatusIsToldAndBackgroundLives(t *testing.T) {
	c := New(t.Context(), []string{"sh", "-c", "exit 3"})
	var exit *exec.ExitError
	if err := c.Run(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("%v", err)
	}
	if err := New(t.Context(), []string{"/no such program"}).Run(); err == nil {
		t.Error("started what is not there")
	}
	c = New(t.Context(), []string{"sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"})
	var out bytes.Buffer
	c.Stdout = &out
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		t.Errorf("what a command has left running on purpose: %v", err)
	}
}

// TestCommand_Cancelled_WhatItStartedMayPutThingsInOrder: the shell itself ends at once.
func TestCommand_Cancelled_WhatItStartedMayPutThingsInOrder(t *testing.T) {
	noTerminal(t)
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	text := "trap 'sleep 0.3; echo thawed > \"$0.done\"; exit 0' TERM\necho up\nwhile :; do sleep 0.05; done\n"
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c := New(ctx, []string{"sh", "-c", "sh " + script + "; true"})
	c.WaitDelay = 5 * time.Minute // however slow the machine is
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := c.Wait(); err == nil {
		t.Error("a command that was ended went well")
	}
	if got, err := os.ReadFile(script + ".done"); err != nil || string(got) != "thawed\n" {
		t.Errorf("%q, %v", got, err)
	}
}
