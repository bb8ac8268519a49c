package repair_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"syscall"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/repair"
)

// file is what the tests back up: chunks of several packs' worth are not needed, of several segments are.
func file() [][]byte {
	return [][]byte{
		testrepo.Random(1, 270<<10), testrepo.Random(2, 280<<10), testrepo.Random(3, 320<<10),
		testrepo.Random(4, 300<<10), []byte("small"), testrepo.Random(5, 1000),
	}
}

func names(t testing.TB, store backends.Store, prefixes ...string) (out []string) {
	for _, p := range prefixes {
		out = append(out, testrepo.Names(t, store, p)...)
	}
	return out
}

// damageBeyondMending writes zeros over the middle half of an object.
func damageBeyondMending(t testing.TB, store *mem.Store, name string) {
	t.Helper()
	obj, err := store.Get(t.Context(), name, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	clear(obj[len(obj)/4 : 3*len(obj)/4])
	store.Tamper(name, obj)
}

func flip(t testing.TB, store *mem.Store, name string, at int) {
	t.Helper()
	obj, err := store.Get(t.Context(), name, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	obj[at%len(obj)] ^= 0x10
	store.Tamper(name, obj)
}

func ref(t testing.TB, name string) object.Ref {
	t.Helper()
	r, err := object.ParseRef(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantWhole(t testing.TB, store backends.Store, snap *repo.Snapshot, chunks [][]byte) {
	t.Helper()
	got, err := testrepo.ReadFile(t, testrepo.Open(t, store), snap)
	if err != nil || !bytes.Equal(got, bytes.Join(chunks, nil)) {
		t.Errorf("the snapshot is not what was saved: %d bytes, %v", len(got), err)
	}
}

func wantSound(t testing.TB, store backends.Store) {
	t.Helper()
	rep, err := check.Run(t.Context(), testrepo.Open(t, store), check.Options{Read: check.Choice{All: true}}, check.Events{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range rep.Problems {
		if !p.Hint {
			t.Error(p)
		}
	}
}

func TestIndex_AnySegmentLostOrDamaged_IsMadeAgainWithoutCache(t *testing.T) {
	for _, all := range []bool{false, true} {
		if testing.Short() && !all {
			continue // reads less
		}
		r, store := testrepo.New(t)
		first := testrepo.CommitFile(t, r, file()[:3]...)
		second := testrepo.CommitFile(t, r, file()...)
		segments := names(t, store, object.IndexPrefix)
		if len(segments) != 2 {
			t.Fatalf("%d index segments", len(segments))
		}
		for i, bad := range append(segments, "") {
			for _, how := range []string{"missing", "damaged"} {
				damaged := store.Clone()
				for j, name := range segments {
					if bad != "" && i != j {
						continue // "" is for all of them
					}
					if how == "missing" {
						damaged.Tamper(name, nil)
					} else {
						damageBeyondMending(t, damaged, name)
					}
				}
				client := testrepo.Open(t, damaged)
				res, err := repair.Index(t.Context(), client, repair.IndexOptions{AllPacks: all}, repair.Events{})
				if err != nil {
					t.Fatal(err)
				}
				if len(res.Bad) == 0 || res.Added == 0 || res.Entry == 0 || len(res.Unlisted) > 0 {
					t.Errorf("%s, %v: %+v", how, all, res)
				}
				wantSound(t, damaged)
				wantWhole(t, damaged, first, file()[:3])
				wantWhole(t, damaged, second, file())
			}
		}
	}
}

func TestIndex_NothingWrong_WritesNothing(t *testing.T) {
	r, store := testrepo.New(t)
	testrepo.CommitFile(t, r, file()...)
	before := names(t, store, "")
	res, err := repair.Index(t.Context(), r, repair.IndexOptions{}, repair.Events{})
	if err != nil || res.Entry != 0 || !slices.Equal(before, names(t, store, "")) {
		t.Errorf("%+v, %v", res, err)
	}
}

// A pack that lost its directory is listed by no segment either when the index is lost, too: what it held is
// lost, the rest is not.
func TestIndex_PackWithoutDirectory_IsNamedAndTheRestIsListed(t *testing.T) {
	r, store := testrepo.New(t)
	snap := testrepo.CommitFile(t, r, file()[:3]...)
	gone := names(t, store, object.DataPrefix)
	other := testrepo.CommitFile(t, r, file()[3:]...)
	for _, name := range append(names(t, store, object.IndexPrefix), gone...) {
		damageBeyondMending(t, store, name)
		obj, err := store.Get(t.Context(), name, 0, -1, nil)
		if err != nil {
			t.Fatal(err)
		}
		store.Tamper(name, obj[:len(obj)/2])
	}
	client := testrepo.Open(t, store)
	res, err := repair.Index(t.Context(), client, repair.IndexOptions{}, repair.Events{})
	if err != nil || len(res.Unlisted) != len(gone) {
		t.Fatalf("%+v, %v", res, err)
	}
	wantWhole(t, store, other, file()[3:])
	if _, err := testrepo.ReadFile(t, testrepo.Open(t, store), snap); !errors.As(err, new(*repo.DamageError)) {
		t.Errorf("the snapshot that lost its chunks: %v", err)
	}
}

// TestPacks_FlippedBits_AreMendedAndNothingIsSetAside flips a random bit in every pack.
func TestPacks_FlippedBits_AreMendedAndNothingIsSetAside(t *testing.T) {
	rng := testrand.New(t)
	r, store := testrepo.New(t)
	snap := testrepo.CommitFile(t, r, file()...)
	packs := names(t, store, object.DataPrefix, object.TreePrefix)
	for _, name := range packs {
		flip(t, store, name, rng.IntN(1<<30))
	}
	client := testrepo.Open(t, store)
	res, err := repair.Packs(t.Context(), client, repair.PacksOptions{}, repair.Events{})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Packs) != len(packs) || res.Entry == 0 || res.Added == 0 {
		t.Errorf("%+v", res)
	}
	for _, p := range res.Packs {
		if p.Fate != repair.Mended || p.Quarantine != "" {
			t.Errorf("%+v", p)
		}
	}
	if len(names(t, store, object.QuarantinePrefix)) > 0 {
		t.Error("something was set aside though nothing is lost")
	}
	if left := names(t, store, object.DataPrefix); !slices.Contains(left, packs[0]) {
		t.Error("the damaged pack was deleted: that is for prune")
	}
	wantSound(t, store)
	wantWhole(t, store, snap, file())
	if _, err := gc.Run(t.Context(), client, gc.Options{}, gc.Events{}); err != nil {
		t.Error(err)
	}
	wantWhole(t, store, snap, file())
}

// TestPacks_BeyondMending_NextBackupBringsOldSnapshotsBack loses data packs, in all of the ways in which one can be
// lost, and makes the same backup again.
func TestPacks_BeyondMending_NextBackupBringsOldSnapshotsBack(t *testing.T) {
	for how, damage := range map[string]func(*mem.Store, string){
		"zeros":   func(s *mem.Store, name string) { damageBeyondMending(t, s, name) },
		"missing": func(s *mem.Store, name string) { s.Tamper(name, nil) },
		"short": func(s *mem.Store, name string) {
			obj, err := s.Get(t.Context(), name, 0, -1, nil)
			if err != nil {
				t.Fatal(err)
			}
			s.Tamper(name, obj[:len(obj)/2])
		},
	} {
		t.Run(how, func(t *testing.T) {
			r, store := testrepo.New(t)
			snap := testrepo.CommitFile(t, r, file()...)
			testrepo.CommitFile(t, r, testrepo.Random(9, 300<<10)) // so that not most of all packs are missing
			packs := names(t, store, object.DataPrefix)
			bad := packs[0]
			damage(store, bad)
			raw, _ := store.Get(t.Context(), bad, 0, -1, nil)
			client := testrepo.Open(t, store)
			res, err := repair.Packs(t.Context(), client, repair.PacksOptions{}, repair.Events{})
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Packs) != 1 || res.Packs[0].Ref.Name() != bad || res.Packs[0].Fate == repair.Mended {
				t.Fatalf("%+v", res)
			}
			if raw != nil {
				kept, err := store.Get(t.Context(), object.QuarantineName(ref(t, bad)), 0, -1, nil)
				if err != nil || !bytes.Equal(kept, raw) {
					t.Errorf("the damaged bytes were not set aside: %v", err)
				}
			}
			// A second repair and a prune find nothing to do but garbage.
			if res, err := repair.Packs(t.Context(), client, repair.PacksOptions{}, repair.Events{}); err != nil || len(res.Packs) > 0 {
				t.Errorf("a second repair: %+v, %v", res, err)
			}
			if _, err := gc.Run(t.Context(), client, gc.Options{}, gc.Events{}); err != nil {
				t.Errorf("a collection after the repair: %v", err)
			}
			testrepo.CommitFile(t, client, file()...)
			testrepo.CommitFile(t, client, testrepo.Random(9, 300<<10))
			wantWhole(t, store, snap, file())
			wantSound(t, store)
		})
	}
}

// A repair that was cut off has set bytes aside, and since then more of the pack has gone.
func TestPacks_OtherBytesWereSetAsideBefore_TheyStay(t *testing.T) {
	r, store := testrepo.New(t)
	testrepo.CommitFile(t, r, file()...)
	bad := names(t, store, object.DataPrefix)[0]
	earlier, aside := []byte("what was left then"), object.QuarantineName(ref(t, bad))
	if err := store.Put(t.Context(), aside, earlier); err != nil {
		t.Fatal(err)
	}
	damageBeyondMending(t, store, bad)
	res, err := repair.Packs(t.Context(), testrepo.Open(t, store), repair.PacksOptions{}, repair.Events{})
	if err != nil || len(res.Packs) != 1 || res.Packs[0].Quarantine != aside {
		t.Errorf("%+v, %v", res, err)
	}
	if kept, err := store.Get(t.Context(), aside, 0, -1, nil); err != nil || !bytes.Equal(kept, earlier) {
		t.Errorf("%q was set aside and now is %q, %v", earlier, kept, err)
	}
}

// TestPacks_DirectoryAndParityLost_SegmentsAreFoundByTheIndex cuts off the end of a pack.
func TestPacks_DirectoryAndParityLost_SegmentsAreFoundByTheIndex(t *testing.T) {
	r, store := testrepo.New(t)
	snap := testrepo.CommitFile(t, r, file()...)
	saved := 0
	for _, name := range names(t, store, object.DataPrefix) {
		obj, err := store.Get(t.Context(), name, 0, -1, nil)
		if err != nil {
			t.Fatal(err)
		}
		dir, err := r.LoadDirectory(t.Context(), ref(t, name), int64(len(obj)))
		if err != nil {
			t.Fatal(err)
		}
		last := dir.Segments[len(dir.Segments)-1]
		store.Tamper(name, obj[:last.Offset+last.Stored])
		saved += len(dir.Segments)
	}
	res, err := repair.Packs(t.Context(), testrepo.Open(t, store), repair.PacksOptions{}, repair.Events{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range res.Packs {
		saved -= p.Segments
		if p.SegmentsLost > 0 || p.Fate == repair.Missing {
			t.Errorf("%+v", p)
		}
	}
	if saved != 0 {
		t.Errorf("%d segments were not saved", saved)
	}
	wantWhole(t, store, snap, file())
}

// TestPacks_BadSectors_AreReadAround has a disk that can not read one block of a pack.
func TestPacks_BadSectors_AreReadAround(t *testing.T) {
	r, store := testrepo.New(t)
	snap := testrepo.CommitFile(t, r, file()...)
	disk := fault.New(store)
	client := testrepo.Open(t, disk)
	bad, longest := "", 0
	for _, name := range names(t, store, object.DataPrefix) { // one may have nothing but small blobs
		obj, err := store.Get(t.Context(), name, 0, -1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(obj) > longest {
			bad, longest = name, len(obj)
		}
	}
	disk.Inject(fault.On(fault.Get).Always().Hook(func(_ context.Context, c fault.Call) error {
		const sector = 10 << 10
		if c.Name == bad && c.Offset <= sector && (c.Length < 0 || c.Offset+c.Length > sector) {
			return &backends.Error{Op: "get", Name: c.Name, Err: syscall.EIO}
		}
		return nil
	}))
	res, err := repair.Packs(t.Context(), client, repair.PacksOptions{}, repair.Events{})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Packs) != 1 || res.Packs[0].Fate != repair.Mended {
		t.Errorf("%+v", res)
	}
	wantWhole(t, store, snap, file())
}

func TestPacks_MostAreMissing_Refused(t *testing.T) {
	r, store := testrepo.New(t)
	testrepo.CommitFile(t, r, file()...)
	packs := names(t, store, object.DataPrefix, object.TreePrefix)
	var refs []object.Ref
	for _, name := range packs {
		store.Tamper(name, nil)
		refs = append(refs, ref(t, name))
	}
	client := testrepo.Open(t, store)
	if _, err := repair.Packs(t.Context(), client, repair.PacksOptions{}, repair.Events{}); !errors.Is(err, repair.ErrManyMissing) {
		t.Fatalf("%v", err)
	}
	if client.State().N != r.State().N {
		t.Error("an entry was written")
	}
	// By name it is done.
	res, err := repair.Packs(t.Context(), client, repair.PacksOptions{Packs: refs}, repair.Events{})
	if err != nil || len(res.Packs) != len(packs) || len(client.State().Packs) > 0 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestSnapshots_LostChunk_NewSnapshotWithoutTheFile(t *testing.T) {
	r, store := testrepo.New(t)
	good := testrepo.CommitFile(t, r, []byte("other"))
	keep := names(t, store, object.DataPrefix)
	snap := testrepo.CommitFile(t, r, file()...)
	for _, name := range names(t, store, object.DataPrefix) {
		if !slices.Contains(keep, name) {
			store.Tamper(name, nil)
		}
	}
	client := testrepo.Open(t, store)
	if res, err := repair.Snapshots(t.Context(), client, repair.SnapshotsOptions{DryRun: true}, repair.Events{}); err != nil || len(res.Snapshots) != 1 || client.State().N != r.State().N {
		t.Fatalf("%+v, %v", res, err)
	}
	res, err := repair.Snapshots(t.Context(), client, repair.SnapshotsOptions{Forget: true}, repair.Events{})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Snapshots) != 1 || res.Checked != 2 {
		t.Fatalf("%+v", res)
	}
	out := res.Snapshots[0]
	if out.ID != snap.ID || !out.Forgotten || len(out.Lost) != 1 || out.Lost[0].Path != "/f" || out.New.IsZero() {
		t.Errorf("%+v", out)
	}
	made, err := client.OpenSnapshot(client.State().Snapshots[out.New])
	if err != nil {
		t.Fatal(err)
	}
	if made.Time != snap.Time || made.Host != snap.Host || !bytes.Equal(made.Original, snap.ID[:]) || made.Suspect != 1 {
		t.Errorf("%+v", made.Manifest)
	}
	node, err := client.Find(t.Context(), made, "/f")
	if err != nil || node.Error == "" || !node.Content.IsZero() {
		t.Errorf("%+v, %v", node, err)
	}
	// Nothing is left to do, and the rest is as it was.
	if res, err := repair.Snapshots(t.Context(), client, repair.SnapshotsOptions{}, repair.Events{}); err != nil || len(res.Snapshots) != 0 {
		t.Errorf("a second repair: %+v, %v", res, err)
	}
	wantWhole(t, store, good, [][]byte{[]byte("other")})
}

func TestSnapshots_RootLost_IsSaidAndForgottenOnlyIfAsked(t *testing.T) {
	r, store := testrepo.New(t)
	snap := testrepo.CommitFile(t, r, file()...)
	for _, name := range names(t, store, object.TreePrefix) {
		store.Tamper(name, nil)
	}
	client := testrepo.Open(t, store)
	for _, forget := range []bool{false, true} {
		res, err := repair.Snapshots(t.Context(), client, repair.SnapshotsOptions{Forget: forget}, repair.Events{})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Snapshots) != 1 || res.Snapshots[0].Gone == nil || res.Snapshots[0].Forgotten != forget {
			t.Errorf("%+v", res)
		}
		if live := client.State().Snapshots[snap.ID].Live(); live == forget {
			t.Errorf("live: %v", live)
		}
	}
}

// far is a store of which tree packs are kept in the cache.
type far struct{ backends.Store }

func (f far) Caps() backends.Caps {
	c := f.Store.Caps()
	c.Local = false
	return c
}

func TestSnapshots_RootIsOnlyInTheCache_IsLost(t *testing.T) {
	store := mem.New()
	r := testrepo.Init(t, far{store})
	snap := testrepo.CommitFile(t, r, file()...)
	for _, name := range names(t, store, object.TreePrefix) {
		store.Tamper(name, nil)
	}
	res, err := repair.Snapshots(t.Context(), r, repair.SnapshotsOptions{}, repair.Events{})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Snapshots) != 1 || res.Snapshots[0].ID != snap.ID || res.Snapshots[0].Gone == nil {
		t.Errorf("%+v", res)
	}
}

// TestRepair_CutOffAtAnyWrite_CanBeRepeated makes each put of a repair fail in turn: what was there stays, and the
// next repair succeeds.
func TestRepair_CutOffAtAnyWrite_CanBeRepeated(t *testing.T) {
	r, store := testrepo.New(t)
	snap := testrepo.CommitFile(t, r, file()...)
	testrepo.CommitFile(t, r, testrepo.Random(9, 300<<10))
	flip(t, store, names(t, store, object.DataPrefix)[0], 5000)
	damageBeyondMending(t, store, names(t, store, object.IndexPrefix)[0])
	deaths := 0
	for n := 1; ; n++ {
		inner := store.Clone()
		disk := fault.New(inner)
		client := testrepo.Open(t, disk)
		disk.Inject(fault.On(fault.Put).Nth(n).Always().Before(syscall.ENOSPC))
		_, err := repair.Packs(t.Context(), client, repair.PacksOptions{}, repair.Events{})
		if disk.Fired() == 0 {
			break
		}
		if err == nil {
			// A sign of life or a checkpoint: neither is needed.
			wantWhole(t, inner, snap, file())
			continue
		}
		deaths++
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("put %d: %v", n, err)
		}
		again := testrepo.Open(t, inner)
		if _, err := repair.Packs(t.Context(), again, repair.PacksOptions{}, repair.Events{}); err != nil {
			t.Fatalf("after put %d failed: %v", n, err)
		}
		wantSound(t, inner)
		wantWhole(t, inner, snap, file())
	}
	t.Logf("%d puts failed", deaths)
	if deaths < 3 {
		t.Error("fewer puts than a repair must make")
	}
}
