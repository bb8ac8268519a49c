package runbook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/durable"
)

// realWorld is a world whose commands are run.
func realWorld(t *testing.T) *World {
	w := newWorld(t, t.TempDir()).world()
	w.Exec = func(ctx context.Context, c Exec) error { return c.Run(ctx) }
	w.OpenDir = func(path string) (durable.FS, error) { return durable.OpenDir(path) }
	w.Now = clock.Now
	return w
}

// carryOut follows a plan with real commands.
func carryOut(t *testing.T, w *World, dir string, p *Plan) error {
	t.Helper()
	s, err := OpenState(dir, clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := Prepare(t.Context(), p, s, w, Options{})
	if err != nil {
		return err
	}
	_, err = r.Go(t.Context())
	return err
}

func TestExec_RealCommands_OutputTimeoutAndStatus(t *testing.T) {
	w := realWorld(t)
	var lines []string
	w.Events.Output = func(_, line string) { lines = append(lines, line) }
	if err := carryOut(t, w, t.TempDir(), commands(t, "echo one; echo two >&2; printf three")); err != nil || !slices.Equal(lines, []string{"one", "two", "three"}) {
		t.Errorf("%v, %q", err, lines)
	}
	if err := carryOut(t, w, t.TempDir(), commands(t, "false | true")); err == nil {
		t.Error("a part of a pipeline has failed, and nobody says so")
	}
	p := must(t, "[[step]]\nname = \"a\"\nkind = \"run\"\ncommand = [\"sleep\", \"1000\"]\ntimeout = \"50ms\"\n")
	if err := carryOut(t, w, t.TempDir(), p); !errors.Is(err, ErrTimeout) {
		t.Errorf("%v", err)
	}
	p = must(t, "[[step]]\nname = \"a\"\nkind = \"run\"\ncommand = \"true\"\ndone = \"no-such-program-at-all\"\n")
	if err := carryOut(t, w, t.TempDir(), p); err == nil || !strings.Contains(err.Error(), "whether it is done") {
		t.Errorf("a check that can not be run: %v", err)
	}
}

// A process was killed, and what it has started goes on.
func TestContinue_CommandStillRuns_Refused(t *testing.T) {
	dir := t.TempDir()
	w := realWorld(t)
	pidFile := filepath.Join(dir, "pid")
	p := commands(t, fmt.Sprintf("sleep 1000 & echo $! > %s; echo started", pidFile))
	if err := carryOut(t, w, dir, p); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	kill := func() { _ = syscall.Kill(pid, syscall.SIGKILL) }
	t.Cleanup(kill)
	// The journal of a process that was killed in the middle.
	journal := filepath.Join(dir, "plan", "run-0001", "journal")
	b, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.SplitAfter(string(b), "\n")
	if err := os.WriteFile(journal, []byte(strings.Join(all[:3], "")), 0o600); err != nil || !strings.Contains(all[2], `"begin"`) {
		t.Fatalf("%v: %q", err, all)
	}
	goOn := func() error {
		s, err := OpenState(dir, clock.Now)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		r, err := Prepare(t.Context(), p, s, w, Options{Continue: true, From: "s1"})
		if err != nil {
			return err
		}
		_, err = r.Go(t.Context())
		return err
	}
	if err := goOn(); !errors.Is(err, ErrStillRunning) {
		t.Fatalf("%v", err)
	}
	kill()
	log, err := os.Open(filepath.Join(dir, "plan", "run-0001", "s1.log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(log.Fd()), unix.LOCK_EX); err != nil { // waits until it has ended
		t.Fatal(err)
	}
	log.Close()
	if err := goOn(); err != nil {
		t.Error(err)
	}
	if text, err = os.ReadFile(pidFile); err == nil {
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil {
		t.Error(err)
	}
}

func TestCheck_ServerComesUp_TriedUntilThen(t *testing.T) {
	w := realWorld(t)
	tries := 0
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		if tries++; tries < 3 {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	check := func(what string, status int, within time.Duration) error {
		text := fmt.Sprintf("[[step]]\nname = \"a\"\nkind = \"check\"\n%s\nwithin = %q\nevery = \"1ms\"\n", what, within)
		if status != 0 {
			text += fmt.Sprintf("status = %d\n", status)
		}
		return carryOut(t, w, t.TempDir(), must(t, text))
	}
	const patient = 10 * time.Minute // for what goes well sooner or later
	if err := check(fmt.Sprintf("http = %q", server.URL), 0, patient); err != nil || tries != 3 {
		t.Errorf("%v after %d tries", err, tries)
	}
	for within := 100 * time.Millisecond; ; within *= 2 { // until there was time for an answer
		err := check(fmt.Sprintf("http = %q", server.URL), 401, within)
		if !errors.Is(err, ErrTimeout) {
			t.Fatalf("another status: %v", err)
		}
		if strings.Contains(err.Error(), "200 OK") {
			break
		}
		if within > patient {
			t.Fatalf("the answer is not told of: %v", err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := check(fmt.Sprintf("tcp = %q", l.Addr()), 0, patient); err != nil {
		t.Error(err)
	}
	l.Close()
	start := time.Now()
	if err := check(fmt.Sprintf("tcp = %q", l.Addr()), 0, 500*time.Millisecond); !errors.Is(err, ErrTimeout) || time.Since(start) < 500*time.Millisecond {
		t.Errorf("nobody is there: %v", err)
	}
	var problems *PreflightError
	if err := check(`http = "ftp://x"`, 0, patient); !errors.As(err, &problems) {
		t.Errorf("no such address: %v", err)
	}
}
