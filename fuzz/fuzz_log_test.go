package fuzz

import (
	"bytes"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// FuzzLogEntry decodes the payload of log entries: what decodes must encode again and mean the same.
func FuzzLogEntry(f *testing.F) {
	snapshot := &log.Entry{
		Kind: log.KindSnapshot, Clock: 1,
		Manifest: log.SealedManifest{Origin: seal.Origin{Kind: seal.Meta, Epoch: 1, Suite: 1, Sealed: []byte("s")}, Ciphertext: []byte("c")},
		Add:      []log.PackRef{{Ref: object.Ref{Class: object.DataPack}, Size: 1}},
		Index:    []log.PackRef{{Ref: object.Ref{Class: object.Index}, Size: 1}},
	}
	collect := &log.Entry{Kind: log.KindCollect, Drop: []object.Ref{{Class: object.TreePack}}, Gone: make([]object.SessionID, 2)}
	tag := &log.Entry{Kind: log.KindTag, Snapshots: make([]object.SessionID, 2), TagsOf: []uint32{0, 0}, Tags: []log.SealedTags{log.SealedTags(snapshot.Manifest)}}
	signers := []seal.Signer{sealKeyring(f).Self()}
	for _, e := range []*log.Entry{snapshot, collect, {Kind: log.KindForget, Snapshots: make([]object.SessionID, 1)}, {Kind: log.KindInit, Signers: signers}, {Kind: log.KindKeys, Signers: signers, Withdraw: make([][8]byte, 2), Epoch: seal.Epoch{Number: 2}}, tag, {Kind: log.KindPin, Snapshots: make([]object.SessionID, 2), Pinned: true}} {
		payload, err := log.EncodeEntry(7, object.Hash{1}, e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		n, prev, e, err := log.DecodeEntry(payload)
		if err != nil {
			return
		}
		first, err := log.EncodeEntry(n, prev, e)
		if err != nil {
			t.Fatalf("decoded, but does not encode: %v", err)
		}
		n2, prev2, e2, err := log.DecodeEntry(first)
		if err != nil || n2 != n || prev2 != prev {
			t.Fatalf("encoded, but does not decode: %v", err)
		}
		second, err := log.EncodeEntry(n2, prev2, e2)
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("encodes differently the second time: %v", err)
		}
	})
}

// FuzzLogState decodes the payload of checkpoints.
func FuzzLogState(f *testing.F) {
	st := &log.State{N: 3, Snapshots: map[object.SessionID]*log.Snapshot{
		{1}: {ID: object.SessionID{1}, N: 2, Pinned: true, Tags: &log.SealedTags{Ciphertext: []byte("t")}},
		{2}: {ID: object.SessionID{2}, N: 3, Partial: true, Forgotten: 3},
	}}
	payload, err := log.EncodeState(st)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payload)
	f.Fuzz(func(t *testing.T, payload []byte) {
		st, err := log.DecodeState(payload)
		if err != nil {
			return
		}
		again, err := log.EncodeState(st)
		if err != nil {
			t.Fatalf("decoded, but does not encode: %v", err)
		}
		if _, err := log.DecodeState(again); err != nil {
			t.Fatalf("encoded, but does not decode: %v", err)
		}
	})
}

// FuzzManifest decodes the plaintext of manifests.
func FuzzManifest(f *testing.F) {
	f.Fuzz(func(t *testing.T, stored []byte) {
		m, err := repo.DecodeManifest(stored)
		if err == nil {
			_, _ = m.RootID()
			m.PathStrings()
		}
	})
}
