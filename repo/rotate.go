package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// Rotated is what a rotation of the keys has done.
type Rotated struct {
	Epoch   uint32   // the one that it has begun
	Renewed []string // ids of the keys that have its keys now
	Lost    []string // ids of the keys of which there is no slot: nobody can open the repository with them
	Left    error    // why slots that are of no use any more could not all be deleted
}

// RotateKeys begins a new epoch: from its entry on everything is sealed, and checkpoints are signed, with fresh keys,
// which the keys that the log names are given in new slots, and nobody else. What is stored stays as it is; all earlier
// epochs stay in the keyrings. Only an owner's key can.
//
// The new slots are stored first. Each has the old keys, too, so whichever one a client opens, and wherever this is cut
// off, it gets on: with the entry in the log the new keys count, and without it the old ones do. Old slots are deleted
// after the entry. Of several owners who rotate at a time one does; the others get log.ErrRotated, as every client does
// that was opened before.
func (r *Repository) RotateKeys(ctx context.Context) (*Rotated, error) {
	for {
		res, err := r.rotateKeys(ctx)
		if errors.As(err, new(*DamageError)) { // or another rotation has deleted the slots meanwhile
			if rerr := r.Refresh(ctx); errors.Is(rerr, log.ErrRotated) {
				return nil, rerr
			}
		}
		if !errors.Is(err, errFewerKeys) && !errors.Is(err, errOvertaken) {
			return res, err
		}
	}
}

// errOvertaken is returned when a rotation of which this client has the keys has come first: one that was cut off
// before it knew whether its entry had arrived.
var errOvertaken = errors.New("repo: an earlier rotation has come")

// errFewerKeys is returned when a key was removed that new keys had been given to already: those count for nothing.
var errFewerKeys = errors.New("repo: a key was removed meanwhile")

func (r *Repository) rotateKeys(ctx context.Context) (*Rotated, error) {
	old := r.Keys()
	next, err := old.Next()
	if err != nil {
		return nil, err
	}
	if err := r.Refresh(ctx); err != nil {
		return nil, err
	}
	rot := &rotation{r: r, next: next, renewed: map[slotFront]string{}, done: map[string]bool{}, owner: map[string]slotFront{}}
	r.log.Expect(next)
	st, err := r.log.Commit(ctx, func(ctx context.Context, st *log.State) (*log.Entry, error) {
		if st.Epoch != old.Epoch() {
			return nil, errOvertaken
		}
		if err := rot.renew(ctx, st); err != nil {
			return nil, err
		}
		rot.sent = true
		return &log.Entry{Kind: log.KindKeys, Session: object.NewSessionID(st.N), Clock: clock.Now().UnixNano(), Epoch: next.Epoch()}, nil
	})
	if err != nil {
		r.log.Expect(nil)
		if !rot.sent || notEntered(err) || errors.Is(err, errFewerKeys) || errors.Is(err, errOvertaken) { // else the slots may be needed yet
			err = errors.Join(err, rot.undo(context.WithoutCancel(ctx)))
		}
		return nil, err
	}
	if used := rot.renewed[rot.owner[r.usedSlot()]]; used != "" {
		r.useSlot(used)
	}
	// As after every commit: without these the next opening takes longer, at most.
	_ = r.remember()
	_ = r.log.WriteCheckpoint(ctx)
	rot.entered = true
	err = rot.renew(ctx, st) // what others have put since
	return rot.result(st, errors.Join(err, rot.sweep(ctx))), nil
}

// rotation is the work on slots.
type rotation struct {
	r       *Repository
	next    *seal.Keyring
	sent    bool                 // whether its entry may be in the log
	entered bool                 // whether it is
	renewed map[slotFront]string // ids of the new slots
	done    map[string]bool      // ids of the old slots that are of no use once the entry is in the log
	owner   map[string]slotFront // of the old slots, by their ids
}

// slotFront is one credential of one key.
type slotFront struct {
	key   [8]byte
	front object.Hash
}

// renew makes new slots for all that are there, of keys in the state, and that their holders have made. A slot that
// was put after the entry by a client that knows of it is left alone. It lists the slots until it finds none to renew:
// whoever puts another one after that sees what this has put.
func (rot *rotation) renew(ctx context.Context, st *log.State) error {
	there := map[string]bool{}
	for made := -1; made < len(rot.renewed); {
		made = len(rot.renewed)
		if err := rot.renewAll(ctx, st, there); err != nil {
			return err
		}
	}
	if self := rot.next.Self().ID; !rot.has(self) {
		return &DamageError{Object: object.KeysPrefix, Err: fmt.Errorf("no slot of the key in use, %s, is whole: add another owner's key first, and use that", keyName(self))}
	}
	return rot.forsake(ctx, there)
}

