package log

import (
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/seal"
)

// Kind is what an entry does.
type Kind uint8

// The kinds of entries. Keys (7) is reserved.
const (
	KindInit     Kind = 1
	KindSnapshot Kind = 2
	KindForget   Kind = 3
	KindUnforget Kind = 4
	KindTag      Kind = 5
	KindPin      Kind = 6
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
	case KindCollect:
		return "collect"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// role is the lowest role that may sign entries of the kind.
func (k Kind) role() seal.Role {
	switch k {
	case KindInit:
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

	// KindInit
	Signers []seal.Signer

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
	Kind    Kind     `cbor:"1,keyasint"`
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
}

type initBody struct {
	Signers []wireSigner `cbor:"1,keyasint"`
}

type snapshotBody struct {
	Manifest  SealedManifest `cbor:"1,keyasint"`
	Add       []wirePack     `cbor:"2,keyasint,omitempty"`
	Index     []wireIndex    `cbor:"3,keyasint,omitempty"`
	Supersede []byte         `cbor:"4,keyasint,omitempty"`
	Partial   uint8          `cbor:"5,keyasint,omitempty"`
	Run       []byte         `cbor:"6,keyasint"`
}

type forgetBody struct {
	Snapshots []byte `cbor:"1,keyasint"`
}

type tagBody struct {
	Snapshots []byte       `cbor:"1,keyasint"`
	TagsOf    []uint32     `cbor:"2,keyasint"`
	Tags      []SealedTags `cbor:"3,keyasint"`
}

type pinBody struct {
	Snapshots []byte `cbor:"1,keyasint"`
	Pinned    uint8  `cbor:"2,keyasint,omitempty"`
}

type collectBody struct {
	Drop    []byte      `cbor:"1,keyasint,omitempty"`
	Add     []wirePack  `cbor:"2,keyasint,omitempty"`
	Revoke  []byte      `cbor:"3,keyasint,omitempty"`
	Gone    []byte      `cbor:"4,keyasint,omitempty"`
	Replace []byte      `cbor:"5,keyasint,omitempty"`
	Index   []wireIndex `cbor:"6,keyasint,omitempty"`
}

// EncodeEntry returns the payload of entry n.
func EncodeEntry(n uint64, prev object.Hash, e *Entry) ([]byte, error) {
	var body any
	switch e.Kind {
	case KindInit:
		body = initBody{Signers: packSigners(e.Signers)}
	case KindSnapshot:
		b := snapshotBody{
			Manifest: e.Manifest, Add: packPacks(e.Add), Index: packIndex(e.Index),
			Supersede: joinSessions(e.Supersede), Run: e.Run[:],
		}
		if e.Partial {
			b.Partial = 1
		}
		body = b
	case KindForget, KindUnforget:
		body = forgetBody{Snapshots: joinSessions(e.Snapshots)}
	case KindTag:
		body = tagBody{Snapshots: joinSessions(e.Snapshots), TagsOf: e.TagsOf, Tags: e.Tags}
	case KindPin:
		b := pinBody{Snapshots: joinSessions(e.Snapshots)}
		if e.Pinned {
			b.Pinned = 1
		}
		body = b
	case KindCollect:
		body = collectBody{
			Drop: joinRefs(e.Drop), Add: packPacks(e.Add), Revoke: joinSessions(e.Revoke),
			Gone: joinSessions(e.Gone), Replace: joinRefs(e.Replace), Index: packIndex(e.Index),
		}
	default:
		return nil, fmt.Errorf("log: cannot encode an entry of %v", e.Kind)
	}
	raw, err := wire.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("log: encode entry: %w", err)
	}
	return wire.Marshal(wireEntry{
		Kind: e.Kind, N: n, Prev: prev[:], Session: e.Session[:], Clock: e.Clock, Body: raw,
	})
}

// DecodeEntry is the inverse of EncodeEntry. It never panics and allocates in proportion to payload.
func DecodeEntry(payload []byte) (n uint64, prev object.Hash, e *Entry, err error) {
	var w wireEntry
	if err := wire.Unmarshal(payload, &w); err != nil {
		return 0, prev, nil, fmt.Errorf("log: entry: %w", err)
	}
	e = &Entry{Kind: w.Kind, Clock: w.Clock}
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

func decodeBody(e *Entry, body []byte) (err error) {
	switch e.Kind {
	case KindInit:
		var b initBody
		if err := wire.Unmarshal(body, &b); err != nil {
			return err
		}
		e.Signers, err = unpackSigners(b.Signers)
		return err
	case KindSnapshot:
		var b snapshotBody
		if err := wire.Unmarshal(body, &b); err != nil {
			return err
		}
		if len(b.Run) != len(e.Run) {
			return fmt.Errorf("run id of %d bytes", len(b.Run))
		}
		copy(e.Run[:], b.Run)
		e.Manifest, e.Partial = b.Manifest, b.Partial != 0
		if e.Supersede, err = splitSessions(b.Supersede); err != nil {
			return err
		}
		if e.Add, err = unpackPacks(b.Add); err != nil {
			return err
		}
		e.Index, err = unpackIndex(b.Index)
		return err
	case KindForget, KindUnforget:
		var b forgetBody
		if err := wire.Unmarshal(body, &b); err != nil {
			return err
		}
		e.Snapshots, err = splitSessions(b.Snapshots)
		return err
	case KindTag:
		var b tagBody
		if err := wire.Unmarshal(body, &b); err != nil {
			return err
		}
		if e.Snapshots, err = splitSessions(b.Snapshots); err != nil {
			return err
		}
		if e.Tags, e.TagsOf = b.Tags, b.TagsOf; len(e.TagsOf) != len(e.Snapshots) {
			return fmt.Errorf("%d snapshots and tags for %d", len(e.Snapshots), len(e.TagsOf))
		}
		for _, n := range e.TagsOf {
			if int64(n) >= int64(len(e.Tags)) {
				return fmt.Errorf("tags number %d of %d", n, len(e.Tags))
			}
		}
		return nil
	case KindPin:
		var b pinBody
		if err := wire.Unmarshal(body, &b); err != nil {
			return err
		}
		e.Pinned = b.Pinned != 0
		e.Snapshots, err = splitSessions(b.Snapshots)
		return err
	case KindCollect:
		var b collectBody
		if err := wire.Unmarshal(body, &b); err != nil {
			return err
		}
		if e.Drop, err = splitRefs(b.Drop); err != nil {
			return err
		}
		if e.Add, err = unpackPacks(b.Add); err != nil {
			return err
		}
		if e.Revoke, err = splitSessions(b.Revoke); err != nil {
			return err
		}
		if e.Gone, err = splitSessions(b.Gone); err != nil {
			return err
		}
		if e.Replace, err = splitRefs(b.Replace); err != nil {
			return err
		}
		e.Index, err = unpackIndex(b.Index)
		return err
	}
	return &NewerError{What: e.Kind.String()}
}

// NewerError is an entry that this program does not know: the repository was written by a newer one.
type NewerError struct{ What string }

func (e *NewerError) Error() string {
	return fmt.Sprintf("log: entry of %s: this repository was written by a newer kura; update kura to use it", e.What)
}
