package runbook

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/clock"
)

// commands makes a plan of commands for a shell.
func commands(t tester, lines ...string) *Plan {
	text := ""
	for i, line := range lines {
		text += fmt.Sprintf("[[step]]\nname = \"s%d\"\nkind = \"run\"\ncommand = %q\n", i+1, line)
	}
	return must(t, text)
}

func TestContinue_StepFailed_AsksOnlyWhereItCouldHarm(t *testing.T) {
	w := newWorld(t, t.TempDir())
	p := commands(t, "do a", "do b", "do c")
	w.fails["do b"] = true
	var failed *StepError
	if err := w.follow(p, Options{}); !errors.As(err, &failed) || failed.Step != "s2" {
		t.Fatalf("%v", err)
	}
	if log, err := os.ReadFile(failed.Log); err != nil || !strings.Contains(string(log), "$ do b\nfailed: ") {
		t.Errorf("%q, %v", log, err)
	}
	w.alone = true
	if err := w.follow(p, Options{Continue: true}); !errors.Is(err, ErrUnclear) {
		t.Errorf("nobody to ask: %v", err)
	}
	w.alone, w.says["s2"] = false, false
	if err := w.follow(p, Options{Continue: true}); !errors.Is(err, ErrRefused) {
		t.Errorf("no: %v", err)
	}
	if err := w.follow(p, Options{}); !errors.Is(err, ErrOpenRun) {
		t.Errorf("a new run: %v", err)
	}
	delete(w.fails, "do b")
	w.alone = true // who names a step has been asked
	if err := w.follow(p, Options{Continue: true, From: "s2"}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(w.order, ", "); got != "do a, do b, do c" {
		t.Errorf("%s", got)
	}
	if err := w.follow(p, Options{Continue: true}); !errors.Is(err, ErrNoRun) {
		t.Errorf("a run that is over: %v", err)
	}
}

func TestContinue_SafeToRepeat_IsDoneAgainUnasked(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.alone = true
	p := must(t, "[[step]]\nname = \"a\"\nkind = \"run\"\ncommand = \"do a\"\nagain = true\n")
	w.fails["do a"] = true
	if err := w.follow(p, Options{}); err == nil {
		t.Fatal("it did not fail")
	}
	delete(w.fails, "do a")
	if err := w.follow(p, Options{Continue: true}); err != nil || w.did["a"] != 1 {
		t.Errorf("%v, %v", err, w.did)
	}
}

// Somebody has started a service again while the run stood still, and taken a fence away.
func TestContinue_WhatMadeItSafeIsGone_IsDoneAgain(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.units["api"] = "active"
	p := must(t, `
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
name = "load"
kind = "run"
command = "do load"
again = true
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
	w.fails["do load"] = true
	if err := w.follow(p, Options{}); err == nil {
		t.Fatal("it did not fail")
	}
	w.units["api"], w.did["fence"] = "activating", 0
	delete(w.fails, "do load")
	w.fails["do check"] = true
	if err := w.follow(p, Options{Continue: true}); err == nil {
		t.Fatal("the check did not fail")
	}
	if got := strings.Join(w.order, ", "); got != "stop api, do fence, stop api, do fence, do load, start api" {
		t.Errorf("%s", got)
	}
	// Now that nothing is left to be written, the service has to run, and the fence may be gone.
	w.did["fence"] = 0
	delete(w.fails, "do check")
	if err := w.follow(p, Options{Continue: true}); err != nil || w.units["api"] != "active" || w.did["fence"] != 0 {
		t.Errorf("%v, %v", err, w.order)
	}
	// What was running is what runs after it is taken back.
	if err := w.undo(p); !errors.Is(err, ErrStays) || w.units["api"] != "active" {
		t.Errorf("%v, %v", err, w.order)
	}
}

func TestContinue_FinishedStepSaysItIsNotSo_IsDoneAgain(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.alone = true
	p := must(t, "[[step]]\nname = \"a\"\nkind = \"run\"\ncommand = \"do a\"\ndone = \"is a\"\n[[step]]\nname = \"b\"\nkind = \"run\"\ncommand = \"do b\"\ndone = \"is b\"\n")
	w.fails["do b"] = true
	if err := w.follow(p, Options{}); err == nil {
		t.Fatal("it did not fail")
	}
	delete(w.fails, "do b")
	w.did["a"] = 0
	if err := w.follow(p, Options{Continue: true}); err != nil || w.did["a"] != 1 || w.did["b"] != 1 {
		t.Errorf("%v, %v", err, w.order)
	}
	// In a new run there is nothing to do at all.
	n := len(w.order)
	if err := w.follow(p, Options{}); err != nil || len(w.order) != n {
		t.Errorf("%v, %v", err, w.order[n:])
	}
}

func TestContinue_PlanChanged_OnlyWhatWasNotDone(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.fails["do b"] = true
	if err := w.follow(commands(t, "do a", "do b"), Options{}); err == nil {
		t.Fatal("it did not fail")
	}
	if err := w.follow(commands(t, "do x", "do b"), Options{Continue: true}); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "s1") {
		t.Errorf("a finished step has changed: %v", err)
	}
	if err := w.follow(must(t, "[[step]]\nname = \"s2\"\nkind = \"run\"\ncommand = \"do b\"\n"), Options{Continue: true}); !errors.Is(err, ErrChanged) {
		t.Errorf("a finished step is gone: %v", err)
	}
	if err := w.follow(commands(t, "do a", "do better", "do c"), Options{Continue: true}); err != nil {
		t.Errorf("the step that failed was mended: %v", err)
	}
	if got := strings.Join(w.order, ", "); got != "do a, do better, do c" {
		t.Errorf("%s", got)
	}
}

func TestContinue_SnapshotChosenOtherwise_NotMixed(t *testing.T) {
	w := newWorld(t, t.TempDir())
	target := filepath.Join(w.dir, "x")
	plan := func(id string) *Plan {
		return must(t, fmt.Sprintf("[snapshots.s]\nid = %q\n[[step]]\nname = \"a\"\nkind = \"restore\"\nfrom = \"s\"\ntarget = %q\n[[step]]\nname = \"b\"\nkind = \"run\"\ncommand = [\"sh\", \"-c\", \"do {{snapshot.s}}\"]\nagain = true\n", id, target))
	}
	w.fails["do id0"] = true
	if err := w.follow(plan("latest"), Options{}); err == nil {
		t.Fatal("it did not fail")
	}
	if err := w.follow(plan("abcd"), Options{Continue: true}); !errors.Is(err, ErrChanged) {
		t.Errorf("%v", err)
	}
	delete(w.fails, "do id0")
	if err := w.follow(plan("latest"), Options{Continue: true}); err != nil || w.did["id0"] != 1 {
		t.Errorf("%v, %v", err, w.order)
	}
}

func TestFence_StepsBehindItAlone_Asked(t *testing.T) {
	w := newWorld(t, t.TempDir())
	p := must(t, "[[step]]\nname = \"f\"\nkind = \"fence\"\ncommand = \"do fence\"\n[[step]]\nname = \"a\"\nkind = \"run\"\ncommand = \"do a\"\n")
	w.says["fence f is not up"] = false
	for _, o := range []Options{{From: "a"}, {Only: "a"}} {
		if err := w.follow(p, o); !errors.Is(err, ErrRefused) || len(w.order) > 0 {
			t.Errorf("%v, %v", err, w.order)
		}
	}
	w.says = map[string]bool{}
	if err := w.follow(p, Options{Only: "a"}); err != nil || len(w.asked) != 3 {
		t.Errorf("%v, %v", err, w.asked)
	}
	w.fails["do fence"] = true
	if err := w.follow(p, Options{}); err == nil || w.did["a"] != 1 {
		t.Errorf("behind a fence that failed: %v, %v", err, w.order)
	}
}

func TestMove_NothingThere_UndoTakesAwayWhatCame(t *testing.T) {
	w := newWorld(t, t.TempDir())
	folder := filepath.Join(w.dir, "nova")
	p := must(t, fmt.Sprintf("[snapshots.s]\n[[step]]\nname = \"aside\"\nkind = \"move-aside\"\npath = %q\n[[step]]\nname = \"restore\"\nkind = \"restore\"\nfrom = \"s\"\ntarget = %q\n", folder, folder))
	if err := w.follow(p, Options{}); err != nil || !has(filepath.Join(folder, "new")) {
		t.Fatalf("%v", err)
	}
	if err := w.undo(p); err != nil || has(folder) || !has(filepath.Join(folder+".undone-1", "new")) {
		t.Errorf("%v", err)
	}
	if err := w.undo(p); !errors.Is(err, ErrNoRun) {
		t.Errorf("twice: %v", err)
	}
}

func TestMove_NamesThatAreTaken_AreLeftAlone(t *testing.T) {
	w := newWorld(t, t.TempDir())
	folder := filepath.Join(w.dir, "nova")
	for _, name := range []string{"nova", "nova.old-1", "nova.old-2"} {
		if err := os.Mkdir(filepath.Join(w.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "old"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := must(t, fmt.Sprintf("[[step]]\nname = \"aside\"\nkind = \"move-aside\"\npath = %q\n", folder))
	if err := w.follow(p, Options{}); err != nil || !has(filepath.Join(folder+".old-3", "old")) || has(folder) {
		t.Errorf("%v", err)
	}
}

func TestPreflight_StateInsideWhatMoves_Refused(t *testing.T) {
	w := newWorld(t, t.TempDir())
	for _, path := range []string{filepath.Join(w.dir, "state"), w.dir, "/", "relative", "/a/../b"} {
		p := must(t, fmt.Sprintf("[[step]]\nname = \"aside\"\nkind = \"move-aside\"\npath = %q\n", path))
		var problems *PreflightError
		if err := w.follow(p, Options{}); !errors.As(err, &problems) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestUndo_Fails_GoesOnThere(t *testing.T) {
	w := newWorld(t, t.TempDir())
	text := ""
	for _, name := range []string{"a", "b", "c"} {
		text += fmt.Sprintf("[[step]]\nname = %q\nkind = \"run\"\ncommand = \"do %s\"\nundo = \"undo %s\"\n", name, name, name)
	}
	p := must(t, text)
	if err := w.follow(p, Options{}); err != nil {
		t.Fatal(err)
	}
	w.fails["undo b"] = true
	var failed *StepError
	if err := w.undo(p); !errors.As(err, &failed) || failed.Step != "b" || !failed.Undo {
		t.Fatalf("%v", err)
	}
	if err := w.follow(p, Options{Continue: true}); !errors.Is(err, ErrChoice) {
		t.Errorf("going on with what is being taken back: %v", err)
	}
	delete(w.fails, "undo b")
	if err := w.undo(p); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(w.order, ", "); got != "do a, do b, do c, undo c, undo b, undo a" {
		t.Errorf("%s", got)
	}
}

func TestUndo_OneWasTakenBackByHand_GoesOnBehindIt(t *testing.T) {
	w := newWorld(t, t.TempDir())
	p := must(t, `
[[step]]
name = "a"
kind = "run"
command = "do a"
undo = "undo a"
[[step]]
name = "b"
kind = "run"
command = "do b"
undo = "undo b"
`)
	if err := w.follow(p, Options{}); err != nil {
		t.Fatal(err)
	}
	w.fails["undo b"] = true
	if err := w.undoFrom(p, "x"); !errors.Is(err, ErrChoice) {
		t.Errorf("%v", err)
	}
	if err := w.undo(p); err == nil {
		t.Fatal("it did not fail")
	}
	if err := w.undoFrom(p, "a"); err != nil || strings.Join(w.order, ", ") != "do a, do b, undo a" {
		t.Errorf("%v, %v", err, w.order)
	}
}

func TestState_TwoRuns_OneIsRefused(t *testing.T) {
	dir := t.TempDir()
	first, err := OpenState(dir, clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenState(dir, clock.Now); !errors.Is(err, ErrBusy) {
		t.Errorf("%v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := OpenState(dir, clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

func TestJournal_Damaged_Refused(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "no JSON": "{\n", "a later version": `{"what":"run","version":99}` + "\n", "no beginning": `{"what":"end"}` + "\n",
		"a step that is a path":   `{"what":"run","version":1}` + "\n" + `{"what":"end","step":"../x"}` + "\n",
		"nothing to take back by": `{"what":"run","version":1}` + "\n" + `{"what":"begin","step":"a"}` + "\n",
		"damaged later":           `{"what":"run","version":1}` + "\n\x00\x00\n",
	} {
		w := newWorld(t, t.TempDir())
		p := commands(t, "do a")
		dir := filepath.Join(w.dir, "state", "plan", "run-0001")
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "journal"), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		for _, o := range []Options{{}, {Continue: true}, {New: true}} {
			if err := w.follow(p, o); !errors.Is(err, ErrJournal) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := w.undo(p); !errors.Is(err, ErrJournal) {
			t.Errorf("%s: undo: %v", name, err)
		}
	}
}

// What is run for steps that restore is what one would type.
func TestVerbs_EachKind_CommandAsTyped(t *testing.T) {
	w := newWorld(t, t.TempDir())
	p := must(t, `
[vars]
dir = "/srv/a b"
[snapshots]
files = { id = "1234" }
db = { id = "2345" }
cache = { id = "3456" }
disk = { id = "4567" }
[[step]]
name = "files"
kind = "restore"
from = "files:/etc/{{dir}}"
target = "{{dir}}"
args = ["--verify"]
[[step]]
name = "all"
kind = "restore"
from = "files"
target = "/"
[[step]]
name = "db"
kind = "mysql-restore"
from = "db"
args = ["--until", "2026-03-01 17:59"]
[[step]]
name = "cache"
kind = "redis-restore"
from = "cache"
dir = "/var/lib/redis"
replace = true
[[step]]
name = "disk"
kind = "device-restore"
from = "disk:/dev/vg/a"
to = "/dev/vg/b"
[[step]]
name = "other"
kind = "run"
command = ["kura", "dump", "{{snapshot.files}}:/etc/it's"]
`)
	s := w.state()
	defer s.Close()
	r, err := Prepare(t.Context(), p, s, w.world(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"kura restore '1234:/etc//srv/a b' --target '/srv/a b' --verify", "kura restore 1234 --target /",
		"kura mysql restore 2345 --until '2026-03-01 17:59'", "kura redis restore 3456 --dir /var/lib/redis --yes",
		"kura device restore 4567:/dev/vg/a --to /dev/vg/b", `kura dump '1234:/etc/it'\''s'`,
	}
	for i, e := range r.Left() {
		if len(e.Commands) != 1 || e.Commands[0] != want[i] {
			t.Errorf("%q, want %q", e.Commands, want[i])
		}
	}
	if has(filepath.Join(w.dir, "state", "plan")) {
		t.Error("looking has written something down")
	}
}
