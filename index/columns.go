package index

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/seal"
)

const (
	idSize  = len(object.BlobID{})
	refSize = len(object.SessionID{}) + len(object.Hash{})

	// Less than these take in their encodings: they bound how many structs the decoder makes
	// of given bytes.
	minPack    = 1 + 1 + 2 + refSize + 1
	minOrigin  = 64
	minSegment = 15

	// perBlob is more than a blob can need in the places, with a pack, an origin and a segment
	// of its own. It bounds what the decoder decompresses.
	perBlob   = 4096
	maxPlaces = 256 << 20
)

type wirePack struct {
	_     struct{} `cbor:",toarray"`
	Class uint8
	Ref   [refSize]byte
	Size  uint64
}

type wireSegment struct { // in the order that packs it tightest: there are many
	Pack     uint32 `cbor:"1,keyasint"`
	Offset   uint32 `cbor:"2,keyasint"`
	Ordinal  uint64 `cbor:"4,keyasint"`
	Origin   uint32 `cbor:"3,keyasint"`
	Stored   uint32 `cbor:"6,keyasint"`
	Plain    uint32 `cbor:"7,keyasint"`
	Coding   uint8  `cbor:"5,keyasint"`
	Depth    uint8  `cbor:"9,keyasint,omitempty"`
	Bases    []byte `cbor:"8,keyasint,omitempty"`
	ChainSum uint64 `cbor:"10,keyasint,omitempty"`
}

type wirePlaces struct {
	Packs    wire.Raw `cbor:"1,keyasint"`
	Origins  wire.Raw `cbor:"2,keyasint"`
	Segments wire.Raw `cbor:"3,keyasint"`
	Blobs    []byte   `cbor:"4,keyasint"`
}

// EncodeColumns sorts the blobs and returns the plaintexts of the columns.
func EncodeColumns(s *Segment) (ids, places, sketches []byte, err error) {
	s.sort()
	packs := make([]wirePack, len(s.Packs))
	for i, p := range s.Packs {
		packs[i] = wirePack{Class: uint8(p.Ref.Class), Size: uint64(p.Size)}
		copy(packs[i].Ref[copy(packs[i].Ref[:], p.Ref.Session[:]):], p.Ref.Hash[:])
	}
	segments := make([]wireSegment, len(s.Segments))
	for i := range s.Segments {
		p := &s.Segments[i]
		segments[i] = wireSegment{
			Pack: p.Pack, Offset: p.Offset, Origin: p.Origin, Ordinal: p.Ordinal,
			Coding: uint8(p.Coding), Stored: p.Stored, Plain: p.Plain,
			Depth: p.Depth, ChainSum: p.ChainSum,
		}
		for _, id := range p.Bases {
			segments[i].Bases = append(segments[i].Bases, id[:]...)
		}
	}
	ids = make([]byte, 0, len(s.Blobs)*idSize)
	blobs := make([]byte, 0, len(s.Blobs)*10)
	for i := range s.Blobs {
		b := &s.Blobs[i]
		ids = append(ids, b.ID[:]...)
		blobs = binary.AppendUvarint(blobs, uint64(b.Segment))
		blobs = binary.AppendUvarint(blobs, uint64(b.Offset))
		blobs = binary.AppendUvarint(blobs, uint64(b.Length))
	}
	w := wirePlaces{Blobs: blobs}
	for _, col := range []struct {
		raw *wire.Raw
		v   any
	}{{&w.Packs, packs}, {&w.Origins, s.Origins}, {&w.Segments, segments}} {
		if *col.raw, err = wire.Marshal(col.v); err != nil {
			return nil, nil, nil, err
		}
	}
	plain, err := wire.Marshal(&w)
	if err != nil {
		return nil, nil, nil, err
	}
	return ids, zst.Encode(nil, plain, zst.Default), s.appendSketches(nil), nil
}

