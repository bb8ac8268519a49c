package restore_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore"
)

// generations is a repository with several states of the same files, each stored as deltas of the one before.
type generations struct {
	r     *repo.Repository
	store *mem.Store
	files [][]entry // of each generation
	snaps []*repo.Snapshot
}

// newGenerations makes n states of files "a" and "b" of three chunks each; of "c", whose chunk has a base of its own
// and one of b's; and of "same", which never changes and is a base for "like", again and again.
func newGenerations(t *testing.T, n int, o repo.SessionOptions) *generations {
	t.Helper()
	g := &generations{}
	g.r, g.store = testrepo.New(t)
	const size = 200 << 10
	chunk := map[string][][]byte{}
	for i, name := range []string{"a0", "a1", "a2", "b0", "b1", "b2", "c", "same", "like"} {
		chunk[name] = [][]byte{testrepo.Random(uint64(i), size+i)}
	}
	for k := range n {
		if k > 0 {
			for i, name := range []string{"a0", "a1", "a2", "b0", "b1", "b2"} {
				chunk[name] = append(chunk[name], testrepo.Edited(uint64(100*i+k), chunk[name][k-1]))
			}
			c := slices.Concat(chunk["c"][k-1][:size/2], chunk["b1"][k-1][:size/2])
			chunk["c"] = append(chunk["c"], testrepo.Edited(uint64(1000+k), c))
			chunk["same"] = append(chunk["same"], chunk["same"][0])
			chunk["like"] = append(chunk["like"], testrepo.Edited(uint64(2000+k), chunk["same"][0]))
		}
		s, err := g.r.NewSession(t.Context(), o)
		must(t, err)
		var bases [][]byte
		for _, name := range []string{"a0", "a1", "a2", "b0", "b1", "b2", "c", "same", "like"} {
			switch {
			case k == 0:
				bases = nil
			case name == "c":
				bases = [][]byte{chunk["c"][k-1], chunk["b1"][k-1]}
			case name == "like":
				bases = [][]byte{chunk["same"][0]}
			default:
				bases = [][]byte{chunk[name][k-1]}
			}
			testrepo.SaveLike(t, g.r, s, chunk[name][k], bases...)
		}
		files := []entry{
			file("a", chunks(chunk["a0"][k], chunk["a1"][k], chunk["a2"][k])...),
			file("b", chunks(chunk["b0"][k], chunk["b1"][k], chunk["b2"][k])...),
			file("c", chunks(chunk["c"][k])...),
			file("like", chunks(chunk["like"][k])...),
			file("same", chunks(chunk["same"][k], chunk["a0"][0])...),
		}
		root := saveFolder(t, s, files)
		snap, err := s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: int64(1 + k), Host: "h", Paths: [][]byte{[]byte("/")}, Root: root[:]}})
		must(t, err)
		g.files, g.snaps = append(g.files, files), append(g.snaps, snap)
	}
	return g
}

// place is the copy of a chunk that restoring reads.
func (g *generations) place(t *testing.T, generation int, name string, chunk int) repo.Place {
	t.Helper()
	must(t, g.r.Refresh(t.Context()))
	ix, err := g.r.Index(t.Context())
	must(t, err)
	i := slices.IndexFunc(g.files[generation], func(e entry) bool { return e.Name == name })
	p, err := ix.Lookup(g.r.BlobID(object.DataBlob, g.files[generation][i].parts[chunk].data))
	must(t, err)
	return p
}

func (g *generations) flip(t *testing.T, p repo.Place) {
	t.Helper()
	obj, err := g.store.Get(t.Context(), p.Pack.Name(), 0, -1, nil)
	must(t, err)
	obj = slices.Clone(obj)
	obj[p.At+p.Stored/2] ^= 4
	g.store.Tamper(p.Pack.Name(), obj)
}

func TestRun_FilesInGenerationsOfDeltas_AreRestoredExactly(t *testing.T) {
	g := newGenerations(t, 7, repo.SessionOptions{})
	if last := g.place(t, 6, "a", 1); last.Depth < 4 {
		t.Errorf("the chain has only %d deltas", last.Depth)
	}
	if p := g.place(t, 1, "c", 0); p.Bases.Len() != 2 {
		t.Errorf("c has %d bases, want 2", p.Bases.Len())
	}
	r := testrepo.Open(t, g.store)
	for k, snap := range g.snaps {
		mustMatch(t, restoreAll(t, r, snap), g.files[k])
	}
}

