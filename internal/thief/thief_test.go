package thief_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// world is a repository with snapshots of honest people, and a thief.
type world struct {
	t          *testing.T
	store      *mem.Store
	owner      *repo.Repository
	maintainer *repo.Repository
	thief      *repo.Repository // opened with a writer's key
	honest     []honest
	rounds     int
}

// honest is a snapshot and what is in it.
type honest struct {
	snap  *repo.Snapshot
	parts [][]byte
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	w.owner, w.store = testrepo.New(t)
	w.maintainer, w.thief = w.client(seal.Maintainer), w.client(seal.Writer)
	for i := range uint64(3) {
		w.backUp(testrepo.Random(10+i, 300<<10), testrepo.Random(20+i, 700), testrepo.Random(5, 280<<10))
	}
	contents := testrepo.Generations(40, 100<<10, generations)
	for i, snap := range testrepo.CommitGenerations(t, w.owner, contents) {
		w.honest = append(w.honest, honest{snap, contents[i : i+1]})
	}
	w.refresh()
	return w
}

// generations is how many snapshots of the world have a chunk each that is a delta of the one before.
const generations = 5

// client opens the repository with a key of the role.
func (w *world) client(role seal.Role) *repo.Repository {
	w.t.Helper()
	return w.clientOf(role, 9)
}

