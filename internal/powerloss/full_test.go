package powerloss_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/durable/lossy"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
)

// fullCheck does on a disk after a power failure what its owner would do: goes on. All data
// is checked and read back, before and after the next backup and two prunes.
func (h *history) fullCheck(ctx context.Context, at int, last uint64, d *lossy.Disk) (err error) {
	store := h.led.reopen(d, h.dir)
	cache, err := h.spoiledCache(at, last)
	if err != nil {
		return err
	}
	defer os.RemoveAll(cache)
	r, err := h.comeBack(ctx, at, store, cache)
	if err != nil {
		return err
	}
	p := &process{Repository: r, cache: cache}
	defer func() { err = errors.Join(err, p.Close()) }()
	// What happens from here on is no part of the history that the power failure ended.
	h = &history{run: &run{disk: d, led: newLedger(d), rng: h.rng}, t: h.t, temp: h.temp, pool: h.pool, inited: h.inited, snaps: maps.Clone(h.snaps)}
	if err := h.intact(ctx, at, r); err != nil {
		return err
	}
	if err := h.backup(ctx, p, h.draw()); err != nil {
		return fmt.Errorf("the next backup: %w", err)
	}
	for range 2 {
		if err := prune(ctx, p); err != nil {
			return fmt.Errorf("the next prune: %w", err)
		}
	}
	if err := noGarbage(ctx, r, store); err != nil {
		return err
	}
	again, err := repo.Open(ctx, store, repo.OpenOptions{Credential: testrepo.Credential})
	if err != nil {
		return err
	}
	return errors.Join(h.intact(ctx, at, again), again.Close())
}

// comeBack opens the repository. An init that had not ended is run again.
func (h *history) comeBack(ctx context.Context, at int, store backends.Store, cache string) (*repo.Repository, error) {
	if h.inited > at {
		r, err := repo.Init(ctx, store, repo.InitOptions{Credential: testrepo.Credential, CacheDir: cache})
		if !errors.Is(err, repo.ErrExists) {
			return r, err
		}
	}
	return repo.Open(ctx, store, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: cache})
}

// intact checks the repository, and reads all snapshots.
func (h *history) intact(ctx context.Context, at int, r *repo.Repository) error {
	rep, err := check.Run(ctx, r, check.Options{Read: check.Choice{All: true}}, check.Events{})
	if err != nil {
		return err
	}
	for _, p := range rep.Problems {
		if !p.Hint {
			return fmt.Errorf("check: %v", p)
		}
	}
	for id, e := range r.State().Snapshots {
		snap, err := r.OpenSnapshot(e)
		if err != nil {
			return err
		}
		got, err := testrepo.ReadFile(h.t, r, snap)
		if err != nil {
			return fmt.Errorf("snapshot %s: %w", id.Short(), err)
		}
		if want := h.snaps[id]; want == nil || !bytes.Equal(got, want.content) {
			return fmt.Errorf("snapshot %s: %d other bytes came back", id.Short(), len(got))
		}
	}
	return nil
}

// noGarbage finds what is in the store and in no use.
func noGarbage(ctx context.Context, r *repo.Repository, store backends.Store) error {
	st := r.State()
	for _, prefix := range []string{object.DataPrefix, object.TreePrefix, object.IndexPrefix, object.SessionsPrefix} {
		for info, err := range store.List(ctx, prefix, "") {
			if err != nil {
				return err
			}
			ref, err := object.ParseRef(info.Name)
			_, valid := st.Index[ref]
			if err != nil || !valid && !st.Live(ref) {
				return fmt.Errorf("after two prunes: %s is left", info.Name)
			}
		}
	}
	return nil
}

// spoiledCache makes a cache folder as a client may find it: none, one from before the
// power failure, or what is left of one. last is the last log entry.
func (h *history) spoiledCache(at int, last uint64) (string, error) {
	dir := h.tempDir()
	var before []cacheCopy
	for _, c := range h.caches {
		if c.at <= at {
			before = append(before, c)
		}
	}
	how := h.rng.IntN(4)
	if len(before) == 0 || how == 0 {
		return dir, nil
	}
	c := before[len(before)-1]
	if how == 1 {
		c = before[h.rng.IntN(len(before))]
	}
	if err := os.CopyFS(dir, os.DirFS(c.dir)); err != nil || how < 3 {
		return dir, err
	}
	return dir, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		switch h.rng.IntN(3) {
		case 0:
			return os.Remove(path)
		case 1:
			return os.Truncate(path, h.rng.Int64N(info.Size()+1))
		}
		return nil
	})
}
