package gc_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
)

// commitGrouped is testrepo.CommitFile with parity across packs.
func commitGrouped(t testing.TB, r *repo.Repository, chunks ...[]byte) *repo.Snapshot {
	t.Helper()
	s, err := r.NewSession(t.Context(), repo.SessionOptions{Packing: repo.Packing{Groups: true}})
	if err != nil {
		t.Fatal(err)
	}
	snap, err := s.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(t, s, chunks...)})
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// sizes says how many members the groups in the store have, after checking that they protect every live
// pack and no other.
func sizes(t testing.TB, r *repo.Repository) (out []int) {
	t.Helper()
	groups, err := r.Groups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in := map[object.Ref]int{}
	for _, g := range groups {
		out = append(out, len(g.Members))
		for _, m := range g.Members {
			in[m.Ref]++
		}
	}
	for ref := range r.State().Packs {
		if in[ref] == 0 {
			t.Errorf("%v is in no group", ref)
		}
		delete(in, ref)
	}
	for ref := range in {
		t.Errorf("%v, which is not live, is in a group", ref)
	}
	return out
}

// eachPackLost removes each pack in turn and reads a snapshot.
func eachPackLost(t testing.TB, store *mem.Store, snap *repo.Snapshot, chunks ...[]byte) {
	t.Helper()
	for _, prefix := range []string{object.DataPrefix, object.TreePrefix} {
		for _, name := range testrepo.Names(t, store, prefix) {
			damaged := store.Clone()
			if err := damaged.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			wantFile(t, testrepo.Open(t, damaged), snap, chunks...)
		}
	}
}

