package thief_test

import (
	"slices"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// TestTree_FoldersOfOthersAsAttributes_AreWalkedAllTheSame commits a file whose extended attributes are, so it says, the
// folders of everybody. A collector that has marked a folder must not take it for walked.
func TestTree_FoldersOfOthersAsAttributes_AreWalkedAllTheSame(t *testing.T) {
	w := newWorld(t)
	var ids []object.BlobID
	for ref, p := range w.newest().Packs {
		if ref.Class != object.TreePack {
			continue
		}
		dir, err := w.thief.LoadDirectory(t.Context(), ref, p.Size)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range dir.Segments {
			ids = append(ids, s.IDs...)
		}
	}
	slices.SortFunc(ids, func(a, b object.BlobID) int { return slices.Compare(a[:], b[:]) })
	node := tree.Node{Name: "f", Type: tree.File}
	for i, id := range ids {
		node.XAttrs = append(node.XAttrs, tree.XAttr{Name: "user." + string(rune('a'+i)), Blob: id})
	}
	page, err := tree.EncodePage(&tree.Page{Kind: tree.Leaf, Nodes: []tree.Node{node}})
	if err != nil {
		t.Fatal(err)
	}
	for range 8 { // snapshots are marked in any order
		s, err := w.thief.NewSession(t.Context(), repo.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		root, err := s.SaveNow(object.TreeBlob, page)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Host: "h", Root: root.ID[:]}}); err != nil {
			t.Fatal(err)
		}
	}
	w.surviveAll()
}
