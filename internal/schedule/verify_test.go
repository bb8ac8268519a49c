package schedule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/tree"
)

// verify says what came of the schedule. Of what is still under way some lands before, some while the
// repository is looked at.
func (r *run) verify(ctx context.Context) (out outcome) {
	out.steps, out.trace, out.died, out.unclear, out.odd = len(r.trace), r.trace, r.died, r.unclear, r.odd
	if r.wedged {
		out.err = errors.New("nobody can go on")
		return out
	}
	for _, c := range r.clients {
		if c.err != nil && !c.dead {
			out.err = errors.Join(out.err, fmt.Errorf("%s: %w", c.name, c.err))
		}
	}
	r.land(r.rng.IntN(len(r.flights) + 1))
	err := r.asClient(ctx, func(fresh *repo.Repository) error { return r.wantSnapshots(ctx, fresh) })
	r.land(-1)
	if err == nil {
		err = r.asClient(ctx, func(fresh *repo.Repository) error {
			if err := r.wantSnapshots(ctx, fresh); err != nil {
				return err
			}
			return r.collect(ctx, fresh)
		})
	}
	if err == nil {
		err = r.asClient(ctx, func(fresh *repo.Repository) error {
			return errors.Join(r.wantSnapshots(ctx, fresh), r.wantNoVoid(ctx, fresh), r.wantClean(ctx, fresh), r.wantNoGarbage(ctx, fresh))
		})
	}
	out.err = errors.Join(out.err, err)
	out.trace = r.trace
	return out
}

// asClient opens the repository as somebody who knows nothing of it.
func (r *run) asClient(ctx context.Context, do func(*repo.Repository) error) error {
	fresh, err := repo.Open(ctx, r.store, repo.OpenOptions{Credential: testrepo.Credential})
	if err != nil {
		return err
	}
	return errors.Join(do(fresh), fresh.Close())
}

// wantSnapshots reads everything that is not gone, and misses what was promised.
func (r *run) wantSnapshots(ctx context.Context, fresh *repo.Repository) error {
	st := fresh.State()
	var errs []error
	for _, id := range sortedIDs(r.facts.promised) {
		if s := st.Snapshots[id]; !r.facts.forgotten[id] && (s == nil || !s.Live()) {
			errs = append(errs, fmt.Errorf("snapshot %s was lost, which %s was told is committed", id.Short(), r.facts.promised[id]))
		}
	}
	for _, id := range sortedIDs(st.Snapshots) {
		errs = append(errs, r.read(ctx, fresh, id))
	}
	return errors.Join(errs...)
}

// wantNoVoid reads the whole log.
func (r *run) wantNoVoid(ctx context.Context, fresh *repo.Repository) error {
	return fresh.Log().Entries(ctx, func(rec *log.Record) error {
		if rec.Void != nil {
			return fmt.Errorf("entry %d is void: %w", rec.N, rec.Void)
		}
		return nil
	})
}

// read restores a snapshot and compares it with what its session was given.
func (r *run) read(ctx context.Context, from *repo.Repository, id object.SessionID) error {
	fail := func(err error) error { return fmt.Errorf("snapshot %s: %w", id.Short(), err) }
	r.facts.mu.Lock()
	want, known := r.facts.content[id]
	r.facts.mu.Unlock()
	if !known {
		return fail(errors.New("nobody made it"))
	}
	snap, err := from.OpenSnapshot(from.State().Snapshots[id])
	if err != nil {
		return fail(err)
	}
	node, err := from.Find(ctx, snap, "/f")
	if err != nil {
		return fail(err)
	}
	got, err := readFile(ctx, from, node)
	if err != nil {
		return fail(err)
	}
	if !bytes.Equal(got, bytes.Join(want, nil)) {
		return fail(errors.New("other bytes came back"))
	}
	return nil
}

func readFile(ctx context.Context, r *repo.Repository, node *tree.Node) (out []byte, err error) {
	for e := range node.Content.Extents() {
		b, err := r.LoadBlob(ctx, object.DataBlob, e.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
	}
	return out, nil
}

// collect is one collection when everybody else is dead.
func (r *run) collect(ctx context.Context, fresh *repo.Repository) error {
	_, err := gc.Run(ctx, fresh, gc.Options{Idle: nobody, MaxUnused: -1, Packing: sessionOptions.Packing}, gc.Events{})
	return err
}

// wantClean is kura check --read-data, which may say that a key slot lacks one of its two copies: whoever stored or
// deleted it has died.
func (r *run) wantClean(ctx context.Context, fresh *repo.Repository) error {
	rep, err := check.Run(ctx, fresh, check.Options{Read: check.Choice{All: true}}, check.Events{})
	if err != nil {
		return err
	}
	var errs []error
	for _, problem := range rep.Problems {
		if !problem.Hint || !strings.HasPrefix(problem.Object, object.KeysPrefix) || !errors.Is(problem.Err, backends.ErrNotExist) {
			errs = append(errs, fmt.Errorf("check: %v", problem))
		}
	}
	return errors.Join(errs...)
}

// wantNoGarbage compares the objects in the store with those that the state names.
func (r *run) wantNoGarbage(ctx context.Context, fresh *repo.Repository) error {
	st := fresh.State()
	var errs []error
	packs, segments := 0, 0
	for _, name := range r.list(ctx) {
		class, _, _ := strings.Cut(name, "/")
		switch class {
		case "data", "tree":
			packs++
		case "index":
			segments++
		case "sessions":
		default:
			continue
		}
		ref, err := object.ParseRef(name)
		if _, valid := st.Index[ref]; err != nil || !valid && !st.Live(ref) {
			errs = append(errs, fmt.Errorf("left after a collection: %s", name))
		}
	}
	if packs != len(st.Packs) || segments != len(st.Index) {
		errs = append(errs, fmt.Errorf("%d packs and %d index segments are there, the state has %d and %d", packs, segments, len(st.Packs), len(st.Index)))
	}
	for id, s := range st.Snapshots {
		if !s.Live() {
			errs = append(errs, fmt.Errorf("forgotten snapshot %s is still held", id.Short()))
		}
	}
	return errors.Join(errs...)
}
