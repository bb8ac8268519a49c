package crashtest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/repo/repair"
	"github.com/kura-backup/kura/seal"
)

// scenario is a command that dies.
type scenario struct {
	name string
	// prepare makes the repository and the source as they are before the command.
	prepare func(w *world, p *process)
	// run is the command. It dies, and is run again by the next process, which has to succeed.
	run func(p *process) error
	// done checks the effect of a run that succeeded. Nil: there is none besides what always holds.
	done func(p *process, r *repo.Repository) error
	// atomic: done tells whether the command's one entry is in the log, which it must not be when the command failed.
	atomic bool
	// prunes: the command is the first of the two prunes that must leave no garbage.
	prunes bool
	// worlds is how many differently prepared repositories the long run goes through; others go through two.
	worlds int
}

// opened is a command that opens the repository, does one thing and closes it.
func opened(do func(*process, *repo.Repository) error) func(*process) error {
	return func(p *process) error {
		return p.with(func(r *repo.Repository) error { return do(p, r) })
	}
}

var scenarios = []scenario{
	{
		name: "init", worlds: 10,
		prepare: func(w *world, _ *process) { w.write(1, 10) },
		run:     (*process).init,
	},
	{
		name: "first backup", worlds: 5, atomic: true,
		prepare: func(w *world, p *process) {
			w.must(p.init())
			w.write(10, 5000)
		},
		run:  (*process).backupOnce,
		done: (*process).wantBackup,
	},
	{
		name: "later backup", worlds: 5, atomic: true,
		prepare: func(w *world, p *process) {
			w.must(p.init())
			w.snapshots(p, 3, 10, 5000)
			w.write(5, 5000)
		},
		run:  (*process).backupOnce,
		done: (*process).wantBackup,
	},
	{
		name: "backup of a delta", worlds: 2, atomic: true,
		prepare: func(w *world, p *process) {
			w.must(p.init())
			w.generations(p, 3)
			w.victims = w.kept[:2]
			w.must(p.forget(w.victims...))
			w.grow()
		},
		run:  (*process).backupOnce,
		done: (*process).wantBackup,
	},
	{
		name: "backup with partial snapshots", worlds: 2, atomic: true,
		prepare: func(w *world, p *process) {
			w.must(p.init())
			w.snapshots(p, 1, 10, 2000)
			w.write(400, 1000)
		},
		run: func(p *process) error {
			_, err := p.backup(backup.Options{PartialEvery: time.Millisecond})
			return err
		},
		done: (*process).wantBackup,
	},
	{
		name: "forget", worlds: 5, atomic: true,
		prepare: func(w *world, p *process) {
			w.must(p.init())
			w.snapshots(p, 4, 5, 2000)
			w.choose(2)
		},
		run:  func(p *process) error { return p.forget(p.w.victims...) },
		done: (*process).wantForgotten,
	},
	{
		name: "unforget", worlds: 5, atomic: true,
		prepare: func(w *world, p *process) {
			w.must(p.init())
			w.snapshots(p, 4, 5, 2000)
			w.choose(2)
			w.must(p.forget(w.victims...))
		},
		run:  func(p *process) error { return p.unforget(p.w.victims...) },
		done: (*process).wantRemembered,
	},
	{
		name: "prune", worlds: 4, prunes: true,
		prepare: func(w *world, p *process) {
			w.must(p.init())
			w.snapshots(p, 8, 2, 3000)
			w.choose(4)
			w.must(p.forget(w.victims...))
		},
		run:  (*process).prune,
		done: (*process).wantForgotten,
	},
	{
		name: "prune of what deltas are made of", worlds: 2, prunes: true,
		prepare: func(w *world, p *process) {
			w.must(p.init())
			w.generations(p, 5)
			w.victims = []object.SessionID{w.kept[0], w.kept[2]}
			w.must(p.forget(w.victims...))
		},
		run:  (*process).prune,
		done: (*process).wantForgotten,
	},
	{
		name: "checkpoint", worlds: 3,
		prepare: func(w *world, p *process) {
			w.must(p.init())
			w.snapshots(p, 3, 5, 2000)
			w.victims = w.kept[:1]
			w.fillLog(p, 63) // the next entry is followed by a checkpoint
		},
		run: func(p *process) error {
			return errors.Join(p.unforget(p.w.victims...), p.forget(p.w.victims...))
		},
		done: (*process).wantForgotten,
	},
	{
		name: "prune after dead backups", worlds: 9, prunes: true,
		prepare: func(w *world, p *process) {
			w.must(p.init())
			w.snapshots(p, 3, 2, 1000)
			w.victims = w.kept[1:]
			w.must(p.forget(w.victims...))
			w.checkpoints(p, 3)
			w.orphans(p, 30)
		},
		run:  (*process).prune,
		done: (*process).wantForgotten,
	},
	{
		name: "prune with parity groups", worlds: 2, prunes: true,
		prepare: func(w *world, p *process) {
			w.must(p.init())
			w.groups = true
			w.snapshots(p, 4, 2, 1000)
			w.must(p.prune())
			w.snapshots(p, 3, 2, 1000)
			w.choose(3)
			w.must(p.forget(w.victims...))
			w.orphans(p, 3)
		},
		run:  (*process).prune,
		done: (*process).wantForgotten,
	},
	{
		name: "tag", worlds: 5, atomic: true,
		prepare: func(w *world, p *process) {
			w.must(p.init())
			w.snapshots(p, 3, 5, 2000)
		},
		run:  (*process).tag,
		done: (*process).wantTagged,
	},
	{
		name: "pin", worlds: 5, atomic: true,
		prepare: func(w *world, p *process) {
			w.must(p.init())
			w.snapshots(p, 3, 5, 2000)
		},
		run: opened(func(p *process, r *repo.Repository) error {
			_, err := r.Pin(p.ctx, p.w.kept[:1])
			return err
		}),
		done: (*process).wantPinned,
	},
	{
		name: "repair index", worlds: 3,
		prepare: func(w *world, p *process) {
			w.must(p.init())
			w.snapshots(p, 3, 5, 2000)
			w.spoil(p, object.IndexPrefix, func([]byte) []byte { return nil })
		},
		run: opened(func(p *process, r *repo.Repository) error {
			_, err := repair.Index(p.ctx, r, repair.IndexOptions{}, repair.Events{})
			return err
		}),
		done: (*process).wantClean,
	},
	{
		name: "repair packs", worlds: 3,
		prepare: func(w *world, p *process) {
			w.must(p.init())
			w.snapshots(p, 3, 5, 2000)
			flip := func(obj []byte) []byte { obj[len(obj)/3] ^= 1; return obj }
			w.spoil(p, object.DataPrefix, flip)
			w.spoil(p, object.TreePrefix, flip)
		},
		run: opened(func(p *process, r *repo.Repository) error {
			_, err := repair.Packs(p.ctx, r, repair.PacksOptions{}, repair.Events{})
			return err
		}),
		done: (*process).wantClean,
	},
	{
		name: "copy", worlds: 2, prepare: prepareCopy(true), run: (*process).copy, done: (*process).wantCopies,
	},
	{
		name: "copy to other ids", worlds: 1, prepare: prepareCopy(false), run: (*process).copy, done: (*process).wantCopies,
	},
	{
		name: "key add", worlds: 4,
		prepare: func(w *world, p *process) {
			w.must(p.init())
			w.snapshots(p, 1, 2, 2000)
		},
		run:  func(p *process) error { return p.with(p.addKey) },
		done: (*process).wantNewKey,
	},
	{
		name: "key passwd", worlds: 4,
		prepare: func(w *world, p *process) {
			w.must(p.init())
			w.snapshots(p, 1, 2, 2000)
		},
		run:  (*process).changeKey,
		done: (*process).wantNewKey,
	},
	{
		name: "key remove", worlds: 4,
		prepare: func(w *world, p *process) {
			w.must(p.init())
			w.snapshots(p, 1, 2, 2000)
			w.must(p.with(p.addKey))
		},
		run:  (*process).removeKey,
		done: (*process).wantOneKey,
	},
	{
		name: "key rotate", worlds: 3,
		prepare: func(w *world, p *process) {
			w.must(p.init())
			w.snapshots(p, 1, 2, 2000)
			w.must(p.with(p.addKey))
			w.must(p.with(func(r *repo.Repository) error {
				_, err := r.AddSlot(p.ctx, repo.NewSlot{Role: seal.Writer, Name: "w", Credential: writersCredential})
				return err
			}))
		},
		run:  (*process).rotate,
		done: (*process).wantRotated,
	},
}

