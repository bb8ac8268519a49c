package mem

import (
	"bytes"
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/clock"
)

// Store is a store in memory. It is safe for concurrent use.
type Store struct {
	clock clock.Clock

	mu      sync.RWMutex
	objects map[string]object
}

// object is never changed once it is in the map.
type object struct {
	data []byte
	time time.Time
}

var _ backends.Store = (*Store)(nil)

// New returns an empty store with the machine's clock.
func New() *Store { return NewWithClock(clock.System) }

// NewWithClock returns an empty store whose own time is that of c, which is not
// that of its users.
func NewWithClock(c clock.Clock) *Store {
	return &Store{clock: c, objects: make(map[string]object)}
}

// Clone returns an independent store with the objects that are there now.
func (s *Store) Clone() *Store {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return &Store{clock: s.clock, objects: maps.Clone(s.objects)}
}

// Tamper puts data under name whatever is there, or removes it when data is nil,
// as a broken disk or an intruder would.
func (s *Store) Tamper(name string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if data == nil {
		delete(s.objects, name)
		return
	}
	s.objects[name] = object{bytes.Clone(data), s.clock.Now()}
}

// Put creates an object; see [backends.Store].
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := s.put(ctx, name, data); err != nil {
		return &backends.Error{Op: "put", Name: name, Err: err}
	}
	return nil
}

func (s *Store) put(ctx context.Context, name string, data []byte) error {
	if err := backends.CheckPut(name, data); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	o := object{bytes.Clone(data), s.clock.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.objects[name]; taken {
		return backends.ErrExist
	}
	s.objects[name] = o
	return nil
}

// Get reads from an object; see [backends.Store].
func (s *Store) Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	data, err := s.get(ctx, name, offset, length, buf)
	if err != nil {
		return nil, &backends.Error{Op: "get", Name: name, Err: err}
	}
	return data, nil
}

func (s *Store) get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	if err := backends.CheckName(name); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	o, ok := s.objects[name]
	s.mu.RUnlock()
	if !ok {
		return nil, backends.ErrNotExist
	}
	n, err := backends.Span(name, offset, length, int64(len(o.data)))
	if err != nil {
		return nil, err
	}
	buf = backends.Buffer(buf, n)
	copy(buf, o.data[offset:])
	return buf, nil
}

// List yields the objects that are there when it begins; see [backends.Store].
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	return func(yield func(backends.Info, error) bool) {
		for _, info := range s.infos(prefix, after) {
			if err := ctx.Err(); err != nil {
				yield(backends.Info{}, &backends.Error{Op: "list", Name: prefix, Err: err})
				return
			}
			if !yield(info, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(backends.Info{}, &backends.Error{Op: "list", Name: prefix, Err: err})
		}
	}
}

func (s *Store) infos(prefix, after string) []backends.Info {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var infos []backends.Info
	for name, o := range s.objects {
		if strings.HasPrefix(name, prefix) && name > after {
			infos = append(infos, backends.Info{Name: name, Size: int64(len(o.data)), ModTime: o.time})
		}
	}
	slices.SortFunc(infos, func(a, b backends.Info) int { return strings.Compare(a.Name, b.Name) })
	return infos
}

// Delete removes an object; see [backends.Store].
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := s.delete(ctx, name); err != nil {
		return &backends.Error{Op: "delete", Name: name, Err: err}
	}
	return nil
}

func (s *Store) delete(ctx context.Context, name string) error {
	if err := backends.CheckName(name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.objects[name]; !ok {
		return backends.ErrNotExist
	}
	delete(s.objects, name)
	return nil
}

// Caps says that objects are not durable.
func (s *Store) Caps() backends.Caps {
	return backends.Caps{CreateOnly: true, Local: true}
}

// Close does nothing: the objects stay for who has the Store.
func (s *Store) Close() error { return nil }
