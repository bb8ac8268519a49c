package repo_test

import (
	"bytes"
	"testing"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
)

// commitPieces commits a content of pieces of a size, and returns what it is for the next.
func commitPieces(t *testing.T, r *repo.Repository, data []byte, size int, like repo.Like) before {
	t.Helper()
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := make(before, len(data)/size)
	for i := range out {
		at := int64(i * size)
		out[i] = repo.Near{Offset: at, Length: int64(size)}
		ready := make(chan error, 1)
		s.SaveLike(data[at:][:size], like, at, func(saved repo.Saved, err error) {
			out[i].ID = saved.ID
			ready <- err
		})
		if err := <-ready; err != nil {
			t.Fatal(err)
		}
	}
	page, err := s.SaveNow(object.TreeBlob, testrepo.Random(uint64(len(data)), 100))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: 1, Host: "h", Paths: [][]byte{[]byte("/f")}, Root: page.ID[:]}}); err != nil {
		t.Fatal(err)
	}
	return out
}

// decoded is how many segments are decoded to read a copy without any cache.
func decoded(t *testing.T, ix *repo.Index, p local.Place) int {
	t.Helper()
	n := 1
	for i := range p.Bases.Len() {
		for _, q := range ix.Places(p.Bases.At(i), nil) {
			if q.Depth < p.Depth {
				n += decoded(t, ix, q)
				break
			}
		}
	}
	return n
}

// TestSaveLike_BoundariesMoveInEachGeneration_TakesLittleToRead: every piece has two or three bases, each of which would have as
// many, and so on.
func TestSaveLike_BoundariesMoveInEachGeneration_TakesLittleToRead(t *testing.T) {
	const size = 128 << 10
	r, store := testrepo.New(t)
	data := testrepo.Random(1, 24*size)
	like := commitPieces(t, r, data, size, nil)
	several, deltas := 0, 0
	for n := 1; n <= pack.MaxDepth; n++ {
		size := []int{size, size * 5 / 3}[n%2]
		data = generation(data, n)[size/3:]
		data = data[:len(data)/size*size]
		like = commitPieces(t, r, data, size, moves{Like: like, by: int64(size / 3)})
		ix, err := r.Index(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range like {
			p := ix.Places(like[i].ID, nil)[0]
			deltas += min(p.Bases.Len(), 1)
			several += p.Bases.Len() / 2
			if got := decoded(t, ix, p); got > 32 {
				t.Errorf("generation %d, piece %d: %d segments are decoded", n, i, got)
			}
		}
	}
	if several < 30 || deltas < 50 {
		t.Errorf("of %d deltas %d have several bases", deltas, several)
	}
	other := testrepo.Open(t, store)
	for _, at := range like {
		got, err := other.LoadBlob(t.Context(), object.DataBlob, at.ID)
		if err != nil || !bytes.Equal(got, data[at.Offset:][:at.Length]) {
			t.Errorf("piece at %d: %d bytes, %v", at.Offset, len(got), err)
		}
	}
}
