package thief_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/chunk"
	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/transfer"
)

// claim is a blob of which a forged pack says that it is a delta.
type claim struct {
	id    object.BlobID
	depth uint8
	bases []object.BlobID
}

// deltas makes a pack in which the same few bytes are claimed to be all sorts of deltas.
func (w *world) deltas(s object.SessionID, claims ...claim) (log.PackRef, *pack.Directory) {
	base := testrepo.Random(9000, 1<<10)
	return w.deltasOf(s, base, testrepo.Edited(9001, base), claims...)
}

// deltasOf makes a pack in which the difference of two contents is claimed to be all sorts of deltas.
func (w *world) deltasOf(s object.SessionID, base, plain []byte, claims ...claim) (log.PackRef, *pack.Directory) {
	w.t.Helper()
	var e delta.Encoder
	stream, _, ok := e.Encode(nil, base, plain, len(plain))
	if !ok {
		w.t.Fatal("the edited bytes are not like the others")
	}
	stored := pack.EncodeDelta(nil, stream, zst.Fastest)
	keys := w.thief.Keys()
	secret, err := keys.NewSecret(seal.Data)
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := pack.NewBuilder(keys, object.DataPack, s, secret, pack.Options{}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range claims {
		n := pack.NewSegment{
			Coding: pack.Delta, Stored: stored, Plain: plain, IDs: []object.BlobID{c.id}, Lengths: []uint32{uint32(len(plain))},
			Bases: c.bases, Base: base, Depth: c.depth,
		}
		if err := b.Add(n); err != nil {
			w.t.Fatal(err)
		}
	}
	return w.finish(b)
}

// add adds a forged pack to the state, with what its directory says, as a snapshot of the thief's.
func (w *world) add(s object.SessionID, ref log.PackRef, dir *pack.Directory) {
	w.t.Helper()
	w.enter(&log.Entry{
		Kind: log.KindSnapshot, Session: s, Manifest: w.manifest(), Add: []log.PackRef{ref}, Index: w.list(s, w.listed(ref, dir)),
	})
}

// goAway forgets the thief's snapshots, and wants the owner's collections to free its packs and all that is claimed to be
// their bases.
func (w *world) goAway(ids ...object.SessionID) {
	w.t.Helper()
	if err := w.owner.Refresh(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if done, err := w.owner.Forget(w.t.Context(), ids); err != nil || len(done) != len(ids) {
		w.t.Fatalf("forgot %v, %v", done, err)
	}
	for range 3 {
		if _, err := gc.Run(w.t.Context(), w.owner, gc.Options{MaxUnused: -1}, gc.Events{}); err != nil {
			w.t.Fatal(err)
		}
	}
	w.wantWhole("after the thief's snapshots are gone")
}

// chunks are the ids of all large blobs of honest snapshots, and those of the generations, the oldest first.
func (w *world) chunks() (all, deltas []object.BlobID) {
	for i, h := range w.honest {
		id := w.thief.BlobID(object.DataBlob, h.parts[0])
		all = append(all, id)
		if i >= 3 && i < 3+generations {
			deltas = append(deltas, id)
		}
	}
	return all, deltas
}

// TestDeltas_OfWhatIsNot_HurtNobody claims that everything of others is a delta: of nothing, in circles, and in ways that
// take long to follow.
func TestDeltas_OfWhatIsNot_HurtNobody(t *testing.T) {
	const width = 120
	id := func(a, b int) object.BlobID { return object.BlobID{byte(a * 31), byte(b), byte(b >> 8), byte(a), 0xdd} }
	for _, c := range []struct {
		name   string
		told   bool // whether who can read finds them to be lies
		claims func(all, deltas []object.BlobID) []claim
	}{
		{"of nothing", false, func(all, _ []object.BlobID) (out []claim) {
			for i, x := range all {
				out = append(out, claim{x, uint8(1 + i%8), []object.BlobID{id(1, i), id(2, i)}})
			}
			return out
		}},
		{"of each other, in a circle", true, func(all, _ []object.BlobID) (out []claim) {
			for i, x := range all {
				out = append(out, claim{x, uint8(1 + i%8), []object.BlobID{all[(i+1)%len(all)]}})
			}
			return out
		}},
		{"of each other, all of one", true, func(all, _ []object.BlobID) (out []claim) {
			for d := range uint8(8) {
				for i, x := range all {
					out = append(out, claim{x, d + 1, []object.BlobID{all[(i+1)%len(all)], all[(i+2)%len(all)], all[(i+3)%len(all)]}})
				}
			}
			return out
		}},
		{"of what is in other ways a delta", false, func(_, deltas []object.BlobID) (out []claim) {
			rng := rand.New(rand.NewPCG(1, 2))
			some := func(layer int) (bases []object.BlobID) {
				for range pack.MaxBases {
					bases = append(bases, id(layer, rng.IntN(width)))
				}
				return bases
			}
			for layer := 1; layer < 7; layer++ {
				for i := range width {
					out = append(out, claim{id(layer, i), uint8(layer), some(layer - 1)})
				}
			}
			for d := uint8(1); d < 8; d++ {
				for _, x := range deltas {
					out = append(out, claim{x, d, append(some(int(d) - 1)[1:], id(9, 9))}) // the last one is missing
				}
			}
			return out
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			var roots []blob
			for i := range width {
				roots = append(roots, blob{id(0, i), []byte{0}})
			}
			plain, plainDir := w.pack(object.DataPack, sid(2), roots)
			w.add(sid(2), plain, plainDir)
			ref, dir := w.deltas(sid(1), c.claims(w.chunks())...)
			w.add(sid(1), ref, dir)
			w.surviveAll()
			w.findings(true)
			w.goAway(sid(1), sid(2))
			if live := w.newest().Live(ref.Ref); live && c.told {
				t.Error("the lies are still there")
			}
		})
	}
}

// TestDeltas_OfWhatIsInNoPack_DoNotStopPrune claims that everything of others is made of a blob that lies in a pack which is
// not there.
func TestDeltas_OfWhatIsInNoPack_DoNotStopPrune(t *testing.T) {
	w := newWorld(t)
	all, _ := w.chunks()
	base := object.BlobID{1}
	var claims []claim
	for _, x := range all {
		claims = append(claims, claim{x, 1, []object.BlobID{base}})
	}
	ref, dir := w.deltas(sid(1), claims...)
	missing := log.PackRef{Ref: object.Ref{Class: object.DataPack, Session: sid(1), Hash: object.Hash{7}}, Size: 1 << 20}
	listed := w.listed(ref, dir, missing, &pack.Directory{
		Origins:  dir.Origins,
		Segments: []pack.Segment{{Coding: pack.Raw, Offset: 80, Stored: 17, Plain: 1, IDs: []object.BlobID{base}, Lengths: []uint32{1}}},
	})
	w.enter(&log.Entry{
		Kind: log.KindSnapshot, Session: sid(1), Manifest: w.manifest(), Add: []log.PackRef{ref, missing}, Index: w.list(sid(1), listed),
	})
	w.surviveAll()
	w.goAway(sid(1))
}

// TestDeltas_OneSegmentOfSeveralDepths_IsReadWithoutWaitingForItself lists a segment as a delta that is, by way of another,
// made of the same segment.
func TestDeltas_OneSegmentOfSeveralDepths_IsReadWithoutWaitingForItself(t *testing.T) {
	w := newWorld(t)
	all, deltas := w.chunks()
	middle, low := object.BlobID{1}, object.BlobID{2}
	victim := deltas[generations-1]
	ref, dir := w.deltas(sid(1), claim{victim, 3, []object.BlobID{middle}}, claim{middle, 2, []object.BlobID{low}})
	again := *dir
	again.Segments = slices.Clone(dir.Segments[:1])
	again.Segments[0].IDs, again.Segments[0].Bases, again.Segments[0].Depth = []object.BlobID{low}, all[:1], 1
	w.enter(&log.Entry{
		Kind: log.KindSnapshot, Session: sid(1), Manifest: w.manifest(), Add: []log.PackRef{ref},
		Index: slices.Concat(w.list(sid(1), w.listed(ref, dir)), w.list(sid(1), w.listed(ref, &again))),
	})
	w.surviveAll()
	w.goAway(sid(1))
}

// TestDeltas_DeeperThanTheirList_AreNotCarried has a thief store something that is a delta of a large depth and list it
// with a small one, before an honest client stores something like it.
func TestDeltas_DeeperThanTheirList_AreNotCarried(t *testing.T) {
	w := newWorld(t)
	root := w.honest[0].parts[0]
	known := testrepo.Edited(500, root)
	ref, dir := w.deltasOf(sid(1), root, known, claim{w.thief.BlobID(object.DataBlob, known), 7, []object.BlobID{w.thief.BlobID(object.DataBlob, root)}})
	dir.Segments[0].Depth = 1
	w.add(sid(1), ref, dir)
	w.refresh()
	mine := testrepo.Edited(501, known)
	w.honest = append(w.honest, honest{testrepo.CommitLike(t, w.owner, mine, known), [][]byte{mine}})
	if d := testrepo.Depths(t, w.owner, mine); !slices.Equal(d, []int{2}) {
		t.Fatalf("depths %v: the test shows nothing", d)
	}
	w.surviveAll()
	w.goAway(sid(1))
}

// TestDeltas_BasesListedAsShort_AreNotJoinedBeyondWhatIsRead lists a large chunk as a short delta, before an honest client
// stores what lies across that chunk and its neighbours.
func TestDeltas_BasesListedAsShort_AreNotJoinedBeyondWhatIsRead(t *testing.T) {
	w := newWorld(t)
	a, m, b := testrepo.Random(600, chunk.MaxSize), testrepo.Random(601, 1<<20), testrepo.Random(602, chunk.MaxSize)
	for _, part := range [][]byte{a, m, b} {
		w.backUp(part)
	}
	w.refresh()
	all, _ := w.chunks()
	ref, dir := w.deltas(sid(1), claim{w.thief.BlobID(object.DataBlob, a), 1, all[:1]})
	w.add(sid(1), ref, dir)
	w.refresh()
	mine := slices.Concat(a[len(a)-3<<19:], m, b[:3<<19])
	w.honest = append(w.honest, honest{testrepo.CommitLike(t, w.owner, mine, a, m, b), [][]byte{mine}})
	w.surviveAll()
	w.goAway(sid(1))
}

// TestDeltas_ListedWhereAnotherIs_BothAreCopied lists one delta where another one is, and copies a snapshot that has both.
func TestDeltas_ListedWhereAnotherIs_BothAreCopied(t *testing.T) {
	w := newWorld(t)
	files := [2][][]byte{testrepo.Generations(610, 300<<10, 3), testrepo.Generations(620, 300<<10, 3)}
	for i := range 3 {
		var chunks, earlier [][]byte
		for _, f := range files {
			chunks, earlier = append(chunks, f[i]), append(earlier, f[max(i-1, 0)])
		}
		if i == 0 {
			earlier = make([][]byte, len(chunks))
		}
		s, err := w.owner.NewSession(t.Context(), repo.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		m, err := testrepo.TryManifestLike(w.owner, s, chunks, earlier)
		if err != nil {
			t.Fatal(err)
		}
		snap, err := s.Commit(repo.CommitOptions{Manifest: m})
		if err != nil {
			t.Fatal(err)
		}
		w.honest = append(w.honest, honest{snap, chunks})
		w.refresh()
	}
	newest := w.honest[len(w.honest)-1]
	there, other, base := w.thief.BlobID(object.DataBlob, newest.parts[0]), w.thief.BlobID(object.DataBlob, newest.parts[1]), w.thief.BlobID(object.DataBlob, files[0][0])
	if d := testrepo.Depths(t, w.owner, newest.parts[1]); !slices.Equal(d, []int{2}) {
		t.Fatalf("depths %v: the test shows nothing", d)
	}
	refs, dirs := w.dataPacks(newest)
	lies := 0
	for i, dir := range dirs {
		for _, s := range dir.Segments {
			if s.IDs[0] != there {
				continue
			}
			s.IDs, s.Depth, s.Bases = []object.BlobID{other}, 1, []object.BlobID{base}
			lie := &pack.Directory{Origins: dir.Origins, Segments: []pack.Segment{s}}
			w.enter(&log.Entry{Kind: log.KindSnapshot, Session: sid(1), Manifest: w.manifest(), Index: w.list(sid(1), w.listed(refs[i], lie))})
			lies++
		}
	}
	w.refresh()
	if d := testrepo.Depths(t, w.owner, newest.parts[1]); lies != 1 || len(d) != 2 {
		t.Fatalf("%d lies, depths %v", lies, d)
	}
	to, _ := testrepo.InitFrom(t, w.owner)
	if _, err := transfer.Run(t.Context(), w.owner, to, transfer.Options{Snapshots: []*repo.Snapshot{newest.snap}}, transfer.Events{}); err != nil {
		t.Fatal(err)
	}
	copies, err := to.Snapshots(t.Context())
	if err != nil || len(copies) != 1 {
		t.Fatalf("%d copies, %v", len(copies), err)
	}
	if got, err := testrepo.ReadFile(t, to, copies[0]); err != nil || !bytes.Equal(got, slices.Concat(newest.parts...)) {
		t.Errorf("the copy has %d bytes, %v", len(got), err)
	}
	w.surviveAll()
}

// far is a store that is not near: bases come from the client's own cache.
type far struct{ backends.Store }

func (f far) Caps() backends.Caps {
	caps := f.Store.Caps()
	caps.Local = false
	return caps
}

// TestDeltas_OfBlobsThatAThiefClaimsToHave_CountOnTheTrueOnes has a client store the next generation of what it knows from
// its own cache, while a thief lists a plain copy of everything.
func TestDeltas_OfBlobsThatAThiefClaimsToHave_CountOnTheTrueOnes(t *testing.T) {
	w := newWorld(t)
	client := testrepo.Open(t, far{w.store})
	contents := testrepo.Generations(60, 100<<10, 7)
	commit := func(i int) {
		w.honest = append(w.honest, honest{testrepo.CommitLike(t, client, contents[i], contents[max(0, i-1):i]...), contents[i : i+1]})
	}
	for i := range 4 {
		commit(i)
	}
	ref, dir := w.pack(object.DataPack, sid(1), w.lies())
	w.add(sid(1), ref, dir)
	if err := client.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := 4; i < 7; i++ {
		commit(i)
	}
	w.wantDelta(contents[4])
	w.surviveAll()
	w.goAway(sid(1))
	w.wantDelta(contents[6])
}

// wantDelta wants a blob to be stored as a delta.
func (w *world) wantDelta(data []byte) {
	w.t.Helper()
	if d := testrepo.Depths(w.t, w.owner, data); len(d) != 1 || d[0] == 0 {
		w.t.Errorf("copies of depths %v", d)
	}
}
