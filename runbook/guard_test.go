package runbook

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/testsys"
)

// guarded is a plan whose step load must not run under the service api, nor without the fence.
func guarded(t tester) *Plan {
	return must(t, `
[[step]]
name = "stop"
kind = "stop"
units = ["api"]
[[step]]
name = "fence"
kind = "fence"
command = "do fence"
done = "is fence"
[[step]]
name = "prepared"
kind = "run"
command = "do prepared"
done = "is prepared"
[[step]]
name = "load"
kind = "run"
command = "do load"
[[step]]
name = "start"
kind = "start"
units = ["api"]
[[step]]
name = "check"
kind = "check"
command = "do check"
within = "5ms"
every = "1ms"
`)
}

// fail follows a plan until a command fails, and starts the machine anew.
func (w *fakeWorld) fail(p *Plan, command string, services ...string) {
	w.t.Helper()
	w.fails[command] = true
	if err := w.follow(p, Options{}); err == nil {
		w.t.Fatalf("%s did not fail", command)
	}
	delete(w.fails, command)
	for _, s := range services {
		w.units[s] = "active"
	}
	w.did["fence"], w.order = 0, nil
}

func TestContinue_FromAStepOrItAlone_BehindFencesAndStoppedServices(t *testing.T) {
	for _, o := range []Options{{Continue: true, From: "load"}, {Continue: true, Only: "load"}} {
		w := newWorld(t, t.TempDir())
		w.units["api"] = "active"
		w.fail(guarded(t), "do load", "api")
		if err := w.follow(guarded(t), o); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(w.order, ", "); !strings.HasPrefix(got, "stop api, do fence, do load") {
			t.Errorf("%+v: %s", o, got)
		}
	}
}

