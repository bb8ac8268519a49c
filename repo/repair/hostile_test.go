package repair_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"testing"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/repo/repair"
	"github.com/kura-backup/kura/seal"
)

// TestForgedManifest_BlocksNothing commits, with a writer's key, snapshots whose manifests are not manifests: check
// names each and looks at the others, and a repair can forget them.
func TestForgedManifest_BlocksNothing(t *testing.T) {
	r, store := testrepo.New(t)
	testrepo.CommitFile(t, r, file()...)
	writer := as(t, r, store, seal.Writer)
	maintainer := as(t, r, store, seal.Maintainer)
	forged := map[uint64]string{}
	for what, kind := range map[string]seal.Kind{"a garbled manifest": seal.Meta, "one that is sealed to those who read data": seal.Data} {
		secret, err := writer.Keys().NewSecret(kind)
		if err != nil {
			t.Fatal(err)
		}
		origin, key, err := secret.NewOrigin()
		if err != nil {
			t.Fatal(err)
		}
		e := &log.Entry{Kind: log.KindSnapshot, Manifest: log.SealedManifest{Origin: *origin, Ciphertext: key.Seal(nil, 0, []byte("no manifest"))}}
		rand.Read(e.Session[:])
		st, err := writer.Commit(t.Context(), func(context.Context, *log.State) (*log.Entry, error) { return e, nil })
		if err != nil {
			t.Fatal(err)
		}
		forged[st.N] = what
	}
	last := testrepo.CommitFile(t, testrepo.Open(t, store), []byte("after them"))
	for _, client := range []int{0, 1} {
		r := maintainer
		if client == 1 {
			r = testrepo.Open(t, store)
		}
		rep, err := check.Run(t.Context(), r, check.Options{}, check.Events{})
		if err != nil {
			t.Fatal(err)
		}
		named := map[string]bool{}
		for _, p := range rep.Problems {
			named[p.Object] = true
		}
		for n, what := range forged {
			if !named[object.LogName(n)] {
				t.Errorf("%s is not named: %v", what, rep.Problems)
			}
		}
		if rep.Snapshots != 4 || rep.SnapshotsDamaged != 2 {
			t.Errorf("%+v", rep)
		}
	}
	res, err := repair.Snapshots(t.Context(), maintainer, repair.SnapshotsOptions{Forget: true}, repair.Events{})
	if err != nil || len(res.Snapshots) != 2 {
		t.Fatalf("%+v, %v", res, err)
	}
	all, err := maintainer.Snapshots(t.Context())
	if err != nil || len(all) != 2 || all[1].ID != last.ID {
		t.Errorf("%d snapshots are left, %v", len(all), err)
	}
}

// TestPacks_ThiefSplitsACopiedSegmentOtherwise_TheTrueOneIsCarriedToo has a thief, who knows what was backed up, put
// a segment of somebody's pack into one of his own, as it is, but with other blobs in it. When both packs are
// repaired his must not be taken for the other one.
func TestPacks_ThiefSplitsACopiedSegmentOtherwise_TheTrueOneIsCarriedToo(t *testing.T) {
	r, store := testrepo.New(t)
	small := [][]byte{[]byte("small"), testrepo.Random(5, 1000)}
	victim := testrepo.CommitFile(t, r, small...)
	name := names(t, store, object.DataPrefix)[0]
	obj, err := store.Get(t.Context(), name, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := pack.OpenDirectory(r.Keys(), object.DataPack, obj)
	if err != nil {
		t.Fatal(err)
	}
	seg := dir.Segments[0]
	if len(seg.IDs) != len(small) {
		t.Fatalf("a segment of %d blobs", len(seg.IDs))
	}
	end := seg.Offset + seg.Stored
	joined := bytes.Join(small, nil)
	if seg.IDs[0] != r.BlobID(object.DataBlob, small[0]) {
		joined = bytes.Join([][]byte{small[1], small[0]}, nil)
	}
	seg.IDs, seg.Lengths = []object.BlobID{r.BlobID(object.DataBlob, joined)}, []uint32{seg.Plain}
	var sid object.SessionID // lower than any other: his pack comes first
	b, err := pack.NewBuilder(r.Keys(), object.DataPack, sid, nil, pack.Options{Parity: 3}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Carry(dir.Origins[seg.Origin], seg, obj[seg.Offset:end]); err != nil {
		t.Fatal(err)
	}
	forged, forgedRef, forgedDir, err := b.Finish(true)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), forgedRef.Name(), forged); err != nil {
		t.Fatal(err)
	}
	var listed index.Segment
	if err := listed.AddPack(forgedRef, int64(len(forged)), forgedDir); err != nil {
		t.Fatal(err)
	}
	segments, err := r.PutIndex(t.Context(), sid, &listed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Commit(t.Context(), func(context.Context, *log.State) (*log.Entry, error) {
		return &log.Entry{
			Kind: log.KindSnapshot, Session: sid, Manifest: victim.Entry.Manifest, Index: segments,
			Add: []log.PackRef{{Ref: forgedRef, Size: int64(len(forged))}},
		}, nil
	}); err != nil {
		t.Fatal(err)
	}
	flip(t, store, name, 100)
	flip(t, store, forgedRef.Name(), 100)
	res, err := repair.Packs(t.Context(), testrepo.Open(t, store), repair.PacksOptions{}, repair.Events{})
	if err != nil || res.Count(repair.Mended) != 2 {
		t.Fatalf("%+v, %v", res, err)
	}
	wantWhole(t, store, victim, small)
	wantSound(t, store)
}
