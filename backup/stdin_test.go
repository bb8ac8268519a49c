package backup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

func TestRunStdin_Stream_IsTheOnlyFile(t *testing.T) {
	large := testrepo.Random(1, 9<<20)
	for name, c := range map[string]struct {
		stdin Stdin
		path  string
		data  []byte
	}{
		"reader":        {Stdin{Reader: strings.NewReader("hello")}, "/stdin", []byte("hello")},
		"large reader":  {Stdin{Reader: bytes.NewReader(large), Filename: "db.sql"}, "/db.sql", large},
		"zeros":         {Stdin{Reader: bytes.NewReader(make([]byte, 5<<20)), Filename: "z"}, "/z", make([]byte, 5<<20)},
		"below folders": {Stdin{Reader: strings.NewReader("x"), Filename: "/a/../b/c d/\xff"}, "/b/c d/\xff", []byte("x")},
		"command":       {Stdin{Command: []string{"sh", "-c", "printf 1; sleep 0.01; printf 2"}}, "/stdin", []byte("12")},
	} {
		r, _ := newRepo(t)
		res := mustRun(t, r, Options{Stdin: &c.stdin, Host: "h"})
		got := readBack(t, r, res.Snapshot)
		n := mustHave(t, got, c.path)
		if !bytes.Equal(n.data, c.data) || n.Size != int64(len(c.data)) || n.Type != tree.File || n.MTime.IsZero() {
			t.Errorf("%s: %+v", name, n.Node)
		}
		if len(got) != strings.Count(c.path, "/") {
			t.Errorf("%s: %d entries", name, len(got))
		}
		if p := res.Snapshot.PathStrings(); len(p) != 1 || p[0] != c.path {
			t.Errorf("%s: paths %q", name, p)
		}
		if s := res.Summary; s.Files != 1 || s.FilesNew != 1 || s.Bytes != uint64(len(c.data)) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestRunStdin_Failure_CommitsNothing(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		stdin Stdin
		want  error // nil: a CommandError
	}{
		"empty reader":            {Stdin{Reader: strings.NewReader("")}, ErrEmptyStream},
		"empty command":           {Stdin{Command: []string{"true"}}, ErrEmptyStream},
		"broken reader":           {Stdin{Reader: io.MultiReader(strings.NewReader("x"), iotest.ErrReader(broken))}, broken},
		"failing command":         {Stdin{Command: []string{"sh", "-c", "echo data; exit 3"}}, nil},
		"failing without output":  {Stdin{Command: []string{"false"}}, nil},
		"command that is killed":  {Stdin{Command: []string{"sh", "-c", "echo data; kill -9 $$"}}, nil},
		"command that is no more": {Stdin{Command: []string{"/no such program"}}, nil},
	} {
		r, _ := newRepo(t)
		res, _, err := runWith(t.Context(), r, Options{Stdin: &c.stdin, Host: "h"}, hooks{})
		failed := (*CommandError)(nil)
		if res != nil || c.want != nil && !errors.Is(err, c.want) || c.want == nil && !errors.As(err, &failed) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "failing command" {
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 3 {
				t.Errorf("%s: %v", name, err)
			}
		}
		must(t, r.Refresh(t.Context()))
		if len(r.State().Snapshots) != 0 {
			t.Errorf("%s: there is a snapshot", name)
		}
	}
}

func TestRunStdin_BadOptions_AreRefused(t *testing.T) {
	r, _ := newRepo(t)
	for name, s := range map[string]Stdin{
		"neither": {}, "both": {Reader: strings.NewReader("x"), Command: []string{"true"}},
		"no name": {Reader: strings.NewReader("x"), Filename: "/"}, "zero byte": {Reader: strings.NewReader("x"), Filename: "a\x00b"},
		"long name": {Reader: strings.NewReader("x"), Filename: strings.Repeat("x", tree.MaxName+1)},
	} {
		if res, err := Run(t.Context(), r, Options{Stdin: &s}, Events{}); err == nil || res != nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestRunStdin_Cancelled_EndsCommandAndReading(t *testing.T) {
	r, _ := newRepo(t)
	pr, pw := io.Pipe()
	defer pw.Close() // lets the reading go
	for name, s := range map[string]Stdin{
		"reader":  {Reader: io.MultiReader(bytes.NewReader(make([]byte, 3<<20)), pr)},
		"command": {Command: []string{"sh", "-c", "echo x; exec sleep 600"}},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err := Run(ctx, r, Options{Stdin: &s}, Events{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	if len(r.State().Snapshots) != 0 {
		t.Error("there is a snapshot")
	}
}

func TestRunStdin_Again_HasParentAndStoresNothing(t *testing.T) {
	r, _ := newRepo(t)
	var last *repo.Snapshot
	for run := range 3 {
		s := Stdin{Reader: bytes.NewReader(testrepo.Random(1, 9<<20))}
		res, rec, err := runWith(t.Context(), r, Options{Stdin: &s, Host: "h"}, hooks{})
		must(t, err)
		if (res.Summary.BytesAdded > 9<<20) != (run == 0) || run > 0 && res.Summary.BytesAdded > 1000 {
			t.Errorf("%+v", res.Summary)
		}
		action := New
		if last != nil {
			action = Changed
			if res.Parent == nil || res.Parent.ID != last.ID || !bytes.Equal(res.Snapshot.Parent, last.ID[:]) {
				t.Errorf("parent %v", res.Parent)
			}
		}
		if got := rec.items["/stdin"].Action; got != action || len(rec.errors) > 0 {
			t.Errorf("%v, errors %v", got, rec.errors)
		}
		last = res.Snapshot
	}
}

// TestRunStdin_OtherSnapshots_AreNoParents: of another host, of another name, of files, forgotten, or not wanted.
func TestRunStdin_OtherSnapshots_AreNoParents(t *testing.T) {
	r, _ := newRepo(t)
	run := func(o Options, name string) *Result {
		o.Stdin = &Stdin{Reader: strings.NewReader("hello"), Filename: name}
		return mustRun(t, r, o)
	}
	run(Options{Host: "other"}, "name")
	run(Options{Host: "h"}, "other")
	forgotten := run(Options{Host: "h"}, "name")
	_, err := r.Forget(t.Context(), []object.SessionID{forgotten.Snapshot.ID})
	must(t, err)
	root := memoryDir(t)
	makeTree(t, root, map[string]string{"name": "hello"})
	mustRun(t, r, Options{Host: "h", Paths: []string{root + "/name"}})
	if res := run(Options{Host: "h"}, root+"/name"); res.Parent != nil {
		t.Error("a snapshot of a file is the parent")
	}
	if res := run(Options{Host: "h"}, "name"); res.Parent != nil {
		t.Errorf("parent %v of %v, %q", res.Parent.ID, res.Parent.Host, res.Parent.PathStrings())
	}
	if res := run(Options{Host: "h", Force: true}, "name"); res.Parent != nil {
		t.Error("a parent, and none was wanted")
	}
}

func TestRunStdin_DamagedParent_IsReportedAndNoMore(t *testing.T) {
	r, store := newRepo(t)
	o := func() Options { return Options{Host: "h", Stdin: &Stdin{Reader: strings.NewReader("hello")}} }
	mustRun(t, r, o())
	for _, name := range testrepo.Names(t, store, object.TreePrefix) {
		must(t, store.Delete(t.Context(), name))
	}
	fresh := testrepo.Open(t, store) // has nothing in memory
	res, rec, err := runWith(t.Context(), fresh, o(), hooks{})
	must(t, err)
	damage := (*repo.DamageError)(nil)
	if !errors.As(rec.errors["/stdin"], &damage) || res.Summary.Errors != 0 || res.Snapshot == nil {
		t.Errorf("errors %v, %+v", rec.errors, res.Summary)
	}
}

func TestRunStdin_StoreFailsAtTheParent_NothingIsCommitted(t *testing.T) {
	r, store := newRepo(t)
	o := func() Options { return Options{Host: "h", Stdin: &Stdin{Reader: strings.NewReader("hello")}} }
	mustRun(t, r, o())
	fresh := testrepo.Open(t, store)
	_, err := fresh.Index(t.Context())
	must(t, err)
	lost := errors.New("lost")
	store.Inject(fault.On(fault.Get).Prefix(object.TreePrefix).Always().Before(lost))
	if _, _, err := runWith(t.Context(), fresh, o(), hooks{}); !errors.Is(err, lost) {
		t.Errorf("%v", err)
	}
}
