package schedule

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
)

// overwriting is a store whose puts of log entries are not create-only: the last one wins.
type overwriting struct{ backends.Store }

func (o overwriting) Put(ctx context.Context, name string, data []byte) error {
	if strings.HasPrefix(name, object.LogPrefix) {
		if err := o.Delete(ctx, name); err != nil && !errors.Is(err, backends.ErrNotExist) {
			return err
		}
	}
	return o.Store.Put(ctx, name, data)
}

// flattering is a store that tells everybody who puts a log entry that he was the first.
type flattering struct{ backends.Store }

func (f flattering) Put(ctx context.Context, name string, data []byte) error {
	err := f.Store.Put(ctx, name, data)
	if strings.HasPrefix(name, object.LogPrefix) && errors.Is(err, backends.ErrExist) {
		return nil
	}
	return err
}

// forgetful is a store that says that a pack is stored before it is: it is done later, or never if the client
// has died.
type forgetful struct {
	backends.Store
	s *scheduler
	c *client
}

func (f forgetful) Put(ctx context.Context, name string, data []byte) error {
	if !strings.HasPrefix(name, object.DataPrefix) {
		return f.Store.Put(ctx, name, data)
	}
	f.s.flights = append(f.s.flights, &flight{access: access{kind: put, name: name}, id: len(f.s.trace), do: func(ctx context.Context) {
		if !f.c.dead {
			_ = f.Store.Put(ctx, name, data)
		}
	}})
	return nil
}

// tidy deletes every pack that the newest state does not have, without an entry that says so first.
func tidy(name string) member {
	return member{name, func(r *run, c *client) error {
		if err := c.repo.Refresh(c.ctx); err != nil {
			return err
		}
		for _, prefix := range []string{object.DataPrefix, object.TreePrefix} {
			for info, err := range c.store().List(c.ctx, prefix, "") {
				if err != nil {
					return err
				}
				if ref, err := object.ParseRef(info.Name); err == nil && !c.repo.State().Live(ref) {
					if err := c.store().Delete(c.ctx, info.Name); err != nil && !errors.Is(err, backends.ErrNotExist) {
						return err
					}
				}
			}
		}
		return nil
	}}
}

// broken are worlds in which something is not as it has to be.
func broken() []*world {
	return []*world{
		{
			name:    "log entries are overwritten",
			clients: []member{writer("a", 1, 2), writer("b", 2, 3)},
			wrap:    func(_ *scheduler, _ *client, s backends.Store) backends.Store { return overwriting{s} },
		},
		{
			name:    "each of two is told to be the first",
			clients: []member{writer("a", 1, 2), writer("b", 2, 3)},
			wrap:    func(_ *scheduler, _ *client, s backends.Store) backends.Store { return flattering{s} },
		},
		{
			name:    "packs are not stored when the store says so",
			base:    func(p *past) { p.commit("old", 1) },
			clients: []member{writer("a", 2), writer("b", 2, 3)},
			wrap:    func(s *scheduler, c *client, store backends.Store) backends.Store { return forgetful{store, s, c} },
		},
		{
			name:    "packs are deleted without an entry",
			base:    func(p *past) { p.commit("old", 1); p.orphan(2, 3) },
			clients: []member{writer("a", 2, 3), tidy("t")},
		},
		{
			name:    "a collector does not notice that another entry was first",
			base:    func(p *past) { p.commit("old", 1, 2); p.commit("other", 3); p.forget("old") },
			clients: []member{writer("a", 1), collector("gc", time.Hour)},
			wrap: func(_ *scheduler, c *client, s backends.Store) backends.Store {
				if c.name == "gc" {
					return flattering{s}
				}
				return s
			},
		},
	}
}

// TestBrokenRules_AreFound wants both searches to find that something is lost.
func TestBrokenRules_AreFound(t *testing.T) {
	const most, mostRandom = 400, 20_000 // most are found by the first few
	from := seed(t)
	for _, w := range broken() {
		s, out, _ := exhaust(t, w, most)
		if out.err == nil {
			t.Errorf("%s: %d schedules of the exhaustive search found nothing", w.name, s.runs)
		}
		first := out.err
		n := 0
		for out.err = nil; out.err == nil && n < mostRandom; n++ {
			out = random(t, w, from, n, 2, failures)
		}
		if out.err == nil {
			t.Errorf("%s: %d random schedules of seed %d found nothing", w.name, n, from)
			continue
		}
		line, _, _ := strings.Cut(errors.Join(first, out.err).Error(), "\n")
		t.Logf("%-45s found by schedule %d of the exhaustive search, by %d of the random ones: %s", w.name, s.runs, n, line)
	}
}
