package lossy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/durable/lossy"
)

// after lists all disks that a power failure at the end may leave, each as its files in
// order: "name=content".
func after(t *testing.T, d *lossy.Disk, max int) []string {
	t.Helper()
	p := lossy.NewPlayer(d, rand.New(rand.NewPCG(1, 2)))
	for p.Step() {
	}
	found := map[string]bool{}
	for range 200 { // what becomes of bytes is drawn anew each time
		for s := range p.States(max, 0) {
			var files []string
			list(t, s.Mount("."), ".", &files)
			slices.Sort(files)
			found[strings.Join(files, " ")] = true
		}
	}
	var out []string
	for s := range found {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

func list(t *testing.T, fsys durable.FS, dir string, out *[]string) {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := strings.TrimPrefix(dir+"/"+e.Name(), "./")
		if e.IsDir() {
			list(t, fsys, name, out)
			continue
		}
		*out = append(*out, name+"="+string(read(t, fsys, name)))
	}
}

func read(t *testing.T, fsys durable.FS, name string) []byte {
	t.Helper()
	f, err := fsys.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, info.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// script does things to a disk: "create f", "write f abc", "sync f", "syncdir .", "link a b",
// "rename a b", "unlink a", "mkdir d".
func script(t *testing.T, d *lossy.Disk, lines ...string) {
	t.Helper()
	m := d.Mount(".")
	open := map[string]durable.File{}
	for _, line := range lines {
		w := append(strings.Fields(line), "", "")
		var err error
		switch w[0] {
		case "create":
			open[w[1]], err = m.CreateExcl(w[1], 0o600)
		case "write":
			_, err = open[w[1]].Write([]byte(w[2]))
		case "sync":
			err = open[w[1]].Sync()
		case "syncdir":
			err = m.SyncDir(w[1])
		case "link":
			err = m.Link(w[1], w[2])
		case "rename":
			err = m.Rename(w[1], w[2])
		case "unlink":
			err = m.Unlink(w[1])
		case "mkdir":
			err = m.Mkdir(w[1], 0o700)
		default:
			t.Fatalf("no operation %q", line)
		}
		if err != nil && !strings.HasPrefix(w[0], "sync") {
			t.Fatalf("%s: %v", line, err)
		}
	}
}

func TestStates_OfNames_EveryUnsyncedChangeKeptOrLost(t *testing.T) {
	for _, c := range []struct {
		what  string
		lines []string
		want  []string
	}{
		{"a file is synced and its folder is not", []string{"create f", "write f x", "sync f"}, []string{"", "f=x"}},
		{"both are synced", []string{"create f", "write f x", "sync f", "syncdir ."}, []string{"f=x"}},
		{"a second name", []string{"create f", "syncdir .", "link f g", "unlink f"}, []string{"", "f=", "f= g=", "g="}},
		{"a rename in one folder", []string{"create f", "syncdir .", "rename f g"}, []string{"f=", "g="}},
		{
			"a rename between two",
			[]string{"mkdir d", "create f", "syncdir .", "rename f d/g"},
			[]string{"", "d/g=", "d/g= f=", "f="},
		},
		{"a folder that is lost", []string{"mkdir d", "create d/f", "syncdir d"}, []string{"", "d/f="}},
		{"a name used twice", []string{"create f", "syncdir .", "unlink f", "mkdir f"}, []string{"", "f="}},
	} {
		d := lossy.New()
		script(t, d, c.lines...)
		if got := after(t, d, 64); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

func TestStates_OfBytes_TornBeyondWhatWasSynced(t *testing.T) {
	d := lossy.New()
	m := d.Mount(".")
	f, err := m.CreateExcl("f", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	safe, rest := bytes.Repeat([]byte("s"), 700), bytes.Repeat([]byte("r"), 2000)
	_, err = f.Write(safe)
	err = errors.Join(err, f.Sync(), m.SyncDir("."))
	_, werr := f.Write(rest)
	if err := errors.Join(err, werr); err != nil {
		t.Fatal(err)
	}
	p := lossy.NewPlayer(d, rand.New(rand.NewPCG(1, 2)))
	for p.Step() {
	}
	kinds := map[string]bool{}
	for range 200 {
		for s := range p.States(1, 0) {
			got := read(t, s.Mount("."), "f")
			if len(got) < len(safe) || !bytes.Equal(got[:len(safe)], safe) {
				t.Fatal("what was synced has changed")
			}
			tail := got[len(safe):]
			switch {
			case len(tail) == 0:
				kinds["none"] = true
			case len(tail) < len(rest):
				kinds["short"] = true
			case bytes.Equal(tail, rest):
				kinds["all"] = true
			case len(bytes.Trim(tail, "\x00")) == 0:
				kinds["zeros"] = true
			default:
				kinds["torn"] = true
			}
		}
	}
	if len(kinds) != 5 {
		t.Errorf("only these kinds: %v", kinds)
	}
}

func TestSync_Fails_BytesAreLostForGoodAndNamesAreNot(t *testing.T) {
	d := lossy.New()
	fails := true
	d.OnSync = func(lossy.Sync) lossy.Answer {
		if fails {
			return lossy.Fails
		}
		return lossy.Works
	}
	script(t, d, "create f", "write f x", "sync f", "syncdir .")
	fails = false
	script(t, d, "syncdir .")
	m := d.Mount(".")
	if err := m.SyncDir("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("sync of a folder that is not there: %v", err)
	}
	states := after(t, d, 4)
	if !slices.Contains(states, "f=") || slices.Contains(states, "") {
		t.Errorf("%q", states)
	}
}

func TestSync_Lies_NothingIsDurable(t *testing.T) {
	d := lossy.New()
	d.OnSync = func(lossy.Sync) lossy.Answer { return lossy.Lies }
	if err := durable.WriteReplace(context.Background(), d.Mount("."), "f", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if states := after(t, d, 64); !slices.Contains(states, "") {
		t.Errorf("%q", states)
	}
}

func TestMount_Dies_NothingMoreIsDoneAndItsLocksAreFree(t *testing.T) {
	d := lossy.New()
	m, other := d.Mount("."), d.Mount(".")
	f, err := m.CreateExcl("f", 0o600)
	if err := errors.Join(err, f.TryLock()); err != nil {
		t.Fatal(err)
	}
	g, err := other.Open("f")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.TryLock(); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("the lock of a process that lives: %v", err)
	}
	m.DieAfter(1)
	before := d.Ops()
	if _, err := f.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"sync": f.Sync(), "link": m.Link("f", "g"), "mkdir": m.Mkdir("d", 0o700), "unlink": m.Unlink("f"),
	} {
		if !errors.Is(err, lossy.ErrDead) {
			t.Errorf("%s after death: %v", what, err)
		}
	}
	if n := d.Ops() - before; n != 1 {
		t.Errorf("%d operations, want 1", n)
	}
	if err := g.TryLock(); err != nil {
		t.Errorf("the lock of a dead process: %v", err)
	}

	third := d.Mount(".")
	third.DieAfterLink(2)
	for i, want := range []error{nil, lossy.ErrDead, lossy.ErrDead} {
		if err := third.Link("f", fmt.Sprint("l", i)); !errors.Is(err, want) {
			t.Errorf("link %d: %v, want %v", i, err, want)
		}
	}
	if _, err := other.Stat("l1"); err != nil {
		t.Errorf("the link of which it died was not done: %v", err)
	}
}
