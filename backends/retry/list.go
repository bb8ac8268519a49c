package retry

import (
	"context"
	"iter"

	"github.com/kura-backup/kura/backends"
)

// List yields objects; see [backends.Store]. After an error it goes on behind the last name that it has yielded. Each
// name that comes renews the tries and the time that are left.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	return func(yield func(backends.Info, error) bool) {
		l := lister{run: s.begin("list", prefix), prefix: prefix, after: after, yield: yield}
		for {
			err := l.attempt(ctx, 0, l.once)
			if err == nil {
				return
			}
			if backends.KindOf(err) != backends.Permanent {
				if err = l.pause(ctx, err); err == nil {
					continue
				}
			}
			yield(backends.Info{}, err)
			return
		}
	}
}

// lister is one List. It belongs to one goroutine.
type lister struct {
	*run
	prefix, after string
	yield         func(backends.Info, error) bool
}

func (l *lister) once(ctx context.Context, w *watch) error {
	for info, err := range l.s.inner.List(ctx, l.prefix, l.after) {
		if err != nil {
			return err
		}
		if info.Name <= l.after { // a store that yields it again
			continue
		}
		l.after = info.Name
		l.restart()
		w.Waiting() // for the caller
		if !l.yield(info, nil) {
			return nil
		}
		w.again()
	}
	return nil
}
