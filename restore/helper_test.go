package restore_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/tree"
)

func TestMain(m *testing.M) { testsys.VerifyMain(m) }

// sized is the first number, and with the race detector the second: it takes ten times as long for each byte and each entry.
func sized(usual, short int) int {
	if testing.Short() {
		return short
	}
	return usual
}

// entry is a node to be put into a snapshot: a file of parts, or a folder of entries.
type entry struct {
	tree.Node
	parts []part
	kids  []entry
	page  object.BlobID // a folder's page, in place of kids
}

// part is data, or a hole or zeros of n bytes.
type part struct {
	data []byte
	kind tree.ExtentKind
	n    int64
	id   object.BlobID // of n bytes of data that somebody else claims to have stored
}

func hole(n int64) part { return part{kind: tree.Hole, n: n} }

// chunks makes parts of data.
func chunks(data ...[]byte) []part {
	var parts []part
	for _, d := range data {
		parts = append(parts, part{data: d})
	}
	return parts
}

var (
	uid = uint32(os.Geteuid())
	gid = uint32(os.Getegid())

	someTime = tree.MakeTime(1_000_000_000, 123_456_789)
)

func newNode(name string, t tree.Type, mode uint32) tree.Node {
	return tree.Node{Name: name, Type: t, Mode: mode, UID: uid, GID: gid, MTime: someTime}
}

func file(name string, parts ...part) entry {
	return entry{Node: newNode(name, tree.File, 0o644), parts: parts}
}

func textFile(name, text string) entry { return file(name, chunks([]byte(text))...) }

func dir(name string, kids ...entry) entry {
	return entry{Node: newNode(name, tree.Folder, 0o755), kids: kids}
}

func symlink(name, target string) entry {
	e := entry{Node: newNode(name, tree.Symlink, 0o777)}
	e.Target = target
	return e
}

// with changes the node of an entry.
func (e entry) with(change func(*tree.Node)) entry {
	change(&e.Node)
	return e
}

// commit makes a snapshot with the given entries in its topmost folder.
func commit(t testing.TB, r *repo.Repository, entries ...entry) *repo.Snapshot {
	t.Helper()
	return commitWith(t, r, repo.SessionOptions{}, entries...)
}

func commitWith(t testing.TB, r *repo.Repository, o repo.SessionOptions, entries ...entry) *repo.Snapshot {
	t.Helper()
	return commitAs(t, r, o, func(*repo.CommitOptions) {}, entries...)
}

