package log

import (
	"maps"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/seal"
)

// State is the fold of the log's entries 1 to N. It is immutable, hence safe for concurrent use.
type State struct {
	N    uint64      // number of the last entry folded, 0 before the first
	Hash object.Hash // of that entry's object

	Snapshots map[object.SessionID]*Snapshot // live and forgotten; gone ones are not in it
	Packs     map[object.Ref]Pack            // live packs
	Index     map[object.Ref]int64           // valid index segments and their sizes

	// dropped holds packs that were dropped while their session was open, and whose session
	// still is. It stands for every pack that was ever dropped: a pack of a session that is
	// closed or revoked can not be added again anyway.
	dropped map[object.Ref]struct{}
	closed  map[object.SessionID]struct{}
	revoked map[object.SessionID]struct{}

	Signers seal.Signers // who may sign entries
	Epoch   seal.Epoch   // of the keys that everything is sealed with from now on

	epochSignature []byte // the owners', from the entry that began the epoch; nil for the first
}

// Pack is a live pack.
type Pack struct {
	Size  int64
	Added uint64 // number of the entry that added it
}

// Snapshot is what the state knows of a snapshot without opening its manifest.
type Snapshot struct {
	ID        object.SessionID
	N         uint64 // number of its entry
	Clock     int64  // writer's clock at its commit, ns since 1970
	Manifest  SealedManifest
	Partial   bool
	Run       object.SessionID
	Forgotten uint64 // number of the entry that forgot it; 0 while it is live
	Signer    [8]byte
	Pinned    bool        // it can not be forgotten
	Tags      *SealedTags // in place of those in the manifest; nil: these count
}

// Live reports whether the snapshot has not been forgotten.
func (s *Snapshot) Live() bool { return s.Forgotten == 0 }

// SealedManifest is a manifest as the log carries it: readable only with the private meta key.
type SealedManifest struct {
	Origin     seal.Origin `cbor:"1,keyasint"`
	Ciphertext []byte      `cbor:"2,keyasint"`
}

// SealedTags are the tags that a snapshot was given after its commit, sealed like a manifest.
type SealedTags SealedManifest

func newState() *State {
	return &State{
		Snapshots: map[object.SessionID]*Snapshot{},
		Packs:     map[object.Ref]Pack{},
		Index:     map[object.Ref]int64{},
		dropped:   map[object.Ref]struct{}{},
		closed:    map[object.SessionID]struct{}{},
		revoked:   map[object.SessionID]struct{}{},
		Signers:   seal.Signers{},
	}
}

// clone copies the maps, not the snapshots: those are replaced, never changed.
func (st *State) clone() *State {
	return &State{
		N: st.N, Hash: st.Hash,
		Snapshots: maps.Clone(st.Snapshots),
		Packs:     maps.Clone(st.Packs),
		Index:     maps.Clone(st.Index),
		dropped:   maps.Clone(st.dropped),
		closed:    maps.Clone(st.closed),
		revoked:   maps.Clone(st.revoked),
		Signers:   maps.Clone(st.Signers),
		Epoch:     st.Epoch,

		epochSignature: st.epochSignature,
	}
}

// Knows reports whether what the holder of a keyring signs counts. A keyring that was lent has a lower role than its
// signer.
func (st *State) Knows(keys *seal.Keyring) bool {
	role, id := keys.Signer()
	s, ok := st.Signers[id]
	return ok && s.Role >= role
}

// Live reports whether pack p is live.
func (st *State) Live(p object.Ref) bool {
	_, ok := st.Packs[p]
	return ok
}

// Addable reports whether an entry on top of this state may add pack p, or rely on it.
func (st *State) Addable(p object.Ref) bool {
	if st.Live(p) {
		return true
	}
	if _, dropped := st.dropped[p]; dropped {
		return false
	}
	return st.Open(p.Session)
}

// Garbage reports whether the object r, a pack or an index segment, can be deleted: it is not part
// of this state and no later entry can make it so.
func (st *State) Garbage(r object.Ref) bool {
	if r.Class == object.Index {
		_, valid := st.Index[r]
		return !valid && !st.Open(r.Session)
	}
	return !st.Addable(r)
}

// Open reports whether session sid is neither closed by an entry of its own nor revoked.
func (st *State) Open(sid object.SessionID) bool { return !st.Closed(sid) && !st.Revoked(sid) }

// Closed reports whether session sid has made its entry.
func (st *State) Closed(sid object.SessionID) bool {
	_, ok := st.closed[sid]
	return ok
}

// Revoked reports whether a collector has revoked session sid.
func (st *State) Revoked(sid object.SessionID) bool {
	_, ok := st.revoked[sid]
	return ok
}
