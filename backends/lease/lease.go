package lease

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kura-backup/kura/backends"
)

// Expiry is the age at which a lease no longer keeps others out.
const Expiry = 24 * time.Hour

const (
	// reliance is for how long a holder relies on a confirmed lease. The rest of Expiry is for clocks that
	// go at different speeds, and for requests under way.
	reliance = 12 * time.Hour

	// renewal is the age at which a lease is followed by the next, and the longest that taking one may last.
	renewal = time.Hour

	// trying is the age up to which a lease may be that of a client which is only trying, and will withdraw.
	trying = time.Minute

	// closing is how long giving back may last.
	closing = time.Minute
)

// Options say how a lease is kept.
type Options struct {
	// Own is the store through which the objects of the lease itself go, such as
	// one that repeats what failed for a moment. It is closed with the Store. Nil
	// is the wrapped one.
	Own backends.Store

	// Host and PID tell others who holds the lease. They are stored in clear.
	Host string
	PID  int

	// Unique reports whether no other client ever puts a name with other bytes,
	// so that a Put that arrives very late harms nobody. Nil: none is.
	Unique func(name string) bool

	now    func() mark
	pause  func(ctx context.Context, try int) error
	holder string
	tries  int
}

// Store wraps a store without create-only. It is safe for concurrent use.
//
// Only the Put of each attempt is guarded by a fresh look at the lease; so a
// wrapper that repeats failed requests belongs around this one, not beneath it.
type Store struct {
	inner, own backends.Store
	o          Options

	turn chan struct{} // who has put its one token in may use what follows
	k    uint64
	held grant           // the zero grant: none
	mine map[string]bool // own leases and marks that may be in the store

	mu        sync.Mutex
	busy      map[string]chan struct{} // names that are being put
	unsettled map[string][sha256.Size]byte
}

var (
	_ backends.Store        = (*Store)(nil)
	_ backends.BatchDeleter = (*Store)(nil)
)

// grant is a lease that was confirmed.
type grant struct {
	name  string
	since mark
}

// New returns a Store that takes the lease with its first Put or Delete.
func New(inner backends.Store, o Options) *Store {
	if o.Own == nil {
		o.Own = inner
	}
	if o.now == nil {
		o.now = systemMark
	}
	if o.pause == nil {
		o.pause = randomPause
	}
	if o.tries == 0 {
		o.tries = 6
	}
	if o.Unique == nil {
		o.Unique = func(string) bool { return false }
	}
	if o.holder == "" {
		var id [8]byte
		rand.Read(id[:]) // never fails
		o.holder = hex.EncodeToString(id[:])
	}
	return &Store{
		inner: inner, own: o.Own, o: o, turn: make(chan struct{}, 1), mine: map[string]bool{},
		busy: map[string]chan struct{}{}, unsettled: map[string][sha256.Size]byte{},
	}
}

// Unwrap returns the Store beneath.
func (s *Store) Unwrap() backends.Store { return s.inner }

// Put creates an object; see [backends.Store]. It fails with a [*HeldError] when
// another client holds the lease.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := s.put(ctx, name, data); err != nil {
		if e, ok := err.(*backends.Error); ok && e.Name == name {
			return err
		}
		return &backends.Error{Op: "put", Name: name, Kind: backends.KindOf(err), Err: err}
	}
	return nil
}

func (s *Store) put(ctx context.Context, name string, data []byte) error {
	if err := backends.CheckPut(name, data); err != nil {
		return err
	}
	done, err := s.reserve(ctx, name)
	if err != nil {
		return err
	}
	defer done()
	if !s.mayPut(name, data) {
		return fmt.Errorf("other bytes were put under this name before: %w", backends.ErrUnsettled)
	}
	held, err := s.ready(ctx, name)
	if err != nil {
		return notDone(ctx, err)
	}
	err = s.inner.Put(ctx, name, data)
	switch {
	case err == nil && age(held.since, s.o.now()) >= Expiry:
		s.note(name, data)
		return &backends.Error{Op: "put", Name: name, Kind: backends.Unclear, Err: ErrLost}
	case err == nil:
		s.settle(name)
	case mayHappen(ctx, err):
		s.note(name, data)
	}
	return err
}

// ready returns when the name is free and the lease was just seen in place, in this order.
func (s *Store) ready(ctx context.Context, name string) (grant, error) {
	const attempts = 3
	for range attempts {
		held, err := s.hold(ctx)
		if err != nil {
			return grant{}, err
		}
		if err := s.free(ctx, name); err != nil {
			return grant{}, err
		}
		ok, err := s.inPlace(ctx, held)
		if ok || err != nil {
			return held, err
		}
	}
	return grant{}, ErrLost
}

