package log

import (
	"errors"
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/seal"
)

// Apply returns the state after entry e, signed by signer, on top of st. The second result says why
// the entry is void, nil for one that counts; a void entry only takes up its number.
func (st *State) Apply(e *Entry, signer [8]byte, hash object.Hash) (*State, error) {
	next := st.clone()
	return next, next.step(e, signer, hash)
}

// step is Apply that changes st itself, which nobody else may have seen yet. Many entries are folded with
// it: to copy the state for each would take time that grows with the square of the log.
func (st *State) step(e *Entry, signer [8]byte, hash object.Hash) error {
	void := st.check(e, signer)
	st.N, st.Hash = st.N+1, hash
	if void == nil {
		st.apply(e, signer)
	}
	return void
}

// check says why e would be void on top of st. The list is that of docs/protocol.md, section 4.
func (st *State) check(e *Entry, signer [8]byte) error {
	if (e.Kind == KindInit) != (st.N == 0) {
		return fmt.Errorf("entry of kind %v with number %d", e.Kind, st.N+1)
	}
	if e.Kind != KindInit { // the first entry is checked against the keyring's owner key by the Log
		who, ok := st.Signers[signer]
		if !ok {
			return fmt.Errorf("signed by a key that is not (or no longer) one of this repository's")
		}
		if who.Role < e.Kind.role() {
			return fmt.Errorf("a %v entry signed with a %v key", e.Kind, who.Role)
		}
	}
	switch e.Kind {
	case KindSnapshot:
		return st.checkSnapshot(e, signer)
	case KindForget, KindUnforget:
		for _, id := range e.Snapshots {
			s := st.Snapshots[id]
			if s == nil || s.Live() != (e.Kind == KindForget) || s.Pinned && e.Kind == KindForget {
				return fmt.Errorf("%v of snapshot %s, which is not there, not in that state, or pinned", e.Kind, id.Short())
			}
		}
	case KindTag, KindPin:
		for _, id := range e.Snapshots {
			if st.Snapshots[id] == nil {
				return fmt.Errorf("%v of snapshot %s, which is not there", e.Kind, id.Short())
			}
		}
	case KindKeys:
		return st.checkKeys(e)
	case KindCollect:
		return st.checkCollect(e)
	}
	return nil
}

func (st *State) checkSession(e *Entry) error {
	if !st.Open(e.Session) {
		return fmt.Errorf("session %v is closed or revoked", e.Session)
	}
	for _, p := range e.Add {
		if !st.Addable(p.Ref) {
			return fmt.Errorf("adds %v, which was dropped, or whose session is closed or revoked", p.Ref)
		}
	}
	for _, p := range e.Index {
		if p.Ref.Session != e.Session {
			return fmt.Errorf("adds %v, an index segment of another session", p.Ref)
		}
	}
	return nil
}

func (st *State) checkSnapshot(e *Entry, signer [8]byte) error {
	if err := st.checkSession(e); err != nil {
		return err
	}
	for _, id := range e.Supersede {
		s := st.Snapshots[id]
		if s == nil || !s.Live() || !s.Partial || s.Pinned || s.Run != e.Run || s.Signer != signer {
			return fmt.Errorf("supersedes %s, which is not a live partial snapshot of the same run and key, or is pinned", id.Short())
		}
	}
	return nil
}

// checkKeys keeps an owner: without one nobody could change keys any more.
func (st *State) checkKeys(e *Entry) error {
	left := map[[8]byte]struct{}{}
	for id, s := range st.Signers {
		if s.Role == seal.Owner {
			left[id] = struct{}{}
		}
	}
	for _, id := range e.Withdraw {
		if _, ok := st.Signers[id]; !ok {
			return fmt.Errorf("withdraws key %x, which is not (or no longer) one of this repository's", id)
		}
		delete(left, id)
	}
	for _, s := range e.Signers {
		if _, ok := st.Signers[s.ID]; ok {
			return fmt.Errorf("adds key %x, which is there", s.ID)
		}
		delete(left, s.ID) // of one that is named twice the last counts
		if s.Role == seal.Owner {
			left[s.ID] = struct{}{}
		}
	}
	if len(left) == 0 {
		return errors.New("leaves no owner's key")
	}
	if e.Epoch != (seal.Epoch{}) && e.Epoch.Number != st.Epoch.Number+1 {
		return fmt.Errorf("begins epoch %d after epoch %d", e.Epoch.Number, st.Epoch.Number)
	}
	if e.ForgedEpoch {
		return fmt.Errorf("begins epoch %d without the owners' signature", e.Epoch.Number)
	}
	return nil
}

