package testrepo

import (
	"math/rand/v2"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// CommitFile commits a snapshot of one file "f" in the topmost folder with the given chunks.
func CommitFile(t testing.TB, r *repo.Repository, chunks ...[]byte) *repo.Snapshot {
	t.Helper()
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	snap, err := s.Commit(repo.CommitOptions{Manifest: Manifest(t, s, chunks...)})
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// Manifest saves a file like CommitFile and returns a manifest for it.
func Manifest(t testing.TB, s *repo.Session, chunks ...[]byte) *repo.Manifest {
	t.Helper()
	node := tree.Node{Name: "f", Type: tree.File, Mode: 0o644}
	for i, id := range Save(t, s, object.DataBlob, chunks...) {
		n := int64(len(chunks[i]))
		node.Content.Append(tree.Extent{Kind: tree.Data, ID: id, Length: n})
		node.Size += n
	}
	page, err := tree.EncodePage(&tree.Page{Kind: tree.Leaf, Nodes: []tree.Node{node}})
	if err != nil {
		t.Fatal(err)
	}
	root := Save(t, s, object.TreeBlob, page)[0]
	return &repo.Manifest{Time: 1, Host: "h", Paths: [][]byte{[]byte("/f")}, Root: root[:]}
}

// ReadFile reads the file that CommitFile wrote.
func ReadFile(t testing.TB, r *repo.Repository, snap *repo.Snapshot) ([]byte, error) {
	t.Helper()
	node, err := r.Find(t.Context(), snap, "/f")
	if err != nil {
		return nil, err
	}
	var out []byte
	for e := range node.Content.Extents() {
		b, err := r.LoadBlob(t.Context(), object.DataBlob, e.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
	}
	return out, nil
}

// Random returns n bytes that are the same for the same seed.
func Random(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}
