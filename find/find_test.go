package find_test

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/zeebo/blake3"
	"pgregory.net/rapid"

	"github.com/kura-backup/kura/find"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/source/pattern"
	"github.com/kura-backup/kura/tree"
)

// memory holds tree pages, and counts how often each is loaded.
type memory struct {
	pages map[object.BlobID][]byte
	loads map[object.BlobID]int
	lost  map[object.BlobID]bool
}

func newMemory() *memory {
	return &memory{pages: map[object.BlobID][]byte{}, loads: map[object.BlobID]int{}, lost: map[object.BlobID]bool{}}
}

func (m *memory) save(_ context.Context, page []byte) (object.BlobID, error) {
	id := object.BlobID(blake3.Sum256(page))
	m.pages[id] = slices.Clone(page)
	return id, nil
}

var errLost = errors.New("lost")

func (m *memory) load(_ context.Context, id object.BlobID) ([]byte, error) {
	m.loads[id]++
	page, ok := m.pages[id]
	if !ok || m.lost[id] {
		return nil, errLost
	}
	return page, nil
}

func (m *memory) folder(t testing.TB, nodes ...tree.Node) object.BlobID {
	t.Helper()
	id, err := tree.WriteDir(t.Context(), nodes, m.save)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func file(name string, version int) tree.Node {
	n := tree.Node{Name: name, Type: tree.File, Mode: 0o644, MTime: tree.MakeTime(int64(version), 0), Size: 10}
	n.Content.Append(tree.Extent{Kind: tree.Data, ID: object.BlobID{1, byte(version), byte(version >> 8)}, Length: 10})
	return n
}

func folder(name string, subtree object.BlobID) tree.Node {
	return tree.Node{Name: name, Type: tree.Folder, Mode: 0o755, Subtree: subtree}
}

// search returns a line for each version that is found, and for each part that is damaged.
func search(t testing.TB, m *memory, roots []object.BlobID, fold bool, patterns ...string) (lines []string) {
	t.Helper()
	p, err := find.NewPatterns(patterns, fold)
	if err != nil {
		t.Fatal(err)
	}
	err = find.Run(t.Context(), roots, m.load, p, find.Events{
		Found: func(path string, versions []find.Version) error {
			for _, v := range versions {
				lines = append(lines, fmt.Sprint(path, " ", describe(v.Node), " ", v.In))
			}
			return nil
		},
		Damaged: func(path string, in []int32, err error) error {
			lines = append(lines, fmt.Sprint(path, " damaged ", in))
			if !errors.Is(err, errLost) && !errors.As(err, new(*tree.PageError)) {
				t.Errorf("%s: %v", path, err)
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func describe(n *tree.Node) string {
	return fmt.Sprint(n.Type, " ", n.Size, " ", n.MTime.Sec, " ", n.Target+n.Error)
}

func want(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRun_Versions_OldestFirstWithTheirTrees(t *testing.T) {
	m := newMemory()
	root := func(version int) object.BlobID {
		return m.folder(t, folder("d", m.folder(t, file("a", version), file("b", 1))), file("z", version), file("a.txt", 0))
	}
	again := m.folder(t, tree.Node{Name: "z", Type: tree.Symlink, Target: "b"})
	roots := []object.BlobID{root(2), root(1), root(2), again}
	want(
		t, search(t, m, roots, false, "[az]"),
		"/d/a file 10 2  [0 2]", "/d/a file 10 1  [1]",
		"/z file 10 2  [0 2]", "/z file 10 1  [1]", "/z symlink 0 0 b [3]",
	)
	want(t, search(t, m, roots, false, "d/b", "/a.*"), "/a.txt file 10 0  [0 1 2]", "/d/b file 10 1  [0 1 2]")
	want(t, search(t, m, roots, true, "D"), "/d folder 0 0  [0 1 2]")
	want(t, search(t, m, roots, false, "D", "/d/x"))
	want(t, search(t, m, nil, false, "*"))
}

func TestRun_SameSizeAndTime_ContentMakesAVersion(t *testing.T) {
	m := newMemory()
	a, b, owned := file("f", 1), file("f", 1), file("f", 1)
	b.Content.IDs = []object.BlobID{{9}}
	owned.UID, owned.User = 7, "me"
	roots := []object.BlobID{m.folder(t, a), m.folder(t, b), m.folder(t, owned)}
	p, _ := find.NewPatterns([]string{"f"}, false)
	err := find.Run(t.Context(), roots, m.load, p, find.Events{Found: func(_ string, versions []find.Version) error {
		if len(versions) != 2 || !slices.Equal(versions[0].In, []int32{0, 2}) || versions[0].Node.User != "me" {
			t.Errorf("%+v: want two versions, and the newest owner", versions)
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// A thousand trees that share most of their folders, and most pages of a large one, cost each page once.
func TestRun_ManyTrees_LoadEachPageOnce(t *testing.T) {
	m := newMemory()
	still := m.folder(t, file("x", 1), folder("sub", m.folder(t, file("y", 1))))
	large := make([]tree.Node, 9000)
	var roots []object.BlobID
	for v := range 100 {
		for i := range large {
			large[i] = file(fmt.Sprintf("%05d", i), 0)
		}
		large[v*80] = file(fmt.Sprintf("%05d", v*80), v+1)
		root := m.folder(t, folder("still", still), folder("large", m.folder(t, large...)), folder("v", m.folder(t, file("y", v+1000))))
		for range 10 {
			roots = append(roots, root)
		}
	}
	found := search(t, m, roots, false, "y", "large/07[0-4]*")
	if want := 100 + 1 + 500 + 6; len(found) != want { // of every 80th one there are two versions
		t.Errorf("%d lines, want %d", len(found), want)
	}
	for id, n := range m.loads {
		if n != 1 {
			t.Errorf("page %s was loaded %d times", id.Short(), n)
		}
	}
	if len(m.loads) != len(m.pages) {
		t.Errorf("%d of %d pages were loaded", len(m.loads), len(m.pages))
	}
}

func TestRun_AbsolutePatterns_EnterOnlyFoldersThatLeadThere(t *testing.T) {
	m := newMemory()
	deep := m.folder(t, file("f", 1))
	home := m.folder(t, folder("me", m.folder(t, folder("x", deep))), folder("you", m.folder(t, file("g", 1))))
	roots := []object.BlobID{m.folder(t, folder("home", home), folder("srv", m.folder(t, file("h", 1))))}
	for _, c := range []struct {
		pattern string
		loads   int
	}{
		{"/home", 1},
		{"/home/me", 2},
		{"/home/me/x", 3},
		{"/home/*/x", 4},
		{"/home/me/**", 4},
		{"/srv/h/i", 2},
		{"f", 6},
	} {
		clear(m.loads)
		search(t, m, roots, false, c.pattern)
		if len(m.loads) != c.loads {
			t.Errorf("%s: %d pages, want %d", c.pattern, len(m.loads), c.loads)
		}
	}
}

func TestRun_DamagedPages_AllElseIsFound(t *testing.T) {
	m := newMemory()
	bad, good := m.folder(t, file("f", 1)), m.folder(t, file("f", 2))
	root := func(d object.BlobID) object.BlobID { return m.folder(t, folder("d", d), file("f", 0)) }
	content, err := tree.EncodePage(&tree.Page{Kind: tree.ContentPage, Content: file("f", 0).Content})
	if err != nil {
		t.Fatal(err)
	}
	other, _ := m.save(t.Context(), content)
	m.lost[bad] = true
	want(
		t, search(t, m, []object.BlobID{root(bad), root(good), root(bad), root(other), {7}}, false, "f"),
		"/ damaged [4]", "/d damaged [0 2]", "/d damaged [3]", "/d/f file 10 2  [1]", "/f file 10 0  [0 1 2 3]",
	)
}

func TestRun_FirstNameOfAPageIsNotAsSaid_IsDamage(t *testing.T) {
	m := newMemory()
	leaf := m.folder(t, file("b", 1))
	inner, err := tree.EncodePage(&tree.Page{Kind: tree.Inner, Children: []tree.Child{{First: "a", Page: leaf}}})
	if err != nil {
		t.Fatal(err)
	}
	root, _ := m.save(t.Context(), inner)
	want(t, search(t, m, []object.BlobID{root}, false, "*"), "/ damaged [0]")
}

func TestRun_FoldersWithoutEnd_AreDamage(t *testing.T) {
	m := newMemory()
	sub := m.folder(t)
	for range 10_010 {
		sub = m.folder(t, folder("d", sub))
	}
	got := search(t, m, []object.BlobID{sub}, false, "nothing")
	if len(got) != 1 || !strings.HasSuffix(got[0], "damaged [0]") {
		t.Errorf("%d lines", len(got))
	}
}

func TestRun_Ended_ByContextAndByEvents(t *testing.T) {
	m := newMemory()
	roots := []object.BlobID{m.folder(t, file("f", 1)), {7}}
	p, _ := find.NewPatterns([]string{"f"}, false)
	errStop := errors.New("stop")
	found := func(string, []find.Version) error { return errStop }
	if err := find.Run(t.Context(), roots[:1], m.load, p, find.Events{Found: found}); err != errStop {
		t.Errorf("found: %v", err)
	}
	damaged := func(_ string, _ []int32, err error) error { return err }
	if err := find.Run(t.Context(), roots[1:], m.load, p, find.Events{Damaged: damaged}); !errors.Is(err, errLost) {
		t.Errorf("damaged: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := find.Run(ctx, roots, m.load, p, find.Events{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestNewPatterns_Bad_IsAnError(t *testing.T) {
	for _, s := range []string{"", "!a", "[a"} {
		if _, err := find.NewPatterns([]string{"a", s}, false); !errors.Is(err, pattern.ErrBad) {
			t.Errorf("%q: %v", s, err)
		}
	}
	m := newMemory()
	want(t, search(t, m, []object.BlobID{m.folder(t, file("!a", 1))}, false, `\!a`), "/!a file 10 1  [0]")
}

// A folder that grows by a level of pages shares its first pages with its versions from before.
func TestRun_FolderGrows_AsOneByOne(t *testing.T) {
	m := newMemory()
	var roots []object.BlobID
	for _, n := range []int{1, 100, 600, 3000, 6000, 20_000, 5000, 40} {
		nodes := make([]tree.Node, n)
		for i := range nodes {
			nodes[i] = file(fmt.Sprintf("%05d", i), n/1000)
		}
		for i := range min(n, 550) {
			nodes[i] = file(fmt.Sprintf("%05d", i), 0)
		}
		roots = append(roots, m.folder(t, nodes...))
	}
	want(t, search(t, m, roots, false, "*[05]"), oneByOne(t, m, roots, false, "*[05]")...)
}

// oneByOne walks each tree alone, and keeps everything.
func oneByOne(t testing.TB, m *memory, roots []object.BlobID, fold bool, patterns ...string) (lines []string) {
	t.Helper()
	type version struct {
		node string
		in   []int32
	}
	byPath := map[string][]version{}
	for i, root := range roots {
		err := tree.Walk(t.Context(), root, m.load, func(p string, n *tree.Node) error {
			if !slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, p, fold) }) {
				return nil
			}
			what := describe(n) + " "
			for e := range n.Content.Extents() {
				what += fmt.Sprint(e)
			}
			at := slices.IndexFunc(byPath[p], func(v version) bool { return v.node == what })
			if at < 0 {
				at = len(byPath[p])
				byPath[p] = append(byPath[p], version{node: what})
			}
			byPath[p][at].in = append(byPath[p][at].in, int32(i))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	paths := make([]string, 0, len(byPath))
	for p := range byPath {
		paths = append(paths, p)
	}
	slices.SortFunc(paths, func(a, b string) int { return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")) })
	for _, p := range paths {
		for _, v := range byPath[p] {
			node, _, _ := strings.Cut(v.node, "{")
			lines = append(lines, fmt.Sprint(p, " ", strings.TrimSuffix(node, " "), " ", v.in))
		}
	}
	return lines
}

// matches knows the patterns that the tests draw: without ** and with one element, or with all of them.
func matches(pattern, p string, fold bool) bool {
	if fold {
		pattern, p = strings.ToLower(pattern), strings.ToLower(p)
	}
	parts, elements := strings.Split(strings.Trim(pattern, "/"), "/"), strings.Split(p[1:], "/")
	if len(parts) > len(elements) || pattern[0] == '/' && len(parts) < len(elements) {
		return false
	}
	elements = elements[len(elements)-len(parts):]
	for i := range parts {
		if ok, _ := path.Match(parts[i], elements[i]); !ok {
			return false
		}
	}
	return true
}

func TestRun_AnyTrees_AsOneByOne(t *testing.T) {
	names := []string{"a", "A", "b", "b.txt", "c"}
	rapid.Check(t, func(rt *rapid.T) {
		m := newMemory()
		var draw func(depth int) object.BlobID
		draw = func(depth int) object.BlobID {
			var nodes []tree.Node
			for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom(names), rapid.ID[string]).Draw(rt, "names") {
				switch kind := rapid.IntRange(0, 9).Draw(rt, "kind"); {
				case kind < 4 && depth < 3:
					nodes = append(nodes, folder(name, draw(depth+1)))
				case kind == 9:
					nodes = append(nodes, tree.Node{Name: name, Type: tree.Symlink, Target: rapid.SampledFrom(names).Draw(rt, "target")})
				case kind == 8:
					nodes = append(nodes, tree.Node{Name: name, Type: tree.Folder, Error: "denied"})
				default:
					nodes = append(nodes, file(name, rapid.IntRange(1, 2).Draw(rt, "version")))
				}
			}
			return m.folder(t, nodes...)
		}
		some := rapid.SliceOfN(rapid.Custom(func(*rapid.T) object.BlobID { return draw(0) }), 1, 4).Draw(rt, "trees")
		roots := rapid.SliceOfN(rapid.SampledFrom(some), 1, 8).Draw(rt, "roots")
		part := rapid.SampledFrom([]string{"a", "b", "*", "b*", "?", "[ab]", "A"})
		patterns := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) string {
			return rapid.SampledFrom([]string{"", "/"}).Draw(rt, "anchor") + strings.Join(rapid.SliceOfN(part, 1, 4).Draw(rt, "parts"), "/")
		}), 1, 3).Draw(rt, "patterns")
		fold := rapid.Bool().Draw(rt, "fold")
		got, want := search(t, m, roots, fold, patterns...), oneByOne(t, m, roots, fold, patterns...)
		if !slices.Equal(got, want) {
			rt.Errorf("%q, fold %v: found\n%s\nwant\n%s", patterns, fold, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}
