package schedule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/kura-backup/kura/backends"
)

// kind is what an operation does to the store.
type kind uint8

const (
	get kind = iota
	list
	listEnd // of a weak listing: what changed since its beginning may be in it or not
	put
	del
)

func (k kind) String() string { return [...]string{"get", "list", "list-end", "put", "delete"}[k] }

// access is what an operation touches.
type access struct {
	kind  kind
	name  string // of a listing, the prefix
	after string // of a listing
}

func (a access) writes() bool { return a.kind >= put }

// commutes reports whether the order of two operations makes no difference to anybody.
func (a access) commutes(b access) bool {
	if !a.writes() && !b.writes() {
		return true
	}
	if !a.writes() {
		a, b = b, a
	}
	switch b.kind {
	case list, listEnd:
		return !strings.HasPrefix(a.name, b.name) || a.name <= b.after
	default:
		return a.name != b.name
	}
}

// repeats reports whether an operation is what the same client has done in the same place in another run. In which
// order a client reads several objects is left to chance in some places.
func (a access) repeats(b access) bool {
	if a == b {
		return true
	}
	classA, _, _ := strings.Cut(a.name, "/")
	classB, _, _ := strings.Cut(b.name, "/")
	return a.kind == get && b.kind == get && classA == classB
}

// op is an operation that waits to be let happen.
type op struct {
	access
	client *client
	ctx    context.Context
	do     func(context.Context) error // does it, and keeps its result
	again  func(context.Context)       // does it once more, when nobody listens; nil for reads
	reply  chan error
}

// errDead is the answer to everything that a dead client asks for.
var errDead = errors.New("schedule: this client is dead")

// errLost is an answer that got lost.
var errLost = errors.New("schedule: no answer")

// gate is the store as a client sees it.
type gate struct {
	inner  backends.Store
	client *client
}

var _ backends.Store = (*gate)(nil)

func (g *gate) pass(o *op) error {
	o.client = g.client
	return g.client.s.pass(o)
}

func (g *gate) Put(ctx context.Context, name string, data []byte) error {
	data = slices.Clone(data) // the client may use the memory again before it lands
	return g.pass(&op{
		access: access{kind: put, name: name}, ctx: ctx,
		do:    func(ctx context.Context) error { return g.inner.Put(ctx, name, data) },
		again: func(ctx context.Context) { _ = g.inner.Put(ctx, name, data) },
	})
}

func (g *gate) Delete(ctx context.Context, name string) error {
	return g.pass(&op{
		access: access{kind: del, name: name}, ctx: ctx,
		do:    func(ctx context.Context) error { return g.inner.Delete(ctx, name) },
		again: func(ctx context.Context) { _ = g.inner.Delete(ctx, name) },
	})
}

func (g *gate) Get(ctx context.Context, name string, offset, length int64, buf []byte) (data []byte, err error) {
	err = g.pass(&op{
		access: access{kind: get, name: name}, ctx: ctx,
		do: func(ctx context.Context) (err error) {
			data, err = g.inner.Get(ctx, name, offset, length, buf)
			return err
		},
	})
	return data, err
}

func (g *gate) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	return func(yield func(backends.Info, error) bool) {
		infos, err := g.list(ctx, prefix, after)
		for _, info := range infos {
			if !yield(info, nil) {
				return
			}
		}
		if err != nil {
			yield(backends.Info{}, err)
		}
	}
}

func (g *gate) list(ctx context.Context, prefix, after string) ([]backends.Info, error) {
	look := func(k kind) (infos []backends.Info, err error) {
		err = g.pass(&op{
			access: access{kind: k, name: prefix, after: after}, ctx: ctx,
			do: func(ctx context.Context) error {
				for info, err := range g.inner.List(ctx, prefix, after) {
					if err != nil {
						return err
					}
					infos = append(infos, info)
				}
				return nil
			},
		})
		return infos, err
	}
	first, err := look(list)
	if err != nil || !g.client.s.weak || g.client.free {
		return first, err
	}
	last, err := look(listEnd)
	return g.client.s.blend(first, last), err
}

// blend makes a listing out of what was there at its beginning and at its end: all that is in both, and of
// the rest some.
func (s *scheduler) blend(first, last []backends.Info) (out []backends.Info) {
	byName := func(a, b backends.Info) int { return strings.Compare(a.Name, b.Name) }
	has := func(in []backends.Info, info backends.Info) bool {
		_, ok := slices.BinarySearchFunc(in, info, byName)
		return ok
	}
	for _, info := range first {
		if has(last, info) || s.rng.IntN(2) == 0 {
			out = append(out, info)
		}
	}
	for _, info := range last {
		if !has(first, info) && s.rng.IntN(2) == 0 {
			out = append(out, info)
		}
	}
	slices.SortFunc(out, byName)
	return out
}

func (g *gate) Caps() backends.Caps { return g.inner.Caps() }

func (g *gate) Close() error { return nil }

// rank orders the operations that a client has under way by what does not change from run to run: not by
// their names, which are random.
func (s *scheduler) rank(a, b *op) int {
	classA, restA, _ := strings.Cut(a.name, "/")
	classB, restB, _ := strings.Cut(b.name, "/")
	return cmp.Or(
		cmp.Compare(a.kind, b.kind), strings.Compare(classA, classB),
		cmp.Compare(s.seen(restA), s.seen(restB)), strings.Compare(a.name, b.name),
	)
}

// seen numbers the sessions, and what else has a name, in the order in which they were met.
func (s *scheduler) seen(rest string) int {
	sid, _, _ := strings.Cut(rest, "-")
	n, ok := s.numbers[sid]
	if !ok {
		n = len(s.numbers)
		s.numbers[sid] = n
	}
	return n
}

// plain returns an access under names that are the same in each run. Objects of one class and one session
// have one name.
func (s *scheduler) plain(a access) access {
	class, rest, _ := strings.Cut(a.name, "/")
	switch class {
	case "data", "tree", "index", "sessions", "parity":
		if rest != "" {
			a.name = fmt.Sprintf("%s/%04d", class, s.seen(rest))
		}
	}
	return a
}