func TestContinue_WriteHasToBeRepeated_BehindFencesAndStoppedServices(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.units["api"] = "active"
	w.fail(guarded(t), "do check", "api")
	w.did["prepared"] = 0
	if err := w.follow(guarded(t), Options{Continue: true}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(w.order, ", "); got != "stop api, do fence, do prepared, start api, do check" {
		t.Errorf("%s", got)
	}
}

func TestContinue_MachineStartedAnew_FenceThatCanNotBeAskedIsAskedAbout(t *testing.T) {
	for _, boot := range []string{"first", "second"} {
		w := newWorld(t, t.TempDir())
		w.host.Boot = "first"
		p := must(t, `
[[step]]
name = "f"
kind = "fence"
command = "do fence"
[[step]]
name = "load"
kind = "run"
command = "do load"
again = true
`)
		w.fail(p, "do load")
		w.host.Boot, w.alone = boot, true
		err := w.follow(p, Options{Continue: true})
		if boot == "first" && err != nil || boot == "second" && (!errors.Is(err, ErrNobody) || len(w.order) > 0) {
			t.Errorf("%s: %v, %v", boot, err, w.order)
		}
	}
}

func TestContinue_SomeServicesWereStartedAgain_TheOthersAreStopped(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.units = map[string]string{"db": "active", "api": "active"}
	p := must(t, `
[[step]]
name = "stop"
kind = "stop"
units = ["db.service", "api"]
[[step]]
name = "start-db"
kind = "start"
units = ["db"]
[[step]]
name = "load"
kind = "run"
command = "do load"
again = true
[[step]]
name = "start"
kind = "start"
units = ["api.service"]
`)
	w.fail(p, "do load", "api")
	if err := w.follow(p, Options{Continue: true}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(w.order, ", "); got != "stop api, do load, start api" {
		t.Errorf("%s", got)
	}
}

func TestContinue_StoppingFailsTheSecondTime_StartedServicesAreLeftAlone(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.units = map[string]string{"db": "active", "api": "active"}
	p := must(t, `
[[step]]
name = "stop"
kind = "stop"
units = ["db", "api"]
[[step]]
name = "start-db"
kind = "start"
units = ["db"]
[[step]]
name = "load"
kind = "run"
command = "do load"
again = true
`)
	w.fail(p, "do load", "api")
	w.fails["stop api"] = true
	if err := w.follow(p, Options{Continue: true}); err == nil {
		t.Fatal("stopping did not fail")
	}
	delete(w.fails, "stop api")
	if err := w.follow(p, Options{Continue: true}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(w.order, ", "); got != "stop api, do load" {
		t.Errorf("%s", got)
	}
}

func TestRun_ServiceStandsStillAtTheEnd_NotCarriedOut(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.units["api"] = "active"
	w.also = map[string]func(){"do check": func() { w.units["api"] = "failed" }}
	var failed *StepError
	if err := w.follow(guarded(t), Options{}); !errors.As(err, &failed) || failed.Step != "start" || w.over {
		t.Fatalf("%v, %v", err, w.over)
	}
	w.order = nil
	if err := w.follow(guarded(t), Options{Continue: true}); err != nil || !w.over || strings.Join(w.order, ", ") != "start api" {
		t.Errorf("%v, %v, %v", err, w.over, w.order)
	}
}

func TestGo_StepAlone_SaysWhetherTheRunIsOver(t *testing.T) {
	w := newWorld(t, t.TempDir())
	p := commands(t, "do a", "do b")
	w.fails["do a"] = true
	if err := w.follow(p, Options{Only: "s1"}); err == nil {
		t.Fatal("it did not fail")
	}
	delete(w.fails, "do a")
	if err := w.follow(p, Options{Continue: true, Only: "s2"}); err != nil || w.over {
		t.Errorf("another step than that of the run: %v, %v", err, w.over)
	}
	if err := w.follow(p, Options{Continue: true, Only: "s1"}); err != nil || !w.over {
		t.Errorf("the step of the run: %v, %v", err, w.over)
	}
	w.fails["do b"] = true
	if err := w.follow(p, Options{}); err == nil {
		t.Fatal("it did not fail")
	}
	if err := w.follow(p, Options{Continue: true, Only: "s1"}); err != nil || w.over {
		t.Errorf("a step of a run: %v, %v", err, w.over)
	}
	delete(w.fails, "do b")
	if err := w.follow(p, Options{Continue: true, From: "s2"}); err != nil || !w.over {
		t.Errorf("the last step: %v, %v", err, w.over)
	}
}

func TestContinue_RunOfAnotherMachineOrPlan_Refused(t *testing.T) {
	here := Host{Machine: "m1", Name: "ctl1", Boot: "b1"}
	for _, other := range []struct {
		host Host
		file string
	}{{Host{Machine: "m2", Name: "ctl1"}, "plan.toml"}, {Host{Machine: "m1", Name: "ctl2"}, "plan.toml"}, {here, "other/plan.toml"}} {
		w := newWorld(t, t.TempDir())
		w.host = here
		p := commands(t, "do a", "do b")
		w.fail(p, "do b")
		w.host, p.File = other.host, other.file
		if err := w.follow(p, Options{Continue: true, From: "s2"}); !errors.Is(err, ErrChoice) || len(w.order) > 0 {
			t.Errorf("%+v: %v, %v", other, err, w.order)
		}
		if err := w.undo(p); !errors.Is(err, ErrChoice) {
			t.Errorf("%+v: undo: %v", other, err)
		}
		if err := w.follow(p, Options{New: true}); err != nil || !w.over {
			t.Errorf("%+v: a new one: %v", other, err)
		}
	}
}

// A run is killed, gone on with, killed again, and taken back: services start when all is back. fakeWorld looks at that in each moment.
func TestUndo_AfterGoingOn_ServicesStartLast(t *testing.T) {
	moments := 0
	for kill := 1; ; kill++ {
		over := false
		for _, again := range []int{15, 35} {
			w, folder := before(t, testsys.MemoryDir(t))
			p := story(t, folder, "")
			w.revive(kill)
			over = w.follow(p, Options{}) == nil
			w.revive(again)
			w.units["api"], w.units["scheduler"], w.did["fence"] = "active", "active", 0 // the machine was started anew
			if err := w.follow(p, Options{Continue: true}); err != nil && !errors.Is(err, errDead) && !errors.Is(err, ErrNoRun) {
				t.Fatal(err)
			}
			first := len(w.order)
			w.takeBack(t, p, nil)
			w.takenBack(t, folder, first)
			if t.Failed() {
				t.Fatalf("killed at moments %d and %d", kill, again)
			}
		}
		if over {
			break
		}
		moments++
	}
	if t.Logf("%d moments", moments); moments < 60 {
		t.Errorf("only %d moments", moments)
	}
}

// A step did not end in time, and what it has started takes no notice.
func TestContinue_CutOffCommandStillRuns_NothingIsDone(t *testing.T) {
	dir := t.TempDir()
	w := realWorld(t)
	pidFile := filepath.Join(dir, "pid")
	p := must(t, fmt.Sprintf(`
[[step]]
name = "a"
kind = "run"
command = %q
timeout = "200ms"
again = true
done = "test -e %s"
[[step]]
name = "b"
kind = "run"
command = "touch %s"
`, fmt.Sprintf("setsid sleep 1000 & echo $! >> %s; wait", pidFile), filepath.Join(dir, "done"), filepath.Join(dir, "b")))
	err := carryOut(t, w, dir, p)
	if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "still running") {
		t.Fatalf("%v", err)
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
	follow := func(o Options) error {
		s, err := OpenState(dir, clock.Now)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		r, err := Prepare(t.Context(), p, s, w, o)
		if err != nil {
			return err
		}
		_, err = r.Go(t.Context())
		return err
	}
	for _, o := range []Options{{Continue: true}, {Continue: true, From: "b"}, {Continue: true, Only: "b"}, {New: true}} {
		if err := follow(o); !errors.Is(err, ErrStillRunning) || has(filepath.Join(dir, "b")) {
			t.Fatalf("%+v: %v", o, err)
		}
	}
	s, err := LookAtState(dir, clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := PrepareUndo(p, s, w, ""); !errors.Is(err, ErrStillRunning) {
		t.Errorf("undo: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	kill()
	log, err := os.Open(filepath.Join(dir, "plan", "run-0001", "a.log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Flock(int(log.Fd()), unix.LOCK_EX), log.Close(), os.WriteFile(filepath.Join(dir, "done"), nil, 0o600)); err != nil {
		t.Fatal(err) // the lock waits until it has ended
	}
	if err := follow(Options{Continue: true}); err != nil || !has(filepath.Join(dir, "b")) {
		t.Errorf("%v", err)
	}
	if after, err := os.ReadFile(pidFile); err != nil || !slices.Equal(text, after) {
		t.Errorf("it was started again: %v, %q", err, after)
	}
}
