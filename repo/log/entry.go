package log

import (
	"fmt"
	"math"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/seal"
)

// Kind is what an entry does.
type Kind uint8

// The kinds of entries.
const (
	KindInit     Kind = 1
	KindSnapshot Kind = 2
	KindForget   Kind = 3
	KindUnforget Kind = 4
	KindTag      Kind = 5
	KindPin      Kind = 6
	KindKeys     Kind = 7
	KindCollect  Kind = 8
)

func (k Kind) String() string {
	switch k {
	case KindInit:
		return "init"
	case KindSnapshot:
		return "snapshot"
	case KindForget:
		return "forget"
	case KindUnforget:
		return "unforget"
	case KindTag:
		return "tag"
	case KindPin:
		return "pin"
	case KindKeys:
		return "keys"
	case KindCollect:
		return "collect"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// role is the lowest role that may sign entries of the kind.
func (k Kind) role() seal.Role {
	switch k {
	case KindInit, KindKeys:
		return seal.Owner
	case KindSnapshot:
		return seal.Writer
	}
	return seal.Maintainer
}

// PackRef is a pack that an entry adds.
type PackRef struct {
	Ref  object.Ref
	Size int64
}

// Entry is one entry of the log, decoded. Which fields count depends on Kind.
type Entry struct {
	Kind    Kind
	Session object.SessionID
	Clock   int64 // writer's clock, ns since 1970: for people, never for decisions

	// KindInit and KindKeys
	Signers []seal.Signer // keys that may sign from now on
	Epoch   seal.Epoch    // of what is sealed from now on; with KindKeys zero if it stays

	// KindKeys
	Withdraw [][8]byte // keys that may no longer sign
	// EpochSignature is the owners', by which a checkpoint shows that the epoch has begun. It is made with the object.
	EpochSignature []byte
	ForgedEpoch    bool // whether OpenEntry has found that it is not the owners'

	// KindSnapshot
	Manifest  SealedManifest
	Supersede []object.SessionID
	Partial   bool
	Run       object.SessionID

	// KindSnapshot and KindCollect
	Add   []PackRef // packs, own and adopted
	Index []PackRef // index segments, own

	// KindForget, KindUnforget, KindTag and KindPin
	Snapshots []object.SessionID

	// KindTag: snapshot i gets Tags[TagsOf[i]]
	Tags   []SealedTags
	TagsOf []uint32

	// KindPin: whether the snapshots are pinned from now on, or no longer
	Pinned bool

	// KindCollect
	Drop    []object.Ref
	Revoke  []object.SessionID
	Gone    []object.SessionID
	Replace []object.Ref // index segments that are valid no longer
}

// Record is an entry of the log in its place.
type Record struct {
	N      uint64
	Hash   object.Hash
	Size   int
	Mended bool // whether the object in the store is damaged, and was mended by its parity
	Signer [8]byte
	Entry  *Entry
	// Void says why the entry changes nothing; nil for one that counts.
	Void error
}

type wireEntry struct {
	Kind    uint64   `cbor:"1,keyasint"` // a [Kind], or a newer program's
	N       uint64   `cbor:"2,keyasint"`
	Prev    []byte   `cbor:"3,keyasint"`
	Session []byte   `cbor:"4,keyasint"`
	Clock   int64    `cbor:"5,keyasint"`
	Body    wire.Raw `cbor:"6,keyasint"`
}

type wirePack struct {
	_     struct{} `cbor:",toarray"`
	Class object.Class
	Name  []byte
	Size  int64
}

type wireIndex struct {
	_    struct{} `cbor:",toarray"`
	Name []byte
	Size int64
}

type wireSigner struct {
	Role   seal.Role `cbor:"1,keyasint"`
	Public []byte    `cbor:"2,keyasint"`
	Slot   []byte    `cbor:"3,keyasint"`
	Name   string    `cbor:"4,keyasint,omitempty"`
	Added  int64     `cbor:"5,keyasint,omitempty"`
}

type wireEpoch struct {
	Number    uint32   `cbor:"1,keyasint"`
	ID        [16]byte `cbor:"2,keyasint"`
	Signature []byte   `cbor:"3,keyasint,omitempty"` // of those but the first
}

// EncodeEntry returns the payload of entry n.
func EncodeEntry(n uint64, prev object.Hash, e *Entry) ([]byte, error) {
	body, err := bodyOf(e)
	if err != nil {
		return nil, err
	}
	raw, err := wire.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("log: encode entry: %w", err)
	}
	return wire.Marshal(wireEntry{
		Kind: uint64(e.Kind), N: n, Prev: prev[:], Session: e.Session[:], Clock: e.Clock, Body: raw,
	})
}

// DecodeEntry is the inverse of EncodeEntry. It never panics and allocates in proportion to payload.
func DecodeEntry(payload []byte) (n uint64, prev object.Hash, e *Entry, err error) {
	var w wireEntry
	if err := wire.Unmarshal(payload, &w); err != nil {
		return 0, prev, nil, fmt.Errorf("log: entry: %w", err)
	}
	if w.Kind > math.MaxUint8 {
		return 0, prev, nil, &NewerError{What: fmt.Sprintf("kind %d", w.Kind)}
	}
	e = &Entry{Kind: Kind(w.Kind), Clock: w.Clock}
	if len(w.Prev) != len(prev) || len(w.Session) != len(e.Session) {
		return 0, prev, nil, fmt.Errorf("log: entry: hash or session id of the wrong length")
	}
	copy(prev[:], w.Prev)
	copy(e.Session[:], w.Session)
	if err := decodeBody(e, w.Body); err != nil {
		return 0, prev, nil, fmt.Errorf("log: %v entry: %w", e.Kind, err)
	}
	return w.N, prev, e, nil
}

// NewerError is an entry that this program does not know: the repository was written by a newer one. It wraps [wire.ErrNewer].
type NewerError struct{ What string }

func (e *NewerError) Error() string {
	return fmt.Sprintf("log: entry of %s: this repository was written by a newer kura; update kura to use it", e.What)
}

// Unwrap returns [wire.ErrNewer].
func (e *NewerError) Unwrap() error { return wire.ErrNewer }
