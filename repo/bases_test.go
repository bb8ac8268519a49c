package repo_test

import (
	"bytes"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
)

// TestMakeBase_MorePiecesThanAreWorthIt_IsMadeWhole: every 64th byte changed makes of a chunk of 4 MiB more pieces than a base may
// have. What is made of that, and of the next deltas, is right all the same, and no memory is lost on the way.
func TestMakeBase_MorePiecesThanAreWorthIt_IsMadeWhole(t *testing.T) {
	r, _ := testrepo.New(t)
	data := testrepo.Random(1, 4<<20)
	_, like := commitLike(t, r, repo.SessionOptions{}, data, nil)
	contents, likes := [][]byte{data}, []before{like}
	for n, step := range []int{64, 100_000, 80} {
		data = bytes.Clone(data)
		for at := n; at < len(data); at += step {
			data[at]++
		}
		_, like = commitLike(t, r, repo.SessionOptions{}, data, like)
		if p := placeOf(t, r, like); p.Coding != pack.Delta || int(p.Depth) != n+1 {
			t.Fatalf("generation %d is stored as %v of depth %d", n+1, p.Coding, p.Depth)
		}
		contents, likes = append(contents, data), append(likes, like)
	}
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort()
	for n, like := range likes {
		got, free, err := s.MakeBase(t.Context(), like[0].ID)
		if err != nil || !bytes.Equal(got, contents[n]) || !free {
			t.Errorf("generation %d: %d bytes, %v; all memory is free: %v", n, len(got), err, free)
		}
	}
}

// TestLoadBase_LargeOrInAGroup_KeepsWhatItCan: what is larger than all that is kept is kept alone, since where boundaries have moved the next
// chunk needs it, too; and a blob that has to be read in another way costs the others nothing.
func TestLoadBase_LargeOrInAGroup_KeepsWhatItCan(t *testing.T) {
	r, _ := testrepo.New(t)
	var blobs []before
	for i, size := range []int{300 << 10, 300 << 10, 7 << 20} {
		_, b := commitLike(t, r, repo.SessionOptions{}, testrepo.Random(uint64(i+1), size), nil)
		blobs = append(blobs, b)
	}
	grouped, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		grouped.Save(object.DataBlob, testrepo.Random(uint64(i+10), 10<<10), func(saved repo.Saved, err error) {
			if err != nil {
				t.Error(err)
			}
			if i == 0 {
				blobs = append(blobs, before{{ID: saved.ID}})
			}
		})
	}
	if _, err := grouped.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(t, grouped)}); err != nil {
		t.Fatal(err)
	}
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort()
	for _, c := range []struct {
		what string
		of   int
		kept int
	}{{"one", 0, 1}, {"another", 1, 2}, {"again", 0, 2}, {"in a group", 3, 2}, {"large", 2, 1}, {"large, again", 2, 1}, {"small", 0, 1}} {
		if kept, err := s.LoadBase(t.Context(), blobs[c.of][0].ID); err != nil || kept != c.kept {
			t.Errorf("%s: %d are kept, want %d; %v", c.what, kept, c.kept, err)
		}
	}
}
