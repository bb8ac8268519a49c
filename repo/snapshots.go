package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// Snapshots returns the live snapshots, by their time and then by the order of their commits.
func (r *Repository) Snapshots(ctx context.Context) ([]*Snapshot, error) {
	return r.openSnapshots(ctx, func(s *log.Snapshot) bool { return s.Live() })
}

// Forgotten returns the snapshots that are forgotten but not yet collected, in the same order.
func (r *Repository) Forgotten(ctx context.Context) ([]*Snapshot, error) {
	return r.openSnapshots(ctx, func(s *log.Snapshot) bool { return !s.Live() })
}

func (r *Repository) openSnapshots(ctx context.Context, want func(*log.Snapshot) bool) ([]*Snapshot, error) {
	var entries []*log.Snapshot
	for _, s := range r.log.State().Snapshots {
		if want(s) {
			entries = append(entries, s)
		}
	}
	snapshots := make([]*Snapshot, len(entries))
	g, _ := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, e := range entries {
		g.Go(func() (err error) {
			snapshots[i], err = r.OpenSnapshot(e)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(snapshots, func(a, b *Snapshot) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Entry.N, b.Entry.N))
	})
	return snapshots, nil
}

// OpenSnapshot decrypts a snapshot's manifest and the tags that it was given since.
func (r *Repository) OpenSnapshot(e *log.Snapshot) (*Snapshot, error) {
	m, err := openManifest(r.keys, &e.Manifest)
	if errors.Is(err, seal.ErrNoKey) {
		return nil, fmt.Errorf("this key can not read snapshots: %w", err)
	}
	if err != nil {
		return nil, &DamageError{Object: object.LogName(e.N), Err: fmt.Errorf("manifest of snapshot %s: %w", e.ID.Short(), err)}
	}
	if e.Tags != nil {
		stored, err := openMeta(r.keys, (*log.SealedManifest)(e.Tags))
		if err == nil {
			m.Tags, err = DecodeTags(stored)
		}
		if err != nil {
			return nil, &DamageError{Object: object.LogName(e.N), Err: fmt.Errorf("tags that snapshot %s was given later: %w", e.ID.Short(), err)}
		}
	}
	return &Snapshot{ID: e.ID, Manifest: *m, Entry: e}, nil
}
