package runbook

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/internal/testsys"
)

// story is a plan with one step of each kind that can be taken back, and what there is before it.
func story(t tester, folder string, extra string) *Plan {
	return must(t, fmt.Sprintf(`
[snapshots.files]
[[step]]
name = "stop"
kind = "stop"
units = ["api", "scheduler", "off"]
[[step]]
name = "fence"
kind = "fence"
command = "do fence"
done = "is fence"
undo = "undo fence"
[[step]]
name = "once"
kind = "run"
command = "do once"
undo = "undo once"
[[step]]
name = "checked"
kind = "run"
command = "do checked"
done = "is checked"
undo = "undo checked"
%s
[[step]]
name = "aside"
kind = "move-aside"
path = %q
[[step]]
name = "restore"
kind = "restore"
from = "files:/etc/nova"
target = %q
[[step]]
name = "start"
kind = "start"
units = ["api", "scheduler"]
[[step]]
name = "check"
kind = "check"
command = "do check"
within = "5ms"
every = "1ms"
`, extra, folder, folder))
}

// before is the world before a story: two services of three run, and there is a folder.
func before(t tester, dir string) (w *fakeWorld, folder string) {
	t.Helper()
	w = newWorld(t, dir)
	w.units = map[string]string{"api": "active", "scheduler": "active", "off": "inactive"}
	folder = filepath.Join(dir, "nova")
	w.folder = folder
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "old"), []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	return w, folder
}

// restored are the snapshots that were restored from.
func (w *fakeWorld) restored() map[string]bool {
	ids := map[string]bool{}
	for _, o := range w.order {
		if id, ok := strings.CutPrefix(o, "restore "); ok {
			ids[id] = true
		}
	}
	return ids
}

