package repo

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/log"
)

// SnapshotFilter selects snapshots. Empty fields select all.
type SnapshotFilter struct {
	Hosts []string // any of them
	Tags  []string // all of them
	Paths []string // all of them
	// Aliases are other names that some of Paths go by: a snapshot may be from where, or when, a symlink was none.
	Aliases map[string]string
	At      time.Time            // only those at or before it
	Where   func(*Snapshot) bool // only those for which it returns true; nil is any
}

// Match reports whether the filter selects s.
func (f *SnapshotFilter) Match(s *Snapshot) bool {
	if s.Err != nil { // it has neither host nor paths: a filter for any of these does not select it
		return len(f.Hosts)+len(f.Tags)+len(f.Paths) == 0 && f.At.IsZero() && f.Where == nil
	}
	if f.Where != nil && !f.Where(s) {
		return false
	}
	if len(f.Hosts) > 0 && !slices.Contains(f.Hosts, s.Host) {
		return false
	}
	for _, t := range f.Tags {
		if !slices.Contains(s.Tags, t) {
			return false
		}
	}
	paths := s.PathStrings()
	for _, p := range f.Paths {
		if as := f.Aliases[p]; !slices.Contains(paths, p) && (as == "" || !slices.Contains(paths, as)) {
			return false
		}
	}
	return f.At.IsZero() || !s.When().After(f.At)
}

// FindSnapshot returns the live snapshot that name stands for, and the path behind a colon in it:
//
//	latest      the newest complete snapshot that the filter selects, but for those that a wrong clock has put ahead of later ones
//	latest~N    the Nth one before it
//	ID          a whole id or a beginning of it that fits one snapshot, of at least 4 digits
//	…:PATH      a path in it
//
// For an id the filter does not count, and the snapshot may be one that can not be opened, with its Err
// set. The error wraps ErrNotFound where none fits.
func (r *Repository) FindSnapshot(ctx context.Context, name string, f SnapshotFilter) (_ *Snapshot, path string, err error) {
	name, path, _ = strings.Cut(name, ":")
	if back, ok := latest(name); ok {
		s, err := r.latest(ctx, back, f)
		return s, path, err
	}
	s, err := r.byPrefix(name)
	return s, path, err
}

// latest parses "latest" and "latest~N".
func latest(name string) (back int, ok bool) {
	rest, ok := strings.CutPrefix(name, "latest")
	if !ok || rest == "" {
		return 0, ok
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(rest, "~"), 10, 31)
	return int(n), err == nil && rest[0] == '~'
}

func (r *Repository) latest(ctx context.Context, back int, f SnapshotFilter) (*Snapshot, error) {
	all, err := r.Snapshots(ctx)
	if err != nil {
		return nil, err
	}
	matching := slices.DeleteFunc(slices.Clone(all), func(s *Snapshot) bool { return !s.Complete() || !f.Match(s) })
	if matching, err = r.passOverAhead(ctx, matching); err != nil {
		return nil, err
	}
	switch {
	case len(matching) == 0 && len(all) == 0:
		return nil, fmt.Errorf("there are no snapshots yet: %w", ErrNotFound)
	case len(matching) == 0:
		return nil, fmt.Errorf("no complete snapshot fits: %w", ErrNotFound)
	case back >= len(matching):
		return nil, fmt.Errorf("%s; latest~%d is none of them: %w", fitting(len(matching)), back, ErrNotFound)
	}
	return matching[len(matching)-1-back], nil
}

// passOverAhead leaves out snapshots that are later than their commits, which a wrong clock has made, if one that is not was committed after them. The
// log is listed only where one may be such: it is later than now, or than its writer's clock, or not the newest by the order of commits, too.
func (r *Repository) passOverAhead(ctx context.Context, list []*Snapshot) ([]*Snapshot, error) {
	if len(list) < 2 {
		return list, nil
	}
	may, first := false, list[len(list)-1].Entry.N // of those behind it
	for _, s := range slices.Backward(list) {
		may = may || s.Entry.N > first || s.When().After(clock.Now().Add(doubtAfter)) || s.Time-s.Entry.Clock > int64(doubtAfter)
		first = min(first, s.Entry.N)
	}
	if !may {
		return list, nil
	}
	if err := r.FindDoubtful(ctx, list); err != nil {
		return nil, err
	}
	// Where a clock went wrong and stays so, the newest is what is meant.
	var right uint64 // the last commit of one that is not ahead
	for _, s := range list {
		if !s.Ahead {
			right = max(right, s.Entry.N)
		}
	}
	return slices.DeleteFunc(slices.Clone(list), func(s *Snapshot) bool { return s.Ahead && s.Entry.N < right }), nil
}