func (w *world) clientOf(role seal.Role, n byte) *repo.Repository {
	w.t.Helper()
	credential := seal.KeyFile([32]byte{n, byte(role)})
	if _, err := w.owner.AddSlot(w.t.Context(), repo.NewSlot{Role: role, Credential: credential}); err != nil {
		w.t.Fatal(err)
	}
	r, err := repo.Open(w.t.Context(), w.store, repo.OpenOptions{Credential: credential, CacheDir: testsys.MemoryDir(w.t)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := r.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return r
}

// refresh lets everybody see the newest state.
func (w *world) refresh() {
	w.t.Helper()
	for _, r := range []*repo.Repository{w.owner, w.maintainer, w.thief} {
		if err := r.Refresh(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
}

// backUp commits an honest snapshot, which has to stay from then on.
func (w *world) backUp(parts ...[]byte) *repo.Snapshot {
	w.t.Helper()
	if err := w.owner.Refresh(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	snap := testrepo.CommitFile(w.t, w.owner, parts...)
	w.honest = append(w.honest, honest{snap, parts})
	return snap
}

// wantWhole reads every honest snapshot as a client that has never seen the repository.
func (w *world) wantWhole(when string) {
	w.t.Helper()
	r := testrepo.Open(w.t, w.store)
	for _, h := range w.honest {
		got, err := testrepo.ReadFile(w.t, r, h.snap)
		if err != nil {
			w.t.Fatalf("%s: snapshot %s: %v", when, h.snap.ID.Short(), err)
		}
		if !bytes.Equal(got, bytes.Join(h.parts, nil)) {
			w.t.Fatalf("%s: snapshot %s has other bytes", when, h.snap.ID.Short())
		}
	}
}

// prune collects with the maintainer's key, and then whatever is left with the next run.
func (w *world) prune() *gc.Result {
	w.t.Helper()
	res, err := gc.Run(w.t.Context(), w.maintainer, gc.Options{MaxUnused: -1}, gc.Events{})
	if err != nil {
		w.t.Fatalf("prune: %v", err)
	}
	return res
}

// surviveAll is what has to go on after any attack: everything is read, collected twice, backed up,
// forgotten, listed and found again.
func (w *world) surviveAll() {
	w.t.Helper()
	w.survive(2)
}

func (w *world) survive(rounds int) {
	w.t.Helper()
	w.wantWhole("after the attack")
	for round := range rounds {
		w.rounds++
		again := w.honest[round].parts
		w.backUp(append(slices.Clone(again), testrepo.Random(uint64(1000+w.rounds), 300<<10))...)
		doomed := testrepo.CommitFile(w.t, w.owner, testrepo.Random(uint64(2000+w.rounds), 300<<10), again[0])
		ctx := w.t.Context()
		if err := w.maintainer.Refresh(ctx); err != nil {
			w.t.Fatal(err)
		}
		all, err := w.maintainer.Snapshots(ctx)
		if err != nil || len(all) <= len(w.honest) {
			w.t.Fatalf("%d snapshots, %v", len(all), err)
		}
		found, _, err := w.maintainer.FindSnapshot(ctx, doomed.ID.String()[:12], repo.SnapshotFilter{})
		if err != nil || found.ID != doomed.ID {
			w.t.Fatal(err)
		}
		if latest, _, err := w.maintainer.FindSnapshot(ctx, "latest", repo.SnapshotFilter{Hosts: []string{"h"}}); err != nil || latest.Err != nil {
			w.t.Fatal(err)
		}
		if gone, err := w.maintainer.Forget(ctx, []object.SessionID{doomed.ID}); err != nil || len(gone) != 1 {
			w.t.Fatalf("forgot %v, %v", gone, err)
		}
		if res := w.prune(); !slices.Contains(res.Gone, doomed.ID) {
			w.t.Fatalf("nothing was collected: %+v", res)
		}
		w.wantWhole(fmt.Sprintf("after prune %d", round+1))
	}
}

// wantVoid reports the number of entries without effect.
func (w *world) wantVoid(n int) {
	w.t.Helper()
	r := testrepo.Open(w.t, w.store)
	void := 0
	if err := r.Log().Entries(w.t.Context(), func(rec *log.Record) error {
		if rec.Void != nil {
			void++
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	if void != n {
		w.t.Fatalf("%d void entries, want %d", void, n)
	}
}

// newest is the state that the thief sees.
func (w *world) newest() *log.State {
	w.t.Helper()
	if err := w.thief.Refresh(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return w.thief.State()
}

// put puts what the thief has made.
func (w *world) put(name string, obj []byte) {
	w.t.Helper()
	if err := w.store.Put(w.t.Context(), name, obj); err != nil {
		w.t.Fatal(err)
	}
}

// sign makes an object of the class with a signed body in it, with the thief's key.
func (w *world) sign(class object.Class, bind, payload []byte) []byte {
	w.t.Helper()
	keys := w.thief.Keys()
	body, err := keys.SignBody(class, bind, payload)
	if err != nil {
		w.t.Fatal(err)
	}
	obj, err := keys.Seal(class, nil, bind, body)
	if err != nil {
		w.t.Fatal(err)
	}
	return obj
}

// append adds a payload to the log as its next entry, past all that a client would check.
func (w *world) append(payload func(n uint64, prev object.Hash) []byte) {
	w.t.Helper()
	st := w.newest()
	n := st.N + 1
	obj := w.sign(object.LogEntry, seal.BindLog(w.thief.Keys().RepoID(), n, st.Hash), payload(n, st.Hash))
	obj, err := parity.Append(obj, 0, 10)
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(object.LogName(n), obj)
}

// enter adds an entry to the log.
func (w *world) enter(e *log.Entry) {
	w.t.Helper()
	w.append(func(n uint64, prev object.Hash) []byte {
		payload, err := log.EncodeEntry(n, prev, e)
		if err != nil {
			w.t.Fatal(err)
		}
		return payload
	})
}

// sid is a session id that only the thief uses.
func sid(n byte) object.SessionID { return object.SessionID{0: n, 15: 0xee} }

// manifest is that of an honest snapshot: a thief without the meta key can copy one, though not read it.
func (w *world) manifest() log.SealedManifest { return w.honest[0].snap.Entry.Manifest }

// blob is a piece of a forged pack: bytes under an id that need not be theirs.
type blob struct {
	id   object.BlobID
	data []byte
}

// pack makes a pack whose directory says what the thief likes, stores it, and returns it with its directory.
func (w *world) pack(class object.Class, s object.SessionID, segments ...[]blob) (log.PackRef, *pack.Directory) {
	w.t.Helper()
	kind := seal.Data
	if class == object.TreePack {
		kind = seal.Meta
	}
	keys := w.thief.Keys()
	secret, err := keys.NewSecret(kind)
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := pack.NewBuilder(keys, class, s, secret, pack.Options{Parity: pack.DefaultParity}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, blobs := range segments {
		var n pack.NewSegment
		for _, x := range blobs {
			n.IDs, n.Lengths = append(n.IDs, x.id), append(n.Lengths, uint32(len(x.data)))
			n.Plain = append(n.Plain, x.data...)
		}
		n.Coding, n.Stored = pack.Raw, n.Plain
		if err := b.Add(n); err != nil {
			w.t.Fatal(err)
		}
	}
	return w.finish(b)
}

// finish stores a pack that was filled.
func (w *world) finish(b *pack.Builder) (log.PackRef, *pack.Directory) {
	w.t.Helper()
	obj, ref, dir, err := b.Finish(false)
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(ref.Name(), obj)
	return log.PackRef{Ref: ref, Size: int64(len(obj))}, dir
}

// list stores an index segment.
func (w *world) list(s object.SessionID, seg *index.Segment) []log.PackRef {
	w.t.Helper()
	refs, err := w.thief.PutIndex(w.t.Context(), s, seg)
	if err != nil {
		w.t.Fatal(err)
	}
	return refs
}

// listed is an index segment with packs and what is claimed to be in them.
func (w *world) listed(packs ...any) *index.Segment {
	w.t.Helper()
	seg := &index.Segment{}
	for i := 0; i < len(packs); i += 2 {
		ref := packs[i].(log.PackRef)
		if err := seg.AddPack(ref.Ref, ref.Size, packs[i+1].(*pack.Directory)); err != nil {
			w.t.Fatal(err)
		}
	}
	return seg
}

// dataPacks returns the live data packs of an honest snapshot, with their directories: a writer's key opens
// those.
func (w *world) dataPacks(h honest) (refs []log.PackRef, dirs []*pack.Directory) {
	w.t.Helper()
	for ref, p := range w.newest().Packs {
		if ref.Class != object.DataPack || ref.Session != h.snap.ID {
			continue
		}
		dir, err := w.thief.LoadDirectory(w.t.Context(), ref, p.Size)
		if err != nil {
			w.t.Fatal(err)
		}
		refs, dirs = append(refs, log.PackRef{Ref: ref, Size: p.Size}), append(dirs, dir)
	}
	if len(refs) == 0 {
		w.t.Fatal("the snapshot has no data packs")
	}
	return refs, dirs
}

// findings is what check says, with the owner's key.
func (w *world) findings(all bool) *check.Report {
	w.t.Helper()
	rep, err := check.Run(w.t.Context(), testrepo.Open(w.t, w.store), check.Options{Read: check.Choice{All: all}}, check.Events{})
	if err != nil {
		w.t.Fatal(err)
	}
	return rep
}

// junk is data that nobody else has.
func (w *world) junk(n uint64, size int) blob {
	data := testrepo.Random(7000+n, size)
	return blob{w.thief.BlobID(object.DataBlob, data), data}
}

// commit is what a client of the thief's does: it refuses what would be void.
func (w *world) commit(e *log.Entry) error {
	_, err := w.thief.Commit(w.t.Context(), w.always(e))
	return err
}

// wantStale commits a session that somebody has interfered with: it is told to begin anew.
func (w *world) wantStale(s *repo.Session, m *repo.Manifest) {
	w.t.Helper()
	if _, err := s.Commit(repo.CommitOptions{Manifest: m}); !errors.Is(err, repo.ErrStale) {
		w.t.Fatalf("committed with %v, want ErrStale", err)
	}
}

// badPacks are the packs that check --read-data names.
func (w *world) badPacks() (out []object.Ref) {
	w.t.Helper()
	for _, p := range w.findings(true).Problems {
		if ref, err := object.ParseRef(p.Object); err == nil && !p.Hint && !slices.Contains(out, ref) {
			out = append(out, ref)
		}
	}
	return out
}

// always is an entry that is the same on every state.
func (w *world) always(e *log.Entry) log.Build {
	return func(context.Context, *log.State) (*log.Entry, error) { return e, nil }
}

// sorted puts members of a group in order.
func sorted(members []parity.Member) []parity.Member {
	slices.SortFunc(members, func(a, b parity.Member) int { return a.Ref.Compare(b.Ref) })
	return members
}
