package restore

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/budget"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// Deltas of any earlier blobs, in any order, some of them small enough to share a segment, come out right, whatever
// memory there is and however many read, decode and keep them.
func TestLane_AnyDeltasInAnyOrder_AreDecodedWithAnyMemory(t *testing.T) {
	rng, rounds := testrand.New(t), 3
	if testing.Short() {
		rounds = 1
	}
	for range rounds {
		r, store := testrepo.New(t)
		var all [][]byte
		var snaps []*repo.Snapshot
		var wants [][]byte
		for k := range 6 {
			s, err := r.NewSession(t.Context(), repo.SessionOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 4 {
				data := testrepo.Random(rng.Uint64(), 66<<10+rng.IntN(200<<10))
				var bases [][]byte
				if k > 0 {
					data = nil
					for range 1 + rng.IntN(3) {
						base := all[rng.IntN(len(all)-i)]
						from := rng.IntN(len(base) / 2)
						data = append(data, base[from:]...)
						bases = append(bases, base)
					}
					data = testrepo.Edited(rng.Uint64(), data[:min(len(data), 400<<10)])
				}
				if len(data) < 64<<10 {
					continue
				}
				testrepo.SaveLike(t, r, s, data, bases...)
				all = append(all, data)
			}
			var parts [][]byte
			for _, i := range rng.Perm(len(all)) {
				if rng.IntN(3) > 0 {
					parts = append(parts, all[i])
				}
			}
			snap, err := s.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(t, s, parts...)})
			if err != nil {
				t.Fatal(err)
			}
			snaps, wants = append(snaps, snap), append(wants, bytes.Join(parts, nil))
		}
		for i, snap := range snaps {
			for _, memory := range []int64{1, 600 << 10, linkedBudget} {
				run := newRun(testrepo.Open(t, store), Options{Target: filepath.Join(t.TempDir(), "target")}, Events{})
				run.linked, run.fetched = budget.New(memory), budget.New(memory)
				run.fetchers, run.decoders = 1+rng.IntN(4), 1+rng.IntN(4)
				if err := run.restore(t.Context(), snap); err != nil {
					t.Fatal(err)
				}
				got, err := os.ReadFile(run.o.Target + "/f")
				if err != nil || !bytes.Equal(got, wants[i]) {
					t.Fatalf("snapshot %d with %d bytes of memory: %d bytes, %v; want %d", i, memory, len(got), err, len(wants[i]))
				}
			}
		}
	}
}