// commitAs is commitWith a manifest that change has changed.
func commitAs(t testing.TB, r *repo.Repository, o repo.SessionOptions, change func(*repo.CommitOptions), entries ...entry) *repo.Snapshot {
	t.Helper()
	s, err := r.NewSession(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	root := saveFolder(t, s, entries)
	c := repo.CommitOptions{Manifest: &repo.Manifest{Time: 1, Host: "h", Paths: [][]byte{[]byte("/")}, Root: root[:]}, Run: s.ID()}
	change(&c)
	snap, err := s.Commit(c)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func saveFolder(t testing.TB, s *repo.Session, entries []entry) object.BlobID {
	t.Helper()
	save := func(_ context.Context, page []byte) (object.BlobID, error) {
		saved, err := s.SaveNow(object.TreeBlob, page)
		return saved.ID, err
	}
	var nodes []tree.Node
	for _, e := range entries {
		n := e.Node
		switch n.Type {
		case tree.Folder:
			if n.Subtree = e.page; n.Subtree.IsZero() {
				n.Subtree = saveFolder(t, s, e.kids)
			}
		case tree.File:
			w := tree.NewContentWriter(save)
			for _, p := range e.parts {
				x := tree.Extent{Kind: p.kind, Length: p.n}
				if x.ID = p.id; p.kind == tree.Data && x.ID.IsZero() {
					x.ID, x.Length = testrepo.Save(t, s, object.DataBlob, p.data)[0], int64(len(p.data))
				}
				if err := w.Add(t.Context(), x); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Finish(t.Context(), &n); err != nil {
				t.Fatal(err)
			}
		}
		nodes = append(nodes, n)
	}
	id, err := tree.WriteDir(t.Context(), nodes, save)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// outcome is what a run returned and reported.
type outcome struct {
	*restore.Result
	err    error
	errors map[string]error
	items  []restore.Item
	spared map[string]error
}

func run(t testing.TB, r *repo.Repository, snap *repo.Snapshot, o restore.Options) outcome {
	t.Helper()
	return runContext(t.Context(), r, snap, o)
}

func runContext(ctx context.Context, r *repo.Repository, snap *repo.Snapshot, o restore.Options) outcome {
	out := outcome{errors: map[string]error{}, spared: map[string]error{}}
	var mu sync.Mutex
	out.Result, out.err = restore.Run(ctx, r, snap, o, restore.Events{
		Error: func(path string, err error) {
			if !mu.TryLock() {
				panic("two events at a time")
			}
			defer mu.Unlock()
			out.errors[path] = err
		},
		Item: func(i restore.Item) {
			if !mu.TryLock() {
				panic("two events at a time")
			}
			defer mu.Unlock()
			out.items = append(out.items, i)
		},
		Spared: func(path string, why error) {
			if !mu.TryLock() {
				panic("two events at a time")
			}
			defer mu.Unlock()
			out.spared[path] = why
		},
	})
	return out
}

// restoreAll restores a snapshot into a new folder and wants no trouble.
func restoreAll(t testing.TB, r *repo.Repository, snap *repo.Snapshot) string {
	t.Helper()
	target := filepath.Join(t.TempDir(), "target")
	mustBeFine(t, run(t, r, snap, restore.Options{Target: target, Verify: true}))
	return target
}

func mustBeFine(t testing.TB, out outcome) {
	t.Helper()
	if out.err != nil || out.Errors != 0 || out.Damaged != 0 || len(out.errors) != 0 || len(out.Omitted) != 0 {
		t.Fatalf("error %v, result %+v, errors %v", out.err, out.Result, out.errors)
	}
}

func content(parts []part) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		b.Write(p.data)
		b.Write(make([]byte, p.n))
	}
	return b.Bytes()
}

func mustHave(t testing.TB, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: %d bytes that differ from the %d wanted", path, len(got), len(want))
	}
}

func mustNotExist(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%s exists (%v)", path, err)
	}
}

func stat(t testing.TB, path string) *syscall.Stat_t {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return &st
}

// mustMatch compares what was restored with the entries, metadata included.
func mustMatch(t testing.TB, path string, entries []entry) {
	t.Helper()
	names, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != len(entries) {
		t.Fatalf("%s has %d entries, want %d", path, len(names), len(entries))
	}
	for _, e := range entries {
		p := path + "/" + e.Name
		st := stat(t, p)
		if got := st.Mode & 0o7777; got != e.Mode && e.Type != tree.Symlink {
			t.Errorf("%q has mode %#o, want %#o", p, got, e.Mode)
		}
		if st.Uid != e.UID || st.Gid != e.GID {
			t.Errorf("%q has owner %d:%d, want %d:%d", p, st.Uid, st.Gid, e.UID, e.GID)
		}
		if got := tree.MakeTime(st.Mtim.Sec, uint32(st.Mtim.Nsec)); got != e.MTime && !e.MTime.IsZero() {
			t.Errorf("%q has time %v, want %v", p, got.Time(), e.MTime.Time())
		}
		kinds := map[uint32]tree.Type{
			syscall.S_IFREG: tree.File, syscall.S_IFDIR: tree.Folder, syscall.S_IFLNK: tree.Symlink,
			syscall.S_IFIFO: tree.FIFO, syscall.S_IFCHR: tree.CharDevice, syscall.S_IFBLK: tree.BlockDevice,
		}
		if got := kinds[st.Mode&syscall.S_IFMT]; got != e.Type {
			t.Fatalf("%q is a %v, want a %v", p, got, e.Type)
		}
		switch e.Type {
		case tree.File:
			mustHave(t, p, content(e.parts))
		case tree.Folder:
			mustMatch(t, p, e.kids)
		case tree.Symlink:
			if got, err := os.Readlink(p); err != nil || got != e.Target {
				t.Errorf("%q points to %q (%v), want %q", p, got, err, e.Target)
			}
		case tree.CharDevice, tree.BlockDevice:
			major, minor := uint64(st.Rdev>>8&0xfff), uint64(st.Rdev&0xff|st.Rdev>>12&^0xff)
			if major<<32|minor != e.Device {
				t.Errorf("%q is device %d:%d, want %#x", p, major, minor, e.Device)
			}
		}
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	if uid != 0 {
		t.Skip("needs root")
	}
}

func longName(n int) string { return strings.Repeat("n", n) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