func (p *process) backupOnce() error {
	_, err := p.backup(backup.Options{})
	return err
}

// wantBackup looks for a complete snapshot of the source.
func (p *process) wantBackup(r *repo.Repository) error {
	for _, s := range r.State().Snapshots {
		if s.Live() && !s.Partial {
			if got, _, err := readSnapshot(p.ctx, r, s.ID); err != nil || got == p.w.now {
				return err
			}
		}
	}
	return errors.New("no snapshot has what is in the source")
}

func (p *process) wantForgotten(r *repo.Repository) error { return p.wantVictims(r, false) }

func (p *process) wantRemembered(r *repo.Repository) error { return p.wantVictims(r, true) }

func (p *process) wantVictims(r *repo.Repository, live bool) error {
	for _, id := range p.w.victims {
		if s := r.State().Snapshots[id]; (s != nil && s.Live()) != live {
			return fmt.Errorf("snapshot %s: live is not %v", id.Short(), live)
		}
	}
	return nil
}

// fillLog forgets and remembers a snapshot until the log has n entries.
func (w *world) fillLog(p *process, n uint64) {
	w.must(p.with(func(r *repo.Repository) error {
		ids := w.kept[:1]
		for left := n - r.State().N; left > 0; left = n - r.State().N {
			// Twice forgotten is one entry: an odd number of them ends with what is forgotten.
			var err error
			if s := r.State().Snapshots[ids[0]]; s.Live() {
				_, err = r.Forget(p.ctx, ids)
			} else {
				_, err = r.Unforget(p.ctx, ids)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}))
}

// checkpoints makes n of them, where the log is short.
func (w *world) checkpoints(p *process, n int) {
	w.must(p.with(func(r *repo.Repository) error {
		for range n {
			id := w.victims[:1]
			if _, err := r.Unforget(p.ctx, id); err != nil {
				return err
			}
			if _, err := r.Forget(p.ctx, id); err != nil {
				return err
			}
			if err := r.Log().WriteCheckpoint(p.ctx); err != nil {
				return err
			}
		}
		return nil
	}))
}

// orphans leaves what n backups stored that were cut off before they committed.
func (w *world) orphans(p *process, n int) {
	w.must(p.with(func(r *repo.Repository) error {
		for range n {
			s, err := r.NewSession(p.ctx, repo.SessionOptions{})
			if err != nil {
				return err
			}
			for range 8 { // some in either of the packs that are open at a time
				if _, err := s.SaveNow(object.DataBlob, testrepo.Random(w.rng.Uint64(), pack.SmallBlob)); err != nil {
					return err
				}
			}
			if err := s.Flush(); err != nil {
				return err
			}
		}
		return nil
	}))
}

// spoil damages one of the objects below a prefix, or removes it.
func (w *world) spoil(p *process, prefix string, damage func([]byte) []byte) {
	names := testrepo.Names(w.t, p.store, prefix)
	name := names[w.rng.IntN(len(names))]
	obj, err := p.store.Get(p.ctx, name, 0, -1, nil)
	w.must(err)
	w.must(p.store.Delete(p.ctx, name))
	if obj = damage(obj); obj != nil {
		w.must(p.store.Put(p.ctx, name, obj))
	}
}

func (p *process) tag() error {
	return p.with(func(r *repo.Repository) error {
		_, err := r.SetTags(p.ctx, p.w.kept[:1], func([]string) []string { return []string{"new"} })
		return err
	})
}

func (p *process) wantTagged(r *repo.Repository) error {
	snap, err := r.OpenSnapshot(r.State().Snapshots[p.w.kept[0]])
	if err == nil && !slices.Equal(snap.Tags, []string{"new"}) {
		err = fmt.Errorf("tags %q", snap.Tags)
	}
	return err
}

func (p *process) wantPinned(r *repo.Repository) error {
	if !r.State().Snapshots[p.w.kept[0]].Pinned {
		return errors.New("the snapshot is not pinned")
	}
	return nil
}

// newCredential is what key add and key passwd give.
var newCredential = seal.KeyFile([32]byte{4, 5, 6})

// writersCredential opens a writer's key, which is nowhere at hand when keys are rotated.
var writersCredential = seal.KeyFile([32]byte{7, 8, 9})

// rotate is kura key rotate. Of several at a time one does it, and the others are told to open the repository again:
// so is whoever meets the late entry of one whose keys were not those found in its slot.
func (p *process) rotate() error {
	for again := p.dead - 1; ; again-- {
		err := p.with(func(r *repo.Repository) error {
			res, err := r.RotateKeys(p.ctx)
			if err == nil {
				err = res.Left
			}
			return err
		})
		if again <= 0 || !errors.Is(err, log.ErrRotated) {
			return err
		}
	}
}

// wantRotated has every key back up something, which all others see.
func (p *process) wantRotated(r *repo.Repository) error {
	if r.State().Epoch.Number < 2 || len(r.State().Signers) != 3 {
		return fmt.Errorf("epoch %d, %d keys", r.State().Epoch.Number, len(r.State().Signers))
	}
	for _, c := range []seal.Credential{testrepo.Credential, newCredential, writersCredential} {
		r, err := repo.Open(p.ctx, p.store, repo.OpenOptions{Credential: c, CacheDir: p.cache})
		if err != nil {
			return fmt.Errorf("%v does not open the repository any more: %w", c, err)
		}
		if got := r.Keys().Epoch(); got != r.State().Epoch {
			err = fmt.Errorf("%v has epoch %d", c, got.Number)
		}
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (p *process) addKey(r *repo.Repository) error {
	_, err := r.AddSlot(p.ctx, repo.NewSlot{Role: seal.Owner, Credential: newCredential, Cost: seal.DefaultCost})
	return err
}

// changeKey opens the repository with whichever key is left.
func (p *process) changeKey() error {
	for _, c := range []seal.Credential{testrepo.Credential, newCredential} {
		r, err := repo.Open(p.ctx, p.store, repo.OpenOptions{Credential: c, CacheDir: p.cache})
		if errors.Is(err, repo.ErrWrongKey) {
			continue // changed before, by a run that nobody heard of
		}
		if err == nil {
			_, err = r.ReplaceSlot(p.ctx, newCredential, seal.DefaultCost)
			err = errors.Join(err, r.Close())
		}
		return err
	}
	return repo.ErrWrongKey
}

func (p *process) removeKey() error {
	return p.with(func(r *repo.Repository) error {
		slots, err := r.Slots(p.ctx)
		for _, s := range slots {
			if !s.InUse && err == nil {
				err = r.RemoveSlot(p.ctx, s.ID)
			}
		}
		return err
	})
}

func (p *process) wantNewKey(*repo.Repository) error {
	r, err := repo.Open(p.ctx, p.store, repo.OpenOptions{Credential: newCredential, CacheDir: p.cache})
	if err != nil {
		return fmt.Errorf("the new key does not open the repository: %w", err)
	}
	return r.Close()
}

func (p *process) wantOneKey(r *repo.Repository) error {
	slots, err := r.Slots(p.ctx)
	if err == nil && len(slots) != 1 {
		err = fmt.Errorf("%d keys are left", len(slots))
	}
	return err
}
