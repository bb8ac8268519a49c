package fault

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/kura-backup/kura/backends"
)

// ErrDead is the answer of a Store after a rule with Die has fired.
var ErrDead = errors.New("fault: the store is dead")

// Store wraps a Store. It is safe for concurrent use.
type Store struct {
	inner backends.Store

	mu    sync.Mutex
	rules []*armed
	calls []Call
	dead  bool
}

var _ backends.Store = (*Store)(nil)

// New returns a Store that passes everything on to inner until something is
// injected.
func New(inner backends.Store) *Store { return &Store{inner: inner} }

// Inject adds rules. Of several that could fire on a call the first does; the
// others do not count the call as theirs.
func (s *Store) Inject(rules ...Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rules {
		s.rules = append(s.rules, arm(r))
	}
}

// Clear removes all rules, and raises the dead.
func (s *Store) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules, s.dead = nil, false
}

// Fired returns how often the rules have fired since they were injected.
func (s *Store) Fired() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.rules {
		n += r.Fired()
	}
	return n
}

// Calls returns all calls since the last Reset, in the order in which they
// began, failed ones too.
func (s *Store) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Count returns how many calls of a method since the last Reset had a name with
// this prefix.
func (s *Store) Count(op Op, prefix string) int {
	n := 0
	for _, c := range s.Calls() {
		if c.Op == op && strings.HasPrefix(c.Name, prefix) {
			n++
		}
	}
	return n
}

// Reset forgets the calls so far. Rules keep their own counts.
func (s *Store) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = nil
}

// Unwrap returns the Store beneath.
func (s *Store) Unwrap() backends.Store { return s.inner }

// begin records a call and returns the rule that fires on it, which has no
// effect if none does, or the error that ends it at once.
func (s *Store) begin(ctx context.Context, c Call) (Rule, error) {
	r, err := s.pick(c)
	if err == nil && r.hook != nil {
		err = r.hook(ctx, c)
	}
	if err == nil && r.effect == before {
		err = r.err
	}
	return r, err
}

func (s *Store) pick(c Call) (Rule, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, c)
	if s.dead {
		return Rule{}, ErrDead
	}
	for _, a := range s.rules {
		if !a.fires(c) {
			continue
		}
		r := a.Rule
		if r.die {
			s.dead = true
			if r.err == nil {
				r.err = ErrDead
			}
			if r.effect == nothing {
				r.effect = before
			}
		}
		return r, nil
	}
	return Rule{}, nil
}

// Put is backends.Store.Put, with faults.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	r, err := s.begin(ctx, Call{Op: Put, Name: name, Length: int64(len(data))})
	if err != nil {
		return err
	}
	if r.effect == torn {
		data = data[:min(r.bytes, len(data))]
		if len(data) == 0 { // no store has an object without bytes
			return r.err
		}
	}
	if err := s.inner.Put(ctx, name, data); err != nil {
		return err
	}
	return r.err
}

// Get is backends.Store.Get, with faults.
func (s *Store) Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	r, err := s.begin(ctx, Call{Op: Get, Name: name, Offset: offset, Length: length})
	if err != nil {
		return nil, err
	}
	data, err := s.inner.Get(ctx, name, offset, length, buf)
	if err != nil {
		return nil, err
	}
	if r.effect == torn {
		data = data[:min(r.bytes, len(data))]
	}
	return data, r.err
}

// List is backends.Store.List, with faults. Every range over the result is a
// call.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	return func(yield func(backends.Info, error) bool) {
		r, err := s.begin(ctx, Call{Op: List, Name: prefix, After: after})
		if err != nil {
			yield(backends.Info{}, err)
			return
		}
		n := 0
		for info, err := range s.inner.List(ctx, prefix, after) {
			if r.effect == torn && n == r.bytes {
				break
			}
			if !yield(info, err) || err != nil {
				return
			}
			n++
		}
		if r.err != nil {
			yield(backends.Info{}, r.err)
		}
	}
}

// Delete is backends.Store.Delete, with faults.
func (s *Store) Delete(ctx context.Context, name string) error {
	r, err := s.begin(ctx, Call{Op: Delete, Name: name})
	if err != nil {
		return err
	}
	if r.effect == torn {
		return r.err
	}
	if err := s.inner.Delete(ctx, name); err != nil {
		return err
	}
	return r.err
}

// Caps is that of the Store beneath.
func (s *Store) Caps() backends.Caps { return s.inner.Caps() }

// Close closes the Store beneath, dead or not.
func (s *Store) Close() error { return s.inner.Close() }
