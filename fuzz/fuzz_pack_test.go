package fuzz

import (
	"bytes"
	"errors"
	"testing"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/seal"
)

func packDirectory(f *testing.F) []byte {
	plain, err := pack.EncodeDirectory(&pack.Directory{
		Origins: []*seal.Origin{{Kind: seal.Data, Epoch: 1, Suite: 1, Sealed: []byte("sealed")}},
		Segments: []pack.Segment{
			{Coding: pack.Raw, Stored: 116, Plain: 100, IDs: []object.BlobID{{1}}, Lengths: []uint32{100}},
			{Ordinal: 1, Coding: pack.Zstd, Stored: 50, Plain: 100, IDs: []object.BlobID{{2}, {3}}, Lengths: []uint32{99, 1}},
			{Ordinal: 2, Coding: pack.Delta, Stored: 40, Plain: 100, IDs: []object.BlobID{{4}}, Lengths: []uint32{100}, Bases: []object.BlobID{{1}}, Depth: 1, ChainSum: 40},
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	return plain
}

func FuzzPackDirectory(f *testing.F) {
	f.Add(packDirectory(f), int64(1000))
	f.Add([]byte{0xa2, 1, 0x80, 2, 0x80}, int64(80))
	f.Fuzz(func(t *testing.T, plain []byte, end int64) {
		d, err := pack.DecodeDirectory(plain, end)
		if err != nil {
			if !errors.Is(err, pack.ErrInvalid) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		at := int64(seal.HeaderSize)
		for i, s := range d.Segments {
			if int64(s.Offset) != at || s.Origin >= len(d.Origins) || len(s.IDs) != len(s.Lengths) {
				t.Fatalf("segment %d: %+v", i, s)
			}
			at += int64(s.Stored)
		}
		if at > end {
			t.Fatalf("segments end at %d of %d", at, end)
		}
		again, err := pack.EncodeDirectory(d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pack.DecodeDirectory(again, end); err != nil {
			t.Fatalf("what was decoded does not survive encoding: %v", err)
		}
	})
}

func FuzzSegmentDecode(f *testing.F) {
	text := bytes.Repeat([]byte("chunk "), 100)
	f.Add(zst.Encode(nil, text, zst.Default), uint8(1), uint32(len(text)))
	f.Add(text, uint8(0), uint32(len(text)))
	f.Add(text, uint8(2), uint32(len(text)))
	base := bytes.Repeat([]byte("chunk, "), 200)
	if stream, _, ok := new(delta.Encoder).Encode(nil, base, text, len(text)); ok {
		f.Add(pack.EncodeDelta(nil, stream, zst.Default), uint8(2), uint32(len(text)))
	}
	f.Fuzz(func(t *testing.T, stored []byte, coding uint8, plain uint32) {
		plain %= object.MaxBlobSize + 1 // what a directory may say
		out, err := pack.DecodeSegment(nil, stored, pack.Coding(coding), int(plain), base)
		if err != nil {
			if !errors.Is(err, pack.ErrInvalid) && !errors.Is(err, pack.ErrCoding) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if len(out) != int(plain) {
			t.Fatalf("%d bytes, want %d", len(out), plain)
		}
		if pack.Coding(coding) != pack.Delta {
			return
		}
		if stream, err := pack.DecodeStream([]byte("x"), stored, int(plain)); err != nil || stream[0] != 'x' || !delta.Makes(base, stream[1:], out) {
			t.Fatalf("its stream makes something else, %v", err)
		}
	})
}
