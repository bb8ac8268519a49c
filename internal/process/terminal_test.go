package process

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// atTerminal makes commands be started as at a terminal: in the group of this process.
func atTerminal(t *testing.T) {
	was := hasTerminal
	hasTerminal = func() bool { return true }
	t.Cleanup(func() { hasTerminal = was })
}

// started starts a shell's command line, which writes n numbers of processes, each on a line, to the file $PIDS, and returns them.
func started(ctx context.Context, t *testing.T, line string, n int) (c *Command, pids []int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pids")
	c = New(ctx, []string{"sh", "-c", line})
	c.Env = append(os.Environ(), "PIDS="+file)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for i := 0; strings.Count(string(read(t, file)), "\n") < n; i++ {
		if i == 10_000 {
			t.Fatalf("%q", read(t, file))
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, word := range strings.Fields(string(read(t, file))) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
		t.Cleanup(func() { _ = unix.Kill(pid, unix.SIGKILL) })
	}
	return c, pids
}

// read returns what is in a file, if it is there.
func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return text
}

// living reports whether a process runs. One that nobody has waited for does not.
func living(pid int) bool {
	p, ok := look(pid)
	return ok && !p.dead
}

// At a terminal an interrupt goes to all, but a deadline, and a signal to this process alone, must reach what a shell has started as well.
func TestCommand_CancelledAtATerminal_EndsAllThatItStarted(t *testing.T) {
	atTerminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	// A child, a child of that, and one of a pipeline.
	c, pids := started(ctx, t, `sh -c 'sh -c "echo \$\$ >> $PIDS; exec sleep 1000" & echo $$ >> $PIDS; wait' & sleep 1000 | sh -c 'echo $$ >> $PIDS; exec sleep 1000' & wait`, 3)
	cancel()
	if err := c.Wait(); err == nil {
		t.Error("a command that was ended went well")
	}
	for _, pid := range pids {
		wantEnd(t, pid)
	}
}

// wantEnd waits until a process has ended: one that was killed takes a moment.
func wantEnd(t *testing.T, pid int) {
	t.Helper()
	for i := 0; living(pid); i++ {
		if i == 6000 {
			t.Fatalf("process %d is still there", pid)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// What does not end when it is asked to is ended.
func TestCommand_CancelledAtATerminal_WhatDoesNotHearIsKilled(t *testing.T) {
	atTerminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	c, pids := started(ctx, t, `sh -c 'trap "" TERM; echo $$ >> $PIDS; exec sleep 1000' & wait`, 1)
	c.WaitDelay = 200 * time.Millisecond // nobody puts anything in order
	cancel()
	if err := c.Wait(); err == nil {
		t.Error("a command that was ended went well")
	}
	wantEnd(t, pids[0])
}

// What has a session of its own is meant to outlive the command; and what this process has started otherwise is none of its business.
func TestCommand_CancelledAtATerminal_OthersLive(t *testing.T) {
	atTerminal(t)
	other := New(t.Context(), []string{"sleep", "1000"})
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c, pids := started(ctx, t, `setsid sh -c 'echo $$ >> $PIDS; exec sleep 1000' & wait`, 1)
	cancel()
	if err := c.Wait(); err == nil {
		t.Error("a command that was ended went well")
	}
	for _, pid := range append(pids, other.Process.Pid) {
		if !living(pid) {
			t.Errorf("process %d was ended", pid)
		}
	}
	_ = other.Process.Kill()
	_ = other.Wait() // it was killed
}