func (st *State) checkCollect(e *Entry) error {
	if err := st.checkSession(e); err != nil {
		return err
	}
	dropped := make(map[object.Ref]struct{}, len(e.Drop))
	for _, p := range e.Drop {
		if !st.Live(p) {
			return fmt.Errorf("drops %v, which is not live", p)
		}
		dropped[p] = struct{}{}
	}
	for _, p := range e.Add {
		if _, ok := dropped[p.Ref]; ok {
			return fmt.Errorf("adds and drops %v", p.Ref)
		}
	}
	for _, id := range e.Revoke {
		if !st.Open(id) || id == e.Session {
			return fmt.Errorf("revokes session %v, which is not open or its own", id)
		}
	}
	for _, id := range e.Gone {
		if s := st.Snapshots[id]; s == nil || s.Live() {
			return fmt.Errorf("lets snapshot %s go, which is not forgotten", id.Short())
		}
	}
	for _, r := range e.Replace {
		if _, ok := st.Index[r]; !ok {
			return fmt.Errorf("replaces %v, which is not valid", r)
		}
	}
	return nil
}

// apply changes st in the order of docs/protocol.md, section 4.
func (st *State) apply(e *Entry, signer [8]byte) {
	change := func(id object.SessionID, do func(*Snapshot)) {
		s := *st.Snapshots[id]
		do(&s)
		st.Snapshots[id] = &s
	}
	forget := func(id object.SessionID, n uint64) {
		change(id, func(s *Snapshot) { s.Forgotten = n })
	}
	switch e.Kind {
	case KindInit:
		st.admit(e)
	case KindKeys:
		for _, id := range e.Withdraw {
			delete(st.Signers, id)
		}
		st.admit(e)
	case KindSnapshot:
		for _, id := range e.Supersede {
			forget(id, st.N)
		}
		st.add(e)
		st.Snapshots[e.Session] = &Snapshot{
			ID: e.Session, N: st.N, Clock: e.Clock, Manifest: e.Manifest,
			Partial: e.Partial, Run: e.Run, Signer: signer,
		}
		st.closed[e.Session] = struct{}{}
	case KindForget:
		for _, id := range e.Snapshots {
			forget(id, st.N)
		}
	case KindUnforget:
		for _, id := range e.Snapshots {
			forget(id, 0)
		}
	case KindTag:
		for i, id := range e.Snapshots {
			change(id, func(s *Snapshot) { s.Tags = &e.Tags[e.TagsOf[i]] })
		}
	case KindPin:
		for _, id := range e.Snapshots {
			change(id, func(s *Snapshot) { s.Pinned = e.Pinned })
		}
	case KindCollect:
		for _, id := range e.Revoke {
			st.revoked[id] = struct{}{}
		}
		for _, p := range e.Drop {
			delete(st.Packs, p)
			st.dropped[p] = struct{}{}
		}
		for _, r := range e.Replace {
			delete(st.Index, r)
		}
		st.add(e)
		for _, id := range e.Gone {
			delete(st.Snapshots, id)
		}
		st.closed[e.Session] = struct{}{}
	}
	for p := range st.dropped {
		if !st.Open(p.Session) {
			delete(st.dropped, p)
		}
	}
}

func (st *State) admit(e *Entry) {
	for _, s := range e.Signers {
		s.Added = e.Clock
		st.Signers[s.ID] = s
	}
	if e.Epoch != (seal.Epoch{}) {
		st.Epoch, st.epochSignature = e.Epoch, e.EpochSignature
	}
}

func (st *State) add(e *Entry) {
	for _, p := range e.Add {
		if _, ok := st.Packs[p.Ref]; !ok {
			st.Packs[p.Ref] = Pack{Size: p.Size, Added: st.N}
		}
	}
	for _, p := range e.Index {
		st.Index[p.Ref] = p.Size
	}
}