// DecodeColumns is the inverse of EncodeColumns. Everything in the result has been checked.
func DecodeColumns(ids, places, sketches []byte) (*Segment, error) {
	n := len(ids) / idSize
	if err := checkIDs(ids); err != nil {
		return nil, err
	}
	plain, err := zst.Decode(nil, places, min(64<<10+n*perBlob, maxPlaces))
	if err != nil {
		return nil, fmt.Errorf("%w: places: %w", ErrInvalid, err)
	}
	var w wirePlaces
	if err := wire.Unmarshal(plain, &w); err != nil {
		return nil, fmt.Errorf("%w: places: %w", ErrInvalid, err)
	}
	s := &Segment{}
	if s.Packs, err = decodePacks(w.Packs, n); err != nil {
		return nil, err
	}
	if s.Origins, err = decodeOrigins(w.Origins, n); err != nil {
		return nil, err
	}
	if s.Segments, err = s.decodeSegments(w.Segments, n); err != nil {
		return nil, err
	}
	if err := s.decodeSketches(sketches); err != nil {
		return nil, err
	}
	if s.Blobs, err = s.decodeBlobs(ids, w.Blobs); err != nil {
		return nil, err
	}
	return s, s.checkSingle()
}

func checkIDs(ids []byte) error {
	n := len(ids) / idSize
	if len(ids)%idSize != 0 || n == 0 || n > maxRead {
		return fmt.Errorf("%w: %d bytes of ids", ErrInvalid, len(ids))
	}
	for i := 1; i < n; i++ {
		if string(ids[(i-1)*idSize:i*idSize]) > string(ids[i*idSize:(i+1)*idSize]) {
			return fmt.Errorf("%w: id %d is out of order", ErrInvalid, i)
		}
		if first := i - MaxPlaces; first >= 0 && string(ids[first*idSize:(first+1)*idSize]) == string(ids[i*idSize:(i+1)*idSize]) {
			return fmt.Errorf("%w: id %d has more than %d places", ErrInvalid, first, MaxPlaces)
		}
	}
	return nil
}

// table reads an encoded array of at most one element for each blob.
func table[T any](raw []byte, what string, blobs, minSize int) ([]T, error) {
	if n := pack.ArrayLen(raw); n <= 0 || n > blobs || n > len(raw)/minSize {
		return nil, fmt.Errorf("%w: %d %s in %d bytes for %d blobs", ErrInvalid, n, what, len(raw), blobs)
	}
	var out []T
	if err := wire.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, what, err)
	}
	return out, nil
}

func decodePacks(raw []byte, blobs int) ([]PackRef, error) {
	list, err := table[wirePack](raw, "packs", blobs, minPack)
	if err != nil {
		return nil, err
	}
	packs := make([]PackRef, len(list))
	for i, w := range list {
		class := object.Class(w.Class)
		if class != object.DataPack && class != object.TreePack {
			return nil, fmt.Errorf("%w: pack %d of class %d", ErrInvalid, i, w.Class)
		}
		if w.Size > pack.MaxPackSize {
			return nil, fmt.Errorf("%w: pack %d of %d bytes", ErrInvalid, i, w.Size)
		}
		packs[i].Size = int64(w.Size)
		packs[i].Ref = object.Ref{Class: class, Session: object.SessionID(w.Ref[:]), Hash: object.Hash(w.Ref[len(object.SessionID{}):])}
	}
	return packs, nil
}

func decodeOrigins(raw []byte, blobs int) ([]*seal.Origin, error) {
	list, err := table[seal.Origin](raw, "origins", blobs, minOrigin)
	if err != nil {
		return nil, err
	}
	origins := make([]*seal.Origin, len(list))
	for i := range list {
		if err := pack.CheckOrigin(&list[i]); err != nil {
			return nil, fmt.Errorf("%w: origin %d: %w", ErrInvalid, i, err)
		}
		origins[i] = &list[i]
	}
	return origins, nil
}

