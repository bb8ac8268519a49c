package tree_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/zeebo/blake3"
	"pgregory.net/rapid"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/tree"
)

var ctx = context.Background()

// referenceDir writes a folder as docs/format.md, section 11, says, level by level with everything in memory.
func referenceDir(t testing.TB, m *memory, nodes []tree.Node) object.BlobID {
	t.Helper()
	put := func(p *tree.Page) object.BlobID { return m.put(t, p) }
	var leaves []tree.Child
	var leaf tree.Page
	bytes := 0 // at least those of the leaf
	cut := func() {
		if leaf.Kind = tree.Leaf; len(leaf.Nodes) > 0 || len(nodes) == 0 {
			first := ""
			if len(leaf.Nodes) > 0 {
				first = leaf.Nodes[0].Name
			}
			leaves = append(leaves, tree.Child{First: first, Page: put(&leaf)})
		}
		leaf = tree.Page{}
	}
	for _, n := range nodes {
		size := len(encodeByLibrary(t, &tree.Page{Kind: tree.Leaf, Nodes: []tree.Node{n}}))
		if len(leaf.Nodes) > 0 && bytes+size > 1048576 { // then it is worth to look closely
			with := tree.Page{Kind: tree.Leaf, Nodes: append(slices.Clone(leaf.Nodes), n)}
			if len(encodeByLibrary(t, &with)) > 1048576 {
				cut()
				bytes = 0
			}
		}
		bytes += size
		leaf.Nodes = append(leaf.Nodes, n)
		if blake3.Sum256([]byte(n.Name))[0] == 0 {
			cut()
		}
	}
	cut()
	level := leaves
	for len(level) > 1 {
		var up, items []tree.Child
		cut := func() {
			if len(items) > 0 {
				up = append(up, tree.Child{First: items[0].First, Page: put(&tree.Page{Kind: tree.Inner, Children: items})})
			}
			items = nil
		}
		for _, ch := range level {
			with := tree.Page{Kind: tree.Inner, Children: append(slices.Clone(items), ch)}
			if len(items) > 250 && len(encodeByLibrary(t, &with)) > 1048576 {
				cut()
			}
			items = append(items, ch)
			if len(items) == 4096 || len(items) >= 16 && blake3.Sum256([]byte(ch.First))[1] == 0 {
				cut()
			}
		}
		cut()
		level = up
	}
	return level[0].Page
}

func readDir(t testing.TB, m *memory, id object.BlobID) []tree.Node {
	t.Helper()
	var nodes []tree.Node
	for n, err := range tree.ReadDir(ctx, id, m.load) {
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, *n)
	}
	return nodes
}

