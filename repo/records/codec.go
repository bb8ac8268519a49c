package records

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/internal/zst"
)

// Verified says of packs, by their hashes, when they were last read and found whole, in seconds since 1970.
type Verified map[object.Hash]int64

// add notes a time unless a later one is known.
func (v Verified) add(h object.Hash, at int64) {
	if old, ok := v[h]; !ok || at > old {
		v[h] = at
	}
}

const (
	hashSize = len(object.Hash{})

	// MaxPacks is the most packs that one record names: some 16 TiB.
	MaxPacks = 1 << 20

	maxPayload = MaxPacks * (hashSize + 32) // a group of its own for each pack
)

type wireRecord struct {
	Groups []wireGroup `cbor:"1,keyasint"`
}

// wireGroup is what was verified at one time: a check notes many packs at once.
type wireGroup struct {
	Time   int64  `cbor:"1,keyasint"`
	Hashes []byte `cbor:"2,keyasint"`
}

// Encode returns the payload of a record. Equal sets give equal bytes before compression.
func Encode(v Verified) ([]byte, error) {
	if len(v) == 0 || len(v) > MaxPacks {
		return nil, fmt.Errorf("%w: %d packs", ErrInvalid, len(v))
	}
	hashes := make([]object.Hash, 0, len(v))
	for h := range v {
		hashes = append(hashes, h)
	}
	slices.SortFunc(hashes, func(a, b object.Hash) int {
		return cmp.Or(cmp.Compare(v[a], v[b]), bytes.Compare(a[:], b[:]))
	})
	var w wireRecord
	for _, h := range hashes {
		if n := len(w.Groups); n == 0 || w.Groups[n-1].Time != v[h] {
			w.Groups = append(w.Groups, wireGroup{Time: v[h]})
		}
		g := &w.Groups[len(w.Groups)-1]
		g.Hashes = append(g.Hashes, h[:]...)
	}
	plain, err := wire.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("records: encode: %w", err)
	}
	return zst.Encode(nil, plain, zst.Default), nil
}

// Decode is the inverse of Encode. It never panics and allocates a bounded multiple of what MaxPacks packs
// take.
func Decode(payload []byte) (Verified, error) {
	plain, err := zst.Decode(nil, payload, maxPayload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var w wireRecord
	if err := wire.Unmarshal(plain, &w); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	v := Verified{}
	for _, g := range w.Groups {
		if len(g.Hashes) == 0 || len(g.Hashes)%hashSize != 0 || len(v)+len(g.Hashes)/hashSize > MaxPacks {
			return nil, fmt.Errorf("%w: %d bytes of hashes", ErrInvalid, len(g.Hashes))
		}
		for b := g.Hashes; len(b) > 0; b = b[hashSize:] {
			v.add(object.Hash(b[:hashSize]), g.Time)
		}
	}
	return v, nil
}
