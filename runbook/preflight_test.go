package runbook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// lookAt returns what is in the way of a plan.
func lookAt(t *testing.T, w *World, text string) []string {
	t.Helper()
	s, err := LookAtState(t.TempDir(), w.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = Prepare(t.Context(), must(t, text), s, w, Options{})
	many := (*PreflightError)(nil)
	if err != nil && !errors.As(err, &many) {
		t.Fatal(err)
	}
	var out []string
	if many != nil {
		for _, p := range many.Problems {
			out = append(out, p.String())
		}
	}
	return out
}

// A variable can leave nothing of what a step needs.
func TestPreflight_EmptyAfterFilling_Refused(t *testing.T) {
	w := newWorld(t, t.TempDir())
	for _, keys := range []string{
		"kind = \"fence\"\nask = \"{{x}}\"", "kind = \"check\"\nhttp = \"{{x}}\"", "kind = \"check\"\ntcp = \"{{x}}\"", "kind = \"stop\"\nunits = [\"{{x}}\"]",
		"kind = \"move-aside\"\npath = \"{{x}}\"", "kind = \"restore\"\nfrom = \"s\"\ntarget = \"{{x}}\"", "kind = \"redis-restore\"\nfrom = \"s\"\ndir = \"{{x}}\"",
	} {
		got := lookAt(t, w.world(), "[vars]\nx = \"\"\n[snapshots.s]\n[[step]]\nname = \"a\"\n"+keys+"\n")
		if !strings.Contains(strings.Join(got, "; "), "empty") {
			t.Errorf("%s: %q", keys, got)
		}
	}
}

func TestPreflight_UnitsThatAreNone_Refused(t *testing.T) {
	w := newWorld(t, t.TempDir())
	for _, unit := range []string{"nova-*", "web?", "we[b]", "--all", "a b"} {
		w.units[unit] = "active"
		if got := lookAt(t, w.world(), fmt.Sprintf("[[step]]\nname = \"a\"\nkind = \"stop\"\nunits = [%q]\n", unit)); len(got) != 1 {
			t.Errorf("%s: %q", unit, got)
		}
	}
}

// A line that no shell understands, and a program that is not there, are found also where only taking back would need them.
func TestPreflight_CommandsThatCanNotBeRun_AllRefused(t *testing.T) {
	w := realWorld(t)
	w.Find = func(program string) error {
		if program == "gone" {
			return errors.New("there is no gone")
		}
		return nil
	}
	for _, key := range []string{"command", "done", "undo"} {
		text := "[[step]]\nname = \"a\"\nkind = \"run\"\n"
		if key != "command" {
			text += "command = \"true\"\n"
		}
		for _, value := range []string{`"if true; echo"`, `["gone"]`} {
			if got := lookAt(t, w, text+key+" = "+value+"\n"); len(got) != 1 {
				t.Errorf("%s = %s: %q", key, value, got)
			}
		}
		marker := filepath.Join(t.TempDir(), "made")
		if got := lookAt(t, w, text+key+fmt.Sprintf(" = %q\n", "touch "+marker+" | true")); len(got) > 0 || has(marker) {
			t.Errorf("%s: %q, or looking has run it", key, got)
		}
	}
}

func TestPreflight_Services_Exist(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.units["there"] = "inactive"
	start := "[[step]]\nname = \"start\"\nkind = \"start\"\nunits = [\"there\", \"gone\"]\n"
	stop := "[[step]]\nname = \"stop\"\nkind = \"stop\"\nmay-be-missing = true\nunits = "
	for name, c := range map[string]struct {
		text string
		want int
		told bool
	}{
		"to start":              {start, 1, false},
		"a step may bring it":   {"[[step]]\nname = \"a\"\nkind = \"run\"\ncommand = \"do a\"\n" + start, 0, true},
		"a restore brings it":   {"[snapshots.s]\n[[step]]\nname = \"a\"\nkind = \"restore\"\nfrom = \"s\"\ntarget = \"/etc\"\n" + start, 0, true},
		"a restore elsewhere":   {"[snapshots.s]\n[[step]]\nname = \"a\"\nkind = \"restore\"\nfrom = \"s\"\ntarget = \"/etc/nova\"\n" + start, 1, false},
		"may be missing":        {stop + `["there", "gone"]`, 0, true},
		"all of it are missing": {stop + `["gone", "gone2"]`, 1, true},
	} {
		told := false
		world := w.world()
		world.Events.Info = func(text string) { told = told || strings.Contains(text, "unit gone") }
		if got := lookAt(t, world, c.text); len(got) != c.want || told != c.told {
			t.Errorf("%s: %q, told: %v", name, got, told)
		}
	}
}

// What a step needs may not be in what moves, whatever the names by which both are known.
func TestPreflight_MovesWhatIsNeeded_Refused(t *testing.T) {
	dir := t.TempDir()
	folder, link := filepath.Join(dir, "folder"), filepath.Join(dir, "link")
	if err := errors.Join(os.Mkdir(folder, 0o755), os.Symlink(dir, link)); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, t.TempDir()).world()
	aside := func(path string) string {
		return fmt.Sprintf("[[step]]\nname = \"a\"\nkind = \"move-aside\"\npath = %q\n", path)
	}
	if got := lookAt(t, w, aside(folder)); len(got) > 0 {
		t.Errorf("nothing is in the way: %q", got)
	}
	for _, used := range []string{filepath.Join(folder, "repo"), filepath.Join(link, "folder", "repo", "x"), folder} {
		for _, path := range []string{folder, filepath.Join(link, "folder")} {
			w.Uses = func() []string { return []string{used} }
			if got := lookAt(t, w, aside(path)); len(got) != 1 || !strings.Contains(got[0], used) {
				t.Errorf("%s in %s: %q", used, path, got)
			}
		}
	}
	w.Uses = func() []string { return []string{folder + "-of-others"} }
	if got := lookAt(t, w, aside(folder)); len(got) > 0 {
		t.Errorf("a folder beside it: %q", got)
	}
	if got := lookAt(t, w, aside(link)); len(got) != 1 || !strings.Contains(got[0], "symbolic link") {
		t.Errorf("a link: %q", got)
	}
	t.Chdir(folder)
	if got := lookAt(t, w, aside(filepath.Join(link, "folder"))); len(got) != 1 || !strings.Contains(got[0], "was started in") {
		t.Errorf("the working directory: %q", got)
	}
	t.Chdir(dir)
	s, err := LookAtState(filepath.Join(link, "folder", "state"), w.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := Prepare(t.Context(), must(t, aside(folder)), s, w, Options{}); err == nil || !strings.Contains(err.Error(), "the state of this run") {
		t.Errorf("the state: %v", err)
	}
}

// What a server has already, and a step must not replace, is found before the first step; if a step before it may change that, it is told.
func TestPreflight_LoadsOverWhatIsThere_RefusedOrTold(t *testing.T) {
	const load = "[snapshots.s]\nid = \"1\"\n%s[[step]]\nname = \"load\"\nkind = \"mysql-restore\"\nfrom = \"s\"\n%s"
	const there, empty, fails = `{"message_type":"summary","overwrites":["database nova with 3 tables"]}`, `{"message_type":"summary"}`, `{"message_type":"error","text":"no server"}`
	ask := "[[step]]\nname = \"ask\"\nkind = \"confirm\"\nask = \"well?\"\n"
	stop := "[[step]]\nname = \"a\"\nkind = \"run\"\ncommand = \"do a\"\nwrites = false\n"
	for name, c := range map[string]struct {
		dryRun, before, keys string
		want                 string
		told                 bool
	}{
		"there":                {there, "", "", "already database nova with 3 tables: with replace = true", false},
		"there, asked before":  {there, ask, "", "already database nova", false},
		"there, may be gone":   {there, stop, "", "", true},
		"there, and replaced":  {there, "", "replace = true\n", "", false},
		"there, unless done":   {there, "", "done = \"is load\"\n", "", false},
		"empty":                {empty, "", "", "", false},
		"no server":            {fails, "", "", "no server", false},
		"no server, may start": {fails, stop, "", "", false},
	} {
		w := newWorld(t, t.TempDir())
		w.dryRun = c.dryRun
		world, told := w.world(), false
		world.Events.Info = func(string) { told = true }
		got := strings.Join(lookAt(t, world, fmt.Sprintf(load, c.before, c.keys)), "; ")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) || told != c.told {
			t.Errorf("%s: %q, told: %v", name, got, told)
		}
	}
}