func checkDir(t testing.TB, nodes []tree.Node) object.BlobID {
	t.Helper()
	want, got := newMemory(), newMemory()
	wantID := referenceDir(t, want, nodes)
	w := tree.NewDirWriter(got.save)
	var gotID object.BlobID
	for range 2 { // the writer is ready for more
		for i := range nodes {
			if err := w.Add(ctx, &nodes[i]); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		if gotID, err = w.Finish(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if gotID != wantID || !maps.Equal(got.blobs, want.blobs) {
		t.Fatalf("root %s in %d pages, want %s in %d", gotID, len(got.blobs), wantID, len(want.blobs))
	}
	read := readDir(t, got, gotID)
	if again := referenceDir(t, want, read); again != gotID || len(read) != len(nodes) {
		t.Fatalf("%d nodes read that make the page %s, want %d that make %s", len(read), again, len(nodes), gotID)
	}
	return gotID
}

func TestDirWriter_AnyFolder_SamePagesAsReference(t *testing.T) {
	cutters := cutting(100)
	rapid.Check(t, func(rt *rapid.T) {
		names := make(map[string]bool)
		for range rapid.IntRange(0, 20).Draw(rt, "names") {
			names[drawName(rt)] = true
		}
		for _, name := range cutters[:rapid.IntRange(0, len(cutters)).Draw(rt, "cutting names")] {
			names[name] = true
		}
		seed := rapid.Uint32().Draw(rt, "seed")
		for i := range rapid.IntRange(0, 80).Draw(rt, "more names") {
			names[fmt.Sprintf("%x-%d", seed, i)] = true
		}
		var nodes []tree.Node
		for i, name := range sorted(names) {
			if i < 5 {
				nodes = append(nodes, drawNode(rt, name))
			} else {
				nodes = append(nodes, tree.Node{Name: name, Type: tree.Socket})
			}
		}
		checkDir(t, nodes)
	})
}

// cutting returns names that end a leaf.
func cutting(n int) []string {
	var names []string
	for i := 0; len(names) < n; i++ {
		if name := fmt.Sprintf("%07d", i); blake3.Sum256([]byte(name))[0] == 0 {
			names = append(names, name)
		}
	}
	return names
}

// cutEverywhere are names with two zero bytes at the start of their hashes.
const cutEverywhere = `
0032990 0219052 0220666 0361751 0363997 0371629 0403838 0474699 0489701 0504166 0551682 0616484 0652410
0681241 0731451 0767138 0788533 1087545 1094579 1159149 1168768 1174472 1281015 1346550 1390925 1569356
1646861 1655483 1669012 1821767 1840060 1991209 2118579 2145451 2157485 2160068 2217559 2255135 2259867
2334508
`

func TestDirWriter_NamesThatCutEverywhere_StillConverge(t *testing.T) {
	var nodes []tree.Node
	for _, name := range strings.Fields(cutEverywhere) {
		if h := blake3.Sum256([]byte(name)); h[0] != 0 || h[1] != 0 {
			t.Fatalf("%q is not such a name", name)
		}
		nodes = append(nodes, tree.Node{Name: name, Type: tree.Socket})
	}
	checkDir(t, nodes)
	checkDir(t, nodes[:1])
	checkDir(t, nodes[:2])
	checkDir(t, nodes[:16])
	checkDir(t, nodes[:17])
}

func TestDirWriter_LargeNodes_LeavesStayBelowTheLimit(t *testing.T) {
	var nodes []tree.Node
	for i := range 60 {
		n := tree.Node{Name: fmt.Sprintf("%03d", i), Type: tree.Symlink, Target: strings.Repeat("x", 100_000+i)}
		if i == 30 {
			n.Target = strings.Repeat("y", 2<<20)
		}
		nodes = append(nodes, n)
	}
	checkDir(t, nodes)
	// Exactly at the limit, and one byte past it: the page has 3 bytes and each node 12 besides their targets.
	for _, past := range []int{0, 1} {
		n := tree.Node{Name: "a", Type: tree.Symlink, Target: strings.Repeat("x", 500_000)}
		b := tree.Node{Name: "b", Type: tree.Symlink}
		b.Target = strings.Repeat("x", 1<<20-3-12-500_000-12+past)
		m := newMemory()
		if _, err := tree.WriteDir(ctx, []tree.Node{n, b}, m.save); err != nil {
			t.Fatal(err)
		}
		if want := 1 + 2*past; m.saved != want {
			t.Errorf("%d past the limit: %d pages, want %d", past, m.saved, want)
		}
		checkDir(t, []tree.Node{n, b})
	}
}

func TestDirWriter_OneChangeInManyNodes_RewritesOnlyItsPath(t *testing.T) {
	m := newMemory()
	nodes := make([]tree.Node, 100_000)
	for i := range nodes {
		nodes[i] = file(fmt.Sprintf("file-%06d", i))
	}
	write := func(nodes []tree.Node) object.BlobID {
		id, err := tree.WriteDir(ctx, slices.Clone(nodes), m.save)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	before := write(nodes)
	pages := len(m.blobs)
	if pages < 200 {
		t.Fatalf("only %d pages", pages)
	}
	added := func(what string, most int, nodes []tree.Node) {
		t.Helper()
		had := len(m.blobs)
		if write(nodes) == before {
			t.Errorf("%s: the root did not change", what)
		}
		if n := len(m.blobs) - had; n > most {
			t.Errorf("%s: %d new pages of %d, want at most %d", what, n, pages, most)
		}
	}
	changed := slices.Clone(nodes)
	changed[77_777].Mode = 0o600
	added("change", 3, changed)
	added("removal", 4, slices.Delete(slices.Clone(nodes), 50_000, 50_001))
	added("insertion", 4, slices.Insert(slices.Clone(nodes), 50_000, file("file-049999a")))
	slices.Reverse(nodes)
	if write(nodes) != before {
		t.Error("the order of the nodes given to WriteDir changes the pages")
	}
}

func TestDirWriter_BadNode_FailsUntilFinish(t *testing.T) {
	m := newMemory()
	w := tree.NewDirWriter(m.save)
	good := tree.Node{Name: "b", Type: tree.Socket}
	for name, bad := range map[string]tree.Node{
		"invalid": {Name: "c"}, "same name": good, "descending": {Name: "a", Type: tree.Socket},
	} {
		if err := w.Add(ctx, &good); err != nil {
			t.Fatal(err)
		}
		if err := w.Add(ctx, &bad); !errors.Is(err, tree.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
		if err := w.Add(ctx, &tree.Node{Name: "d", Type: tree.Socket}); !errors.Is(err, tree.ErrInvalid) {
			t.Errorf("%s, next: %v, want the same", name, err)
		}
		if _, err := w.Finish(ctx); !errors.Is(err, tree.ErrInvalid) {
			t.Errorf("%s, finish: %v, want the same", name, err)
		}
	}
	id, err := w.Finish(ctx)
	if err != nil || m.blobs[id] != "\xa1\x01\x80" {
		t.Errorf("an empty folder after errors: %q, %v", m.blobs[id], err)
	}
	failing := tree.NewDirWriter(func(context.Context, []byte) (object.BlobID, error) { return object.BlobID{}, errMissing })
	if _, err := failing.Finish(ctx); !errors.Is(err, errMissing) {
		t.Errorf("saving fails: %v", err)
	}
}

func TestReadDir_DamagedFolder_NamesThePage(t *testing.T) {
	socket := func(name string) tree.Node { return tree.Node{Name: name, Type: tree.Socket} }
	leaf := func(names ...string) *tree.Page {
		p := &tree.Page{Kind: tree.Leaf}
		for _, name := range names {
			p.Nodes = append(p.Nodes, socket(name))
		}
		return p
	}
	m := newMemory()
	inner := func(children ...tree.Child) *tree.Page { return &tree.Page{Kind: tree.Inner, Children: children} }
	child := func(first string, p *tree.Page) tree.Child { return tree.Child{First: first, Page: m.put(t, p)} }
	deep := leaf("a")
	for range 8 {
		deep = inner(child("a", deep))
	}
	for name, tc := range map[string]struct {
		page *tree.Page
		want error
	}{
		"wrong first name":      {inner(child("a", leaf("b"))), tree.ErrInvalid},
		"names overlap":         {inner(child("a", leaf("a", "c")), child("b", leaf("b"))), tree.ErrInvalid},
		"same leaf again":       {inner(child("a", leaf("a", "b")), child("b", leaf("a", "b"))), tree.ErrInvalid},
		"overlap below":         {inner(child("a", leaf("a", "c")), child("b", inner(child("b", leaf("b"))))), tree.ErrInvalid},
		"empty leaf":            {inner(child("a", leaf())), tree.ErrInvalid},
		"content page":          {inner(child("a", &tree.Page{Kind: tree.ContentPage, Content: file("a").Content})), tree.ErrInvalid},
		"content page at first": {&tree.Page{Kind: tree.ContentPage, Content: file("a").Content}, tree.ErrInvalid},
		"too deep":              {deep, tree.ErrTooDeep},
		"missing":               {inner(tree.Child{First: "a", Page: id(1)}), errMissing},
	} {
		var last error
		for _, err := range tree.ReadDir(ctx, m.put(t, tc.page), m.load) {
			last = err
		}
		if !errors.Is(last, tc.want) {
			t.Errorf("%s: %v, want %v", name, last, tc.want)
		}
		if page := (*tree.PageError)(nil); tc.want != errMissing && !errors.As(last, &page) {
			t.Errorf("%s: %v does not name the page", name, last)
		}
	}
	sevenUp := leaf("a", "b")
	for range 7 {
		sevenUp = inner(child("a", sevenUp))
	}
	if got := readDir(t, m, m.put(t, sevenUp)); len(got) != 2 {
		t.Errorf("eight pages deep: %d nodes, want 2", len(got))
	}
}

// wideFolder stores a folder of many pages.
func wideFolder(t *testing.T) (*memory, []tree.Node, object.BlobID) {
	t.Helper()
	m := newMemory()
	var nodes []tree.Node
	for i := range 6000 {
		nodes = append(nodes, file(fmt.Sprintf("%05d", i)))
	}
	root, err := tree.WriteDir(ctx, nodes, m.save)
	if err != nil {
		t.Fatal(err)
	}
	return m, nodes, root
}

// A page that is lost costs its own names, and those of pages below it, and no others.
func TestReadDir_LostPages_CostOnlyTheirNames(t *testing.T) {
	m, nodes, root := wideFolder(t)
	lost := 0
	for id, page := range maps.Clone(m.blobs) {
		if id == root {
			continue
		}
		p, err := tree.DecodePage([]byte(page))
		if err != nil || p.Kind != tree.Leaf {
			continue
		}
		for _, broken := range []string{"", page[:len(page)/2], strings.Repeat("\xff", len(page))} {
			if m.blobs[id] = broken; broken == "" {
				delete(m.blobs, id)
			}
			var got []string
			errs := 0
			for n, err := range tree.ReadDir(ctx, root, m.load) {
				if err != nil {
					errs++
					continue
				}
				got = append(got, n.Name)
			}
			var want []string // and perhaps those before the break
			for _, n := range nodes {
				if n.Name < p.Nodes[0].Name || n.Name > p.Nodes[len(p.Nodes)-1].Name || slices.Contains(got, n.Name) {
					want = append(want, n.Name)
				}
			}
			if errs != 1 || !slices.Equal(got, want) || len(got) == len(nodes) {
				t.Fatalf("%d errors, %d of %d names, want %d", errs, len(got), len(nodes), len(want))
			}
			lost++
		}
		m.blobs[id] = page
		if lost > 30 {
			break
		}
	}
	if lost == 0 {
		t.Fatal("the folder has one page only")
	}
	t.Logf("%d lost pages", lost)
}

func TestReadDirAfter_AnyName_BeginsBehindItWithoutTheOtherPages(t *testing.T) {
	m, nodes, root := wideFolder(t)
	for _, after := range []string{"", "0", "00000", "02999", "02999x", "05998", "05999", "x"} {
		var got, want []string
		loads := 0
		load := func(ctx context.Context, id object.BlobID) ([]byte, error) {
			loads++
			return m.load(ctx, id)
		}
		for n, err := range tree.ReadDirAfter(ctx, root, after, load) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, n.Name)
		}
		for _, n := range nodes {
			if n.Name > after {
				want = append(want, n.Name)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("after %q: %d names, want %d", after, len(got), len(want))
		}
		if after >= "05998" && loads > 6 {
			t.Errorf("after %q: %d pages were loaded", after, loads)
		}
	}
}

func TestReadDir_StoppedOrCancelled(t *testing.T) {
	m := newMemory()
	var nodes []tree.Node
	for i := range 3000 {
		nodes = append(nodes, file(fmt.Sprintf("%04d", i)))
	}
	id, err := tree.WriteDir(ctx, nodes, m.save)
	if err != nil {
		t.Fatal(err)
	}
	loads, seen := 0, 0
	load := func(ctx context.Context, id object.BlobID) ([]byte, error) { loads++; return m.load(ctx, id) }
	for _, err := range tree.ReadDir(ctx, id, load) {
		if seen++; err != nil || seen == 3 {
			break
		}
	}
	if seen != 3 || loads != 2 {
		t.Errorf("saw %d nodes with %d loads, want 3 with 2", seen, loads)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	for _, err := range tree.ReadDir(cancelled, id, m.load) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	}
}

func TestWalk_VisitsAllAndSkips(t *testing.T) {
	m := newMemory()
	write := func(nodes ...tree.Node) object.BlobID {
		id, err := tree.WriteDir(ctx, nodes, m.save)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	folder := func(name string, nodes ...tree.Node) tree.Node {
		return tree.Node{Name: name, Type: tree.Folder, Subtree: write(nodes...)}
	}
	root := write(
		folder("etc", file("passwd"), folder("ssl", file("key"))), file("zero"),
		tree.Node{Name: "root", Type: tree.Folder, Error: "permission denied"}, folder("empty"),
	)
	for _, tc := range []struct {
		at   string
		err  error
		want string
	}{
		{"", nil, "/empty /etc /etc/passwd /etc/ssl /etc/ssl/key /root /zero"},
		{"/etc", fs.SkipDir, "/empty /etc /root /zero"},
		{"/etc/ssl", fs.SkipAll, "/empty /etc /etc/passwd /etc/ssl"},
		{"/etc/passwd", errMissing, "/empty /etc /etc/passwd"},
	} {
		var got []string
		err := tree.Walk(ctx, root, m.load, func(path string, n *tree.Node) error {
			got = append(got, path)
			if path == tc.at {
				return tc.err
			}
			return nil
		})
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%v at %q: visited %v, want %s", tc.err, tc.at, got, tc.want)
		}
		if tc.err == errMissing != errors.Is(err, errMissing) || tc.err != errMissing && err != nil {
			t.Errorf("%v at %q: returned %v", tc.err, tc.at, err)
		}
	}
}

func TestWalk_FoldersWithoutEnd_Fails(t *testing.T) {
	m := newMemory()
	sub, err := tree.WriteDir(ctx, nil, m.save)
	for i := 0; i < 10_010 && err == nil; i++ {
		sub, err = tree.WriteDir(ctx, []tree.Node{{Name: "d", Type: tree.Folder, Subtree: sub}}, m.save)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Walk(ctx, sub, m.load, func(string, *tree.Node) error { return nil }); !errors.Is(err, tree.ErrTooDeep) {
		t.Errorf("got %v, want ErrTooDeep", err)
	}
}
