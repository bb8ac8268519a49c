package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestHooks_Interrupted_AfterIsRun: also for a run that a signal has ended, and the command that was backed up is gone.
func TestHooks_Interrupted_AfterIsRun(t *testing.T) {
	t.Parallel()
	u := newUser(t, "KURA_PASSWORD=x", "KURA_REPOSITORY=repo")
	u.run(exitOK, "init", "-q")
	for _, end := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		cmd := u.command("backup", "--stream", "x=echo data; echo started >&2; exec sleep 1000",
			"--on-failure", "echo $KURA_HOOK $KURA_RESULT $KURA_EXIT_CODE >> log", "--after", "echo $KURA_HOOK $KURA_RESULT >> log")
		stderr := new(lockedBuffer)
		cmd.Stderr = stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitUntil(t, "the command", func() bool { return strings.Contains(stderr.String(), "started") })
		if err := cmd.Process.Signal(end); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != exitInterrupted {
			t.Errorf("%v: exit code %d: %s", end, got, stderr)
		}
		log := filepath.Join(cmd.Dir, "log")
		got, err := os.ReadFile(log)
		if want := "on-failure interrupted 130\nafter interrupted\n"; err != nil || string(got) != want {
			t.Errorf("%v: %q, %v", end, got, err)
		}
		if err := os.Remove(log); err != nil {
			t.Fatal(err)
		}
	}
	if out, _ := u.run(exitOK, "snapshots"); out != "" {
		t.Errorf("there is a snapshot: %s", out)
	}
}

// TestHooks_NobodyReadsTheOutput_AfterIsRun: ^C ends the whole pipeline of `kura backup … 2>&1 | tee log`, tee first; and a
// terminal that is closed hangs up.
func TestHooks_NobodyReadsTheOutput_AfterIsRun(t *testing.T) {
	t.Parallel()
	// Where the tests are run by nohup the signal is ignored, and would be by what they start, too.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	u := newUser(t, "KURA_PASSWORD=x", "KURA_REPOSITORY=repo")
	u.run(exitOK, "init", "-q")
	for _, end := range []os.Signal{os.Interrupt, syscall.SIGHUP} {
		cmd := u.command("backup", "--stream", "x=echo data; echo > started; exec sleep 1000", "--after", "echo $KURA_RESULT >> log")
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = w, w
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		started, log := filepath.Join(cmd.Dir, "started"), filepath.Join(cmd.Dir, "log")
		waitUntil(t, "the command", func() bool { _, err := os.Stat(started); return err == nil })
		r.Close()
		if err := cmd.Process.Signal(end); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if got, err := os.ReadFile(log); err != nil || string(got) != "interrupted\n" {
			t.Errorf("%v: %q, %v; %v", end, got, err, cmd.ProcessState)
		}
		_, _ = os.Remove(started), os.Remove(log)
	}
}
