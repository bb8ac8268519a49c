package process

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCommand_Cancelled_EndsAllThatItStarted(t *testing.T) {
	if hasTerminal() {
		t.Skip("at a terminal commands stay in its process group")
	}
	ctx, cancel := context.WithCancel(t.Context())
	c := New(ctx, []string{"sh", "-c", "sh -c 'trap \"\" TERM; echo $$; exec sleep 1000 <&-' & wait"})
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
		if i == 1000 {
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
