package log

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/seal"
)

// nameSize is the length of sid ‖ hash; refSize that of class ‖ sid ‖ hash.
const (
	nameSize = 16 + 32
	refSize  = 1 + nameSize
)

func appendName(dst []byte, r object.Ref) []byte {
	return append(append(dst, r.Session[:]...), r.Hash[:]...)
}

func parseName(class object.Class, b []byte) (object.Ref, error) {
	r := object.Ref{Class: class}
	if len(b) != nameSize {
		return r, fmt.Errorf("name of %d bytes", len(b))
	}
	copy(r.Session[:], b)
	copy(r.Hash[:], b[len(r.Session):])
	return r, nil
}

func joinRefs(refs []object.Ref) []byte {
	var out []byte
	for _, r := range refs {
		out = appendName(append(out, byte(r.Class)), r)
	}
	return out
}

func splitRefs(b []byte) ([]object.Ref, error) {
	if len(b)%refSize != 0 {
		return nil, fmt.Errorf("references of %d bytes", len(b))
	}
	var out []object.Ref
	for ; len(b) > 0; b = b[refSize:] {
		r, err := parseName(object.Class(b[0]), b[1:refSize])
		if err != nil {
			return nil, err
		}
		if r.Class != object.DataPack && r.Class != object.TreePack && r.Class != object.Index {
			return nil, fmt.Errorf("reference to a %v object", r.Class)
		}
		out = append(out, r)
	}
	return out, nil
}

func joinSessions(sids []object.SessionID) []byte {
	var out []byte
	for _, s := range sids {
		out = append(out, s[:]...)
	}
	return out
}

func splitSessions(b []byte) ([]object.SessionID, error) {
	const size = len(object.SessionID{})
	if len(b)%size != 0 {
		return nil, fmt.Errorf("session ids of %d bytes", len(b))
	}
	var out []object.SessionID
	for ; len(b) > 0; b = b[size:] {
		out = append(out, object.SessionID(b[:size]))
	}
	return out, nil
}

func packPacks(packs []PackRef) []wirePack {
	var out []wirePack
	for _, p := range packs {
		out = append(out, wirePack{Class: p.Ref.Class, Name: appendName(nil, p.Ref), Size: p.Size})
	}
	return out
}

func unpackPacks(in []wirePack) ([]PackRef, error) {
	var out []PackRef
	for _, w := range in {
		p, err := packOf(w.Class, w.Name, w.Size)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func packOf(class object.Class, name []byte, size int64) (PackRef, error) {
	if class != object.DataPack && class != object.TreePack {
		return PackRef{}, fmt.Errorf("pack of class %v", class)
	}
	return sized(class, name, size)
}

// livePackSize is the length of class ‖ sid ‖ hash ‖ size (u32) ‖ added (u64).
const livePackSize = refSize + 4 + 8

// joinPacks writes live packs one after the other, ascending. There can be millions: as a list of items they would
// be more than one may have, and would take twice the memory to read.
func joinPacks(packs map[object.Ref]Pack) []byte {
	out := make([]byte, 0, livePackSize*len(packs))
	for _, r := range sortedRefs(packs) {
		p := packs[r]
		out = appendName(append(out, byte(r.Class)), r)
		out = binary.LittleEndian.AppendUint32(out, uint32(p.Size))
		out = binary.LittleEndian.AppendUint64(out, p.Added)
	}
	return out
}

// splitPacks is the inverse of joinPacks.
func splitPacks(b []byte) (map[object.Ref]Pack, error) {
	if len(b)%livePackSize != 0 {
		return nil, fmt.Errorf("live packs of %d bytes", len(b))
	}
	packs := make(map[object.Ref]Pack, len(b)/livePackSize)
	for ; len(b) > 0; b = b[livePackSize:] {
		p, err := packOf(object.Class(b[0]), b[1:refSize], int64(binary.LittleEndian.Uint32(b[refSize:])))
		if err != nil {
			return nil, err
		}
		packs[p.Ref] = Pack{Size: p.Size, Added: binary.LittleEndian.Uint64(b[refSize+4:])}
	}
	return packs, nil
}

func packIndex(segs []PackRef) []wireIndex {
	var out []wireIndex
	for _, p := range segs {
		out = append(out, wireIndex{Name: appendName(nil, p.Ref), Size: p.Size})
	}
	return out
}

func unpackIndex(in []wireIndex) ([]PackRef, error) {
	var out []PackRef
	for _, w := range in {
		p, err := sized(object.Index, w.Name, w.Size)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func sized(class object.Class, name []byte, size int64) (PackRef, error) {
	r, err := parseName(class, name)
	if err != nil {
		return PackRef{}, err
	}
	if size <= 0 || size > math.MaxInt32 {
		return PackRef{}, fmt.Errorf("%v of %d bytes", r, size)
	}
	return PackRef{Ref: r, Size: size}, nil
}

func packSigners(in []seal.Signer) []wireSigner {
	var out []wireSigner
	for _, s := range in {
		out = append(out, wireSigner{Role: s.Role, Public: s.Public, Slot: s.Slot, Name: s.Name, Added: s.Added})
	}
	return out
}

// slotKeySize is the length of the public key that keyrings are sealed to.
const slotKeySize = 1216

func unpackSigners(in []wireSigner) ([]seal.Signer, error) {
	var out []seal.Signer
	for _, w := range in {
		if w.Role > seal.Owner {
			return nil, fmt.Errorf("%w: signer of role %d", wire.ErrNewer, w.Role)
		}
		if w.Role < seal.Writer || len(w.Public) != ed25519.PublicKeySize || len(w.Slot) != slotKeySize {
			return nil, fmt.Errorf("signer of role %d with keys of %d and %d bytes", w.Role, len(w.Public), len(w.Slot))
		}
		out = append(out, seal.Signer{
			ID: seal.SignerID(w.Public), Role: w.Role, Public: w.Public, Slot: w.Slot, Name: w.Name, Added: w.Added,
		})
	}
	return out, nil
}

func packEpoch(e seal.Epoch, signature []byte) *wireEpoch {
	if e == (seal.Epoch{}) {
		return nil
	}
	return &wireEpoch{Number: e.Number, ID: e.ID, Signature: signature}
}

func unpackEpoch(w *wireEpoch) (e seal.Epoch, signature []byte) {
	if w == nil {
		return seal.Epoch{}, nil
	}
	return seal.Epoch{Number: w.Number, ID: w.ID}, w.Signature
}
