package testrepo

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// like is an earlier content that consists of the given blobs, one after the other, whatever is asked for.
type like []repo.Near

func (l like) Near(int64, int64) []repo.Near { return l }
func (l like) Known(int64, object.BlobID)    {}
func (l like) Moved(now, was int64)          {}

// SaveLike stores a blob of at least 64 KiB, as a delta of earlier ones if they are worth it.
func SaveLike(t testing.TB, r *repo.Repository, s *repo.Session, data []byte, earlier ...[]byte) object.BlobID {
	t.Helper()
	id, err := trySaveLike(r, s, data, earlier...)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func trySaveLike(r *repo.Repository, s *repo.Session, data []byte, earlier ...[]byte) (object.BlobID, error) {
	l := make(like, len(earlier))
	at := int64(0)
	for i, b := range earlier {
		n := int64(len(b))
		l[i] = repo.Near{ID: r.BlobID(object.DataBlob, b), Offset: at, Length: n, Overlap: n / int64(len(earlier))}
		at += n
	}
	ready := make(chan struct{})
	var saved repo.Saved
	var err error
	s.SaveLike(data, l, 0, func(sv repo.Saved, e error) {
		saved, err = sv, e
		close(ready)
	})
	<-ready
	return saved.ID, err
}

// TryManifestLike is TryManifest of chunks that may be like earlier ones: each like that of the same index, unless that
// is nil.
func TryManifestLike(r *repo.Repository, s *repo.Session, chunks, earlier [][]byte) (*repo.Manifest, error) {
	node := tree.Node{Name: "f", Type: tree.File, Mode: 0o644}
	for i, c := range chunks {
		var before [][]byte
		if earlier[i] != nil {
			before = earlier[i : i+1]
		}
		id, err := trySaveLike(r, s, c, before...)
		if err != nil {
			return nil, err
		}
		node.Content.Append(tree.Extent{Kind: tree.Data, ID: id, Length: int64(len(c))})
		node.Size += int64(len(c))
	}
	return tryRoot(s, node)
}

// CommitLike commits a snapshot like CommitFile of a file of one chunk, which becomes a delta of earlier ones.
func CommitLike(t testing.TB, r *repo.Repository, data []byte, earlier ...[]byte) *repo.Snapshot {
	t.Helper()
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	id := SaveLike(t, r, s, data, earlier...)
	node := tree.Node{Name: "f", Type: tree.File, Mode: 0o644, Size: int64(len(data))}
	node.Content.Append(tree.Extent{Kind: tree.Data, ID: id, Length: int64(len(data))})
	m, err := tryRoot(s, node)
	if err != nil {
		t.Fatal(err)
	}
	snap, err := s.Commit(repo.CommitOptions{Manifest: m})
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// Edited returns a copy of data with a few bytes changed, here and there.
func Edited(seed uint64, data []byte) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	out := slices.Clone(data)
	for range 4 {
		at := rng.IntN(len(out) - 64)
		for i := range 64 {
			out[at+i] = byte(rng.Uint32())
		}
	}
	return out
}

// Generations returns contents of n bytes each, of which each is the one before, edited.
func Generations(seed uint64, n, generations int) [][]byte {
	out := [][]byte{Random(seed, n)}
	for i := 1; i < generations; i++ {
		out = append(out, Edited(seed+uint64(i), out[i-1]))
	}
	return out
}

// CommitGenerations commits a snapshot of each, as deltas of the ones before.
func CommitGenerations(t testing.TB, r *repo.Repository, contents [][]byte) (snaps []*repo.Snapshot) {
	t.Helper()
	for i, c := range contents {
		snaps = append(snaps, CommitLike(t, r, c, contents[max(0, i-1):i]...))
	}
	return snaps
}

// Depths returns the depths of all copies of a blob that count.
func Depths(t testing.TB, r *repo.Repository, data []byte) (depths []int) {
	t.Helper()
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	ix, err := r.Index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ix.Places(r.BlobID(object.DataBlob, data), nil) {
		depths = append(depths, int(p.Depth))
	}
	return depths
}
