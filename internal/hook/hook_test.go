package hook

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
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
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
	h.Timeout = 0
	if err := h.Run(ctx, nil); !errors.Is(err, why) {
		t.Errorf("cancelled: %v", err)
	}
}
