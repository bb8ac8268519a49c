package local

import (
	"encoding/binary"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/seal"
)

// The records of packs and origins have fixed lengths. A sealed secret is its own record.
const (
	packRecord   = 1 + packRefSize + 8
	packRefSize  = len(object.SessionID{}) + len(object.Hash{})
	originRecord = 1 + 4 + 1 + 4 + 2*32
)

// packKey identifies a pack.
func packKey(ref object.Ref) object.Hash {
	b := append(make([]byte, 0, packRefSize), ref.Session[:]...)
	return object.Sum(append(b, ref.Hash[:]...))
}

func appendPack(b []byte, p index.PackRef) []byte {
	b = append(b, byte(p.Ref.Class))
	b = append(b, p.Ref.Session[:]...)
	b = append(b, p.Ref.Hash[:]...)
	return binary.LittleEndian.AppendUint64(b, uint64(p.Size))
}

func decodePack(b []byte) (p index.PackRef, ok bool) {
	if len(b) != packRecord {
		return p, false
	}
	class := object.Class(b[0])
	if class != object.DataPack && class != object.TreePack {
		return p, false
	}
	p.Ref = object.Ref{Class: class, Session: object.SessionID(b[1:]), Hash: object.Hash(b[1+len(object.SessionID{}):])}
	p.Size = int64(binary.LittleEndian.Uint64(b[1+packRefSize:]))
	return p, true
}

// originKey identifies an origin by all of its fields.
func originKey(o *seal.Origin) (object.Hash, error) {
	raw, err := wire.Marshal(o)
	return object.Sum(raw), err
}

func appendOrigin(b []byte, o *seal.Origin, secret uint32) []byte {
	b = append(b, byte(o.Kind))
	b = binary.LittleEndian.AppendUint32(b, o.Epoch)
	b = append(b, byte(o.Suite))
	b = binary.LittleEndian.AppendUint32(b, secret)
	b = append(b, o.Salt[:]...)
	return append(b, o.Commitment[:]...)
}

// secretAt is where in its record an origin names its sealed secret.
const secretAt = 1 + 4 + 1

// decodeOrigin returns an origin without its sealed secret, and the number of that.
func decodeOrigin(b []byte) (o *seal.Origin, secret uint32, ok bool) {
	if len(b) != originRecord {
		return nil, 0, false
	}
	o = &seal.Origin{Kind: seal.Kind(b[0]), Epoch: binary.LittleEndian.Uint32(b[1:]), Suite: seal.Suite(b[5])}
	rest := b[secretAt+4:]
	copy(o.Commitment[:], rest[copy(o.Salt[:], rest):])
	return o, binary.LittleEndian.Uint32(b[secretAt:]), true
}
