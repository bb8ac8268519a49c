package repo

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// notThis says why the keys in a slot are not those to open the repository with. Another slot may have them.
type notThis struct{ error }

// openKeys tries the credential on every key slot until one opens and accept returns nil for what is in
// it. Where several slots of one key open, as after a rotation that was cut off, those with the newest keys come
// first. A slot whose first copy is missing or damaged is read from the second. Without any slot the
// error is ErrNoRepository, without a fitting one ErrWrongKey; otherwise the first error of accept, which ends the
// search unless it is a notThis. Slots can come and go meanwhile, by a rotation: no failure is final before they
// hold still.
func openKeys(ctx context.Context, store backends.Store, c seal.Credential, accept func(keys *seal.Keyring, slot string) error) error {
	slots, err := loadSlots(ctx, store)
	for err == nil {
		if err = tryKeys(ctx, store, slots, c, accept); err == nil || !mayHaveMoved(err) {
			return err
		}
		newer, lerr := loadSlots(ctx, store)
		if lerr != nil {
			return lerr
		}
		if slices.EqualFunc(slots, newer, func(a, b *storedSlot) bool { return a.id == b.id }) {
			return err
		}
		slots, err = newer, nil
	}
	return err
}

// mayHaveMoved reports whether an error can come of slots that were put or deleted while they were read.
func mayHaveMoved(err error) bool {
	return errors.Is(err, ErrWrongKey) || errors.Is(err, ErrNoRepository) || errors.Is(err, log.ErrRotated) || errors.As(err, new(*DamageError))
}

// tryKeys is openKeys for the slots that were there at one time.
func tryKeys(ctx context.Context, store backends.Store, slots []*storedSlot, c seal.Credential, accept func(keys *seal.Keyring, slot string) error) error {
	if len(slots) == 0 {
		return missingSlots(ctx, store)
	}
	var refused, damaged, failed error
	done := map[*storedSlot]bool{}
	for _, s := range slots {
		if done[s] {
			continue
		}
		keys, err := s.open(ctx, c)
		switch {
		case errors.Is(err, seal.ErrWrongKey) || errors.Is(err, backends.ErrNotExist):
			continue
		case errors.As(err, new(*DamageError)):
			damaged = errors.Join(damaged, err)
			continue
		case err != nil && onlyThis(ctx, err):
			failed = errors.Join(failed, err) // another slot may be the one
			continue
		case err != nil:
			return err
		}
		candidates := []openedSlot{{s, keys}}
		for _, other := range slots {
			if other == s || !other.claims(ctx, keys.Self().ID) {
				continue
			}
			if k, err := other.open(ctx, c); err == nil && k.Self().ID == keys.Self().ID {
				candidates, done[other] = append(candidates, openedSlot{other, k}), true
			}
		}
		slices.SortStableFunc(candidates, func(a, b openedSlot) int {
			return cmp.Compare(b.keys.Epoch().Number, a.keys.Epoch().Number)
		})
		for _, candidate := range candidates {
			for keys := range candidate.keyrings(ctx, c) {
				err := accept(keys, candidate.slot.id)
				not, ok := err.(notThis)
				if !ok {
					return err
				}
				if refused == nil {
					refused = not.error
				}
			}
		}
	}
	switch {
	case refused != nil:
		return refused
	case failed != nil:
		return fmt.Errorf("repo: no key slot opens, and not all could be read: %w", failed)
	case damaged != nil:
		return fmt.Errorf("%w; and there are damaged key slots: %w", ErrWrongKey, damaged)
	}
	return ErrWrongKey
}

type openedSlot struct {
	slot *storedSlot
	keys *seal.Keyring // from the first copy that opened
}

// keyrings yields the keys, and then those of the second copy if it has others: a first copy that was put in
// place of the right one opens as well.
func (o *openedSlot) keyrings(ctx context.Context, c seal.Credential) iter.Seq[*seal.Keyring] {
	return func(yield func(*seal.Keyring) bool) {
		if !yield(o.keys) {
			return
		}
		obj, err := o.slot.store.Get(ctx, object.SlotName(o.slot.id, true), 0, -1, nil)
		if err != nil || bytes.Equal(obj, o.slot.first) {
			return
		}
		if keys, err := seal.OpenSlot(obj, c); err == nil {
			yield(keys)
		}
	}
}

