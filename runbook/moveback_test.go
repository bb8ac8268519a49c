package runbook

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/testsys"
)

// asideAndRestore is a plan that makes room and restores.
func asideAndRestore(t tester, folder string) *Plan {
	return must(t, fmt.Sprintf("[snapshots.s]\n[[step]]\nname = \"aside\"\nkind = \"move-aside\"\npath = %q\n[[step]]\nname = \"restore\"\nkind = \"restore\"\nfrom = \"s\"\ntarget = %q\n", folder, folder))
}

// aside is a world with a folder, and a plan that moves it aside.
func aside(t *testing.T) (w *fakeWorld, p *Plan, folder string) {
	t.Helper()
	w = newWorld(t, testsys.MemoryDir(t))
	folder = filepath.Join(w.dir, "nova")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	return w, asideAndRestore(t, folder), folder
}

// movedAside is the state after that plan.
func movedAside(t *testing.T) (w *fakeWorld, p *Plan, folder string) {
	t.Helper()
	w, p, folder = aside(t)
	if err := w.follow(p, Options{}); err != nil {
		t.Fatal(err)
	}
	return w, p, folder
}

// Somebody has moved the old folder away: it is not said that all is as it was.
func TestUndo_OldFolderIsGone_StaysAndSaysSo(t *testing.T) {
	w, p, folder := movedAside(t)
	if err := os.Rename(folder+".old-1", folder+".safe"); err != nil {
		t.Fatal(err)
	}
	if err := w.undo(p); !errors.Is(err, ErrStays) || !strings.Contains(err.Error(), "aside") || !has(filepath.Join(folder, "new")) {
		t.Errorf("%v", err)
	}
}

// A move that failed has made no room: what is restored then can not be taken back.
func TestUndo_MoveFailedAndWasPassed_RestoreStays(t *testing.T) {
	w, p, _ := aside(t)
	w.noMoves = true
	if err := w.follow(p, Options{}); err == nil {
		t.Fatal("it did not fail")
	}
	w.noMoves = false
	if err := w.follow(p, Options{Continue: true, From: "restore"}); err != nil {
		t.Fatal(err)
	}
	if err := w.undo(p); !errors.Is(err, ErrStays) || !strings.Contains(err.Error(), "restore") {
		t.Errorf("%v", err)
	}
}

// cutOff is the state after a move that was begun, and of which nobody knows whether it was done.
func cutOff(t *testing.T) (w *fakeWorld, p *Plan, folder string) {
	t.Helper()
	w, p, folder = aside(t)
	w.noMoves = true
	if err := w.follow(p, Options{}); err == nil {
		t.Fatal("it did not fail")
	}
	w.noMoves = false
	return w, p, folder
}