// renewAll lists the slots once, and renews them. In there are then the ids of those listed.
func (rot *rotation) renewAll(ctx context.Context, st *log.State, there map[string]bool) error {
	stored, err := loadSlots(ctx, rot.r.store)
	if err != nil {
		return err
	}
	clear(there)
	for _, s := range stored {
		there[s.id] = true
	}
	for front := range rot.renewed {
		if _, ok := st.Signers[front.key]; !ok && !rot.entered {
			return errFewerKeys
		}
	}
	for _, s := range stored {
		if rot.isNew(s.id) {
			continue
		}
		if err := rot.renewSlot(ctx, st, s); err != nil {
			return err
		}
	}
	return nil
}

// has reports whether there is a new slot of a key.
func (rot *rotation) has(key [8]byte) bool {
	for front := range rot.renewed {
		if front.key == key {
			return true
		}
	}
	return false
}

func (rot *rotation) isNew(id string) bool {
	for _, made := range rot.renewed {
		if made == id {
			return true
		}
	}
	return false
}

func (rot *rotation) renewSlot(ctx context.Context, st *log.State, s *storedSlot) (err error) {
	var unread error
	s.copies(ctx, func(_ string, obj []byte, gerr error) bool {
		switch {
		case errors.Is(gerr, backends.ErrNotExist):
			return true
		case gerr != nil:
			unread = errors.Join(unread, gerr)
			return onlyThis(ctx, gerr)
		}
		info, perr := seal.ParseSlot(obj)
		if perr != nil || rot.entered && info.Epoch >= rot.next.Epoch().Number {
			return true
		}
		holder, known := st.Signers[info.Key]
		if !known {
			rot.done[s.id] = true // of a key that was removed, or was never added
			return true
		}
		renewed, rerr := rot.next.RenewSlot(obj, holder)
		if rerr != nil {
			return true // damaged, or not made by who it says: there may be a good one
		}
		front := slotFront{info.Key, info.Front}
		if _, ok := rot.renewed[front]; !ok {
			id, perr := putSlot(ctx, rot.r.store, renewed)
			if perr != nil {
				err = perr
				return false
			}
			rot.renewed[front] = id
		}
		rot.done[s.id], rot.owner[s.id] = true, front
		return false
	})
	if err == nil && !rot.done[s.id] {
		err = unread // its holder may have been left out
	}
	return err
}

// forsake deletes a new slot all of whose old ones were deleted by their holder meanwhile, who has another: the
// password was changed.
func (rot *rotation) forsake(ctx context.Context, there map[string]bool) error {
	if !rot.entered {
		return nil
	}
	for front, made := range rot.renewed {
		gone, others := true, false
		for id, f := range rot.owner {
			gone = gone && (f != front || !there[id])
		}
		for f := range rot.renewed {
			others = others || f.key == front.key && f != front
		}
		if gone && others {
			delete(rot.renewed, front)
			if err := deleteSlot(ctx, rot.r.store, made); err != nil {
				return err
			}
		}
	}
	return nil
}

func (rot *rotation) undo(ctx context.Context) (err error) {
	for _, id := range rot.renewed {
		err = errors.Join(err, deleteSlot(ctx, rot.r.store, id))
	}
	return err
}

// sweep deletes the old slots.
func (rot *rotation) sweep(ctx context.Context) (err error) {
	for id := range rot.done {
		if serr := deleteSlot(ctx, rot.r.store, id); serr != nil {
			err = errors.Join(err, fmt.Errorf("old key slot %s: %w", id, serr))
		}
	}
	return err
}

func (rot *rotation) result(st *log.State, left error) *Rotated {
	res := &Rotated{Epoch: rot.next.Epoch().Number, Left: left}
	for key := range st.Signers {
		if rot.has(key) {
			res.Renewed = append(res.Renewed, keyName(key))
		} else {
			res.Lost = append(res.Lost, keyName(key))
		}
	}
	slices.SortFunc(res.Renewed, cmp.Compare[string])
	slices.SortFunc(res.Lost, cmp.Compare[string])
	return res
}
