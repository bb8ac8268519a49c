package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/seal"
)

// Slot is a key slot as it lies in the store. What role it gives is sealed.
type Slot struct {
	ID     string        // 16 hexadecimal digits
	Kind   seal.SlotKind // what opens it; 0 if that can not be told
	InUse  bool          // this client opened the repository with it
	Copies int           // how many of its two copies are there
	Err    error         // a DamageError, when no copy can be understood
}

// Slots lists the key slots in the order of their ids.
func (r *Repository) Slots(ctx context.Context) ([]Slot, error) {
	ids, err := listSlots(ctx, r.store)
	if err != nil {
		return nil, err
	}
	var out []Slot
	for _, id := range ids {
		s := Slot{ID: id, InUse: id == r.slot}
		for _, second := range []bool{false, true} {
			name := object.SlotName(id, second)
			obj, err := r.store.Get(ctx, name, 0, -1, nil)
			if errors.Is(err, backends.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			s.Copies++
			kind, err := seal.ParseSlotKind(obj)
			switch {
			case err == nil:
				s.Kind = kind
			case s.Err == nil:
				s.Err = &DamageError{Object: name, Err: err}
			}
		}
		if s.Kind != 0 {
			s.Err = nil
		}
		out = append(out, s)
	}
	return out, nil
}

// AddSlot stores a slot that the credential opens, with what a key of the role may have, and returns its
// id. A key can only give away roles up to its own.
func (r *Repository) AddSlot(ctx context.Context, role seal.Role, c seal.Credential, cost seal.Cost) (id string, err error) {
	keys, err := r.keys.Subset(role)
	if err != nil {
		return "", err
	}
	return addSlot(ctx, r.store, keys, c, cost)
}

// RemoveSlot deletes both copies of a slot. It refuses the one in use (ErrSlotInUse), and any once
// that one was removed by somebody else, so that the last slot of an owner stays: only an owner may remove others. Whoever has copied the slot, and has its
// password, can still open the copy: what it gives is not taken back by this. The error wraps
// ErrNotFound when there is no such slot. A removal that was cut off is repeated.
func (r *Repository) RemoveSlot(ctx context.Context, id string) error {
	ids, err := listSlots(ctx, r.store)
	if err != nil {
		return err
	}
	if !slices.Contains(ids, id) {
		return fmt.Errorf("key slot %s: %w", id, ErrNotFound)
	}
	if id == r.slot {
		return ErrSlotInUse
	}
	if !slices.Contains(ids, r.slot) {
		return errors.New("repo: the key slot that this client was opened with is there no more: another might be the last")
	}
	if role := r.keys.Role(); role != seal.Owner {
		return fmt.Errorf("repo: only an owner's key can remove key slots, this is a %v's", role)
	}
	return r.deleteSlot(ctx, id)
}

// ReplaceSlot stores the keys of the slot in use under a new credential, and then removes that slot. If it
// is cut off, both are there.
func (r *Repository) ReplaceSlot(ctx context.Context, c seal.Credential, cost seal.Cost) (id string, err error) {
	if r.slot == "" {
		return "", errors.New("repo: the repository was not opened by a key slot")
	}
	if id, err = addSlot(ctx, r.store, r.keys, c, cost); err != nil {
		return "", err
	}
	old := r.slot
	r.slot = id
	if err := r.deleteSlot(ctx, old); err != nil {
		return id, fmt.Errorf("the new key %s is in place, but the old one, %s, could not be removed: %w", id, old, err)
	}
	return id, nil
}

func (r *Repository) deleteSlot(ctx context.Context, id string) error {
	for _, second := range []bool{false, true} {
		err := r.store.Delete(ctx, object.SlotName(id, second))
		if err != nil && !errors.Is(err, backends.ErrNotExist) {
			return err
		}
	}
	return nil
}