// A move was cut off, and what has now one of the two names is looked at: it need not be what was to be moved.
func TestContinue_MoveCutOff_KnowsWhatWasMoved(t *testing.T) {
	mkdir := func(paths ...string) {
		for _, path := range paths {
			if err := errors.Join(os.Mkdir(path, 0o755), os.WriteFile(filepath.Join(path, "foreign"), nil, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
	}
	move := func(from, to string) {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		change func(folder string)
		fails  string
		undone func(folder string) bool
	}{
		"nothing happened":  {func(string) {}, "", func(f string) bool { return has(f+".undone-1/new") && !has(f+".old-1") && !has(f+"/new") }},
		"it was moved":      {func(f string) { move(f, f+".old-1") }, "", func(f string) bool { return has(f+".undone-1/new") && !has(f+".old-1") && !has(f+"/new") }},
		"the name is taken": {func(f string) { mkdir(f + ".old-1") }, "", func(f string) bool { return has(f+".old-1/foreign") && !has(f+".old-2") && !has(f+"/new") }},
		"moved and made again": {
			func(f string) { move(f, f+".old-1"); mkdir(f) }, "something has made a new", func(f string) bool { return has(f+".undone-1/foreign") && !has(f+"/foreign") },
		},
		"it is elsewhere": {func(f string) { move(f, f+".safe"); mkdir(f + ".old-1") }, "look where it is", nil},
		"it is gone":      {func(f string) { move(f, f+".safe") }, "look where it is", nil},
		"it was replaced": {func(f string) { move(f, f+".safe"); mkdir(f) }, "", func(f string) bool { return has(f + "/foreign") }},
	} {
		t.Run(name, func(t *testing.T) {
			w, p, folder := cutOff(t)
			c.change(folder)
			err := w.follow(p, Options{Continue: true})
			if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Fatalf("%v", err)
			}
			if restored := has(filepath.Join(folder, "new")); restored != (err == nil) || has(filepath.Join(folder, "foreign")) && err == nil {
				t.Errorf("restored: %v, after %v", restored, err)
			}
			err = w.undo(p)
			if c.undone == nil && !errors.Is(err, ErrStays) || c.undone != nil && !c.undone(folder) {
				t.Errorf("taken back: %v", err)
			}
		})
	}
}

// Who has moved the old folder back by hand has taken the step back.
func TestUndo_MovedBackByHand_NothingStays(t *testing.T) {
	w, p, folder := movedAside(t)
	if err := errors.Join(os.Rename(folder, folder+".mine"), os.Rename(folder+".old-1", folder)); err != nil {
		t.Fatal(err)
	}
	if err := w.undo(p); err != nil || has(folder+".undone-1") {
		t.Errorf("%v", err)
	}
}

// What is not what was moved is not moved back in its place.
func TestUndo_SomethingElseHasTheName_StaysAndSaysSo(t *testing.T) {
	w, p, folder := movedAside(t)
	if err := errors.Join(os.Rename(folder+".old-1", folder+".safe"), os.Mkdir(folder+".old-1", 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := w.undo(p); !errors.Is(err, ErrStays) || !has(filepath.Join(folder, "new")) {
		t.Errorf("%v", err)
	}
}

// Services are not started on what a step has left half done, unless somebody wants that.
func TestUndo_HalfDoneStays_ServicesAreStartedOnlyIfWanted(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.units["api"] = "active"
	p := must(t, "[[step]]\nname = \"stop\"\nkind = \"stop\"\nunits = [\"api\"]\n[[step]]\nname = \"load\"\nkind = \"run\"\ncommand = \"do load\"\n")
	w.fails["do load"] = true
	if err := w.follow(p, Options{}); err == nil {
		t.Fatal("it did not fail")
	}
	w.startedOnlyIfWanted(t, p)
}

// startedOnlyIfWanted undoes a plan that has stopped a unit and whose step load did not end well.
func (w *fakeWorld) startedOnlyIfWanted(t *testing.T, p *Plan) {
	t.Helper()
	w.says["load did not end well"] = false
	for range 2 { // nor the next time
		if err := w.undo(p); !errors.Is(err, ErrRefused) || w.units["api"] != "inactive" {
			t.Errorf("%v, %v", err, w.units)
		}
	}
	w.says = map[string]bool{}
	if err := w.undo(p); !errors.Is(err, ErrStays) || w.units["api"] != "active" {
		t.Errorf("%v, %v", err, w.units)
	}
}

// What a failed restore has left in the place of a folder that was moved aside stays there if that folder is gone: the step that has moved it
// ended well, and nobody was asked.
func TestUndo_HalfRestoredStays_ServicesAreStartedOnlyIfWanted(t *testing.T) {
	w, _, folder := aside(t)
	w.units["api"] = "active"
	p := must(t, fmt.Sprintf(`[snapshots.s]
[[step]]
name = "stop"
kind = "stop"
units = ["api"]
[[step]]
name = "aside"
kind = "move-aside"
path = %q
[[step]]
name = "load"
kind = "restore"
from = "s"
target = %q
[[step]]
name = "start"
kind = "start"
units = ["api"]
`, folder, folder))
	w.fails["kura restore"] = true
	if err := w.follow(p, Options{}); err == nil || !has(filepath.Join(folder, "new")) {
		t.Fatalf("it did not fail, or has restored nothing: %v", err)
	}
	if err := os.Rename(folder+".old-1", folder+".safe"); err != nil {
		t.Fatal(err)
	}
	w.startedOnlyIfWanted(t, p)
}

// What a run has left half done, and another one was begun beside, is taken back after that one: all is as it was before the first.
func TestUndo_AfterNew_TheRunBeforeIsNext(t *testing.T) {
	w, folder := before(t, testsys.MemoryDir(t))
	p := story(t, folder, "")
	w.fails["do check"] = true
	if err := w.follow(p, Options{}); err == nil {
		t.Fatal("it did not fail")
	}
	w.fails = map[string]bool{}
	w.folder = "" // the second run works under what the first one has started
	if err := w.follow(p, Options{New: true}); err != nil {
		t.Fatal(err)
	}
	look := func() *Status {
		s := w.state()
		defer s.Close()
		status, err := Look(p, s)
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	if !look().Earlier.IsZero() {
		t.Error("the last run was not taken back, but another is said to be next")
	}
	if err := w.undo(p); err != nil {
		t.Fatal(err)
	}
	if !has(filepath.Join(folder, "new")) || look().Earlier.IsZero() {
		t.Error("the second run is not what was taken back first")
	}
	if err := w.undo(p); err != nil {
		t.Fatal(err)
	}
	w.takenBack(t, folder, 0)
	if err := w.undo(p); !errors.Is(err, ErrNoRun) || !look().Earlier.IsZero() {
		t.Errorf("there is something left: %v", err)
	}
}

// What was carried out, and another run came after, stays: it is what that one began with.
func TestUndo_RunBeforeWasCarriedOut_Stays(t *testing.T) {
	w, folder := before(t, testsys.MemoryDir(t))
	p := story(t, folder, "")
	for range 2 {
		if err := w.follow(p, Options{}); err != nil {
			t.Fatal(err)
		}
		w.folder = ""
		delete(w.did, "fence")
	}
	if err := w.undo(p); err != nil {
		t.Fatal(err)
	}
	if err := w.undo(p); !errors.Is(err, ErrNoRun) || !has(folder+".old-1") {
		t.Errorf("%v", err)
	}
}
