package repo

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// Slot is a key of the repository, and what opens it: one slot, or for a while more than one, when a change was cut off.
type Slot struct {
	ID     string        // 16 hexadecimal digits: the id of its signing key; that of the object where none can be told
	Kind   seal.SlotKind // what opens it; 0 if that can not be told
	InUse  bool          // this client opened the repository with it
	Copies int           // how many of its two copies are there
	Err    error         // a DamageError, when no copy can be understood

	// What the log says of it. Without a role it is no key: it was removed, or adding it was cut off.
	Role  seal.Role
	Name  string
	Added int64 // ns since 1970
}

// Slots lists the keys in the order of their ids: those that the log names, and whatever else lies there.
func (r *Repository) Slots(ctx context.Context) ([]Slot, error) {
	if err := r.Refresh(ctx); err != nil {
		return nil, err
	}
	_, own := r.Keys().Signer()
	found := map[string]*Slot{}
	for id, s := range r.State().Signers {
		name := keyName(id)
		found[name] = &Slot{ID: name, InUse: id == own, Role: s.Role, Name: s.Name, Added: s.Added}
	}
	stored, err := loadSlots(ctx, r.store)
	if err != nil {
		return nil, err
	}
	for _, s := range stored {
		copies, info, err := s.inspect(ctx)
		if err != nil && !errors.As(err, new(*DamageError)) {
			return nil, err
		}
		id := s.id
		if err == nil {
			id = keyName(info.Key)
		}
		slot := found[id]
		if slot == nil {
			slot = &Slot{ID: id, Err: err}
			found[id] = slot
		}
		if copies >= slot.Copies {
			slot.Kind, slot.Copies = info.Kind, copies
		}
	}
	out := make([]Slot, 0, len(found))
	for _, s := range found {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Slot) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

func keyName(id [8]byte) string { return hex.EncodeToString(id[:]) }

// inspect counts the copies of a slot that are there, and returns what one of them says. The error is a DamageError
// if none can be understood.
func (s *storedSlot) inspect(ctx context.Context) (copies int, info seal.SlotInfo, err error) {
	var failed, damaged error
	known := false
	s.copies(ctx, func(name string, obj []byte, err error) bool {
		if errors.Is(err, backends.ErrNotExist) {
			return true
		}
		if err != nil {
			failed = err
			return true
		}
		copies++
		i, err := seal.ParseSlot(obj)
		switch {
		case err == nil && !known:
			info, known = i, true
		case err != nil && damaged == nil:
			damaged = &DamageError{Object: name, Err: err}
		}
		return true
	})
	switch {
	case failed != nil:
		return copies, info, failed
	case known:
		return copies, info, nil
	case damaged == nil:
		damaged = &DamageError{Object: object.SlotName(s.id, false), Err: backends.ErrNotExist}
	}
	return copies, info, damaged
}

// NewSlot says what key is to be added.
type NewSlot struct {
	Role       seal.Role
	Name       string // for people
	Credential seal.Credential
	Cost       seal.Cost // of a passphrase
}

// MaxKeyName is the longest name of a key, in bytes.
const MaxKeyName = 200

// AddSlot makes a key that the credential opens, with what its role may have, and returns its id. Only an owner's key
// can. The slot is stored first, and counts once the log names it; if it is cut off in between, the slot opens nothing.
func (r *Repository) AddSlot(ctx context.Context, n NewSlot) (id string, err error) {
	if len(n.Name) > MaxKeyName {
		return "", fmt.Errorf("repo: the name of a key may have %d bytes", MaxKeyName)
	}
	owner := r.Keys()
	keys, err := owner.Subset(n.Role)
	if err != nil {
		return "", err
	}
	slot, err := addSlot(ctx, r.store, keys, n.Credential, n.Cost)
	if err != nil {
		return "", err
	}
	self := keys.Self()
	self.Name = n.Name
	_, err = r.Commit(ctx, func(_ context.Context, st *log.State) (*log.Entry, error) {
		if st.Epoch != owner.Epoch() { // its keyring lacks what counts now
			return nil, log.ErrRotated
		}
		return &log.Entry{Kind: log.KindKeys, Session: object.NewSessionID(st.N), Clock: clock.Now().UnixNano(), Signers: []seal.Signer{self}}, nil
	})
	if notEntered(err) {
		err = errors.Join(err, deleteSlot(context.WithoutCancel(ctx), r.store, slot))
	}
	return keyName(self.ID), err
}

// notEntered reports whether an error of a commit means that its entry is not in the log, and never will be. After
// others, a disk that fails behind it, say, it may be there, and what it names must stay.
func notEntered(err error) bool {
	return errors.Is(err, log.ErrRotated) || errors.Is(err, log.ErrWithdrawn)
}

// RemoveSlot removes a key: what it signs counts no more, and then both copies of its slot go. It refuses the key in use
// (ErrSlotInUse), and the log refuses to lose its last owner. Only an owner's key can remove others. Whoever has opened
// the repository with the key, or has copied the slot and has its password, still reads what was stored until now, and
// what is stored until the keys are rotated. The error wraps ErrNotFound when there is no such key. A removal that was
// cut off is repeated.
func (r *Repository) RemoveSlot(ctx context.Context, id string) error {
	if id == keyName(r.Keys().Self().ID) {
		return ErrSlotInUse
	}
	if role := r.Keys().Role(); role != seal.Owner {
		return fmt.Errorf("repo: only an owner's key can remove keys, this is a %v's", role)
	}
	if err := r.Refresh(ctx); err != nil {
		return err
	}
	stored, err := loadSlots(ctx, r.store)
	if err != nil {
		return err
	}
	var doomed []string
	for _, s := range stored {
		_, info, err := s.inspect(ctx)
		if err == nil && keyName(info.Key) == id || err != nil && s.id == id {
			doomed = append(doomed, s.id)
		}
	}
	found := len(doomed) > 0
	_, err = r.Commit(ctx, func(_ context.Context, st *log.State) (*log.Entry, error) {
		if !st.Knows(r.Keys()) {
			return nil, log.ErrWithdrawn
		}
		for key := range st.Signers {
			if keyName(key) == id {
				found = true
				return &log.Entry{Kind: log.KindKeys, Session: object.NewSessionID(st.N), Clock: clock.Now().UnixNano(), Withdraw: [][8]byte{key}}, nil
			}
		}
		return nil, nil // removed before, and its slot may be left
	})
	switch {
	case err != nil:
		return err
	case !found:
		return fmt.Errorf("key %s: %w", id, ErrNotFound)
	}
	return r.deleteSlots(ctx, doomed)
}

func (r *Repository) deleteSlots(ctx context.Context, ids []string) (err error) {
	for _, id := range ids {
		err = errors.Join(err, deleteSlot(ctx, r.store, id))
	}
	return err
}

// ReplaceSlot gives the key in use a new credential, and then removes what the old one opens. If it
// is cut off, both open the repository. It is the same key: who has copied the old slot and has its credential
// still has what the key has, also after a rotation. The error is ErrRotating while an owner gives out new keys.
func (r *Repository) ReplaceSlot(ctx context.Context, c seal.Credential, cost seal.Cost) (id string, err error) {
	old := r.usedSlot()
	if old == "" {
		return "", errors.New("repo: the repository was not opened by a key slot")
	}
	stored, err := loadSlots(ctx, r.store)
	if err != nil {
		return "", err
	}
	doomed := []string{old}
	if i := slices.IndexFunc(stored, func(s *storedSlot) bool { return s.id == old }); i >= 0 {
		if doomed, err = sameCredential(ctx, stored, stored[i]); err != nil {
			return "", err
		}
	}
	id = keyName(r.Keys().Self().ID)
	slot, err := addSlot(ctx, r.store, r.Keys(), c, cost)
	if err != nil {
		return "", err
	}
	// A rotation puts new slots, looks for others that have come meanwhile, and only then makes its entry. So either it
	// finds this one, or this client sees that it is at work: to delete the old slots then could be to lose the new keys.
	if err = r.Refresh(ctx); err == nil {
		err = r.wantNoRotation(ctx)
	}
	if err != nil {
		return "", errors.Join(err, deleteSlot(context.WithoutCancel(ctx), r.store, slot))
	}
	r.useSlot(slot)
	if err := r.deleteSlots(ctx, doomed); err != nil {
		return id, fmt.Errorf("the new password or key file is in place, but the old one could not be removed: %w", err)
	}
	return id, nil
}

// wantNoRotation returns ErrRotating when a slot of the key in use has keys that do not count yet.
func (r *Repository) wantNoRotation(ctx context.Context) error {
	stored, err := loadSlots(ctx, r.store)
	if err != nil {
		return err
	}
	keys := r.Keys()
	for _, s := range stored {
		var failed error
		newer := false
		s.copies(ctx, func(_ string, obj []byte, err error) bool {
			if err != nil {
				if !errors.Is(err, backends.ErrNotExist) {
					failed = errors.Join(failed, err)
				}
				return true
			}
			failed = nil // one copy will do
			in, err := keys.SlotEpoch(obj)
			newer = newer || err == nil && in.Number > keys.Epoch().Number
			return err != nil && !errors.Is(err, seal.ErrWrongKey)
		})
		switch {
		case newer:
			return ErrRotating
		case failed != nil:
			return failed
		}
	}
	return nil
}

// sameCredential returns the slots that the credential of one slot opens for the same key: that slot, and what a
// rotation that was cut off has left.
func sameCredential(ctx context.Context, stored []*storedSlot, of *storedSlot) ([]string, error) {
	_, want, err := of.inspect(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, s := range stored {
		_, info, err := s.inspect(ctx)
		if err == nil && info.Key == want.Key && info.Front == want.Front {
			out = append(out, s.id)
		}
	}
	return out, nil
}

func (r *Repository) usedSlot() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.slot
}

func (r *Repository) useSlot(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slot = id
}
