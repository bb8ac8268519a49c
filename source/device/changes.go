package device

import (
	"context"
	"errors"
)

// changes compares the copy that is read with the one that was kept of the state in which the parent snapshot has the device. If there is
// none everything is read.
func (w *writing) changes(ctx context.Context) *Map {
	unknown := func(err error) {
		w.warn("what has changed since the last run is not known, so that everything is read: " + err.Error())
	}
	all, err := ReadDetails(w.out.Before())
	if err != nil {
		unknown(err)
	}
	before := all.Find(w.in.Path)
	if before == nil || before.State == "" || w.copy == nil {
		return nil
	}
	kept, err := w.s.o.Taker.Leases.Kept(ctx, w.in.Read)
	defer func() {
		for i := range kept {
			_ = kept[i].Release() // a lock
		}
	}()
	if err != nil {
		unknown(err)
	}
	for i := range kept {
		m, err := Compare(kept[i].At, w.copy.At)
		if err != nil {
			unknown(err)
			continue
		}
		if m.Since == before.State && before.Size == w.detail.Size {
			return m
		}
	}
	return nil
}

// Forget removes the copies of the devices that were kept by runs before this one, which is done when what this one read is safe: that
// the next one is compared with its copies. After an error its own copies are removed.
func (s *Source) Forget(ctx context.Context, safe bool) error {
	if !s.o.Changes {
		return nil
	}
	var errs []error
	for _, in := range s.o.Devices {
		kept, err := s.o.Taker.Leases.Kept(ctx, in.Read)
		errs = append(errs, err)
		for i := range kept {
			if s.keeps[kept[i].Name] != safe {
				errs = append(errs, kept[i].Remove(ctx))
			} else {
				errs = append(errs, kept[i].Release())
			}
		}
	}
	return errors.Join(errs...)
}
