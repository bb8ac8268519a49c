package thief_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/repo/repair"
	"github.com/kura-backup/kura/seal"
)

// lies claim everything that honest snapshots have, at a byte each.
func (w *world) lies() (out []blob) {
	for _, h := range w.honest {
		for _, part := range h.parts {
			out = append(out, blob{w.thief.BlobID(object.DataBlob, part), []byte{0}})
		}
	}
	return out
}

// TestPacks_LyingCopyOfAnothersBlob_TheTrueOneStays has a thief upload a pack, large and useful to the thief's own
// snapshot, whose directory claims the blobs of others with bytes that are not theirs. The packs of the
// others are small and are merged by the next collection: then their copies are younger than the lie.
func TestPacks_LyingCopyOfAnothersBlob_TheTrueOneStays(t *testing.T) {
	for name, together := range map[string]bool{"in segments of their own": false, "in a segment with what the thief needs": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var own [][]byte
			var segments [][]blob
			for i := range uint64(8) {
				j := w.junk(i, 1<<20-4096)
				own, segments = append(own, j.data), append(segments, []blob{j})
			}
			if together {
				segments[0] = append(segments[0], w.lies()...)
			} else {
				segments = append(segments, w.lies())
			}
			ref, dir := w.pack(object.DataPack, sid(1), segments...)
			refs := w.list(sid(1), w.listed(ref, dir))
			w.enter(&log.Entry{Kind: log.KindSnapshot, Session: sid(1), Manifest: w.manifest(), Add: []log.PackRef{ref}, Index: refs})
			w.newest()
			testrepo.CommitFile(t, w.thief, own...) // which needs the junk
			w.survive(3)
			if !w.maintainer.State().Live(ref.Ref) && !together {
				t.Error("the lies are gone: the test showed nothing")
			}
			// The owner can read, tells the copies apart, and frees the false ones.
			if _, err := gc.Run(t.Context(), w.owner, gc.Options{MaxUnused: -1}, gc.Events{}); err != nil {
				t.Fatal(err)
			}
			w.surviveAll()
		})
	}
}

// TestPacks_LyingTrees_TheTrueOnesStay claims the folders of others. Maintainers read those.
func TestPacks_LyingTrees_TheTrueOnesStay(t *testing.T) {
	w := newWorld(t)
	var lies []blob
	for _, h := range w.honest {
		lies = append(lies, blob{object.BlobID(h.snap.Root), []byte("no page")})
	}
	ref, dir := w.pack(object.TreePack, sid(1), lies)
	refs := w.list(sid(1), w.listed(ref, dir))
	w.enter(&log.Entry{Kind: log.KindSnapshot, Session: sid(1), Manifest: w.manifest(), Add: []log.PackRef{ref}, Index: refs})
	w.surviveAll()
	if w.maintainer.State().Live(ref.Ref) {
		t.Error("the lies are still there")
	}
}

// TestPacks_ThatAreNone_HurtNobody adds packs that are garbage, missing, of other sizes than they say, and those of others.
func TestPacks_ThatAreNone_HurtNobody(t *testing.T) {
	w := newWorld(t)
	garbage := []byte("neither a pack nor anything else")
	ref := func(class object.Class, n byte) object.Ref {
		return object.Ref{Class: class, Session: sid(n), Hash: object.Sum(append(garbage, n))}
	}
	w.put(ref(object.DataPack, 1).Name(), append(slices.Clone(garbage), 1))
	w.put(ref(object.TreePack, 1).Name(), append(slices.Clone(garbage), 1))
	others, _ := w.dataPacks(w.honest[0])
	real, dir := w.pack(object.DataPack, sid(2), []blob{w.junk(1, 1000)})
	add := []log.PackRef{
		{Ref: ref(object.DataPack, 1), Size: 3},       // garbage
		{Ref: ref(object.TreePack, 1), Size: 1 << 30}, // likewise
		{Ref: ref(object.DataPack, 3), Size: 100},     // missing
		{Ref: others[0].Ref, Size: 1<<31 - 1},         // another's
		{Ref: real.Ref, Size: 1<<31 - 1},              // own
	}
	huge := log.PackRef{Ref: real.Ref, Size: pack.MaxPackSize}
	w.enter(&log.Entry{
		Kind: log.KindSnapshot, Session: sid(9), Manifest: w.manifest(), Add: add,
		Index: w.list(sid(9), w.listed(huge, dir)),
	})
	if got := w.newest().Packs[others[0].Ref].Size; got != others[0].Size {
		t.Errorf("another's pack has now %d bytes", got)
	}
	w.surviveAll()
}