func listSlots(ctx context.Context, store backends.Store) (ids []string, err error) {
	for info, err := range store.List(ctx, object.KeysPrefix, "") {
		if errors.Is(err, backends.ErrNoStore) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		id, _, err := object.ParseSlotName(info.Name)
		if err != nil || len(ids) > 0 && ids[len(ids)-1] == id {
			continue // not a slot, which check reports, or the copy of the last one
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// storedSlot is a key slot of which the first copy was asked for.
type storedSlot struct {
	store backends.Store
	id    string
	first []byte
	err   error
}

// slotReaders is how many slots are read at once.
const slotReaders = 8

// loadSlots reads the first copies of all slots. What goes wrong with one of them is found when it is used.
func loadSlots(ctx context.Context, store backends.Store) ([]*storedSlot, error) {
	ids, err := listSlots(ctx, store)
	if err != nil {
		return nil, err
	}
	slots := make([]*storedSlot, len(ids))
	var g errgroup.Group
	g.SetLimit(slotReaders)
	for i, id := range ids {
		s := &storedSlot{store: store, id: id}
		slots[i] = s
		g.Go(func() error {
			s.first, s.err = store.Get(ctx, object.SlotName(id, false), 0, -1, nil)
			return nil
		})
	}
	return slots, g.Wait()
}

// copies yields the two copies of the slot, as they are in the store.
func (s *storedSlot) copies(ctx context.Context, yield func(name string, obj []byte, err error) bool) {
	if !yield(object.SlotName(s.id, false), s.first, s.err) {
		return
	}
	name := object.SlotName(s.id, true)
	obj, err := s.store.Get(ctx, name, 0, -1, nil)
	yield(name, obj, err)
}

// claims reports whether a copy of the slot says that it is a key's.
func (s *storedSlot) claims(ctx context.Context, key [8]byte) (ok bool) {
	s.copies(ctx, func(_ string, obj []byte, err error) bool {
		if err != nil {
			return true
		}
		info, err := seal.ParseSlot(obj)
		ok = err == nil && info.Key == key
		return err != nil
	})
	return ok
}

// open opens a slot from its first copy, or from the second where the first does not open. Without
// success the error is that of the store, if one copy could not be read; else that of the first copy that
// is there; else ErrNotExist.
func (s *storedSlot) open(ctx context.Context, c seal.Credential) (keys *seal.Keyring, err error) {
	var stop, failed, refused error
	var tried []byte
	s.copies(ctx, func(name string, obj []byte, err error) bool {
		switch {
		case errors.Is(err, backends.ErrNotExist):
		case err != nil && !onlyThis(ctx, err):
			stop = err
			return false
		case err != nil:
			failed = errors.Join(failed, err)
		case bytes.Equal(obj, tried): // the same bytes give the same answer
		default:
			tried = obj
			if keys, err = seal.OpenSlot(obj, c); err == nil {
				return false
			}
			if !errors.Is(err, seal.ErrWrongKey) {
				err = &DamageError{Object: name, Err: err}
			}
			if refused == nil {
				refused = err
			}
		}
		return true
	})
	switch {
	case stop != nil:
		return nil, stop
	case keys != nil:
		return keys, nil
	case failed != nil:
		return nil, failed
	case refused != nil:
		return nil, refused
	}
	return nil, backends.ErrNotExist
}

// missingSlots tells an empty place from a repository that lost its key slots.
func missingSlots(ctx context.Context, store backends.Store) error {
	for _, name := range []string{object.ConfigName, object.ConfigCopyName, object.LogName(1)} {
		_, err := store.Get(ctx, name, 0, -1, nil)
		if err == nil {
			return &DamageError{Object: object.KeysPrefix, Err: errors.New("there are no key slots: nobody can open this repository until keys/ is restored from a copy")}
		}
		if !errors.Is(err, backends.ErrNotExist) && !errors.Is(err, backends.ErrNoStore) {
			return err
		}
	}
	return ErrNoRepository
}

// addSlot stores a slot of the keys twice under a fresh id.
func addSlot(ctx context.Context, store backends.Store, keys *seal.Keyring, c seal.Credential, cost seal.Cost) (id string, err error) {
	obj, err := seal.SealSlot(keys, c, cost)
	if err != nil {
		return "", err
	}
	return putSlot(ctx, store, obj)
}

// putSlot stores a slot twice under a fresh id.
func putSlot(ctx context.Context, store backends.Store, obj []byte) (id string, err error) {
	var raw [8]byte
	rand.Read(raw[:]) // never fails
	id = hex.EncodeToString(raw[:])
	for _, second := range []bool{false, true} {
		if err := putObject(ctx, store, object.SlotName(id, second), obj); err != nil {
			return id, err
		}
	}
	return id, nil
}

func deleteSlot(ctx context.Context, store backends.Store, id string) error {
	for _, second := range []bool{false, true} {
		err := store.Delete(ctx, object.SlotName(id, second))
		if err != nil && !errors.Is(err, backends.ErrNotExist) {
			return err
		}
	}
	return nil
}
