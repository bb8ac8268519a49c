package tree_test

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/kura-backup/kura/tree"
)

// Of the list of a large file's chunks only the pages are new in which something has changed: not the whole of it, for each generation.
func TestContentWriter_OneChangeInManyExtents_RewritesOnlyItsPages(t *testing.T) {
	m := newMemory()
	extents := make([]tree.Extent, 125_000) // 125 GiB in chunks of 1 MiB
	for i := range extents {
		extents[i].Length = 1 << 20
		binary.BigEndian.PutUint64(extents[i].ID[16:], uint64(i))
		extents[i].ID[0] = byte(i*2654435761>>16) | 1
		if i%4096 == 77 { // where pages end
			extents[i].ID[0], extents[i].ID[1] = 0, 63
		}
	}
	write := func(extents []tree.Extent) (pages int) {
		t.Helper()
		had := len(m.blobs)
		w := tree.NewContentWriter(m.save)
		for _, e := range extents {
			if err := w.Add(ctx, e); err != nil {
				t.Fatal(err)
			}
		}
		n := tree.Node{Name: "f", Type: tree.File}
		if err := w.Finish(ctx, &n); err != nil {
			t.Fatal(err)
		}
		return len(m.blobs) - had
	}
	all := write(extents)
	if all < 20 {
		t.Fatalf("only %d pages", all)
	}
	for what, change := range map[string]func([]tree.Extent) []tree.Extent{
		"another": func(e []tree.Extent) []tree.Extent { e[77_777].ID[31]++; return e },
		"one more": func(e []tree.Extent) []tree.Extent {
			return slices.Insert(e, 50_000, tree.Extent{ID: e[1].ID, Length: 5})
		},
		"one less": func(e []tree.Extent) []tree.Extent { return slices.Delete(e, 50_000, 50_001) },
	} {
		if pages := write(change(slices.Clone(extents))); pages != 1 {
			t.Errorf("%s: %d new pages of %d", what, pages, all)
		}
	}
}