// TestPacks_OfAnOpenSessionAdoptedAndCollected_CostItARetry adopts what somebody is uploading; with the thief's
// snapshot it is forgotten and collected.
func TestPacks_OfAnOpenSessionAdoptedAndCollected_CostItARetry(t *testing.T) {
	w := newWorld(t)
	s, err := w.owner.NewSession(t.Context(), repo.SessionOptions{Packing: repo.Packing{Size: repo.MinPackSize}})
	if err != nil {
		t.Fatal(err)
	}
	parts := make([][]byte, 24)
	for i := range parts {
		parts[i] = testrepo.Random(uint64(300+i), 1<<20)
	}
	m := testrepo.Manifest(t, s, parts...)
	var add []log.PackRef
	for info, err := range w.store.List(t.Context(), object.DataPrefix+s.ID().String(), "") {
		if err != nil {
			t.Fatal(err)
		}
		ref, err := object.ParseRef(info.Name)
		if err != nil {
			t.Fatal(err)
		}
		add = append(add, log.PackRef{Ref: ref, Size: info.Size})
	}
	if len(add) == 0 {
		t.Fatal("nothing was uploaded yet: the test showed nothing")
	}
	seg := &index.Segment{}
	for _, p := range add {
		dir, err := w.thief.LoadDirectory(t.Context(), p.Ref, p.Size)
		if err != nil {
			t.Fatal(err)
		}
		if err := seg.AddPack(p.Ref, p.Size, dir); err != nil {
			t.Fatal(err)
		}
	}
	w.enter(&log.Entry{Kind: log.KindSnapshot, Session: sid(1), Manifest: w.manifest(), Add: add, Index: w.list(sid(1), seg)})
	if err := w.maintainer.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.maintainer.Forget(t.Context(), []object.SessionID{sid(1)}); err != nil {
		t.Fatal(err)
	}
	w.prune()
	w.wantStale(s, m)
	w.backUp(parts...)
	w.surviveAll()
}

// TestPacks_PoisonBeforeTheFirstBackup_IsFoundAndHeals is what a writer's key can do to backups that are yet to
// be made: who knows beforehand what a chunk will be can store other bytes under its id, and later backups rely
// on them. Only reading the data tells; then the pack is repaired, and the next backup stores the chunk.
func TestPacks_PoisonBeforeTheFirstBackup_IsFoundAndHeals(t *testing.T) {
	w := newWorld(t)
	known, secret := testrepo.Random(400, 300<<10), testrepo.Random(401, 300<<10)
	ref, dir := w.pack(object.DataPack, sid(1), []blob{{w.thief.BlobID(object.DataBlob, known), []byte("x")}})
	w.enter(&log.Entry{Kind: log.KindSnapshot, Session: sid(1), Manifest: w.manifest(), Add: []log.PackRef{ref}, Index: w.list(sid(1), w.listed(ref, dir))})
	w.refresh()

	victim := testrepo.CommitFile(t, w.owner, known, secret)
	w.surviveAll() // what was there before is not touched by it, nor what is backed up beside it
	if _, err := testrepo.ReadFile(t, testrepo.Open(t, w.store), victim); err == nil {
		t.Fatal("the poisoned snapshot is whole: the test showed nothing")
	}
	found := w.badPacks()
	if len(found) != 1 {
		t.Fatalf("check --read-data names %v", found)
	}
	res, err := repair.Packs(t.Context(), w.owner, repair.PacksOptions{Packs: found}, repair.Events{})
	if err != nil || res.Count(repair.Salvaged) != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	w.honest = append(w.honest, honest{victim, [][]byte{known, secret}})
	w.backUp(known) // whoever still has it
	w.surviveAll()
	if rep := w.findings(true); rep.Damaged() != 0 {
		t.Errorf("still damaged: %+v", rep.Problems)
	}
	t.Logf("a claim of one blob took a pack of %d bytes; of two chunks the one that was known before was poisoned", ref.Size)
}

// TestPacks_PoisonBelowABlobThatIsRight_IsFoundAndHeals is the same for who knows only what a chunk will be like: a blob comes out right, as a
// delta of another one that has other bytes than its id says, and a later chunk is stored as a delta of it.
func TestPacks_PoisonBelowABlobThatIsRight_IsFoundAndHeals(t *testing.T) {
	w := newWorld(t)
	lie := testrepo.Random(410, 300<<10)
	alike := testrepo.Edited(411, lie)
	chunk := testrepo.Edited(412, alike)
	claimed, right := w.thief.BlobID(object.DataBlob, []byte("something else")), w.thief.BlobID(object.DataBlob, alike)
	ref, dir := w.pack(object.DataPack, sid(1), []blob{{claimed, lie}})
	w.add(sid(1), ref, dir)
	above, dir := w.deltasOf(sid(2), lie, alike, claim{right, 1, []object.BlobID{claimed}})
	w.add(sid(2), above, dir)
	w.refresh()

	victim := testrepo.CommitLike(t, w.owner, chunk, alike)
	if d := testrepo.Depths(t, w.owner, chunk); !slices.Equal(d, []int{2}) {
		t.Fatalf("depths %v: the test shows nothing", d)
	}
	w.surviveAll() // what was there before is not touched by it
	if _, err := testrepo.ReadFile(t, testrepo.Open(t, w.store), victim); err == nil {
		t.Fatal("the snapshot is whole: the test shows nothing")
	}
	found := w.badPacks() // the collections have put it together with others
	if len(found) == 0 {
		t.Fatal("check --read-data names nothing")
	}
	if _, err := repair.Packs(t.Context(), w.owner, repair.PacksOptions{Packs: found}, repair.Events{}); err != nil {
		t.Fatal(err)
	}
	w.honest = append(w.honest, honest{victim, [][]byte{chunk}})
	w.backUp(chunk) // whoever still has it
	w.surviveAll()
	if rep := w.findings(true); rep.Damaged() != 0 {
		t.Errorf("still damaged: %+v", rep.Problems)
	}
}

