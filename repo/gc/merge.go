package gc

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

const (
	// manyIndex is how many small index segments may lie around until whoever meets them merges them.
	manyIndex = 64
	// smallIndexSize is what an index segment takes that is far from full: some 20,000 blobs.
	smallIndexSize = 1 << 20
	// mergeMost is how many are merged at once, so that it takes seconds.
	mergeMost = 1024
)

// MergeIndex merges small index segments if there are so many that opening the repository without a cache
// takes longer for it, and returns how many went. It reads nothing else and drops no pack, so that it can follow
// a backup, which leaves one more each time. With a key that may not collect, and where somebody else has
// just done it, it does nothing.
func MergeIndex(ctx context.Context, r *repo.Repository, host string) (merged int, err error) {
	if r.Keys().Role() < seal.Maintainer || len(smallSegments(r.State())) < manyIndex {
		return 0, nil
	}
	if err := r.Refresh(ctx); err != nil {
		return 0, err
	}
	if len(smallSegments(r.State())) < manyIndex {
		return 0, nil
	}
	m := &merger{r: r, sid: object.NewSessionID(r.State().N)}
	if err := r.Log().CheckTail(ctx); err != nil {
		return 0, fmt.Errorf("gc: nothing was merged: %w", err)
	}
	if err := r.PutSign(ctx, m.sid, 0, host); err != nil {
		return 0, err
	}
	st, err := r.CommitReading(ctx, m.build)
	if err != nil {
		return 0, err
	}
	if m.last != nil {
		merged = len(m.last.replace)
	}
	return merged, m.clean(ctx, st)
}

// smallSegments lists the small index segments of a state. What the entries say of their sizes is good
// enough for that.
func smallSegments(st *log.State) []object.Ref {
	var small []object.Ref
	for ref, size := range st.Index {
		if size < smallIndexSize {
			small = append(small, ref)
		}
	}
	slices.SortFunc(small, object.Ref.Compare)
	return small[:min(len(small), mergeMost)]
}

// merger is one merging of index segments: one session with one entry.
type merger struct {
	r      *repo.Repository
	sid    object.SessionID
	last   *replacement // what was stored for the last try
	on     *log.State   // of that
	stored []log.PackRef
}

func (m *merger) build(ctx context.Context, st *log.State) (*log.Entry, error) {
	if !st.Open(m.sid) {
		return nil, ErrRevoked
	}
	small := smallSegments(st)
	if m.last == nil && len(small) < manyIndex {
		return nil, nil // another has merged them
	}
	if !m.stillRight(st) {
		m.last, m.on = &replacement{replace: small}, st
		err := m.last.store(ctx, m.r, m.sid, st, st.Live)
		m.stored = append(m.stored, m.last.put...)
		if err != nil {
			return nil, err
		}
	}
	return &log.Entry{Kind: log.KindCollect, Session: m.sid, Clock: clock.Now().UnixNano(), Index: m.last.put, Replace: m.last.replace}, nil
}

// stillRight reports whether what was merged for an earlier try is what would be merged on a newer state: what
// it replaces is valid, and no pack was dropped since. A pack that became live since is listed by the entry that
// added it.
func (m *merger) stillRight(st *log.State) bool {
	if m.last == nil {
		return false
	}
	for _, ref := range m.last.replace {
		if _, valid := st.Index[ref]; !valid {
			return false
		}
	}
	for ref := range m.on.Packs {
		if !st.Live(ref) {
			return false
		}
	}
	return true
}

// clean deletes what is garbage now. Where that is not permitted, or not yet, a collector does it.
func (m *merger) clean(ctx context.Context, st *log.State) error {
	names := []string{object.SignName(m.sid, 0)}
	if m.last != nil {
		for _, ref := range m.last.replace {
			if st.Garbage(ref) {
				names = append(names, ref.Name())
			}
		}
	}
	for _, p := range m.stored {
		if st.Garbage(p.Ref) {
			names = append(names, p.Ref.Name())
		}
	}
	var failed error
	err := backends.DeleteMany(ctx, m.r.Store(), names, requests, func(_ string, err error) {
		if err != nil && !errors.Is(err, backends.ErrNotExist) && !errors.Is(err, backends.ErrLocked) && !errors.Is(err, backends.ErrDenied) {
			failed = err
		}
	})
	return errors.Join(err, failed)
}
