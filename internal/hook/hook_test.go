package hook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestHook_Variables_ReachTheCommand(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	t.Setenv("KURA_TEST_OUT", out)
	h := Hook{Name: "--after", Line: `printf '%s,%s' "$KURA_RESULT" "$HOME" > "$KURA_TEST_OUT"`, Timeout: time.Minute}
	if err := h.Run(t.Context(), map[string]string{"KURA_RESULT": "a b\x00\n$c"}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	if want := "a b\n$c," + os.Getenv("HOME"); err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if err := (Hook{}).Run(t.Context(), nil); err != nil {
		t.Errorf("no hook: %v", err)
	}
}

func TestHook_Fails_SaysWhichAndHow(t *testing.T) {
	h := Hook{Name: "--before", Line: "exit 7"}
	err := h.Run(t.Context(), nil)
	var failed *Error
	var exit *exec.ExitError
	if !errors.As(err, &failed) || failed.Hook.Name != "--before" || !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("%v", err)
	}
	if got := err.Error(); got != "--before (exit 7) failed: exit status 7" {
		t.Errorf("%q", got)
	}
}

func TestHook_PartOfAPipelineFails_IsSeen(t *testing.T) {
	if err := (Hook{Line: "false | cat"}).Run(t.Context(), nil); err == nil {
		t.Error("went well")
	}
}

func TestHook_TakesTooLong_IsStopped(t *testing.T) {
	h := Hook{Name: "--after", Line: "sleep 1000; true", Timeout: 50 * time.Millisecond}
	if err := h.Run(t.Context(), nil); !errors.Is(err, ErrTimeout) {
		t.Errorf("%v", err)
	}
}

// TestHook_Cancelled_WhatItStartedIsGone: the shell is not all there is.
func TestHook_Cancelled_WhatItStartedIsGone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	t.Setenv("KURA_TEST_OUT", file)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	var pid int
	var busy sync.WaitGroup
	busy.Go(func() {
		for pid == 0 && t.Context().Err() == nil {
			data, _ := os.ReadFile(file) // not there yet
			if text, whole := strings.CutSuffix(string(data), "\n"); whole {
				pid, _ = strconv.Atoi(text)
			}
			time.Sleep(5 * time.Millisecond)
		}
		cancel(why)
	})
	h := Hook{Name: "--after", Line: `sleep 1000 & echo $! > "$KURA_TEST_OUT"; wait`}
	if err := h.Run(ctx, nil); !errors.Is(err, why) {
		t.Errorf("cancelled: %v", err)
	}
	busy.Wait()
	if tty, err := os.Open("/dev/tty"); err == nil {
		tty.Close()
		_ = unix.Kill(pid, unix.SIGKILL)
		t.Skip("at a terminal the shell alone is told")
	}
	for i := 0; lives(pid); i++ {
		if i == 10_000 {
			t.Fatalf("process %d is still there", pid)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// lives reports whether a process runs: where nobody waits for it, it stays as a zombie when it has ended.
func lives(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// TestHook_InsideOfAnother_HasItsOwnVariables: kura may be run by a hook of another run.
func TestHook_InsideOfAnother_HasItsOwnVariables(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	t.Setenv("KURA_TEST_OUT", out)
	t.Setenv("KURA_SNAPSHOT", "outer")
	t.Setenv("KURA_HOOK", "outer")
	h := Hook{Line: `printf '%s,%s' "$KURA_HOOK" "${KURA_SNAPSHOT-not set}" > "$KURA_TEST_OUT"`}
	if err := h.Run(t.Context(), map[string]string{"KURA_HOOK": "before"}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out); err != nil || string(got) != "before,not set" {
		t.Errorf("%q, %v", got, err)
	}
}
