package backup

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/tree"
)

// parents are the snapshots that say what did not change: the newest one of the same group, by default that of
// the host and paths, and if that one is partial, the newest complete one.
type parents [2]*repo.Snapshot

// findParents looks for parents from the newest snapshot on, among those that fit. A key that can not read snapshots has none.
func findParents(ctx context.Context, r *repo.Repository, fits func(*repo.Snapshot) bool) (parents, error) {
	entries := make([]*log.Snapshot, 0, len(r.State().Snapshots))
	for _, e := range r.State().Snapshots {
		if e.Live() {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b *log.Snapshot) int { return cmp.Compare(b.N, a.N) })
	var partial *repo.Snapshot
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return parents{}, err
		}
		if e.Partial && partial != nil {
			continue
		}
		s, err := r.OpenSnapshot(e)
		if errors.Is(err, seal.ErrNoKey) {
			return parents{}, nil
		}
		if damage := (*repo.DamageError)(nil); errors.As(err, &damage) {
			continue // costs time only; check tells about it
		}
		if err != nil {
			return parents{}, err
		}
		if !fits(s) {
			continue
		}
		if !s.Complete() {
			partial = s
			continue
		}
		if partial != nil {
			return parents{partial, s}, nil
		}
		return parents{s}, nil
	}
	return parents{partial}, nil
}

// live reports whether none of them was forgotten, as far as is known.
func (ps parents) live(r *repo.Repository) bool {
	for _, p := range ps {
		if p != nil && !isLive(r, p) {
			return false
		}
	}
	return true
}

// parentDamage reports whether an error in reading a parent says that it is damaged, and names the object if
// only its page is known.
func parentDamage(err error) (error, bool) {
	if page := (*tree.PageError)(nil); errors.As(err, &page) {
		err = &repo.DamageError{Blob: page.ID, Err: err}
	}
	damage := (*repo.DamageError)(nil)
	return err, errors.As(err, &damage)
}

// unread decides whether the run can go on without a content of theirs that was not read because of err, since only deltas
// are lost: it can if that is damaged or was collected, and it can not if the store does not answer.
func (ps parents) unread(r *repo.Repository, report *reporter, path func() string, err error) error {
	err, damaged := parentDamage(err)
	if damaged && ps.live(r) {
		report.error(path(), err)
	}
	if damaged {
		return nil
	}
	return err
}

// isLive reports whether a snapshot was not forgotten, as far as is known.
func isLive(r *repo.Repository, s *repo.Snapshot) bool {
	e := r.State().Snapshots[s.ID]
	return e != nil && e.Live()
}

// Times that a file system keeps may lag behind the clock by one of its ticks: the kernel's of 10 ms at most,
// or 2 s where times have no fractions.
const (
	tick       = 100_000_000
	coarseTick = 2_000_000_000
)

// tooFresh reports whether a file with this ctime may have changed without another ctime after it was
// read by a run that started at start (ns since 1970).
func tooFresh(ctime tree.Time, start int64) bool {
	margin := int64(tick)
	if ctime.Nsec == 0 {
		margin = coarseTick
	}
	return ctime.Time().UnixNano() >= start-margin
}