// A chain of which each step has three bases, all in the step before: what is not kept has to be decoded three times as
// often with each step.
func TestLane_ChainForgedToTakeForEver_GivesUpAndIsReadOtherwise(t *testing.T) {
	r, store := testrepo.New(t)
	const width, steps, size = 3, 8, 70 << 10
	var sid object.SessionID
	secret, err := r.Keys().NewSecret(seal.Data)
	must(t, err)
	b, err := pack.NewBuilder(r.Keys(), object.DataPack, sid, secret, pack.Options{}, nil)
	must(t, err)
	var joined, last []byte
	var below []object.BlobID
	var enc delta.Encoder
	for step := range steps + 1 {
		var next []byte
		var ids []object.BlobID
		for i := range width {
			n := pack.NewSegment{Plain: testrepo.Random(uint64(i), size), Lengths: []uint32{size}}
			n.Stored = n.Plain
			if step > 0 {
				n.Plain = testrepo.Edited(uint64(step*width+i), joined[i*size:][:size])
				stream, _, ok := enc.Encode(nil, joined, n.Plain, size/2)
				if !ok {
					t.Fatal("no delta")
				}
				n.Coding, n.Stored = pack.Delta, pack.EncodeDelta(nil, stream, zst.Default)
				n.Bases, n.Base, n.Depth, n.BasesSum = below, joined, uint8(step), uint64(step)*size
			}
			n.IDs = []object.BlobID{r.BlobID(object.DataBlob, n.Plain)}
			must(t, b.Add(n))
			ids, next, last = append(ids, n.IDs[0]), append(next, n.Plain...), n.Plain
		}
		below, joined = ids, next
	}
	obj, ref, dir, err := b.Finish(true)
	must(t, err)
	must(t, store.Put(t.Context(), ref.Name(), obj))
	var listed index.Segment
	must(t, listed.AddPack(ref, int64(len(obj)), dir))
	segments, err := r.PutIndex(t.Context(), sid, &listed)
	must(t, err)
	own := testrepo.CommitFile(t, testrepo.Open(t, store), []byte("x"))
	_, err = r.Commit(t.Context(), func(context.Context, *log.State) (*log.Entry, error) {
		return &log.Entry{
			Kind: log.KindSnapshot, Session: sid, Manifest: own.Entry.Manifest, Index: segments,
			Add: []log.PackRef{{Ref: ref, Size: int64(len(obj))}},
		}, nil
	})
	must(t, err)
	snap := testrepo.CommitFile(t, testrepo.Open(t, store), last)

	reads := fault.New(store)
	run := newRun(testrepo.Open(t, reads), Options{Target: filepath.Join(t.TempDir(), "target")}, Events{})
	run.linked, run.decoders = budget.New(1), 1
	must(t, run.restore(t.Context(), snap))
	got, err := os.ReadFile(run.o.Target + "/f")
	if err != nil || !bytes.Equal(got, last) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if n := reads.Count(fault.Get, ref.Name()); n < maxMade/2 || n > 2*maxMade {
		t.Errorf("%d reads of the pack", n)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Of bases that are more than a delta may have none is planned: whoever loads them is told so.
func TestPlanBases_MoreBytesThanAllowed_NotPlanned(t *testing.T) {
	r, _ := testrepo.New(t)
	var ids []object.BlobID
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	must(t, err)
	var blobs [][]byte
	for i := range 5 {
		blobs = append(blobs, bytes.Repeat([]byte{byte(1 + i)}, pack.MaxJoined/4))
		ids = append(ids, r.BlobID(object.DataBlob, blobs[i]))
	}
	_, err = s.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(t, s, blobs...)})
	must(t, err)
	ix, err := r.Index(t.Context())
	must(t, err)
	for n, want := range map[int]int{4: 4, 5: 0} {
		b := newBatch(ix)
		seg := &segment{Segment: repo.Segment{Depth: 1, Bases: local.JoinBases(ids[:n])}}
		if b.planBases(seg); len(seg.bases) != want || b.bases != want {
			t.Errorf("of %d bases %d are planned", n, len(seg.bases))
		}
	}
}

// What a chain needs is what it takes to decode one of its deltas, not all.
func TestCost_Chain_IsThatOfItsLargestStep(t *testing.T) {
	last := &segment{Segment: repo.Segment{Plain: 100}}
	for i := range uint32(8) {
		s := &segment{Segment: repo.Segment{Plain: 100 + i}}
		s.bases = []base{{seg: last, length: last.Plain}}
		last = s
	}
	if got := last.cost(); got != 107+106 {
		t.Errorf("a chain takes %d", got)
	}
	wide := &segment{Segment: repo.Segment{Plain: 100}}
	for range 8 { // a deep base and a plain one in each step
		plain := &segment{Segment: repo.Segment{Plain: 100}}
		wide = &segment{Segment: repo.Segment{Plain: 100}, bases: []base{{seg: plain, length: 100}, {seg: wide, length: 100}}}
	}
	if got := wide.cost(); got != 300 || wide.first() != 1 {
		t.Errorf("a chain with two bases in each step takes %d", got)
	}
	two := &segment{Segment: repo.Segment{Plain: 10}, bases: []base{{seg: last, length: 107}, {seg: last, length: 107}}}
	if got := two.cost(); got != 2*107+213 {
		t.Errorf("two bases take %d", got)
	}
}
