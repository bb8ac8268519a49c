package schedule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
)

// attempts is how often a writer begins anew when others have collected what it relies on.
const attempts = 8

// writer backs up a file with the chunks.
func writer(name string, ns ...int) member {
	return member{name, func(r *run, c *client) error {
		for range attempts {
			err := r.backup(c, ns)
			if !errors.Is(err, repo.ErrStale) {
				return err
			}
			if err := c.repo.Refresh(c.ctx); err != nil {
				return err
			}
		}
		return errors.New("schedule: stale too often")
	}}
}

func (r *run) backup(c *client, ns []int) error {
	s, err := c.repo.NewSession(c.ctx, sessionOptions)
	if err != nil {
		return err
	}
	m, err := manifest(c.repo, s, ns)
	if err != nil {
		s.Abort()
		return err
	}
	r.facts.means(s.ID(), chunks(ns...))
	snap, err := s.Commit(repo.CommitOptions{Manifest: m})
	if err != nil {
		return err
	}
	r.facts.promise(c.name, snap.ID)
	return nil
}

// longWriter commits a partial snapshot of the first chunks, and then a complete one of all.
func longWriter(name string, first int, ns ...int) member {
	return member{name, func(r *run, c *client) error {
		for range attempts {
			err := r.longBackup(c, first, ns)
			if !errors.Is(err, repo.ErrStale) {
				return err
			}
			if err := c.repo.Refresh(c.ctx); err != nil {
				return err
			}
		}
		return errors.New("schedule: stale too often")
	}}
}

func (r *run) longBackup(c *client, first int, ns []int) error {
	s, err := c.repo.NewSession(c.ctx, sessionOptions)
	if err != nil {
		return err
	}
	run := s.ID()
	m, err := manifest(c.repo, s, ns[:first])
	if err != nil {
		s.Abort()
		return err
	}
	r.facts.means(s.ID(), chunks(ns[:first]...))
	partial, err := s.Commit(repo.CommitOptions{Manifest: m, Partial: true, Run: run})
	if err != nil {
		return err
	}
	r.facts.promise(c.name, partial.ID)
	r.facts.forgets(partial.ID) // by the entry that follows
	next, err := s.Continue(c.ctx)
	if err != nil {
		return err
	}
	if m, err = manifest(c.repo, next, ns); err != nil {
		next.Abort()
		return err
	}
	r.facts.means(next.ID(), chunks(ns...))
	snap, err := next.Commit(repo.CommitOptions{Manifest: m, Run: run, Supersede: []object.SessionID{partial.ID}})
	if err != nil {
		return err
	}
	r.facts.promise(c.name, snap.ID)
	return nil
}

// nobody lives, to a collector that is this impatient: each session that has shown itself is revoked.
const nobody = -20 * year

// collector collects. A run that another one has revoked has nothing to do.
func collector(name string, idle time.Duration) member {
	return member{name, func(_ *run, c *client) error {
		_, err := gc.Run(c.ctx, c.repo, gc.Options{Idle: idle, MaxUnused: -1, Packing: sessionOptions.Packing}, gc.Events{})
		if errors.Is(err, gc.ErrRevoked) {
			return nil
		}
		return err
	}}
}

// slicer collects with an entry for each pack that it writes again.
func slicer(name string) member {
	return member{name, func(_ *run, c *client) error {
		_, err := gc.Run(c.ctx, c.repo, gc.Options{Idle: nobody, MaxUnused: -1, CommitEvery: 1, Packing: sessionOptions.Packing}, gc.Events{})
		if errors.Is(err, gc.ErrRevoked) {
			return nil
		}
		return err
	}}
}

func forgetter(name, label string) member {
	return member{name, func(r *run, c *client) error {
		r.facts.forgets(r.snaps[label])
		_, err := c.repo.Forget(c.ctx, []object.SessionID{r.snaps[label]})
		return err
	}}
}

// keeper does something that makes a snapshot stay: if it is told that it could, nobody can have forgotten the
// snapshot since, and it must be there.
func keeper(name, label string, do func(*repo.Repository, context.Context, []object.SessionID) ([]object.SessionID, error)) member {
	return member{name, func(r *run, c *client) error {
		done, err := do(c.repo, c.ctx, []object.SessionID{r.snaps[label]})
		if err == nil && len(done) > 0 {
			r.facts.mu.Lock()
			defer r.facts.mu.Unlock()
			delete(r.facts.forgotten, done[0])
			r.facts.promised[done[0]] = c.name
		}
		return err
	}}
}

// unforgetter brings a snapshot back.
func unforgetter(name, label string) member { return keeper(name, label, (*repo.Repository).Unforget) }

// pinner pins a snapshot.
func pinner(name, label string) member { return keeper(name, label, (*repo.Repository).Pin) }

// reader restores a snapshot. It may find that the snapshot is gone, if somebody has forgotten it.
func reader(name, label string) member {
	return member{name, func(r *run, c *client) error {
		id := r.snaps[label]
		entry := c.repo.State().Snapshots[id]
		if entry == nil || !entry.Live() {
			return r.mayBeGone(id)
		}
		err := r.read(c.ctx, c.repo, id)
		if err != nil && c.ctx.Err() == nil && c.repo.State().Snapshots[id] == nil {
			return r.mayBeGone(id)
		}
		return err
	}}
}

func (r *run) mayBeGone(id object.SessionID) error {
	r.facts.mu.Lock()
	defer r.facts.mu.Unlock()
	if !r.facts.forgotten[id] {
		return fmt.Errorf("snapshot %s is gone, and nobody has forgotten it", id.Short())
	}
	return nil
}

// rotator begins a new epoch of keys, unless another has meanwhile.
func rotator(name string) member {
	return member{name, func(_ *run, c *client) error {
		if c.repo.State().Epoch.Number > 1 {
			return nil
		}
		_, err := c.repo.RotateKeys(c.ctx)
		return err
	}}
}
