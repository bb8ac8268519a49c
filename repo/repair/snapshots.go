package repair

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// SnapshotsOptions say how to repair snapshots.
type SnapshotsOptions struct {
	Snapshots []object.SessionID // those to look at; none: all live ones
	Forget    bool               // forget the damaged ones, once there is a repaired one
	DryRun    bool
	Host      string // written into the run's signs of life
	Program   string // written into the manifests

	Packing repo.Packing // of new packs
}

// Loss is what a snapshot has lost at one path: a file, an attribute, or a part of a folder.
type Loss struct {
	Path string
	What error
}

// SnapshotOutcome is what became of a damaged snapshot, or for a dry run would become.
type SnapshotOutcome struct {
	ID   object.SessionID
	New  object.SessionID // zero for a dry run, and if nothing of it can be read
	Lost []Loss           // the first maxLosses
	More int              // further ones
	// Gone says why nothing of the snapshot can be read. It is nil for all others.
	Gone error
	// Newer says what of it this program does not understand, so that nobody knows what is lost: the snapshot stays as it is.
	Newer     error
	Forgotten bool
}

// maxLosses is how many losses are listed for each snapshot.
const maxLosses = 1000

func (o *SnapshotOutcome) lose(path string, what error) {
	if len(o.Lost) == maxLosses {
		o.More++
		return
	}
	o.Lost = append(o.Lost, Loss{path, what})
}

// SnapshotsResult says what a run did, or for a dry run would do.
type SnapshotsResult struct {
	Checked   int
	Snapshots []SnapshotOutcome // the damaged ones, and those that are not understood
}

// Newer returns how many were not understood.
func (r *SnapshotsResult) Newer() (n int) {
	for i := range r.Snapshots {
		if r.Snapshots[i].Newer != nil {
			n++
		}
	}
	return n
}

// staleTries is how often a snapshot is begun again because a collector was at work.
const staleTries = 3

// Snapshots makes, of each snapshot that has lost something, a new one without that: with the time, host, paths
// and tags of the old one, which stays unless it is to be forgotten. A file of which anything is lost is
// noted without content. A snapshot counts as damaged by what the index knows and by which packs are in the
// store: what a damaged pack has lost is known only once Packs has repaired it. What the store can not read for the moment is not lost:
// then nothing more is done. So many missing packs that something seems not to be mounted are ErrManyMissing.
func Snapshots(ctx context.Context, r *repo.Repository, o SnapshotsOptions, ev Events) (*SnapshotsResult, error) {
	if !r.Keys().CanRead(seal.Meta) {
		return nil, fmt.Errorf("repair: this key can not read snapshots: %w", seal.ErrNoKey)
	}
	if o.Forget {
		if err := mayCollect(r); err != nil {
			return nil, err
		}
	}
	if err := r.Refresh(ctx); err != nil {
		return nil, err
	}
	r.DistrustCache() // a folder that only this client still has is lost for all others
	s := &snapshots{r: r, o: o, ev: &ev, clean: map[object.BlobID]struct{}{}}
	if err := s.findMissing(ctx); err != nil {
		return nil, err
	}
	ev.phase("looking through snapshots")
	chosen, err := s.choose()
	if err != nil {
		return nil, err
	}
	res := &SnapshotsResult{Checked: len(chosen)}
	for i, e := range chosen {
		ev.step(i, len(chosen))
		out, err := s.one(ctx, e)
		if err != nil {
			return nil, fmt.Errorf("snapshot %s: %w", e.ID.Short(), err)
		}
		if out == nil {
			continue
		}
		res.Snapshots = append(res.Snapshots, *out)
		if ev.Snapshot != nil {
			ev.Snapshot(*out)
		}
	}
	return res, nil
}

// snapshots is one run.
type snapshots struct {
	r       *repo.Repository
	o       SnapshotsOptions
	ev      *Events
	missing map[object.Ref]struct{}    // live packs that are not in the store, or not with their size
	clean   map[object.BlobID]struct{} // folders in which, and below which, nothing is lost
}

func (s *snapshots) findMissing(ctx context.Context) error {
	s.missing = map[object.Ref]struct{}{}
	st := s.r.State()
	for ref := range st.Packs {
		s.missing[ref] = struct{}{}
	}
	for _, prefix := range []string{object.DataPrefix, object.TreePrefix} {
		for info, err := range s.r.Store().List(ctx, prefix, "") {
			if err != nil {
				return err
			}
			if ref, err := object.ParseRef(info.Name); err == nil && st.Packs[ref].Size == info.Size {
				delete(s.missing, ref)
			}
		}
	}
	// What was put together again from its group, or mended, is not missing.
	for ref := range s.missing {
		_, _, err := s.r.LoadPack(ctx, ref, st.Packs[ref].Size, nil)
		if err != nil && (unread(ctx, err) || !isDamage(ctx, err)) {
			return unreadable(ctx, err)
		}
		if err == nil {
			delete(s.missing, ref)
		}
	}
	return tooMany(st.Packs, func(ref object.Ref) bool {
		_, missing := s.missing[ref]
		return missing
	})
}

// unreadable says what to do where the store can not read what is there.
func unreadable(ctx context.Context, err error) error {
	if !unread(ctx, err) {
		return err
	}
	return fmt.Errorf("%w; if it stays so, run repair packs first, which lets go of what can not be read", err)
}

