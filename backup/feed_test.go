package backup

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/sourcetest"
	"github.com/kura-backup/kura/source/stream"
	"github.com/kura-backup/kura/tree"
)

var feedRounds = flag.Int("feed.rounds", 5, "how many random sources are backed up")

// fake is a source that a test writes.
type fake struct {
	paths    []string
	replaces bool
	write    func(ctx context.Context, out source.Writer) error
}

func (f *fake) Kind() string    { return "fake" }
func (f *fake) Paths() []string { return f.paths }
func (f *fake) Replaces() bool  { return f.replaces }

func (f *fake) Write(ctx context.Context, out source.Writer) error { return f.write(ctx, out) }

func fakeOptions(write func(ctx context.Context, out source.Writer) error) Options {
	return Options{Host: "h", Source: &fake{paths: []string{"/fake"}, write: write}}
}

// put writes a file.
func put(out source.Writer, path string, data []byte) error {
	f, err := out.Create(path, source.FileNode(0o640))
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Close()
}

// invented is a snapshot that a random source writes.
type invented struct {
	files map[string][]portion
	links map[string]string
	other map[string]tree.Node
}

// portion is a part of a file.
type portion struct {
	data  []byte
	zeros int64
}

func invent(rng *rand.Rand) *invented {
	v := &invented{files: map[string][]portion{}, links: map[string]string{}, other: map[string]tree.Node{}}
	folder := func() string {
		return strings.Repeat("/sub", rng.IntN(3)) + fmt.Sprintf("/d%d", rng.IntN(6))
	}
	for i := range 30 + rng.IntN(200) {
		var list []portion
		for range rng.IntN(4) {
			switch size := rng.IntN(8); {
			case size < 5:
				list = append(list, portion{data: testrepo.Random(rng.Uint64(), rng.IntN(3000))})
			case size < 6:
				list = append(list, portion{data: testrepo.Random(rng.Uint64(), rng.IntN(150_000))})
			case size < 7 && i%20 == 0:
				list = append(list, portion{data: testrepo.Random(rng.Uint64(), rng.IntN(3<<20))})
			default:
				list = append(list, portion{zeros: rng.Int64N(300_000)})
			}
		}
		name := fmt.Sprintf("%s/f%d%s", folder(), i, []string{"", ".txt", "-\xff", " "}[rng.IntN(4)])
		v.files[name] = list
		if rng.IntN(6) == 0 {
			v.links[fmt.Sprintf("%s/link%d", folder(), i)] = name
		}
	}
	for i := range rng.IntN(20) {
		v.other[fmt.Sprintf("%s/other%d", folder(), i)] = tree.Node{Type: tree.Symlink, Mode: 0o777, Target: fmt.Sprint("to", i)}
	}
	for i := range rng.IntN(5) {
		n := source.FolderNode(0o700)
		n.MTime = tree.MakeTime(int64(i), 7)
		v.other[fmt.Sprintf("/d%d", i)] = n
	}
	return v
}

