package restore

import (
	"context"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// Whatever the snapshot, what is planned at a time stays below the limits.
func TestWalker_ManyFilesAndManyBlobs_AreSplitIntoBoundedBatches(t *testing.T) {
	if testing.Short() {
		t.Skip("makes many nodes")
	}
	r, _ := testrepo.New(t)
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	save := func(_ context.Context, page []byte) (object.BlobID, error) {
		saved, err := s.SaveNow(object.TreeBlob, page)
		return saved.ID, err
	}
	blobs := make([]object.BlobID, 16)
	for i := range blobs {
		blobs[i] = testrepo.Save(t, s, object.DataBlob, fmt.Appendf(nil, "blob %02d", i))[0]
	}
	const files, extents = 40_000, 2*maxNeeds + 1000
	nodes := make([]tree.Node, 0, files+1)
	for i := range files {
		n := tree.Node{Name: fmt.Sprintf("f%06d", i), Type: tree.File, Size: 7}
		n.Content.Append(tree.Extent{ID: blobs[i%16], Length: 7})
		nodes = append(nodes, n)
	}
	long := tree.Node{Name: "long", Type: tree.File}
	w := tree.NewContentWriter(save)
	for i := range extents {
		if err := w.Add(t.Context(), tree.Extent{ID: blobs[i%16], Length: 7}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(t.Context(), &long); err != nil {
		t.Fatal(err)
	}
	root, err := tree.WriteDir(t.Context(), append(nodes, long), save)
	if err != nil {
		t.Fatal(err)
	}
	snap, err := s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: 1, Root: root[:]}})
	if err != nil {
		t.Fatal(err)
	}

	node, err := snap.RootNode()
	if err != nil {
		t.Fatal(err)
	}
	run := newRun(r, Options{DryRun: true}, Events{})
	if err := run.openTarget(node); err != nil {
		t.Fatal(err)
	}
	g, ctx := errgroup.WithContext(t.Context())
	run.ctx = ctx
	ix, err := r.Index(ctx)
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan *batch)
	g.Go(func() error {
		defer close(out)
		walker := &walker{run: run, out: out, b: newBatch(ix), limit: firstEntries, inodes: map[inodeKey]*inode{}}
		return walker.walk(ctx, node)
	})
	entries, needs, limit := 0, 0, firstEntries
	for b := range out {
		if b.entries > limit || b.needs > maxNeeds {
			t.Errorf("a batch with %d entries and %d blobs", b.entries, b.needs)
		}
		entries, needs, limit = entries+b.entries, needs+b.needs, min(2*limit, maxEntries)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if entries != files+1 || needs != files+extents {
		t.Errorf("%d entries and %d blobs were planned", entries, needs)
	}
}

func TestFetches_AnySegments_AreEachInOneRangeWithinReach(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := repo.Reach{Gap: rapid.Int64Range(0, 100).Draw(t, "gap"), Limit: rapid.Int64Range(1, 1000).Draw(t, "limit")}
		b := newBatch(nil)
		want := map[*segment]bool{}
		for range rapid.IntRange(0, 4).Draw(t, "packs") {
			p := &packPlan{}
			at := uint32(80)
			for range rapid.IntRange(0, 20).Draw(t, "segments") {
				at += rapid.Uint32Range(0, 200).Draw(t, "gap before")
				s := &segment{Segment: repo.Segment{At: at, Stored: rapid.Uint32Range(17, 600).Draw(t, "stored")}, needs: make([]need, 1)}
				at += s.Stored
				p.segments = append(p.segments, s)
				want[s] = true
			}
			b.packs = append(b.packs, p)
		}
		for _, f := range b.fetches(r) {
			end := f.from
			for i, s := range f.segments {
				if !want[s] {
					t.Fatal("a segment is fetched twice")
				}
				delete(want, s)
				if gap := int64(s.At) - end; gap < 0 || i > 0 && gap > r.Gap || i == 0 && gap != 0 {
					t.Fatalf("segment %d begins %d behind the one before", i, gap)
				}
				end = int64(s.At) + int64(s.Stored)
			}
			if end != f.from+f.length || len(f.segments) > 1 && f.length > r.Limit {
				t.Fatalf("range of %d bytes ends at %d, its segments at %d", f.length, f.from+f.length, end)
			}
		}
		if len(want) > 0 {
			t.Fatalf("%d segments are not fetched", len(want))
		}
	})
}