func (s *snapshots) choose() ([]*log.Snapshot, error) {
	st := s.r.State()
	var out []*log.Snapshot
	for _, id := range s.o.Snapshots {
		e := st.Snapshots[id]
		if e == nil || !e.Live() {
			return nil, fmt.Errorf("snapshot %s: %w", id.Short(), repo.ErrNotFound)
		}
		out = append(out, e)
	}
	if len(s.o.Snapshots) == 0 {
		for e := range maps.Values(st.Snapshots) {
			if e.Live() {
				out = append(out, e)
			}
		}
	}
	slices.SortFunc(out, func(a, b *log.Snapshot) int { return int(int64(a.N) - int64(b.N)) })
	return slices.Compact(out), nil
}

// one repairs a snapshot, and returns nil if nothing of it is lost.
func (s *snapshots) one(ctx context.Context, e *log.Snapshot) (*SnapshotOutcome, error) {
	out := &SnapshotOutcome{ID: e.ID}
	snap, err := s.r.OpenSnapshot(e)
	var root object.BlobID
	if err == nil {
		root, err = snap.RootID()
	}
	if err != nil && !errors.Is(err, wire.ErrNewer) { // no store was asked: it is the manifest
		out.Gone = err
		return out, s.forget(ctx, out)
	}
	var look *walk
	if err == nil {
		look, err = s.look(ctx, root, out)
	}
	switch {
	case errors.Is(err, wire.ErrNewer):
		return &SnapshotOutcome{ID: e.ID, Newer: err}, nil
	case err != nil:
		return nil, unreadable(ctx, err)
	case look.found == 0:
		return nil, nil
	case look.rootLost:
		out.Gone, out.Lost = out.Lost[0].What, nil
		return out, s.forget(ctx, out)
	case s.o.DryRun:
		return out, nil
	}
	for try := 1; ; try++ {
		out.Lost, out.More = nil, 0
		err := s.rewrite(ctx, snap, root, out)
		if err == nil {
			return out, s.forget(ctx, out)
		}
		if !errors.Is(err, repo.ErrStale) || try == staleTries {
			return nil, err
		}
		if err := s.r.Refresh(ctx); err != nil {
			return nil, err
		}
	}
}

// look finds out what is lost, and writes nothing.
func (s *snapshots) look(ctx context.Context, root object.BlobID, out *SnapshotOutcome) (*walk, error) {
	ix, err := s.r.VerifiedIndex(ctx)
	if err != nil {
		return nil, err
	}
	w := &walk{r: s.r, out: out, clean: s.clean, done: map[object.BlobID]result{}, have: func(id object.BlobID) bool { return s.has(ix, id) }}
	_, err = w.dir(ctx, "/", root, 0)
	return w, err
}

// has reports whether a blob, and all that it is made of, is in packs that are there.
func (s *snapshots) has(ix *repo.Index, id object.BlobID) bool {
	missing := func(n uint32) bool {
		ref, _ := ix.Pack(n)
		_, missing := s.missing[ref.Ref]
		return missing
	}
	return ix.Ground(id, missing, func(uint32) {})
}

// rewrite stores and commits what is left of a snapshot. The new one relies on everything that it refers to, so
// that it is committed only if all of that is still there.
func (s *snapshots) rewrite(ctx context.Context, snap *repo.Snapshot, root object.BlobID, out *SnapshotOutcome) error {
	session, err := s.r.NewSession(ctx, repo.SessionOptions{Host: s.o.Host, Packing: s.o.Packing})
	if err != nil {
		return err
	}
	defer session.Abort()
	start := clock.Now().UnixNano()
	w := &walk{
		r: s.r, out: out, done: map[object.BlobID]result{}, session: session,
		have: func(id object.BlobID) bool { return s.has(session.Index(), id) && session.Rely(id) },
	}
	kept, err := w.dir(ctx, "/", root, 0)
	if err != nil {
		return err
	}
	m := snap.Manifest
	m.Root, m.Original, m.CopyOf = kept.id[:], slices.Clone(snap.ID[:]), nil
	m.Suspect, m.TimeGiven = 1, 1 // it has less than the source had, and the time is not that of this run
	m.Program, m.Start, m.End = s.o.Program, start, clock.Now().UnixNano()
	m.Summary.Files -= min(m.Summary.Files, w.files)
	m.Summary.Bytes -= min(m.Summary.Bytes, w.bytes)
	m.Summary.Errors += uint64(w.found)
	committed, err := session.Commit(repo.CommitOptions{
		Manifest: &m, Partial: !snap.Complete(), Run: session.ID(),
		Stored: func(st repo.Stats) { m.Summary.BytesAdded, m.Summary.BytesStored = st.Added, st.Stored },
	})
	if err == nil {
		out.New = committed.ID
	}
	return err
}

// forget forgets the original, if that was asked for.
func (s *snapshots) forget(ctx context.Context, out *SnapshotOutcome) error {
	if !s.o.Forget || s.o.DryRun {
		return nil
	}
	done, err := s.r.Forget(ctx, []object.SessionID{out.ID})
	out.Forgotten = len(done) > 0
	return err
}