func TestRun_DeltasInPlace_TakeEachStateToAnyOther(t *testing.T) {
	g := newGenerations(t, 4, repo.SessionOptions{})
	target := t.TempDir()
	for _, k := range []int{3, 0, 2, 3, 3} {
		mustBeFine(t, run(t, g.r, g.snaps[k], restore.Options{Target: target, Verify: true}))
		mustMatch(t, target, g.files[k])
	}
}

func TestRun_DryRunOfDeltas_ReadsNoneOfThem(t *testing.T) {
	g := newGenerations(t, 3, repo.SessionOptions{})
	store := fault.New(g.store)
	r := testrepo.Open(t, store)
	target := filepath.Join(t.TempDir(), "target")
	out := run(t, r, g.snaps[2], restore.Options{Target: target, DryRun: true})
	mustBeFine(t, out)
	if n := store.Count(fault.Get, "data/"); n != 0 || int(out.Files) != len(g.files[2]) {
		t.Errorf("%d reads, result %+v", n, out.Result)
	}
	mustNotExist(t, target)
}

// The bases of the last generation are in the packs of all others.
func TestRun_BasesThatManyNeed_AreFetchedOnce(t *testing.T) {
	g := newGenerations(t, 6, repo.SessionOptions{})
	for _, concurrency := range []int{1, 8} {
		store := fault.New(g.store)
		r := testrepo.Open(t, store)
		_, err := r.Index(t.Context())
		must(t, err)
		store.Reset()
		target := filepath.Join(t.TempDir(), "target")
		mustBeFine(t, run(t, r, g.snaps[5], restore.Options{Target: target, Concurrency: concurrency}))
		mustMatch(t, target, g.files[5])

		type segment struct {
			pack object.Ref
			at   uint32
		}
		seen := map[segment]bool{}
		var check func(p *repo.Place)
		ix, err := g.r.Index(t.Context())
		must(t, err)
		check = func(p *repo.Place) {
			if seen[segment{p.Pack, p.At}] {
				return
			}
			seen[segment{p.Pack, p.At}] = true
			times := 0
			for _, c := range store.Calls() {
				if c.Op == fault.Get && c.Name == p.Pack.Name() && c.Offset <= int64(p.At) && c.Offset+c.Length >= int64(p.At)+int64(p.Stored) {
					times++
				}
			}
			if times != 1 {
				t.Errorf("concurrency %d: a segment with depth %d was fetched %d times", concurrency, p.Depth, times)
			}
			for i := range p.Bases.Len() {
				places := ix.Places(p.Bases.At(i), nil)
				base, err := ix.Place(places[0])
				must(t, err)
				check(&base)
			}
		}
		for _, e := range g.files[5] {
			for i := range e.parts {
				p := g.place(t, 5, e.Name, i)
				check(&p)
			}
		}
		if len(seen) < 30 {
			t.Errorf("only %d segments", len(seen))
		}
	}
}

func TestRun_BaseDamaged_CostsOnlyTheFilesMadeOfIt(t *testing.T) {
	for _, damage := range []string{"root", "middle"} {
		t.Run(damage, func(t *testing.T) {
			g := newGenerations(t, 4, noParity)
			hit := g.place(t, 0, "b", 0)
			if damage == "middle" {
				if hit = g.place(t, 2, "b", 0); hit.Depth == 0 {
					t.Fatal("it is no delta")
				}
			}
			g.flip(t, hit)
			target := filepath.Join(t.TempDir(), "target")
			out := run(t, testrepo.Open(t, g.store), g.snaps[3], restore.Options{Target: target, Verify: true})
			lost, ok := errors.AsType[*repo.DamageError](out.errors["/b"])
			if out.err != nil || out.Damaged != 1 || !ok || lost.Object != hit.Pack.Name() {
				t.Fatalf("error %v, result %+v, errors %v", out.err, out.Result, out.errors)
			}
			mustNotExist(t, target+"/b")
			mustMatch(t, target, slices.DeleteFunc(slices.Clone(g.files[3]), func(e entry) bool { return e.Name == "b" }))
		})
	}
}