func TestGroups_AnyPackLost_IsMadeAgain(t *testing.T) {
	r, store := testrepo.New(t)
	chunks := [][]byte{testrepo.Random(1, 3<<20), testrepo.Random(2, 2<<20), []byte("small")}
	snap := commitGrouped(t, r, chunks...)
	if n := sizes(t, r); len(n) != 1 {
		t.Fatalf("groups of %v packs", n)
	}
	eachPackLost(t, store, snap, chunks...)

	// Two lost of one group are too many.
	for _, prefix := range []string{object.DataPrefix, object.TreePrefix} {
		if err := store.Delete(t.Context(), testrepo.Names(t, store, prefix)[0]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := testrepo.ReadFile(t, testrepo.Open(t, store), snap); err == nil {
		t.Fatal("a snapshot without its tree was read")
	}
}

// groupsAreCounted compares what a result says of groups with what there is.
func groupsAreCounted(t testing.TB, r *repo.Repository, res *gc.Result) {
	t.Helper()
	groups, err := r.Groups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, g := range groups {
		size += g.Size
	}
	if res.Groups != len(groups) || res.GroupBytes != size {
		t.Errorf("%d groups with %d bytes, and there are %d with %d", res.Groups, res.GroupBytes, len(groups), size)
	}
}

func TestRun_PacksGo_GroupsKeepTheOthersSafe(t *testing.T) {
	notShort(t)
	r, store := testrepo.New(t)
	keep := [][]byte{testrepo.Random(1, 6<<20), testrepo.Random(2, 7<<20)}
	var snaps []*repo.Snapshot
	for i := range 6 {
		snaps = append(snaps, commitGrouped(t, r, testrepo.Random(uint64(10+i), 5<<20)))
	}
	last := commitGrouped(t, r, keep...)
	if n := sizes(t, r); len(n) != 7 {
		t.Fatalf("groups of %v packs, want one for each session", n)
	}
	prune(t, r) // merges groups and small packs
	if n := sizes(t, r); len(n) > 2 {
		t.Fatalf("groups of %v packs", n)
	}
	forget(t, r, snaps...)
	res := prune(t, r)
	if res.GroupsAdded == 0 || res.GroupsDeleted == 0 {
		t.Errorf("%d groups were added, %d deleted", res.GroupsAdded, res.GroupsDeleted)
	}
	groupsAreCounted(t, r, res)
	groupsAreCounted(t, r, run(t, r, gc.Options{DryRun: true}))
	prune(t, r)
	eachPackLost(t, store, last, keep...)
	noGarbage(t, r, store)
}

func TestRun_WithGroups_PutsUngroupedPacksIntoOne(t *testing.T) {
	r, store := testrepo.New(t)
	chunks := [][]byte{testrepo.Random(1, 6<<20), testrepo.Random(2, 7<<20)}
	snap := testrepo.CommitFile(t, r, chunks...)
	for range 2 {
		if _, err := gc.Run(t.Context(), r, gc.Options{Packing: repo.Packing{Groups: true}}, gc.Events{}); err != nil {
			t.Fatal(err)
		}
		sizes(t, r)
	}
	eachPackLost(t, store, snap, chunks...)
}

// TestRun_DiesAnywhereInGroups_NothingIsLost ends a run at each of its changes to groups.
func TestRun_DiesAnywhereInGroups_NothingIsLost(t *testing.T) {
	r, store := testrepo.New(t)
	keep := testrepo.Random(1, 400<<10)
	old := commitGrouped(t, r, testrepo.Random(2, 400<<10))
	snap := commitGrouped(t, r, keep)
	commitGrouped(t, r, testrepo.Random(3, 100))
	forget(t, r, old)
	run := func(s backends.Store) error {
		_, err := gc.Run(t.Context(), testrepo.Open(t, s), gc.Options{}, gc.Events{})
		return err
	}
	count := fault.New(store.Clone())
	if err := run(count); err != nil {
		t.Fatal(err)
	}
	ops := map[fault.Op]int{
		fault.Put:    count.Count(fault.Put, object.ParityPrefix),
		fault.Delete: count.Count(fault.Delete, object.ParityPrefix),
	}
	if ops[fault.Put] == 0 || ops[fault.Delete] < 2 {
		t.Fatalf("%v changes of groups", ops)
	}
	for op, n := range ops {
		for i := 1; i <= n; i++ {
			for name, rule := range map[string]fault.Rule{
				"before": fault.On(op).Prefix(object.ParityPrefix).Nth(i).Before(fault.ErrDead).Die(),
				"after":  fault.On(op).Prefix(object.ParityPrefix).Nth(i).After(fault.ErrDead).Die(),
			} {
				t.Run(fmt.Sprintf("%v/%d/%s", op, i, name), func(t *testing.T) {
					inner := store.Clone()
					dying := fault.New(inner)
					dying.Inject(rule)
					if err := run(dying); err == nil {
						t.Fatal("it did not die")
					}
					for range 2 {
						if err := run(inner); err != nil {
							t.Fatal(err)
						}
					}
					client := testrepo.Open(t, inner)
					sizes(t, client)
					noGarbage(t, client, inner)
					eachPackLost(t, inner, snap, keep)
				})
			}
		}
	}
}

func TestRun_GroupDamaged_ItsPacksAreGroupedAnew(t *testing.T) {
	r, store := testrepo.New(t)
	keep := testrepo.Random(1, 5<<20)
	old := commitGrouped(t, r, testrepo.Random(2, 5<<20))
	snap := commitGrouped(t, r, keep)
	prune(t, r) // makes one group of two
	groups, err := r.Groups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for _, g := range groups {
		if len(g.Members) == 1 {
			continue // of the pack of trees, which stays
		}
		damaged++
		name := g.Ref.Name()
		obj, err := store.Get(t.Context(), name, 0, -1, nil)
		if err != nil {
			t.Fatal(err)
		}
		obj[len(obj)/2] ^= 1
		store.Tamper(name, obj)
	}
	if damaged == 0 {
		t.Fatal("no group was damaged: that shows nothing")
	}
	forget(t, r, old)
	prune(t, r)
	sizes(t, r)
	eachPackLost(t, store, snap, keep)
}

// Groups that are merged are read: one of them is not what it was.
func TestRun_OneOfSmallGroupsDamaged_ItsPacksAreGroupedAnew(t *testing.T) {
	r, store := testrepo.New(t)
	var snaps []*repo.Snapshot
	for i := range uint64(3) {
		snaps = append(snaps, commitGrouped(t, r, testrepo.Random(i, 300<<10)))
	}
	names := testrepo.Names(t, store, object.ParityPrefix)
	if len(names) != 3 {
		t.Fatalf("groups: %q", names)
	}
	obj, err := store.Get(t.Context(), names[1], 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	obj[len(obj)/2] ^= 1
	store.Tamper(names[1], obj)
	run(t, r, gc.Options{MaxRepack: -1}) // or packs were merged, and groups with them
	if left := testrepo.Names(t, store, object.ParityPrefix); len(left) != 2 || slices.Contains(left, names[1]) {
		t.Errorf("groups: %q, of %q the second was damaged", left, names)
	}
	sizes(t, r)
	for i, snap := range snaps {
		eachPackLost(t, store, snap, testrepo.Random(uint64(i), 300<<10))
	}
}