func has(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// askedAbout counts the questions about a step.
func (w *fakeWorld) askedAbout(step string) (n int) {
	for _, q := range w.asked {
		if strings.Contains(q, "step "+step+" ") {
			n++
		}
	}
	return n
}

// carriedOut looks whether all is as the plan wants it.
func (w *fakeWorld) carriedOut(t tester, folder string) {
	t.Helper()
	for unit, want := range map[string]string{"api": "active", "scheduler": "active", "off": "inactive"} {
		if w.units[unit] != want {
			t.Errorf("%s is %s", unit, w.units[unit])
		}
	}
	if !has(filepath.Join(folder+".old-1", "old")) || has(folder+".old-2") || !has(filepath.Join(folder, "new")) || has(filepath.Join(folder, "old")) {
		t.Errorf("the folders are not as they should be: %v", w.order)
	}
	for step, repeats := range map[string]int{"fence": 0, "checked": 0, "once": w.askedAbout("once")} {
		if n := w.did[step]; n < 1 || n > 1+repeats {
			t.Errorf("%s was done %d times, and asked about %d times: %v", step, n, repeats, w.order)
		}
	}
}

// takenBack looks whether all is as it was before.
func (w *fakeWorld) takenBack(t tester, folder string, first int) {
	t.Helper()
	for unit, want := range map[string]string{"api": "active", "scheduler": "active", "off": "inactive"} {
		if w.units[unit] != want {
			t.Errorf("%s is %s after taking it back", unit, w.units[unit])
		}
	}
	if !has(filepath.Join(folder, "old")) || has(folder+".old-1") || has(filepath.Join(folder, "new")) {
		t.Errorf("the folders are not as they were: %v", w.order[first:])
	}
}

// finish goes on until the plan is carried out.
func (w *fakeWorld) finish(t tester, p *Plan, kills []int) (runs int) {
	t.Helper()
	o := Options{}
	for {
		kill := 0
		if len(kills) > 0 {
			kill, kills = kills[0], kills[1:]
		}
		w.revive(kill)
		err := w.follow(p, o)
		runs++
		if err == nil {
			return runs
		}
		if !errors.Is(err, errDead) {
			t.Fatalf("run %d: %v", runs, err)
		}
		w.revive(0)
		s := w.state()
		status, lerr := Look(p, s)
		s.Close()
		if lerr != nil {
			t.Fatal(lerr)
		}
		if status.Over != "" {
			return runs
		}
		o.Continue = status.Dir != ""
	}
}

// takeBack goes on until it is taken back.
func (w *fakeWorld) takeBack(t tester, p *Plan, kills []int) {
	t.Helper()
	for i := 0; ; i++ {
		kill := 0
		if len(kills) > 0 {
			kill, kills = kills[0], kills[1:]
		}
		w.revive(kill)
		switch err := w.undo(p); {
		case err == nil, errors.Is(err, ErrNoRun):
			return
		case !errors.Is(err, errDead):
			t.Fatalf("undo %d: %v", i, err)
		}
	}
}

// A process that is killed at any moment is gone on with, and everything happens once, or somebody was asked.
func TestRun_KilledAtEveryMoment_GoesOnAndIsTakenBack(t *testing.T) {
	moments, asked := 0, 0
	for kill := 1; ; kill++ {
		w, folder := before(t, testsys.MemoryDir(t))
		p := story(t, folder, "")
		runs := w.finish(t, p, []int{kill})
		w.carriedOut(t, folder)
		asked += len(w.asked)
		first := len(w.order)
		w.takeBack(t, p, nil)
		w.takenBack(t, folder, first)
		if t.Failed() {
			t.Fatalf("killed at moment %d", kill)
		}
		if runs == 1 {
			break // it was over before
		}
		moments++
	}
	t.Logf("%d moments, %d questions", moments, asked)
	if moments < 60 || asked == 0 {
		t.Errorf("only %d moments, %d questions", moments, asked)
	}
}

func TestUndo_KilledAtEveryMoment_GoesOn(t *testing.T) {
	moments := 0
	for kill := 1; ; kill++ {
		w, folder := before(t, testsys.MemoryDir(t))
		p := story(t, folder, "")
		w.finish(t, p, nil)
		first := len(w.order)
		w.takeBack(t, p, []int{kill})
		w.takenBack(t, folder, first)
		for _, step := range []string{"fence", "once", "checked"} {
			if n := w.did[step]; n > 0 || n < -w.askedAbout(step) {
				t.Errorf("%s: taken back %d times, and asked about %d times", step, 1-n, w.askedAbout(step))
			}
		}
		if t.Failed() {
			t.Fatalf("killed at moment %d: %v", kill, w.order[first:])
		}
		if !w.dead && w.ops < kill {
			break
		}
		moments++
	}
	if t.Logf("%d moments", moments); moments < 30 {
		t.Errorf("only %d moments", moments)
	}
}

// Any number of kills, and any further steps.
func TestRun_KilledAgainAndAgain_Property(t *testing.T) {
	base := testsys.MemoryDir(t)
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(base, "")
		if err != nil {
			t.Fatal(err)
		}
		w, folder := before(t, dir)
		extra := ""
		type more struct{ again, done bool }
		var steps []more
		for i := range rapid.IntRange(0, 4).Draw(t, "steps") {
			m := more{rapid.Bool().Draw(t, "again"), rapid.Bool().Draw(t, "done")}
			steps = append(steps, m)
			extra += fmt.Sprintf("[[step]]\nname = \"x%d\"\nkind = \"run\"\ncommand = \"do x%d\"\nundo = \"undo x%d\"\nagain = %v\n", i, i, i, m.again)
			if m.done {
				extra += fmt.Sprintf("done = \"is x%d\"\n", i)
			}
		}
		p := story(t, folder, extra)
		kills := rapid.SliceOfN(rapid.IntRange(1, 120), 0, 4).Draw(t, "kills")
		w.finish(t, p, kills)
		w.carriedOut(t, folder)
		for i, m := range steps {
			name := fmt.Sprintf("x%d", i)
			n, asked := w.did[name], w.askedAbout(name)
			switch {
			case n < 1, m.done && n != 1, !m.again && n > 1+asked, (m.again || m.done) && asked > 0:
				t.Errorf("%s (%+v) was done %d times, and asked about %d times", name, m, n, asked)
			}
		}
		if ids := w.restored(); len(ids) != 1 {
			t.Errorf("restored from %v", ids)
		}
		first := len(w.order)
		w.takeBack(t, p, rapid.SliceOfN(rapid.IntRange(1, 80), 0, 3).Draw(t, "undo kills"))
		w.takenBack(t, folder, first)
	})
}