// free returns ErrExist when the name is taken.
func (s *Store) free(ctx context.Context, name string) error {
	_, err := s.inner.Get(ctx, name, 0, 1, nil)
	switch {
	case errors.Is(err, backends.ErrNotExist):
		return nil
	case err == nil, errors.Is(err, backends.ErrRange): // an object that has lost its bytes
		return backends.ErrExist
	}
	return err
}

// reserve waits until nobody else in this process puts the name.
func (s *Store) reserve(ctx context.Context, name string) (done func(), err error) {
	own := make(chan struct{})
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.mu.Lock()
		other, taken := s.busy[name]
		if !taken {
			s.busy[name] = own
			s.mu.Unlock()
			return func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(s.busy, name)
				close(own)
			}, nil
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// note remembers a put that may still arrive.
func (s *Store) note(name string, data []byte) {
	if s.o.Unique(name) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsettled[name] = sha256.Sum256(data)
}

// settle forgets it: the name has the bytes, and another arrival changes nothing.
func (s *Store) settle(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.unsettled, name)
}

// mayPut reports whether no other bytes may still arrive under the name.
func (s *Store) mayPut(name string, data []byte) bool {
	s.mu.Lock()
	sum, ok := s.unsettled[name]
	s.mu.Unlock()
	return !ok || sum == sha256.Sum256(data)
}

// Get reads from an object; see [backends.Store].
func (s *Store) Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	data, err := s.inner.Get(ctx, name, offset, length, buf)
	if err == nil && offset == 0 && length < 0 {
		s.settleBy(name, data)
	}
	return data, err
}

func (s *Store) settleBy(name string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sum, ok := s.unsettled[name]; ok && sum == sha256.Sum256(data) {
		delete(s.unsettled, name)
	}
}

// List yields objects, but for those of leases; see [backends.Store].
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	return func(yield func(backends.Info, error) bool) {
		for info, err := range s.inner.List(ctx, prefix, after) {
			if err == nil && strings.HasPrefix(info.Name, class) {
				continue
			}
			if !yield(info, err) || err != nil {
				return
			}
		}
	}
}

// Delete removes an object; see [backends.Store].
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := backends.CheckName(name); err != nil {
		return &backends.Error{Op: "delete", Name: name, Err: err}
	}
	if _, err := s.hold(ctx); err != nil {
		err = notDone(ctx, err)
		return &backends.Error{Op: "delete", Name: name, Kind: backends.KindOf(err), Err: err}
	}
	return s.inner.Delete(ctx, name)
}

// DeleteMany removes objects; see [backends.BatchDeleter].
func (s *Store) DeleteMany(ctx context.Context, names []string, done func(name string, err error)) error {
	const parallel = 8
	if _, err := s.hold(ctx); err != nil {
		for _, name := range names {
			done(name, notDone(ctx, err))
		}
		return context.Cause(ctx)
	}
	return backends.DeleteMany(ctx, s.inner, names, parallel, done)
}

// Caps is that of the Store beneath, and create-only: within the lease it is.
func (s *Store) Caps() backends.Caps {
	c := s.inner.Caps()
	c.CreateOnly = true
	return c
}

// Close gives the lease back and closes the Store beneath. The error wraps
// [backends.ErrUnsettled] when the lease had to stay.
func (s *Store) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	return errors.Join(s.giveBack(ctx), s.own.Close())
}

func (s *Store) giveBack(ctx context.Context) error {
	for _, name := range s.open() {
		// An error leaves the name unsettled.
		if data, err := s.own.Get(ctx, name, 0, -1, nil); err == nil {
			s.settleBy(name, data)
		}
	}
	if names := s.open(); len(names) > 0 {
		return &UnsettledError{names}
	}
	if err := s.withdraw(ctx); err != nil {
		return fmt.Errorf("lease: giving it back: %w", err)
	}
	return nil
}

// open returns the names that were put without a clear answer.
func (s *Store) open() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.unsettled))
}

// mayHappen reports whether a put that ended with an error may have been done, or may still be.
func mayHappen(ctx context.Context, err error) bool {
	return backends.IsUnclear(err) || ctx.Err() != nil && !backends.IsTransient(err) && !errors.Is(err, backends.ErrExist)
}

// notDone marks an error from before a change: whatever it was, the change was not made.
func notDone(ctx context.Context, err error) error {
	if ctx.Err() == nil && backends.IsUnclear(err) {
		return &backends.Error{Op: "lease", Kind: backends.Transient, Err: err}
	}
	return err
}