func fitting(n int) string {
	if n == 1 {
		return "there is 1 complete snapshot that fits"
	}
	return fmt.Sprintf("there are %d complete snapshots that fit", n)
}

// matching returns the snapshots, in the order of the log, whose ids begin with prefix: all, the live
// ones, and the forgotten ones.
func (r *Repository) matching(prefix string) (found, live, forgotten []*log.Snapshot) {
	for id, s := range r.log.State().Snapshots {
		if strings.HasPrefix(id.String(), prefix) {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b *log.Snapshot) int { return cmp.Compare(a.N, b.N) })
	for _, s := range found {
		if s.Live() {
			live = append(live, s)
		} else {
			forgotten = append(forgotten, s)
		}
	}
	return found, live, forgotten
}

// isPrefix reports whether s can be the beginning of an id.
func isPrefix(s string) bool {
	return len(s) >= 4 && strings.Trim(s, "0123456789abcdef") == ""
}

func (r *Repository) byPrefix(prefix string) (*Snapshot, error) {
	if !isPrefix(prefix) {
		return nil, fmt.Errorf("%q is not a snapshot: want latest, latest~N, or at least 4 hexadecimal digits of an id: %w", prefix, ErrNotFound)
	}
	found, live, _ := r.matching(prefix)
	switch {
	case len(live) == 1:
		return r.openAny(live[0])
	case len(live) > 1:
		return nil, fmt.Errorf("snapshot id %q fits %d snapshots: give more digits: %w", prefix, len(live), ErrNotFound)
	case len(found) > 0:
		return nil, fmt.Errorf("snapshot %s was forgotten; until the next prune kura unforget brings it back: %w", found[0].ID.Short(), ErrNotFound)
	}
	return nil, fmt.Errorf("no snapshot has an id that begins with %q; kura snapshots lists them: %w", prefix, ErrNotFound)
}

// FindForgotten returns the forgotten snapshot whose id begins with prefix. The error wraps ErrGone if it
// was collected since, ErrNotForgotten if it is live, and ErrNotFound if there was never one.
func (r *Repository) FindForgotten(ctx context.Context, prefix string) (*Snapshot, error) {
	if !isPrefix(prefix) {
		return nil, fmt.Errorf("%q is not a forgotten snapshot: want at least 4 hexadecimal digits of its id: %w", prefix, ErrNotFound)
	}
	_, live, forgotten := r.matching(prefix)
	switch {
	case len(forgotten) == 1:
		return r.openAny(forgotten[0])
	case len(forgotten) > 1:
		return nil, fmt.Errorf("snapshot id %q fits %d forgotten snapshots: give more digits: %w", prefix, len(forgotten), ErrNotFound)
	case len(live) > 0:
		return nil, fmt.Errorf("snapshot %s: %w", live[0].ID.Short(), ErrNotForgotten)
	}
	if err := r.findGone(ctx, prefix); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("no snapshot, forgotten or gone, has an id that begins with %q: %w", prefix, ErrNotFound)
}

// findGone reads the log for a snapshot that was collected. The error wraps ErrGone if there is one.
func (r *Repository) findGone(ctx context.Context, prefix string) error {
	return r.log.Entries(ctx, func(rec *log.Record) error {
		for _, id := range rec.Entry.Gone {
			if rec.Void == nil && strings.HasPrefix(id.String(), prefix) {
				return fmt.Errorf("snapshot %s: %w: by a prune at %s", id.Short(), ErrGone, time.Unix(0, rec.Entry.Clock).Format(time.DateTime))
			}
		}
		return nil
	})
}

// Forget marks snapshots as forgotten. They stay readable by nobody, and what only they need is freed
// by the next collection; until then Unforget brings them back. Those that are pinned, or that somebody
// else has forgotten meanwhile, are passed over. It returns those that it forgot.
func (r *Repository) Forget(ctx context.Context, ids []object.SessionID) ([]object.SessionID, error) {
	return r.amend(ctx, log.Entry{Kind: log.KindForget}, ids, func(s *log.Snapshot) bool { return s.Live() && !s.Pinned })
}

// Unforget brings back snapshots that were forgotten and not collected since. It returns those that
// it brought back.
func (r *Repository) Unforget(ctx context.Context, ids []object.SessionID) ([]object.SessionID, error) {
	return r.amend(ctx, log.Entry{Kind: log.KindUnforget}, ids, func(s *log.Snapshot) bool { return !s.Live() })
}
