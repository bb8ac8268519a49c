package restore

import (
	"errors"
	"fmt"
	"path"

	"github.com/kura-backup/kura/restore/internal/jail"
)

// disk is a file system that a run with [Options.Sync] may write to. It is kept open from the first folder on: what could not be
// written before is not told to whoever opens it later.
type disk struct {
	dir  *jail.Dir
	path string // where it was met
}

// noteDisk notes the file system of a folder that exists already: what is mounted in the target is such a folder.
func (run *run) noteDisk(f *folder, dir *jail.Dir) error {
	if !run.o.Sync || run.o.DryRun {
		return nil
	}
	info, err := dir.Stat()
	if err != nil {
		return err
	}
	if _, ok := run.disks[info.Device()]; ok {
		return nil
	}
	own, err := dir.Dup()
	if err != nil {
		return err
	}
	if run.disks == nil {
		run.disks = map[uint64]disk{}
	}
	run.disks[info.Device()] = disk{own, path.Join(run.o.Target, f.path())}
	return nil
}

// sync makes everything that was written durable.
func (run *run) sync() (err error) {
	for _, d := range run.disks {
		if e := d.dir.SyncFS(); e != nil {
			err = errors.Join(err, fmt.Errorf("restore: %s: %w", d.path, e))
		}
	}
	return err
}

func (run *run) closeDisks() {
	for _, d := range run.disks {
		_ = d.dir.Close() // folders: nothing was written through them
	}
}