func TestRun_PackOfBasesMissing_CostsWhatIsMadeOfThem(t *testing.T) {
	g := newGenerations(t, 2, noParity)
	base, own := g.place(t, 0, "a", 0), g.place(t, 1, "a", 0)
	if base.Pack == own.Pack {
		t.Fatal("a pack of two sessions")
	}
	g.store.Tamper(base.Pack.Name(), nil)
	out := run(t, testrepo.Open(t, g.store), g.snaps[1], restore.Options{Target: t.TempDir()})
	lost, ok := errors.AsType[*repo.DamageError](out.errors["/a"])
	if out.err != nil || !ok || lost.Object != base.Pack.Name() || out.Files+out.Damaged != uint64(len(g.files[1])) {
		t.Fatalf("error %v, result %+v, errors %v", out.err, out.Result, out.errors)
	}
}

func TestRun_BaseDamagedWithinTheParity_CostsNothing(t *testing.T) {
	g := newGenerations(t, 4, repo.SessionOptions{})
	hit := g.place(t, 0, "a", 2)
	g.flip(t, hit)
	r := testrepo.Open(t, g.store)
	mustMatch(t, restoreAll(t, r, g.snaps[3]), g.files[3])
	if mended := r.Mended(); len(mended) != 1 || mended[0] != hit.Pack {
		t.Errorf("mended %v", mended)
	}
}

func TestRun_BaseInTwoPacks_IsTakenFromTheWholeOne(t *testing.T) {
	r, store := testrepo.New(t)
	base := testrepo.Random(1, 300<<10)
	var sessions []*repo.Session
	for range 2 { // neither knows of the other's
		s, err := r.NewSession(t.Context(), noParity)
		must(t, err)
		sessions = append(sessions, s)
	}
	for i, s := range sessions {
		root := saveFolder(t, s, []entry{file("f", part{data: base})})
		_, err := s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: int64(1 + i), Root: root[:]}})
		must(t, err)
	}
	packs := testrepo.Names(t, store, "data/")
	data := testrepo.Edited(2, base)
	snap := testrepo.CommitLike(t, r, data, base)
	if d := testrepo.Depths(t, r, data); len(packs) != 2 || len(d) != 1 || d[0] != 1 {
		t.Fatalf("packs %v, depths %v", packs, d)
	}
	for _, name := range packs {
		whole, err := store.Get(t.Context(), name, 0, -1, nil)
		must(t, err)
		for _, damaged := range [][]byte{nil, whole[:len(whole)/3]} {
			store.Tamper(name, damaged)
			target := filepath.Join(t.TempDir(), "target")
			mustBeFine(t, run(t, testrepo.Open(t, store), snap, restore.Options{Target: target}))
			mustHave(t, filepath.Join(target, "f"), data)
		}
		store.Tamper(name, whole)
	}
}

func TestRun_CancelledAmongDeltas_EndsAndLeavesNothingHalf(t *testing.T) {
	g := newGenerations(t, 4, repo.SessionOptions{})
	for nth := range 6 {
		store := fault.New(g.store)
		r := testrepo.Open(t, store)
		ctx, cancel := context.WithCancel(t.Context())
		store.Inject(fault.On(fault.Get).Prefix("data/").Nth(1 + nth).Hook(func(context.Context, fault.Call) error {
			cancel()
			return nil
		}))
		target := t.TempDir()
		out := runContext(ctx, r, g.snaps[3], restore.Options{Target: target, Concurrency: 2})
		cancel()
		if out.err == nil && store.Fired() > 0 && out.Files < uint64(len(g.files[3])) {
			t.Errorf("read %d: no error, result %+v", nth, out.Result)
		}
		for _, e := range g.files[3] {
			if st, err := filepath.Glob(filepath.Join(target, e.Name)); err == nil && len(st) > 0 {
				mustHave(t, st[0], content(e.parts))
			}
		}
	}
}

func TestRun_StoreFailsForABase_EndsTheRun(t *testing.T) {
	g := newGenerations(t, 3, repo.SessionOptions{})
	base := g.place(t, 0, "a", 0)
	store := fault.New(g.store)
	r := testrepo.Open(t, store)
	broken := errors.New("connection lost")
	store.Inject(fault.On(fault.Get).Prefix(base.Pack.Name()).Always().Before(broken))
	out := run(t, r, g.snaps[2], restore.Options{Target: t.TempDir()})
	if !errors.Is(out.err, broken) || len(out.errors) != 0 {
		t.Fatalf("error %v, errors %v", out.err, out.errors)
	}
}
