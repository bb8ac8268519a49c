package main

import (
	"context"
	"errors"
	"strings"

	"github.com/kura-backup/kura/repo"
)

// findSnapshot finds the snapshot that the user means, and the path behind the colon.
func findSnapshot(ctx context.Context, r *session, name string, f repo.SnapshotFilter) (*repo.Snapshot, string, error) {
	s, path, err := r.FindSnapshot(ctx, name, f)
	if err == nil && s.Err != nil {
		return nil, "", s.Err
	}
	return s, path, explainFind(err)
}

// explainFind says what to do about a snapshot or a path that is not there. A blob that is not there is
// damage and another matter.
func explainFind(err error) error {
	if !errors.Is(err, repo.ErrNotFound) || isDamage(err) {
		return err
	}
	return withHint(&notFound{err}, "kura snapshots lists the snapshots, kura ls ID what is in one")
}

// notFound takes the sentinel's own text off the end of a message, which says it better.
type notFound struct{ err error }

func (e *notFound) Error() string {
	return strings.TrimSuffix(e.err.Error(), ": "+repo.ErrNotFound.Error())
}

func (e *notFound) Unwrap() error { return e.err }