func (s *Segment) decodeSegments(raw []byte, blobs int) ([]PackSegment, error) {
	list, err := table[wireSegment](raw, "segments", blobs, minSegment)
	if err != nil {
		return nil, err
	}
	segments := make([]PackSegment, len(list))
	for i := range list {
		w := &list[i]
		bases, err := pack.SplitIDs(w.Bases)
		if err != nil {
			return nil, fmt.Errorf("%w: segment %d: %w", ErrInvalid, i, err)
		}
		segments[i] = PackSegment{
			Pack: w.Pack, Offset: w.Offset, Origin: w.Origin, Ordinal: w.Ordinal,
			Coding: pack.Coding(w.Coding), Stored: w.Stored, Plain: w.Plain,
			Bases: bases, Depth: w.Depth, ChainSum: w.ChainSum,
		}
		if err := s.checkSegment(&segments[i]); err != nil {
			return nil, fmt.Errorf("%w: segment %d: %w", ErrInvalid, i, err)
		}
	}
	return segments, nil
}

func (s *Segment) checkSegment(p *PackSegment) error {
	if uint64(p.Pack) >= uint64(len(s.Packs)) || uint64(p.Origin) >= uint64(len(s.Origins)) {
		return fmt.Errorf("%w: pack %d of %d, origin %d of %d", ErrInvalid, p.Pack, len(s.Packs), p.Origin, len(s.Origins))
	}
	in := &s.Packs[p.Pack]
	if p.Offset < seal.HeaderSize || int64(p.Offset)+int64(p.Stored) > in.Size {
		return fmt.Errorf("%w: bytes %d+%d of a pack of %d", ErrInvalid, p.Offset, p.Stored, in.Size)
	}
	if s.Origins[p.Origin].Kind != kindOf[in.Ref.Class] {
		return fmt.Errorf("%w: origin of the wrong kind for a %v pack", ErrInvalid, in.Ref.Class)
	}
	if p.Coding == pack.Delta && in.Ref.Class != object.DataPack {
		return fmt.Errorf("%w: delta in a %v pack", ErrInvalid, in.Ref.Class)
	}
	same := pack.Segment{Coding: p.Coding, Stored: p.Stored, Plain: p.Plain, Bases: p.Bases, Depth: p.Depth, ChainSum: p.ChainSum}
	return same.Check()
}

var kindOf = map[object.Class]seal.Kind{object.DataPack: seal.Data, object.TreePack: seal.Meta}

func (s *Segment) decodeBlobs(ids, places []byte) ([]Blob, error) {
	blobs := make([]Blob, len(ids)/idSize)
	for i := range blobs {
		var v [3]uint64
		for j := range v {
			n := 0
			if v[j], n = binary.Uvarint(places); n <= 0 {
				return nil, fmt.Errorf("%w: place of blob %d", ErrInvalid, i)
			}
			places = places[n:]
		}
		if v[0] >= uint64(len(s.Segments)) {
			return nil, fmt.Errorf("%w: blob %d in segment %d of %d", ErrInvalid, i, v[0], len(s.Segments))
		}
		plain := uint64(s.Segments[v[0]].Plain)
		if v[2] == 0 || v[1] > plain || v[2] > plain-v[1] {
			return nil, fmt.Errorf("%w: blob %d: bytes %d+%d of a segment of %d", ErrInvalid, i, v[1], v[2], plain)
		}
		blobs[i] = Blob{ID: object.BlobID(ids[i*idSize:]), Segment: uint32(v[0]), Offset: uint32(v[1]), Length: uint32(v[2])}
	}
	if len(places) != 0 {
		return nil, fmt.Errorf("%w: %d bytes after the last place", ErrInvalid, len(places))
	}
	return blobs, nil
}

// checkSingle refuses deltas and segments with a sketch that have more than one blob, or a part of one, and deltas of a
// blob against itself.
func (s *Segment) checkSingle() error {
	seen := make([]bool, len(s.Segments))
	for i := range s.Blobs {
		b := &s.Blobs[i]
		p := &s.Segments[b.Segment]
		if p.Coding != pack.Delta && !p.HasSketch {
			continue
		}
		if seen[b.Segment] || b.Length != p.Plain {
			return fmt.Errorf("%w: delta or sketch of more or less than one blob", ErrInvalid)
		}
		seen[b.Segment] = true
		if slices.Contains(p.Bases, b.ID) {
			return fmt.Errorf("%w: delta of %v against itself", ErrInvalid, b.ID)
		}
	}
	return nil
}
