package testrepo

import (
	"encoding/binary"
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
	m, err := TryManifest(s, chunks...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TryManifest is Manifest for tests in which saving may fail.
func TryManifest(s *repo.Session, chunks ...[]byte) (*repo.Manifest, error) {
	node := tree.Node{Name: "f", Type: tree.File, Mode: 0o644}
	for _, c := range chunks {
		saved, err := s.SaveNow(object.DataBlob, c)
		if err != nil {
			return nil, err
		}
		node.Content.Append(tree.Extent{Kind: tree.Data, ID: saved.ID, Length: int64(len(c))})
		node.Size += int64(len(c))
	}
	return tryRoot(s, node)
}

func tryRoot(s *repo.Session, node tree.Node) (*repo.Manifest, error) {
	page, err := tree.EncodePage(&tree.Page{Kind: tree.Leaf, Nodes: []tree.Node{node}})
	if err != nil {
		return nil, err
	}
	root, err := s.SaveNow(object.TreeBlob, page)
	return &repo.Manifest{Time: 1, Host: "h", Paths: [][]byte{[]byte("/f")}, Root: root.ID[:]}, err
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
	binary.LittleEndian.PutUint64(key[:], seed)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}
