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
	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/stream"
	"github.com/kura-backup/kura/tree"
)

// streams returns the source of a stream.
func streams(t testing.TB, list ...stream.Stream) source.Source {
	t.Helper()
	src, err := stream.New(list...)
	must(t, err)
	return src
}

func TestRunStream_Stream_IsTheOnlyFile(t *testing.T) {
	large := testrepo.Random(1, 9<<20)
	for name, c := range map[string]struct {
		stream stream.Stream
		path   string
		data   []byte
	}{
		"reader":        {stream.Stream{Reader: strings.NewReader("hello")}, "/stdin", []byte("hello")},
		"large reader":  {stream.Stream{Reader: bytes.NewReader(large), Name: "db.sql"}, "/db.sql", large},
		"zeros":         {stream.Stream{Reader: bytes.NewReader(make([]byte, 5<<20)), Name: "z"}, "/z", make([]byte, 5<<20)},
		"below folders": {stream.Stream{Reader: strings.NewReader("x"), Name: "/a/../b/c d/\xff"}, "/b/c d/\xff", []byte("x")},
		"command":       {stream.Stream{Command: []string{"sh", "-c", "printf 1; sleep 0.01; printf 2"}}, "/stdin", []byte("12")},
	} {
		r, _ := newRepo(t)
		res := mustRun(t, r, Options{Source: streams(t, c.stream), Host: "h"})
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

func TestRunStream_Failure_CommitsNothing(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		stream stream.Stream
		want   error // nil: a CommandError
	}{
		"empty reader":            {stream.Stream{Reader: strings.NewReader("")}, stream.ErrEmpty},
		"empty command":           {stream.Stream{Command: []string{"true"}}, stream.ErrEmpty},
		"broken reader":           {stream.Stream{Reader: io.MultiReader(strings.NewReader("x"), iotest.ErrReader(broken))}, broken},
		"failing command":         {stream.Stream{Command: []string{"sh", "-c", "echo data; exit 3"}}, nil},
		"failing without output":  {stream.Stream{Command: []string{"false"}}, nil},
		"command that is killed":  {stream.Stream{Command: []string{"sh", "-c", "echo data; kill -9 $$"}}, nil},
		"command that is no more": {stream.Stream{Command: []string{"/no such program"}}, nil},
	} {
		r, _ := newRepo(t)
		res, _, err := runWith(t.Context(), r, Options{Source: streams(t, c.stream), Host: "h"}, hooks{})
		failed := (*stream.CommandError)(nil)
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

func TestRunStream_Cancelled_EndsCommandAndReading(t *testing.T) {
	r, _ := newRepo(t)
	pr, pw := io.Pipe()
	defer pw.Close() // lets the reading go
	for name, s := range map[string]stream.Stream{
		"reader":  {Reader: io.MultiReader(bytes.NewReader(make([]byte, 3<<20)), pr)},
		"command": {Command: []string{"sh", "-c", "echo x; exec sleep 600"}},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err := Run(ctx, r, Options{Source: streams(t, s)}, Events{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	if len(r.State().Snapshots) != 0 {
		t.Error("there is a snapshot")
	}
}

func TestRunStream_Again_HasParentAndStoresNothing(t *testing.T) {
	r, _ := newRepo(t)
	var last *repo.Snapshot
	for run := range 3 {
		s := stream.Stream{Reader: bytes.NewReader(testrepo.Random(1, 9<<20))}
		res, rec, err := runWith(t.Context(), r, Options{Source: streams(t, s), Host: "h"}, hooks{})
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

// TestRunStream_OtherSnapshots_AreNoParents: of another host, of another name, of files, forgotten, or not wanted.
func TestRunStream_OtherSnapshots_AreNoParents(t *testing.T) {
	r, _ := newRepo(t)
	run := func(o Options, name string) *Result {
		o.Source = streams(t, stream.Stream{Reader: strings.NewReader("hello"), Name: name})
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

func TestRunStream_DamagedParent_IsReportedAndNoMore(t *testing.T) {
	r, store := newRepo(t)
	o := func() Options {
		return Options{Host: "h", Source: streams(t, stream.Stream{Reader: strings.NewReader("hello")})}
	}
	mustRun(t, r, o())
	for _, name := range testrepo.Names(t, store, object.TreePrefix) {
		must(t, store.Delete(t.Context(), name))
	}
	fresh := testrepo.Open(t, store) // has nothing in memory
	res, rec, err := runWith(t.Context(), fresh, o(), hooks{})
	must(t, err)
	damage := (*repo.DamageError)(nil)
	if !errors.As(rec.errors["/"], &damage) || res.Summary.Errors != 0 || res.Snapshot == nil {
		t.Errorf("errors %v, %+v", rec.errors, res.Summary)
	}
}

func TestRunStream_StoreFailsAtTheParent_NothingIsCommitted(t *testing.T) {
	r, store := newRepo(t)
	o := func() Options {
		return Options{Host: "h", Source: streams(t, stream.Stream{Reader: strings.NewReader("hello")})}
	}
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
