package device

import (
	"context"
	"errors"

	"github.com/kura-backup/kura/source/device/snapshot"
)

// changes compares the copy that is read with the one that was kept of the state in which the parent snapshot has the device. If there is
// none everything is read.
func (w *writing) changes() (*Map, error) {
	before := FindDetail(w.out.Before(), w.in.Path)
	if before == nil || before.State == "" || w.copy == nil {
		return nil, nil
	}
	kept, err := w.s.o.Taker.Leases.Kept()
	defer func() {
		for i := range kept {
			_ = kept[i].Release() // a lock
		}
	}()
	if err != nil {
		return nil, err
	}
	for i := range kept {
		if kept[i].Of != w.in.Read {
			continue
		}
		m, err := Compare(kept[i].At, w.copy.At)
		if err != nil {
			w.warn("what has changed since the last run is not known, so that everything is read: " + err.Error())
			continue
		}
		if m.Since == before.State && before.Size == w.detail.Size {
			return m, nil
		}
	}
	return nil, nil
}

// Forget removes the copies of the devices that were kept by runs before this one, which is done when what this one read is safe: that
// the next one is compared with its copies. After an error its own copies are removed.
func (s *Source) Forget(ctx context.Context, safe bool) error {
	if !s.o.Changes {
		return nil
	}
	kept, err := s.o.Taker.Leases.Kept()
	errs := []error{err}
	for i := range kept {
		if s.isOld(&kept[i].Copy, safe) {
			errs = append(errs, kept[i].Remove(ctx))
		} else {
			errs = append(errs, kept[i].Release())
		}
	}
	return errors.Join(errs...)
}

func (s *Source) isOld(c *snapshot.Copy, safe bool) bool {
	for _, in := range s.o.Devices {
		if in.Read == c.Of {
			return s.keeps[c.Name] != safe
		}
	}
	return false
}
