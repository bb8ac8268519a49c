package tree_test

import (
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/tree"
)

// referenceContent cuts a content as docs/format.md, section 11.2, says.
func referenceContent(t testing.TB, m *memory, extents []tree.Extent) (tree.Content, []object.BlobID) {
	t.Helper()
	var c tree.Content
	if len(extents) <= 4096 {
		for _, e := range extents {
			c.Append(e)
		}
		return c, nil
	}
	var pages []object.BlobID
	for i, e := range extents {
		c.Append(e)
		zeroBits := e.Kind == tree.Data && e.ID[0] == 0 && e.ID[1] < 64
		if zeroBits || len(c.Lengths) == 8192 || i == len(extents)-1 {
			pages = append(pages, m.put(t, &tree.Page{Kind: tree.ContentPage, Content: c}))
			c = tree.Content{}
		}
	}
	return tree.Content{}, pages
}

func checkContent(t testing.TB, w *tree.ContentWriter, got *memory, extents []tree.Extent) {
	t.Helper()
	want := newMemory()
	content, pages := referenceContent(t, want, extents)
	clear(got.blobs)
	n := tree.Node{Name: "f", Type: tree.File}
	var size int64
	for _, e := range extents {
		size += e.Length
		if err := w.Add(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(ctx, &n); err != nil {
		t.Fatal(err)
	}
	if n.Size != size || !slices.Equal(n.Pages, pages) || !equalContent(n.Content, content) {
		t.Fatalf("%d extents: node of size %d with %d pages, want %d with %d", len(extents), n.Size, len(n.Pages), size, len(pages))
	}
	if !maps.Equal(want.blobs, got.blobs) {
		t.Fatalf("%d extents: %d pages, want %d, or with other bytes", len(extents), len(got.blobs), len(want.blobs))
	}
	var read []tree.Extent
	for e, err := range tree.ReadContent(ctx, &n, got.load) {
		if err != nil {
			t.Fatal(err)
		}
		read = append(read, e)
	}
	if !slices.Equal(read, extents) {
		t.Fatalf("%d extents read of %d, or different ones", len(read), len(extents))
	}
	if _, err := tree.EncodePage(&tree.Page{Kind: tree.Leaf, Nodes: []tree.Node{n}}); err != nil {
		t.Fatal(err)
	}
}

func equalContent(a, b tree.Content) bool {
	return slices.Equal(a.IDs, b.IDs) && slices.Equal(a.Lengths, b.Lengths) && slices.Equal(a.Kinds, b.Kinds)
}

func TestContentWriter_AnyContent_SamePagesAsReference(t *testing.T) {
	m := newMemory()
	w := tree.NewContentWriter(m.save)
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.OneOf(
			rapid.IntRange(0, 20), rapid.SampledFrom([]int{4095, 4096, 4097, 8191, 8192, 8193}), rapid.IntRange(4000, 18_000),
		).Draw(rt, "extents")
		seed := rapid.Uint64().Draw(rt, "seed")
		holes := rapid.SampledFrom([]int{0, 2, 50}).Draw(rt, "holes")
		cuts := rapid.SampledFrom([]int{0, 500, 4096, 4097}).Draw(rt, "cuts")
		extents := make([]tree.Extent, n)
		for i := range extents {
			e := tree.Extent{Length: int64(i)%1000 + 1}
			binary.BigEndian.PutUint64(e.ID[16:], seed)
			binary.BigEndian.PutUint64(e.ID[24:], uint64(i))
			switch {
			case holes > 0 && i%holes == 1:
				e = tree.Extent{Kind: tree.ExtentKind(1 + i%2), Length: int64(i) + 1}
			case cuts > 0 && i%cuts == cuts-1:
				e.ID[0], e.ID[1] = 0, 63
			default:
				e.ID[0] |= 1
			}
			extents[i] = e
		}
		checkContent(t, w, m, extents)
	})
}

func TestContentWriter_BadExtent_FailsUntilFinish(t *testing.T) {
	m := newMemory()
	w := tree.NewContentWriter(m.save)
	for name, bad := range map[string]tree.Extent{
		"no id":    {Length: 1},
		"empty":    {ID: id(1)},
		"hole":     {Kind: tree.Hole, ID: id(1), Length: 1},
		"overflow": {Kind: tree.Hole, Length: math.MaxInt64},
	} {
		if err := w.Add(ctx, tree.Extent{ID: id(1), Length: 1}); err != nil {
			t.Fatal(err)
		}
		if err := w.Add(ctx, bad); !errors.Is(err, tree.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
		var n tree.Node
		if err := w.Finish(ctx, &n); !errors.Is(err, tree.ErrInvalid) {
			t.Errorf("%s, finish: %v, want the same", name, err)
		}
	}
	checkContent(t, w, m, []tree.Extent{{ID: id(1), Length: 1}})
	checkContent(t, w, m, nil)
}

func TestReadContent_Damaged_IsAnError(t *testing.T) {
	m := newMemory()
	part := m.put(t, &tree.Page{Kind: tree.ContentPage, Content: tree.Content{Lengths: []int64{100}, Kinds: []tree.ExtentKind{tree.Hole}}})
	leaf := m.put(t, &tree.Page{Kind: tree.Leaf})
	for name, tc := range map[string]struct {
		size  int64
		pages []object.BlobID
		want  error
	}{
		"right":     {200, []object.BlobID{part, part}, nil},
		"too long":  {199, []object.BlobID{part, part}, tree.ErrInvalid},
		"too short": {201, []object.BlobID{part, part}, tree.ErrInvalid},
		"no page":   {200, []object.BlobID{part, leaf}, tree.ErrInvalid},
		"missing":   {200, []object.BlobID{part, id(1)}, errMissing},
	} {
		n := tree.Node{Name: "f", Type: tree.File, Size: tc.size, Pages: tc.pages}
		var sum int64
		var last error
		for e, err := range tree.ReadContent(ctx, &n, m.load) {
			sum += e.Length
			last = err
		}
		if !errors.Is(last, tc.want) || sum > tc.size {
			t.Errorf("%s: %d bytes, %v; want %v", name, sum, last, tc.want)
		}
	}
}

func TestRefs_AnyPage_AllItsBlobs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPage(rt)
		data, err := tree.EncodePage(p)
		if err != nil {
			rt.Fatal(err)
		}
		var want []tree.Ref
		add := func(kind tree.RefKind, ids ...object.BlobID) {
			for _, id := range ids {
				if !id.IsZero() {
					want = append(want, tree.Ref{Kind: kind, ID: id})
				}
			}
		}
		for _, n := range p.Nodes {
			for _, x := range n.XAttrs {
				add(tree.RefXAttr, x.Blob)
			}
			add(tree.RefData, n.Content.IDs...)
			add(tree.RefPage, n.Pages...)
			add(tree.RefPage, n.Subtree)
		}
		for _, ch := range p.Children {
			add(tree.RefPage, ch.Page)
		}
		add(tree.RefData, p.Content.IDs...)
		var got []tree.Ref
		for ref, err := range tree.Refs(data) {
			if err != nil {
				rt.Fatal(err)
			}
			got = append(got, ref)
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("got %v, want %v", got, want)
		}
		if len(want) > 0 {
			for range tree.Refs(data) {
				break
			}
		}
		var last error
		for _, err := range tree.Refs(data[:len(data)-1]) {
			last = err
		}
		if !errors.Is(last, tree.ErrInvalid) {
			rt.Fatalf("cut off: %v, want ErrInvalid", last)
		}
	})
}
