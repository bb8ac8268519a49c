package crashtest

import (
	"errors"
	"fmt"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/transfer"
)

// prepareCopy makes a repository with snapshots to be copied, one of which was copied before, and the one to copy them
// to, which has a snapshot of its own. Either may name blobs as the other does.
func prepareCopy(sameIDs bool) func(w *world, p *process) {
	return func(w *world, p *process) {
		w.from, w.copies = mem.New(), map[object.SessionID]digest{}
		source := w.process(w.from)
		w.must(source.init())
		w.must(source.with(func(from *repo.Repository) error {
			o := repo.InitOptions{Credential: testrepo.Credential, CacheDir: p.cache}
			if sameIDs {
				o.From = from.Keys()
			}
			to, err := repo.Init(p.ctx, p.store, o)
			return errors.Join(err, to.Close())
		}))
		w.snapshots(p, 1, 3, 3000)
		for n := range 3 {
			w.write(4, 3000)
			id, err := source.backup(backup.Options{})
			w.must(err)
			w.must(source.with(func(r *repo.Repository) (err error) {
				w.copies[id], _, err = readSnapshot(p.ctx, r, id)
				return err
			}))
			if n == 0 {
				w.must(p.copy())
			}
		}
	}
}

// copy is kura copy of everything.
func (p *process) copy() error {
	source := p.w.process(p.w.from)
	source.ctx = p.ctx
	return source.with(func(from *repo.Repository) error {
		list, err := from.Snapshots(p.ctx)
		if err != nil {
			return err
		}
		return p.with(func(to *repo.Repository) error {
			o := transfer.Options{Snapshots: list, Packing: repo.Packing{Size: repo.MinPackSize}}
			res, err := transfer.Run(p.ctx, from, to, o, transfer.Events{})
			if err == nil && res.Copied+res.There != len(list) {
				err = fmt.Errorf("of %d snapshots: %+v", len(list), res)
			}
			return err
		})
	})
}

// wantCopies wants one copy of every snapshot, and no second one.
func (p *process) wantCopies(r *repo.Repository) error {
	list, err := r.Snapshots(p.ctx)
	if err != nil {
		return err
	}
	found := map[object.SessionID]int{}
	for _, s := range list {
		want, ok := p.w.copies[s.SourceID()]
		if !ok {
			continue
		}
		found[s.SourceID()]++
		if got, _, err := readSnapshot(p.ctx, r, s.ID); err != nil || got != want {
			return errors.Join(err, fmt.Errorf("the copy of snapshot %s is not what that is", s.SourceID().Short()))
		}
	}
	for _, id := range sortedIDs(p.w.copies) {
		if found[id] != 1 {
			return fmt.Errorf("%d copies of snapshot %s", found[id], id.Short())
		}
	}
	return nil
}