// TestIndex_ForgedPlaces_CostNobodyABlob lists everything of everybody in every pack there is, and in one
// that is not there.
func TestIndex_ForgedPlaces_CostNobodyABlob(t *testing.T) {
	w := newWorld(t)
	missing := log.PackRef{Ref: object.Ref{Class: object.DataPack, Session: sid(7), Hash: object.Hash{7}}, Size: 1 << 20}
	st := w.newest()
	seg := &index.Segment{}
	for ref, p := range st.Packs {
		dir, err := w.thief.LoadDirectory(t.Context(), ref, p.Size)
		if err != nil {
			t.Fatal(err)
		}
		forged := pack.Segment{Coding: pack.Raw, Offset: 100, Ordinal: 99}
		for _, l := range w.lies() {
			forged.IDs, forged.Lengths = append(forged.IDs, l.id), append(forged.Lengths, 1)
		}
		forged.Plain = uint32(len(forged.IDs))
		forged.Stored = forged.Plain + 16
		dir.Segments = []pack.Segment{forged}
		if err := seg.AddPack(ref, p.Size, dir); err != nil {
			t.Fatal(err)
		}
		if ref.Class == object.DataPack {
			if err := seg.AddPack(missing.Ref, missing.Size, dir); err != nil {
				t.Fatal(err)
			}
			missing.Ref.Hash[1]++
		}
	}
	add := []log.PackRef{}
	for _, p := range seg.Packs {
		if p.Ref.Session == sid(7) {
			add = append(add, log.PackRef{Ref: p.Ref, Size: p.Size})
		}
	}
	w.enter(&log.Entry{Kind: log.KindSnapshot, Session: sid(1), Manifest: w.manifest(), Add: add, Index: w.list(sid(1), seg)})
	w.surviveAll()
}

// TestIndex_SegmentThatIsNone_StopsUntilRepaired names index segments that are missing or garbage. Nobody can work with
// such an index, and none is lost by it: a maintainer repairs it.
func TestIndex_SegmentThatIsNone_StopsUntilRepaired(t *testing.T) {
	w := newWorld(t)
	garbage := bytes.Repeat([]byte("no index segment"), 20) // more than a header
	there := object.Ref{Class: object.Index, Session: sid(1), Hash: object.Sum(garbage)}
	w.put(there.Name(), garbage)
	missing := object.Ref{Class: object.Index, Session: sid(1), Hash: object.Hash{1}}
	w.enter(&log.Entry{
		Kind: log.KindSnapshot, Session: sid(1), Manifest: w.manifest(),
		Index: []log.PackRef{{Ref: there, Size: 1 << 30}, {Ref: missing, Size: 1}},
	})
	w.refresh()
	if _, err := w.maintainer.Index(t.Context()); err == nil {
		t.Fatal("the index can be read: the test showed nothing")
	}
	if _, err := repair.Index(t.Context(), w.maintainer, repair.IndexOptions{}, repair.Events{}); err != nil {
		t.Fatal(err)
	}
	w.surviveAll()
}

// TestIndex_SegmentOfANewerProgram_StopsUntilAllIsMadeAgain names an index segment that looks as if a newer program could read it. What
// that would find in it is not known here, so it only goes if somebody says so.
func TestIndex_SegmentOfANewerProgram_StopsUntilAllIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	obj, err := w.thief.Keys().Seal(object.Index, make([]byte, 12), seal.BindRepo(w.thief.Keys().RepoID()), nil)
	if err != nil {
		t.Fatal(err)
	}
	obj[5]++ // the format
	ref := object.Ref{Class: object.Index, Session: sid(1), Hash: object.Sum(obj)}
	w.put(ref.Name(), obj)
	w.enter(&log.Entry{Kind: log.KindSnapshot, Session: sid(1), Manifest: w.manifest(), Index: []log.PackRef{{Ref: ref, Size: int64(len(obj))}}})
	w.refresh()
	if _, err := repair.Index(t.Context(), w.maintainer, repair.IndexOptions{}, repair.Events{}); !errors.Is(err, wire.ErrNewer) {
		t.Fatalf("%v", err)
	}
	if _, err := repair.Index(t.Context(), w.maintainer, repair.IndexOptions{AllPacks: true}, repair.Events{}); err != nil {
		t.Fatal(err)
	}
	w.surviveAll()
}