// Who finds the snapshots knows what each step wants of them, and whether it finds the machine as it is now.
func TestPrepare_Uses_KnowWhatComesBefore(t *testing.T) {
	w := newWorld(t, t.TempDir()).world()
	var uses []Use
	resolve := w.Resolve
	w.Resolve = func(ctx context.Context, wants []Want) ([]Pin, error) {
		for _, want := range wants {
			uses = append(uses, want.Uses...)
		}
		return resolve(ctx, wants)
	}
	disk := func(name string) string {
		return fmt.Sprintf("[[step]]\nname = %q\nkind = \"device-restore\"\nfrom = \"s:/dev/a\"\nto = \"/dev/%s\"\nargs = [\"--force\"]\n", name, name)
	}
	if got := lookAt(t, w, "[snapshots.s]\n[[step]]\nname = \"ask\"\nkind = \"fence\"\nask = \"well?\"\n"+disk("b")+disk("c")); len(got) > 0 {
		t.Fatal(got)
	}
	if len(uses) != 2 || !uses[0].Now || uses[1].Now || uses[1].Step != "c" || uses[1].Path != "/dev/a" ||
		strings.Join(uses[1].Args, " ") != "device restore "+placeholder+":/dev/a --to /dev/c --force" {
		t.Errorf("%+v", uses)
	}
}