// write writes it in random order, by several goroutines, and each of them several files at once.
func (v *invented) write(_ context.Context, rng *rand.Rand, out source.Writer) error {
	names := slices.Sorted(maps.Keys(v.files))
	rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	const writers = 3
	errs := make([]error, writers)
	var busy sync.WaitGroup
	for i := range writers {
		mine := rand.New(rand.NewPCG(rng.Uint64(), 1))
		var part []string
		for k := i; k < len(names); k += writers {
			part = append(part, names[k])
		}
		busy.Go(func() { errs[i] = v.writeSome(mine, out, part) })
	}
	others := slices.Sorted(maps.Keys(v.other))
	for _, name := range others {
		if err := out.Add(name, v.other[name]); err != nil {
			return err
		}
	}
	busy.Wait()
	for name, to := range v.links {
		if err := out.Link(name, to); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

func (v *invented) writeSome(rng *rand.Rand, out source.Writer, names []string) error {
	type writing struct {
		f    source.File
		rest []portion
	}
	var open []writing
	for len(names) > 0 || len(open) > 0 {
		if len(names) > 0 && (len(open) == 0 || len(open) < 5 && rng.IntN(2) == 0) {
			f, err := out.Create(names[0], source.FileNode(0o600))
			if err != nil {
				return err
			}
			open = append(open, writing{f, v.files[names[0]]})
			names = names[1:]
			continue
		}
		i := rng.IntN(len(open))
		w := &open[i]
		if len(w.rest) == 0 {
			if err := w.f.Close(); err != nil {
				return err
			}
			open = slices.Delete(open, i, i+1)
			continue
		}
		if err := writePortion(rng, w.f, w.rest[0]); err != nil {
			return err
		}
		w.rest = w.rest[1:]
	}
	return nil
}

func writePortion(rng *rand.Rand, f source.File, p portion) error {
	if p.zeros > 0 {
		return f.Zeros(p.zeros)
	}
	switch before := f.Size(); rng.IntN(3) {
	case 0:
		n, err := f.ReadFrom(bytes.NewReader(p.data))
		if err == nil && n != int64(len(p.data)) {
			err = fmt.Errorf("%d bytes read of %d", n, len(p.data))
		}
		return err
	case 1:
		n, err := f.Write(p.data)
		if err == nil && (n != len(p.data) || f.Size() != before+int64(n)) {
			err = fmt.Errorf("%d bytes written of %d", n, len(p.data))
		}
		return err
	default:
		for rest := p.data; len(rest) > 0; {
			n := min(len(rest), 1+rng.IntN(10_000))
			own := slices.Clone(rest[:n]) // is written over at once
			if _, err := f.Write(own); err != nil {
				return err
			}
			clear(own)
			rest = rest[n:]
		}
		return nil
	}
}

// TestFeed_RandomSource_IsWhatWasWritten: what several goroutines write, interleaved and in random order, is what the snapshot
// has, and what is written again in another order is the same folder.
func TestFeed_RandomSource_IsWhatWasWritten(t *testing.T) {
	rng := testrand.New(t)
	rounds := *feedRounds
	if testing.Short() {
		rounds = min(rounds, 1)
	}
	for range rounds {
		v := invent(rng)
		r, _ := newRepo(t)
		o := fakeOptions(func(ctx context.Context, out source.Writer) error { return v.write(ctx, rng, out) })
		first := mustRun(t, r, o)
		v.compare(t, readBack(t, r, first.Snapshot))
		second := mustRun(t, r, o)
		if a, b := first.Snapshot.Root, second.Snapshot.Root; !bytes.Equal(a, b) {
			t.Errorf("another root when it was written in another order")
		}
		if s := second.Summary; s.FilesUnmodified != uint64(len(v.files)+len(v.links)) || s.BytesAdded != 0 {
			t.Errorf("%d files and %d links; %+v", len(v.files), len(v.links), s)
		}
		// The same by the writer for tests.
		fakeWriter := sourcetest.NewWriter()
		must(t, v.write(t.Context(), rng, fakeWriter))
		must(t, fakeWriter.Finish())
		for name := range v.files {
			if !bytes.Equal(fakeWriter.Bytes(name), v.bytes(name)) {
				t.Errorf("%q: other bytes in the writer for tests", name)
			}
		}
	}
}

func (v *invented) bytes(name string) []byte {
	out := []byte{}
	for _, p := range v.files[name] {
		out = append(append(out, p.data...), make([]byte, p.zeros)...)
	}
	return out
}

func (v *invented) compare(t *testing.T, got map[string]saved) {
	t.Helper()
	links := map[string]uint64{}
	for _, to := range v.links {
		links[to]++
	}
	folders := map[string]bool{}
	expect := func(name string) saved {
		for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
			folders[dir] = true
		}
		return mustHave(t, got, name)
	}
	for name := range v.files {
		n := expect(name)
		if !bytes.Equal(n.data, v.bytes(name)) || n.Mode != 0o600 || n.Type != tree.File {
			t.Errorf("%q: %+v", name, n.Node)
		}
		if want := links[name]; want > 0 && n.Links != want+1 || want == 0 && (n.Links != 0 || n.Inode != 0) {
			t.Errorf("%q: %d names, inode %d; %d links", name, n.Links, n.Inode, want)
		}
	}
	for name, to := range v.links {
		if n, first := expect(name), mustHave(t, got, to); n.Inode != first.Inode || !bytes.Equal(n.data, first.data) {
			t.Errorf("%q is not %q", name, to)
		}
	}
	for name, want := range v.other {
		n := expect(name)
		if n.Type != want.Type || n.Mode != want.Mode || n.Target != want.Target || n.MTime != want.MTime {
			t.Errorf("%q: %+v", name, n.Node)
		}
		if want.Type == tree.Folder {
			folders[name] = true
		}
	}
	if want := len(v.files) + len(v.links) + len(folders); len(got) != want+len(v.other)-countFolders(v.other) {
		t.Errorf("%d entries, want %d", len(got), want)
	}
}

func countFolders(nodes map[string]tree.Node) (n int) {
	for _, node := range nodes {
		if node.Type == tree.Folder {
			n++
		}
	}
	return n
}

func TestFeed_MistakesOfTheSource_CommitNothing(t *testing.T) {
	own := errors.New("own")
	for name, c := range map[string]struct {
		write func(ctx context.Context, out source.Writer) error
		want  error
	}{
		"an error": {func(_ context.Context, out source.Writer) error {
			return errors.Join(put(out, "/a", testrepo.Random(1, 3<<20)), own)
		}, own},
		"an open file": {func(_ context.Context, out source.Writer) error {
			_, err := out.Create("/a", source.FileNode(0))
			return err
		}, source.ErrOpen},
		"an open large file": {func(_ context.Context, out source.Writer) error {
			f, err := out.Create("/a", source.FileNode(0))
			if err == nil {
				_, err = f.Write(testrepo.Random(1, 3<<20))
			}
			return err
		}, source.ErrOpen},
		"twice": {func(_ context.Context, out source.Writer) error {
			return errors.Join(put(out, "/a", nil), put(out, "/a", nil))
		}, source.ErrTwice},
		"in a file": {func(_ context.Context, out source.Writer) error {
			return errors.Join(put(out, "/a/b", nil), put(out, "/a", nil), put(out, "/a.c", nil))
		}, source.ErrPath},
		"a bad path": {func(_ context.Context, out source.Writer) error { return put(out, "/a/../b", nil) }, source.ErrPath},
		"a link to nothing": {func(_ context.Context, out source.Writer) error {
			return errors.Join(put(out, "/a", nil), out.Link("/b", "/c"))
		}, source.ErrNode},
		"a link to a folder": {func(_ context.Context, out source.Writer) error {
			return errors.Join(out.Add("/a", source.FolderNode(0o700)), out.Link("/b", "/a"))
		}, source.ErrNode},
		"a file as a folder": {func(_ context.Context, out source.Writer) error { return out.Add("/a", source.FileNode(0)) }, source.ErrNode},
		"details too long": {func(_ context.Context, out source.Writer) error {
			return out.Describe(map[string]string{"a": strings.Repeat("x", source.MaxDetails)})
		}, source.ErrDetails},
		"an attribute without a name": {func(_ context.Context, out source.Writer) error {
			n := source.FolderNode(0)
			n.XAttrs = []tree.XAttr{{}}
			return out.Add("/a", n)
		}, tree.ErrInvalid},
	} {
		r, _ := newRepo(t)
		res, err := Run(t.Context(), r, fakeOptions(c.write), Events{})
		if res != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if len(r.State().Snapshots) > 0 {
			t.Errorf("%s: there is a snapshot", name)
		}
	}
}

// TestFeed_WritesLater_IsRefused: a goroutine that a source has left behind can not change what is committed.
func TestFeed_WritesLater_IsRefused(t *testing.T) {
	r, _ := newRepo(t)
	var kept source.Writer
	mustRun(t, r, fakeOptions(func(_ context.Context, out source.Writer) error {
		kept = out
		return put(out, "/a", []byte("x"))
	}))
	if err := put(kept, "/b", nil); err == nil {
		t.Error("a file was taken after the end")
	}
}

func TestFeed_StoreFails_IsTheErrorOfTheRun(t *testing.T) {
	r, store := newRepo(t)
	lost := errors.New("lost")
	store.Inject(fault.On(fault.Put).Prefix(object.DataPrefix).Always().Before(lost))
	o := fakeOptions(func(_ context.Context, out source.Writer) error {
		f, err := out.Create("/a", source.FileNode(0))
		if err != nil {
			return err
		}
		for i := range 1000 {
			if _, err := f.Write(testrepo.Random(uint64(i), 1<<20)); err != nil {
				return errors.New("what the source makes of it")
			}
		}
		return f.Close()
	})
	o.Packing.Size = 5 << 20
	_, err := Run(t.Context(), r, o, Events{})
	if !errors.Is(err, lost) {
		t.Errorf("%v", err)
	}
}

func TestFeed_Cancelled_EndsWithItsCause(t *testing.T) {
	r, _ := newRepo(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	_, err := Run(ctx, r, fakeOptions(func(ctx context.Context, out source.Writer) error {
		f, err := out.Create("/a", source.FileNode(0))
		if err != nil {
			return err
		}
		for i := 0; ; i++ {
			if i == 3 {
				cancel(why)
			}
			if _, err := f.Write(testrepo.Random(uint64(i), 1<<20)); err != nil {
				return err
			}
		}
	}), Events{})
	if !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
}

func TestFeed_ReadFails_SourceDecides(t *testing.T) {
	r, _ := newRepo(t)
	bad := errors.New("bad")
	for _, size := range []int{10, 3 << 20} {
		data := testrepo.Random(1, size)
		var rec recorder
		res, err := Run(t.Context(), r, fakeOptions(func(_ context.Context, out source.Writer) error {
			f, err := out.Create("/a", source.FileNode(0))
			if err != nil {
				return err
			}
			n, err := f.ReadFrom(io.MultiReader(bytes.NewReader(data), &failing{bad}))
			if n != int64(size) || !errors.Is(err, bad) {
				t.Errorf("%d bytes, %v", n, err)
			}
			out.Miss("/a", err)
			return f.Close()
		}), rec.events())
		must(t, err)
		if got := mustHave(t, readBack(t, r, res.Snapshot), "/a"); !bytes.Equal(got.data, data) || res.Summary.Errors != 1 || !errors.Is(rec.errors["/a"], bad) {
			t.Errorf("%d bytes, %+v, %v", len(got.data), res.Summary, rec.errors)
		}
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func TestFeed_Replacing_LastOneCounts(t *testing.T) {
	r, _ := newRepo(t)
	o := fakeOptions(func(_ context.Context, out source.Writer) error {
		return errors.Join(
			put(out, "/d/a", []byte("old")), out.Link("/d/link", "/d/a"), put(out, "/d/a", []byte("new")), out.Link("/d/later", "/d/a"),
			put(out, "/d/gone", nil), out.Add("/d/gone", tree.Node{Type: tree.FIFO}),
			out.Add("/d", source.FolderNode(0o700)), out.Add("/d", source.FolderNode(0o711)),
		)
	})
	o.Source.(*fake).replaces = true
	res := mustRun(t, r, o)
	got := readBack(t, r, res.Snapshot)
	link, a, later := mustHave(t, got, "/d/link"), mustHave(t, got, "/d/a"), mustHave(t, got, "/d/later")
	if string(link.data) != "old" || link.Links != 0 || string(a.data) != "new" || a.Links != 2 || later.Inode != a.Inode {
		t.Errorf("%+v\n%+v\n%+v", link.Node, a.Node, later.Node)
	}
	if mustHave(t, got, "/d/gone").Type != tree.FIFO || mustHave(t, got, "/d").Mode != 0o711 || len(got) != 5 {
		t.Errorf("%d entries", len(got))
	}
}

// TestNewEntries_LongChainOfLinks_AllAreTheFirst: following each to its beginning would take minutes.
func TestNewEntries_LongChainOfLinks_AllAreTheFirst(t *testing.T) {
	n := sized(100_000, 1000)
	first, err := newRecord("/00000000", 1, &tree.Node{Name: recordName, Type: tree.File}, 0)
	if err != nil {
		t.Fatal(err)
	}
	list := []record{first}
	for i := 1; i < n; i++ {
		list = append(list, record{path: fmt.Sprintf("/%08d", i), seq: uint64(i + 1), link: list[i-1].path})
	}
	slices.Reverse(list)
	e, err := newEntries(list, true)
	if err != nil {
		t.Fatal(err)
	}
	for i, at := range e.first {
		if at != 0 || e.list[i].seq != uint64(i+1) {
			t.Fatalf("entry %d has the node of %d", i, at)
		}
	}
	if e.names[0] != n || len(e.inodes) != 1 {
		t.Errorf("%d names, %d inodes", e.names[0], len(e.inodes))
	}
}

// TestNewEntries_LinkToWhatIsReplacedLater_IsTheOldFile: and one that is written afterwards is the new one.
func TestNewEntries_LinkToWhatIsReplacedLater_IsTheOldFile(t *testing.T) {
	file := func(seq uint64) record {
		r, err := newRecord("/z", seq, &tree.Node{Name: recordName, Type: tree.File}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	e, err := newEntries([]record{
		file(1), {path: "/y", seq: 2, link: "/z"}, file(3), {path: "/x", seq: 4, link: "/y"}, {path: "/a", seq: 5, link: "/z"},
	}, true)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for i, r := range e.list {
		got[r.path] = e.list[e.first[i]].seq
	}
	if want := map[string]uint64{"/a": 3, "/x": 1, "/y": 1, "/z": 3}; !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if _, err := newEntries([]record{{path: "/a", seq: 1, link: "/b"}, {path: "/b", seq: 2, link: "/a"}}, true); !errors.Is(err, source.ErrNode) {
		t.Errorf("a circle: %v", err)
	}
}

func TestFeed_Details_AreInTheManifestAndComeBack(t *testing.T) {
	r, store := newRepo(t)
	var before []byte
	n := 0
	o := fakeOptions(func(_ context.Context, out source.Writer) error {
		before = out.Before()
		n++
		return errors.Join(put(out, "/a", []byte("x")), out.Describe(map[string]int{"n": 0}), out.Describe(map[string]int{"n": n}))
	})
	mustRun(t, r, o)
	if before != nil {
		t.Errorf("before the first: %s", before)
	}
	second := mustRun(t, testrepo.Open(t, store), o)
	if string(before) != `{"n":1}` || second.Snapshot.Details != `{"n":2}` || second.Parent == nil {
		t.Errorf("before %s, now %s", before, second.Snapshot.Details)
	}
	o.SkipIfUnchanged = true
	if res := mustRun(t, r, o); res.Unchanged {
		t.Error("other details are unchanged")
	}
}

// TestFeed_OtherKind_IsNoParent: neither by itself nor by name.
func TestFeed_OtherKind_IsNoParent(t *testing.T) {
	r, _ := newRepo(t)
	first := mustRun(t, r, Options{Host: "h", Source: streams(t, stream.Stream{Name: "fake", Reader: strings.NewReader("x")})})
	o := fakeOptions(func(_ context.Context, out source.Writer) error { return put(out, "/fake", []byte("x")) })
	if res := mustRun(t, r, o); res.Parent != nil {
		t.Errorf("%v is the parent", res.Parent.Source)
	}
	o.Parent = first.Snapshot
	if _, err := Run(t.Context(), r, o, Events{}); err == nil {
		t.Error("a stream was taken as the parent")
	}
}

// TestFeed_ManyFiles_AllAreThere: small ones, which need no goroutine.
func TestFeed_ManyFiles_AllAreThere(t *testing.T) {
	r, _ := newRepo(t)
	count := 10_000
	if testing.Short() {
		count = 5_000
	}
	name := func(i int) string { return fmt.Sprintf("/db%d/table%d.sql", i%7, i) }
	write := func(changed int) Options {
		return fakeOptions(func(_ context.Context, out source.Writer) error {
			for i := range count {
				data := fmt.Appendf(nil, "%d is what is in it", i)
				if i == changed {
					data = []byte("changed")
				}
				if err := put(out, name(i), data); err != nil {
					return err
				}
			}
			return nil
		})
	}
	first := mustRun(t, r, write(-1))
	if s := first.Summary; s.Files != uint64(count) || s.FilesNew != s.Files || s.Dirs != 7 {
		t.Errorf("%+v", s)
	}
	second := mustRun(t, r, write(4711))
	if s := second.Summary; s.FilesChanged != 1 || s.FilesUnmodified != uint64(count-1) || s.FilesNew != 0 {
		t.Errorf("%+v", s)
	}
	got := readBack(t, r, second.Snapshot)
	if len(got) != count+7 || string(got[name(4711)].data) != "changed" || string(got[name(count-1)].data) != fmt.Sprint(count-1, " is what is in it") {
		t.Errorf("%d entries", len(got))
	}
}

func TestFeed_DamagedParent_IsReportedAndNoMore(t *testing.T) {
	r, store := newRepo(t)
	data := testrepo.Random(1, 9<<20)
	o := fakeOptions(func(_ context.Context, out source.Writer) error {
		f, err := out.Create("/d/a", source.FileNode(0))
		if err != nil {
			return err
		}
		_, err = f.ReadMap(bytes.NewReader(data), []source.Range{{Length: int64(len(data)), Kind: source.Same}})
		return errors.Join(err, f.Close())
	})
	mustRun(t, r, o)
	for _, name := range testrepo.Names(t, store, object.TreePrefix) {
		must(t, store.Delete(t.Context(), name))
	}
	fresh := testrepo.Open(t, store)
	res, rec, err := runWith(t.Context(), fresh, o, hooks{})
	must(t, err)
	damage := (*repo.DamageError)(nil)
	if !errors.As(rec.errors["/d/a"], &damage) || res.Summary.Errors != 0 {
		t.Errorf("%v, %+v", rec.errors, res.Summary)
	}
	if got := mustHave(t, readBack(t, fresh, res.Snapshot), "/d/a"); !bytes.Equal(got.data, data) {
		t.Error("other bytes")
	}
}
