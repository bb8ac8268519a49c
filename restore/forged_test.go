package restore_test

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"testing"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/seal"
)

// listing is an index segment that lists of packs what is not in them: whoever holds a writer's key can add one.
type listing struct{ index.Segment }

// list says that a copy of a blob lies in a segment, which change may change. The segment is one of seg's pack.
func (f *listing) list(id object.BlobID, place repo.Place, change func(s *index.PackSegment)) {
	s := index.PackSegment{
		Pack: uint32(len(f.Packs)), Origin: uint32(len(f.Origins)), Offset: place.At, Ordinal: place.Ordinal,
		Stored: place.Stored, Plain: place.Plain, Coding: place.Coding, Depth: place.Depth,
	}
	for i, p := range f.Packs {
		if p.Ref == place.Pack {
			s.Pack = uint32(i)
		}
	}
	if int(s.Pack) == len(f.Packs) {
		f.Packs = append(f.Packs, index.PackRef{Ref: place.Pack, Size: place.PackSize})
	}
	for i, o := range f.Origins {
		if o == place.Origin {
			s.Origin = uint32(i)
		}
	}
	if int(s.Origin) == len(f.Origins) {
		f.Origins = append(f.Origins, []*seal.Origin{place.Origin}...)
	}
	change(&s)
	f.Blobs = append(f.Blobs, index.Blob{ID: id, Segment: uint32(len(f.Segments)), Length: s.Plain})
	f.Segments = append(f.Segments, s)
}

// commit makes the segment valid.
func (f *listing) commit(t *testing.T, r *repo.Repository, snap *repo.Snapshot) {
	t.Helper()
	var sid object.SessionID
	rand.Read(sid[:])
	segments, err := r.PutIndex(t.Context(), sid, &f.Segment)
	must(t, err)
	_, err = r.Commit(t.Context(), func(context.Context, *log.State) (*log.Entry, error) {
		return &log.Entry{Kind: log.KindSnapshot, Session: sid, Manifest: snap.Entry.Manifest, Index: segments}, nil
	})
	must(t, err)
}

func somePlace(t *testing.T, r *repo.Repository, data []byte) repo.Place {
	t.Helper()
	must(t, r.Refresh(t.Context()))
	ix, err := r.Index(t.Context())
	must(t, err)
	p, err := ix.Lookup(r.BlobID(object.DataBlob, data))
	must(t, err)
	return p
}

func somebodys(n byte) object.BlobID { return object.BlobID{n, 1, 2, 3} }

// TestRun_OneSegmentListedInTwoDepths_EndsAndCostsWhatIsClaimed: a blob is said to be a delta of one that is said to be in the
// same segment, with less depth.
func TestRun_OneSegmentListedInTwoDepths_EndsAndCostsWhatIsClaimed(t *testing.T) {
	r, store := testrepo.New(t)
	data := testrepo.Random(1, 300<<10)
	good := file("good", chunks(data)...)
	snap := commit(t, r, good, file("claimed", part{id: somebodys(1), n: int64(len(data))}))
	place := somePlace(t, r, data)
	var f listing
	for depth := range uint8(2) {
		base := somebodys(2)
		if depth == 0 {
			base = r.BlobID(object.DataBlob, data)
		}
		f.list(somebodys(2-depth), place, func(s *index.PackSegment) {
			s.Coding, s.Depth, s.Bases, s.ChainSum = pack.Delta, 1+depth, []object.BlobID{base}, 2*uint64(s.Stored)
		})
	}
	f.commit(t, r, snap)
	target := filepath.Join(t.TempDir(), "target")
	out := run(t, testrepo.Open(t, store), snap, restore.Options{Target: target})
	if out.err != nil || out.Damaged != 1 || out.errors["/claimed"] == nil {
		t.Fatalf("error %v, result %+v, errors %v", out.err, out.Result, out.errors)
	}
	mustMatch(t, target, []entry{good})
}

// TestRun_SegmentsListedToOverlap_SpoilNoOthers: segments are decrypted in place, and what does not authenticate is cleared.
func TestRun_SegmentsListedToOverlap_SpoilNoOthers(t *testing.T) {
	r, store := testrepo.New(t)
	var parts, claimed []part
	for i := range 24 {
		parts = append(parts, part{data: testrepo.Random(uint64(i), 300<<10)})
		claimed = append(claimed, part{id: somebodys(byte(i)), n: 300<<10 - 1000})
	}
	good := file("good", parts...)
	var files []entry
	for i := range claimed {
		files = append(files, file(string(rune('a'+i)), claimed[i]))
	}
	snap := commit(t, r, append(files, good)...)
	var f listing
	for i := range parts {
		f.list(claimed[i].id, somePlace(t, r, parts[i].data), func(s *index.PackSegment) {
			s.Offset += uint32(i)
			s.Plain, s.Stored = s.Plain-1000, s.Stored-1000
		})
	}
	f.commit(t, r, snap)
	other := testrepo.Open(t, store)
	for range 5 {
		target := filepath.Join(t.TempDir(), "target")
		out := run(t, other, snap, restore.Options{Target: target})
		if out.err != nil || int(out.Damaged) != len(claimed) || out.errors["/good"] != nil {
			t.Fatalf("error %v, result %+v, errors %v", out.err, out.Result, out.errors)
		}
		mustMatch(t, target, []entry{good})
	}
}
