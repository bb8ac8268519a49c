package soak

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kura-backup/kura/backends/location"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/seal"
)

func ended(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

func (w *world) source(n int) string { return filepath.Join(w.dir, fmt.Sprintf("source-%d", n)) }

// write backs up a folder that changes, again and again.
func (w *world) write(stop <-chan struct{}, n int) {
	rng, who, root := w.rng(n), fmt.Sprintf("w%d", n), w.source(n)
	for !ended(stop) {
		if err := change(rng, root); err != nil {
			w.fail("%v", err)
			return
		}
		m, err := describe(root)
		if err != nil {
			w.fail("%v", err)
			return
		}
		out, err := w.kura(who, "backup", "--json", "--host", who, root)
		var s summary
		if err == nil {
			s, err = parseSummary(out)
		}
		switch {
		case err == nil:
			w.count(func(c *counts) {
				w.told[s.SnapshotID] = m
				c.commits++
				c.conflicts += s.Conflicts
				c.repeats += s.Repeats
			})
		case errors.Is(err, errKilled): // before it could say whether it has committed
			w.mu.Lock()
			w.maybe[who] = append(w.maybe[who], m)
			w.mu.Unlock()
			if rng.IntN(4) == 0 {
				if err := os.RemoveAll(filepath.Join(w.dir, "cache-"+who)); err != nil {
					w.fail("%v", err)
				}
			}
		case isBusy(err):
			w.count(func(c *counts) { c.gaveUp++ })
		default:
			w.fail("%v", err)
			return
		}
	}
}

// forgetAndPrune keeps the last few snapshots of each host.
func (w *world) forgetAndPrune(stop <-chan struct{}, n int) {
	who := fmt.Sprintf("p%d", n)
	for !ended(stop) {
		_, err := w.kura(who, "forget", "--group-by", "host", "--keep-last", "2")
		if !w.tolerable(err) {
			return
		}
		if err == nil {
			w.count(func(c *counts) { c.forgets++ })
		}
		_, err = w.kura(who, "prune")
		if !w.tolerable(err) {
			return
		}
		if err == nil {
			w.count(func(c *counts) { c.prunes++ })
		}
	}
}

// tolerable reports whether a command ended as it may: well, killed, or because others were in its way.
func (w *world) tolerable(err error) bool {
	if isBusy(err) {
		w.count(func(c *counts) { c.busy++ })
		return true
	}
	if err == nil || errors.Is(err, errKilled) {
		return true
	}
	w.fail("%v", err)
	return false
}

// look checks and restores.
func (w *world) look(stop <-chan struct{}) {
	for n := 0; !ended(stop); n++ {
		if _, err := w.kura("look", "check"); !w.tolerable(err) {
			return
		}
		live, err := w.snapshots("look")
		if !w.tolerable(err) {
			return
		}
		if len(live) == 0 {
			continue
		}
		s := live[n%len(live)]
		err = w.restore("look", s)
		if err != nil && !errors.Is(err, errKilled) && !errors.Is(err, errNobodys) && !w.isGone(s) {
			w.fail("while others are at work: %v", err)
			return
		}
		w.count(func(c *counts) { c.looks++ })
	}
}

// isGone reports whether a snapshot is not live any more.
func (w *world) isGone(s snapshot) bool {
	for {
		live, err := w.snapshots("look")
		if errors.Is(err, errKilled) {
			continue
		}
		if err != nil {
			w.fail("%v", err)
			return false
		}
		for _, other := range live {
			if other.ID == s.ID {
				return false
			}
		}
		return true
	}
}

// impatient collects all the time, and takes for dead who was quiet for a second.
func (w *world) impatient(stop <-chan struct{}) {
	err := w.with("impatient", func(r *repo.Repository) error {
		for !ended(stop) {
			if err := r.Refresh(w.t.Context()); err != nil {
				return err
			}
			res, err := gc.Run(w.t.Context(), r, gc.Options{Idle: time.Second}, gc.Events{})
			if errors.Is(err, gc.ErrRevoked) {
				w.count(func(c *counts) { c.busy++ })
				continue
			}
			if err != nil {
				return err
			}
			w.count(func(c *counts) { c.impatient++; c.revoked += len(res.Revoked) })
		}
		return nil
	})
	if err != nil {
		w.fail("the collector in this process: %v", err)
	}
}

// with opens the repository in this process.
func (w *world) with(who string, do func(*repo.Repository) error) (err error) {
	text, err := os.ReadFile(w.key)
	if err != nil {
		return err
	}
	key, err := seal.DecodeKeyFile(text)
	if err != nil {
		return err
	}
	where, err := location.Parse(w.where)
	if err != nil {
		return err
	}
	store, err := where.Open(w.t.Context(), location.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	r, err := repo.Open(w.t.Context(), store, repo.OpenOptions{Credential: seal.KeyFile(key), CacheDir: filepath.Join(w.dir, "cache-"+who)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return do(r)
}
