package lease

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/clock"
)

// mark is a moment by the two clocks of this machine: the wall's, which can be set, and one that counts
// on through sleep, but stands still while a virtual machine is paused.
type mark struct {
	wall time.Time
	up   time.Duration
}

func systemMark() mark { return mark{clock.Now().Round(0), clock.Uptime()} }

// age is the time between two moments, by the clock that says more.
func age(from, to mark) time.Duration { return max(to.wall.Sub(from.wall), to.up-from.up) }

// randomPause waits longer with each try, and not as long as others do.
func randomPause(ctx context.Context, try int) error {
	var b [8]byte
	rand.Read(b[:]) // never fails
	base := 500 * time.Millisecond << min(try, 3)
	t := time.NewTimer(base/2 + time.Duration(binary.NativeEndian.Uint64(b[:])%uint64(base)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hold returns a lease that was confirmed within the last hour. It takes or renews it first if need be.
func (s *Store) hold(ctx context.Context) (grant, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return grant{}, ctx.Err()
	}
	if s.held.name == "" || age(s.held.since, s.o.now()) >= renewal {
		if err := s.take(ctx); err != nil {
			return grant{}, err
		}
	}
	return s.held, ctx.Err()
}

// inPlace reports whether a lease is still in the store, and young enough to be relied on.
func (s *Store) inPlace(ctx context.Context, g grant) (bool, error) {
	_, err := s.own.Get(ctx, g.name, 0, 1, nil)
	if errors.Is(err, backends.ErrNotExist) && ctx.Err() == nil {
		return false, s.drop(ctx, g)
	}
	return err == nil && age(g.since, s.o.now()) < reliance, err
}

// drop forgets a lease that somebody took away.
func (s *Store) drop(ctx context.Context, g grant) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.held == g {
		s.held = grant{}
	}
	return nil
}

// take takes the lease or renews it. The caller has the turn.
func (s *Store) take(ctx context.Context) error {
	for try := 0; ; try++ {
		err := s.attempt(ctx)
		held, ok := errors.AsType[*HeldError](err)
		if !ok || !held.young || try+1 >= s.o.tries {
			return err
		}
		if err := s.o.pause(ctx, try); err != nil {
			return err
		}
	}
}

// attempt puts the next lease and looks at those of others.
func (s *Store) attempt(ctx context.Context) error {
	began := s.o.now()
	s.k++
	name := leaseName(s.o.holder, s.k)
	s.mine[name] = true
	perr := s.own.Put(ctx, name, encodeNote(s.o.Host, s.o.PID, began.wall))
	if perr != nil && !backends.IsUnclear(perr) && !errors.Is(perr, backends.ErrExist) { // a put of ours that was sent twice
		return perr
	}
	all, err := list(ctx, s.own)
	if err != nil {
		return err
	}
	me, there := all.find(name)
	switch {
	case !there && perr != nil:
		return perr
	case !there:
		return ErrNotListed
	}
	_, before := all.find(s.held.name)
	// While the lease before is in place others saw it and withdraw: their tries do not matter.
	if !before || age(s.held.since, s.o.now()) >= reliance {
		s.held = grant{}
		rival, err := s.rival(ctx, all, me.ModTime, began.wall)
		if err != nil {
			return err
		}
		if rival != nil {
			_ = s.withdraw(ctx) // what it could not remove is tried again, at the latest by Close, which says so
			return &HeldError{*rival, me.ModTime.Sub(rival.Renewed) < trying}
		}
	}
	if age(began, s.o.now()) >= renewal {
		return &backends.Error{Op: "put", Name: name, Kind: backends.Transient, Err: fmt.Errorf("%w: taking it lasted too long", ErrLost)}
	}
	last := s.held.name
	s.held = grant{name, began}
	return s.tidy(ctx, all, last, me.ModTime, began.wall)
}

// rival returns another client whose lease is not expired.
func (s *Store) rival(ctx context.Context, all leases, stored, wall time.Time) (*Holder, error) {
	for _, h := range all.holders() {
		if h.ID == s.o.holder {
			continue
		}
		expired, err := s.expired(ctx, &h, stored, wall)
		if errors.Is(err, backends.ErrNotExist) {
			continue // it was given back meanwhile
		}
		if err != nil {
			return nil, err
		}
		if !expired {
			return &h, nil
		}
	}
	return nil, nil
}

// expired reports whether a lease no longer counts, and fills in who has it. stored and wall are now, by the
// store's clock and by that of this machine.
func (s *Store) expired(ctx context.Context, h *Holder, stored, wall time.Time) (bool, error) {
	known, err := h.read(ctx, s.own)
	if err != nil {
		return false, err
	}
	return known && stored.Sub(h.Renewed) >= Expiry && wall.Sub(h.Said) >= Expiry, nil
}

// tidy removes what the new lease makes superfluous: own leases but the last one, and all that is left of clients that have
// ended or expired. Only the own ones have to be tried again; nobody needs the rest to go.
func (s *Store) tidy(ctx context.Context, all leases, last string, stored, wall time.Time) error {
	for _, name := range slices.Sorted(maps.Keys(s.mine)) {
		if name != s.held.name && name != last {
			if err := s.remove(ctx, name); err != nil {
				break // it stays, and is tried again
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(all.byHolder)) {
		h := all.byHolder[id]
		if h.ID == s.o.holder {
			continue
		}
		if h.last > 0 {
			if expired, err := s.expired(ctx, h, stored, wall); err != nil || !expired {
				continue
			}
		}
		// In this order a lease goes before the mark that ends it.
		slices.Sort(h.all)
		for _, name := range h.all {
			if err := s.own.Delete(ctx, name); err != nil && !errors.Is(err, backends.ErrNotExist) {
				return ctx.Err() // who may not delete leaves it to others
			}
		}
	}
	return ctx.Err()
}

// withdraw ends all own leases.
func (s *Store) withdraw(ctx context.Context) error {
	s.held = grant{}
	var failed error
	for _, name := range slices.Sorted(maps.Keys(s.mine)) {
		if err := s.remove(ctx, name); err != nil {
			failed = err
		}
	}
	if failed == nil || ctx.Err() != nil {
		return failed
	}
	// Deleting is not permitted, or does not work now.
	if err := s.own.Put(ctx, endName(s.o.holder, s.k), []byte(endText)); err != nil && !errors.Is(err, backends.ErrExist) {
		return errors.Join(failed, err)
	}
	clear(s.mine)
	return nil
}

// remove deletes an own lease.
func (s *Store) remove(ctx context.Context, name string) error {
	if err := s.own.Delete(ctx, name); err != nil && !errors.Is(err, backends.ErrNotExist) {
		return err
	}
	delete(s.mine, name)
	return nil
}
