package stream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testsys"
)

func TestMain(m *testing.M) { testsys.VerifyMain(m) }

func TestReader_AnyReader_SameBytes(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcdef"), 200_000) // more than all buffers hold
	for name, r := range map[string]io.Reader{
		"plain": bytes.NewReader(want), "halves": iotest.HalfReader(bytes.NewReader(want)),
		"error with data": iotest.DataErrReader(bytes.NewReader(want)), "empty": strings.NewReader(""),
	} {
		got, err := io.ReadAll(NewReader(t.Context(), r))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name != "empty" && !bytes.Equal(got, want) || name == "empty" && len(got) != 0 {
			t.Errorf("%s: other bytes", name)
		}
	}
}

func TestReader_StreamFails_ErrorBehindItsBytes(t *testing.T) {
	bad := errors.New("bad")
	r := NewReader(t.Context(), io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(bad)))
	got, err := io.ReadAll(r)
	if string(got) != "abc" || !errors.Is(err, bad) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestReader_Cancelled_EndsAReadThatNeverWould(t *testing.T) {
	pr, pw := io.Pipe()
	defer pw.Close() // lets the pump go
	ctx, cancel := context.WithCancel(t.Context())
	r := NewReader(ctx, pr)
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestCommand_ExitStatus_Decides(t *testing.T) {
	run := func(script string) (string, error) {
		c, err := Start(t.Context(), []string{"sh", "-c", script})
		if err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(NewReader(t.Context(), c.Output()))
		if err != nil {
			t.Fatal(err)
		}
		return string(out), c.Wait()
	}
	if out, err := run("echo hello"); out != "hello\n" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	var exit *exec.ExitError
	if out, err := run("echo hello; exit 3"); out != "hello\n" || !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := run("echo hello; kill -9 $$"); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Errorf("killed: %v", err)
	}
	if _, err := Start(t.Context(), []string{"/nonexistent/command"}); err == nil {
		t.Error("started what is not there")
	}
}

// TestCommand_EndsAndItsOutputDoesNot_Fails: a daemon that it has started has its output.
func TestCommand_EndsAndItsOutputDoesNot_Fails(t *testing.T) {
	defer func(was time.Duration) { silence = was }(silence)
	silence = 2 * time.Second
	c, err := Start(t.Context(), []string{"sh", "-c", "sleep 1000 & echo $!"})
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(NewReader(t.Context(), c.Output()))
	if !errors.Is(err, errHeldOpen) || c.Wait() != nil {
		t.Errorf("%q, %v", out, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		t.Errorf("what it has left running: %v", err)
	}
}

// TestCommand_EndsBeforeItsOutput_AllOfItIsRead: what comes in time counts, and what nobody has read yet waits.
func TestCommand_EndsBeforeItsOutput_AllOfItIsRead(t *testing.T) {
	c, err := Start(t.Context(), []string{"sh", "-c", "(sleep 0.3; echo late) & echo early"})
	if err != nil {
		t.Fatal(err)
	}
	<-c.ended
	out, err := io.ReadAll(NewReader(t.Context(), c.Output()))
	if string(out) != "early\nlate\n" || err != nil || c.Wait() != nil {
		t.Errorf("%q, %v", out, err)
	}
}

func TestCommand_Cancelled_Ends(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, err := Start(ctx, []string{"sleep", "1000"})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := io.ReadAll(NewReader(ctx, c.Output())); err == nil {
		t.Error("read to the end")
	}
	if err := c.Wait(); err == nil {
		t.Error("a command that was cancelled went well")
	}
}
