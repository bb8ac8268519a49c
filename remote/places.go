package remote

import (
	"encoding/binary"
	"fmt"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

const (
	idSize    = len(object.BlobID{})
	maxLookup = repo.MaxFarLookup
	// maxAnswer bounds the bytes of the answer to a lookup, and maxPlaces the places of one blob in it.
	maxAnswer = 16 << 20
	maxPlaces = 1 << 10
)

// An answer to a lookup is a row of blobs: id, number of places, and for each its numbers. What is told beside
// looks the same.

// appendPlaces appends where a blob lies.
func appendPlaces(dst []byte, id object.BlobID, places []local.Place) []byte {
	dst = append(dst, id[:]...)
	dst = binary.AppendUvarint(dst, uint64(len(places)))
	for i := range places {
		p := &places[i]
		dst = append(dst, byte(p.Coding), p.Depth)
		for _, n := range [...]uint64{
			uint64(p.Pack), uint64(p.Origin), p.Ordinal, uint64(p.SegOffset), uint64(p.Stored), uint64(p.Plain),
			uint64(p.Offset), uint64(p.Length), p.ChainSum, uint64(p.Bases.Len()),
		} {
			dst = binary.AppendUvarint(dst, n)
		}
		dst = append(dst, p.Bases...)
	}
	return dst
}

// placesDecoder reads what appendPlaces wrote. bad is set by what it can not be.
type placesDecoder struct {
	rest []byte
	bad  bool
}

func (d *placesDecoder) take(n int) []byte {
	if d.bad || n > len(d.rest) {
		d.bad = true
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *placesDecoder) number(limit uint64) uint64 {
	n, k := binary.Uvarint(d.rest)
	if d.bad || k <= 0 || n > limit {
		d.bad = true
		return 0
	}
	d.rest = d.rest[k:]
	return n
}

func (d *placesDecoder) number32() uint32 { return uint32(d.number(1<<32 - 1)) }

// decodePlaces reads an answer to a lookup in an index of so many packs.
func decodePlaces(b []byte, packs int) (map[object.BlobID][]local.Place, error) {
	out := map[object.BlobID][]local.Place{}
	d := placesDecoder{rest: b}
	for len(d.rest) > 0 && !d.bad {
		id := d.take(idSize)
		n := int(d.number(maxPlaces))
		var places []local.Place
		for range n {
			places = append(places, d.place(packs))
			if d.bad {
				break
			}
		}
		if !d.bad {
			out[object.BlobID(id)] = places
		}
	}
	if d.bad {
		return nil, fmt.Errorf("%w: places of blobs", ErrProtocol)
	}
	return out, nil
}

func (d *placesDecoder) place(packs int) (p local.Place) {
	head := d.take(2)
	if d.bad {
		return p
	}
	p.Coding, p.Depth = pack.Coding(head[0]), head[1]
	p.Pack = d.number32()
	p.Origin = d.number32()
	p.Ordinal = d.number(1<<64 - 1)
	p.SegOffset, p.Stored, p.Plain = d.number32(), d.number32(), d.number32()
	p.Offset, p.Length = d.number32(), d.number32()
	p.ChainSum = d.number(1<<64 - 1)
	p.Bases = local.Bases(d.take(int(d.number(pack.MaxBases)) * idSize))
	d.bad = d.bad || uint64(p.Pack) >= uint64(packs) || p.Depth > pack.MaxDepth
	return p
}

// joinAnswer puts the origins behind the places: first comes how long these are.
func joinAnswer(places, origins []byte) []byte {
	out := binary.AppendUvarint(make([]byte, 0, len(places)+len(origins)+binary.MaxVarintLen64), uint64(len(places)))
	return append(append(out, places...), origins...)
}

// splitAnswer is the inverse of joinAnswer.
func splitAnswer(b []byte) (places, origins []byte, err error) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return nil, nil, fmt.Errorf("%w: places of blobs", ErrProtocol)
	}
	b = b[k:]
	return b[:n:n], b[n:], nil
}

// appendOrigin appends an encoded origin with its number.
func appendOrigin(dst []byte, n uint32, obj []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(n))
	dst = binary.AppendUvarint(dst, uint64(len(obj)))
	return append(dst, obj...)
}

// decodeOrigins calls found with each origin that appendOrigin has appended.
func decodeOrigins(b []byte, found func(n uint32, o *seal.Origin)) error {
	d := placesDecoder{rest: b}
	for len(d.rest) > 0 && !d.bad {
		n := d.number32()
		obj := d.take(int(d.number(maxOriginSize)))
		if d.bad {
			break
		}
		o := new(seal.Origin)
		if err := decode(obj, o); err != nil {
			return err
		}
		found(n, o)
	}
	if d.bad {
		return fmt.Errorf("%w: origins", ErrProtocol)
	}
	return nil
}

// maxOriginSize is more than an encoded origin takes, and maxSealed than its secret.
const (
	maxOriginSize = 8 << 10
	maxSealed     = 4 << 10
)
