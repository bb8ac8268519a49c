package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/seal"
)

// A client whose key is allowed to writes a checkpoint when so many entries follow the newest one, or when
// they have this share of its size. So small repositories get one with nearly every commit, which makes
// up for the loss of an entry; large ones do not write much more for it: from 4 MiB on, a checkpoint is due only
// when the entries after it take about as long to read, from far away, as it does itself.
const (
	checkpointEvery = 64
	checkpointShare = 4
	smallCheckpoint = 32 << 10 // one up to this size is always replaced
	bytesPerEntry   = 64 << 10 // of a checkpoint are read while an entry is fetched, beside others
)

// due reports whether a checkpoint is to be written when so many entries, of so many bytes, follow this one.
func (c checkpointInfo) due(entries uint64, bytes int64) bool {
	return c.size <= smallCheckpoint || bytes >= c.size/checkpointShare ||
		entries >= max(checkpointEvery, uint64(c.size/bytesPerEntry))
}

// maxCheckpoint bounds the plaintext of a checkpoint: some fifteen million packs.
const maxCheckpoint = 1 << 30

// ErrTooLarge is returned for a state of which there can be no checkpoint. Whoever opens such a repository reads all
// entries since the last one that there could be.
var ErrTooLarge = errors.New("log: the state is too large for a checkpoint")

type wireSnapshot struct {
	ID        []byte         `cbor:"1,keyasint"`
	N         uint64         `cbor:"2,keyasint"`
	Clock     int64          `cbor:"3,keyasint"`
	Manifest  SealedManifest `cbor:"4,keyasint"`
	Partial   uint8          `cbor:"5,keyasint,omitempty"`
	Run       []byte         `cbor:"6,keyasint"`
	Forgotten uint64         `cbor:"7,keyasint,omitempty"`
	Signer    []byte         `cbor:"8,keyasint"`
	Pinned    uint8          `cbor:"9,keyasint,omitempty"`
	Tags      *SealedTags    `cbor:"10,keyasint,omitempty"`
}

type wireState struct {
	N         uint64         `cbor:"1,keyasint"`
	Hash      []byte         `cbor:"2,keyasint"`
	Snapshots []wireSnapshot `cbor:"3,keyasint,omitempty"`
	Packs     []byte         `cbor:"4,keyasint,omitempty"` // see joinPacks
	Dropped   []byte         `cbor:"5,keyasint,omitempty"`
	Closed    []byte         `cbor:"6,keyasint,omitempty"`
	Revoked   []byte         `cbor:"7,keyasint,omitempty"`
	Index     []wireIndex    `cbor:"8,keyasint,omitempty"`
	Signers   []wireSigner   `cbor:"9,keyasint"`
	Epoch     *wireEpoch     `cbor:"10,keyasint,omitempty"`
}

// EncodeState returns the payload of a checkpoint of st. Equal states give equal bytes before
// compression.
func EncodeState(st *State) ([]byte, error) { return encodeState(st, maxCheckpoint) }

func encodeState(st *State, limit int) ([]byte, error) {
	w := wireState{N: st.N, Hash: st.Hash[:]}
	snapshots := make([]*Snapshot, 0, len(st.Snapshots))
	for _, s := range st.Snapshots {
		snapshots = append(snapshots, s)
	}
	slices.SortFunc(snapshots, func(a, b *Snapshot) int { return int(int64(a.N) - int64(b.N)) })
	for _, s := range snapshots {
		ws := wireSnapshot{
			ID: s.ID[:], N: s.N, Clock: s.Clock, Manifest: s.Manifest, Run: s.Run[:],
			Forgotten: s.Forgotten, Signer: s.Signer[:], Tags: s.Tags,
		}
		if s.Pinned {
			ws.Pinned = 1
		}
		if s.Partial {
			ws.Partial = 1
		}
		w.Snapshots = append(w.Snapshots, ws)
	}
	w.Packs = joinPacks(st.Packs)
	for _, r := range sortedRefs(st.Index) {
		w.Index = append(w.Index, wireIndex{Name: appendName(nil, r), Size: st.Index[r]})
	}
	w.Dropped = joinRefs(sortedRefs(st.dropped))
	w.Closed, w.Revoked = joinSessions(sortedSessions(st.closed)), joinSessions(sortedSessions(st.revoked))
	signers := make([]seal.Signer, 0, len(st.Signers))
	for _, s := range st.Signers {
		signers = append(signers, s)
	}
	slices.SortFunc(signers, func(a, b seal.Signer) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	w.Signers, w.Epoch = packSigners(signers), packEpoch(st.Epoch, st.epochSignature)
	plain, err := wire.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("log: encode checkpoint: %w", err)
	}
	if len(plain) > limit { // nobody would read it
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(plain))
	}
	return zst.Encode(nil, plain, zst.Default), nil
}

// DecodeState is the inverse of EncodeState.
func DecodeState(payload []byte) (*State, error) {
	plain, err := zst.Decode(nil, payload, maxCheckpoint)
	if err != nil {
		return nil, fmt.Errorf("log: checkpoint: %w", err)
	}
	var w wireState
	if err := wire.Unmarshal(plain, &w); err != nil {
		return nil, fmt.Errorf("log: checkpoint: %w", err)
	}
	st, err := unpackState(&w)
	if err != nil {
		return nil, fmt.Errorf("log: checkpoint: %w", err)
	}
	return st, nil
}

func unpackState(w *wireState) (*State, error) {
	st := newState()
	st.N = w.N
	if len(w.Hash) != len(st.Hash) || w.N == 0 {
		return nil, errors.New("no number or hash")
	}
	copy(st.Hash[:], w.Hash)
	for _, ws := range w.Snapshots {
		s := &Snapshot{
			N: ws.N, Clock: ws.Clock, Manifest: ws.Manifest, Partial: ws.Partial != 0,
			Forgotten: ws.Forgotten, Pinned: ws.Pinned != 0, Tags: ws.Tags,
		}
		if len(ws.ID) != len(s.ID) || len(ws.Run) != len(s.Run) || len(ws.Signer) != len(s.Signer) {
			return nil, errors.New("snapshot with an id of the wrong length")
		}
		copy(s.ID[:], ws.ID)
		copy(s.Run[:], ws.Run)
		copy(s.Signer[:], ws.Signer)
		st.Snapshots[s.ID] = s
	}
	var err error
	if st.Packs, err = splitPacks(w.Packs); err != nil {
		return nil, err
	}
	segs, err := unpackIndex(w.Index)
	if err != nil {
		return nil, err
	}
	for _, p := range segs {
		st.Index[p.Ref] = p.Size
	}
	dropped, err := splitRefs(w.Dropped)
	if err != nil {
		return nil, err
	}
	for _, r := range dropped {
		st.dropped[r] = struct{}{}
	}
	for _, set := range []struct {
		raw []byte
		to  map[object.SessionID]struct{}
	}{{w.Closed, st.closed}, {w.Revoked, st.revoked}} {
		sids, err := splitSessions(set.raw)
		if err != nil {
			return nil, err
		}
		for _, id := range sids {
			set.to[id] = struct{}{}
		}
	}
	st.Epoch, st.epochSignature = unpackEpoch(w.Epoch)
	signers, err := unpackSigners(w.Signers)
	if err != nil {
		return nil, err
	}
	for _, s := range signers {
		st.Signers[s.ID] = s
	}
	return st, nil
}

func sortedRefs[V any](m map[object.Ref]V) []object.Ref {
	refs := make([]object.Ref, 0, len(m))
	for r := range m {
		refs = append(refs, r)
	}
	slices.SortFunc(refs, object.Ref.Compare)
	return refs
}

func sortedSessions(m map[object.SessionID]struct{}) []object.SessionID {
	sids := make([]object.SessionID, 0, len(m))
	for s := range m {
		sids = append(sids, s)
	}
	slices.SortFunc(sids, object.SessionID.Compare)
	return sids
}

// newestCheckpoint returns the state of the newest checkpoint that can be trusted, or nil. One that
// can not is passed over for an older one: a checkpoint is only a cache.
func (l *Log) newestCheckpoint(ctx context.Context) (*State, error) {
	var all []checkpointInfo
	for info, err := range l.store.List(ctx, object.CheckpointsPrefix, "") {
		if err != nil {
			return nil, fmt.Errorf("log: %w", err)
		}
		if n, err := object.ParseNumbered(object.CheckpointsPrefix, info.Name); err == nil {
			all = append(all, checkpointInfo{n, info.Size})
		}
	}
	for _, c := range slices.Backward(all) {
		st, err := l.loadCheckpoint(ctx, c.n)
		if err == nil {
			l.last = c
			return st, nil
		}
		if ctx.Err() != nil || backends.IsTransient(err) {
			return nil, err
		}
	}
	return nil, nil
}

// checkpointInfo is a checkpoint of entry n.
type checkpointInfo struct {
	n    uint64
	size int64
}

// loadCheckpoint reads checkpoint n. It must be signed with the key for checkpoints of the newest epoch that the
// keyring has, and its hash must be that of the log entry: a stolen writer's key can not forge a state, nor can any
// key that was shut out by a newer epoch.
func (l *Log) loadCheckpoint(ctx context.Context, n uint64) (*State, error) {
	name := object.CheckpointName(n)
	obj, err := l.store.Get(ctx, name, 0, -1, nil)
	if err != nil {
		return nil, err
	}
	st, err := openCheckpoint(l.allKeys(), n, obj)
	if err != nil {
		return nil, &DamageError{name, err}
	}
	if st.Epoch != l.allKeys().Epoch() {
		return nil, &DamageError{name, errors.New("it is of an older epoch of the keys")}
	}
	ok, err := l.belongs(ctx, st)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, &DamageError{name, errors.New("it is of another log")}
	}
	return st, nil
}

// UsableCheckpoint reports whether the checkpoint with the name can stand for the log up to its entry. One that a maintainer's newer
// program signed can, for that program.
func (l *Log) UsableCheckpoint(ctx context.Context, name string) (bool, error) {
	n, err := object.ParseNumbered(object.CheckpointsPrefix, name)
	if err != nil {
		return false, nil
	}
	_, err = l.loadCheckpoint(ctx, n)
	if errors.Is(err, wire.ErrNewer) {
		return true, nil
	}
	if errors.As(err, new(*DamageError)) || errors.Is(err, backends.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func openCheckpoint(keys *seal.Keyring, n uint64, obj []byte) (*State, error) {
	bind := seal.BindCheckpoint(keys.RepoID(), n)
	_, body, err := keys.Open(object.Checkpoint, bind, obj)
	if err != nil {
		return nil, err
	}
	h, err := seal.ParseHeader(obj)
	if err != nil {
		return nil, err
	}
	signers, err := keys.Maintainers(h.Epoch)
	if err != nil {
		return nil, err
	}
	payload, _, err := seal.VerifyBody(object.Checkpoint, bind, body, signers)
	if err != nil {
		return nil, err
	}
	st, err := DecodeState(payload)
	if err != nil {
		return nil, err
	}
	if st.N != n {
		return nil, fmt.Errorf("checkpoint of entry %d", st.N)
	}
	if st.Epoch.Number != h.Epoch || !keys.Has(st.Epoch) {
		return nil, fmt.Errorf("checkpoint of epoch %d, sealed in epoch %d", st.Epoch.Number, h.Epoch)
	}
	if !keys.Began(st.Epoch, st.epochSignature) {
		return nil, fmt.Errorf("checkpoint of epoch %d, which the owners have not begun", st.Epoch.Number)
	}
	return st, nil
}

// MaybeCheckpoint writes a checkpoint of the present state when enough entries have been added since
// the last one and the key may sign it. It is called after commits; an error is not a failure of
// the commit.
func (l *Log) MaybeCheckpoint(ctx context.Context) error {
	l.mu.Lock()
	st, added, sure, last := l.state, l.added, l.sure, l.last
	l.mu.Unlock()
	role := l.Keys().Role()
	if role < seal.Maintainer || st.N == 0 || st.N > sure.N {
		return nil // what another client has just put may not be durable yet: a checkpoint says that it is
	}
	if !last.due(st.N-last.n, added) {
		return nil
	}
	return l.WriteCheckpoint(ctx)
}

// CheckTail reads the log again and returns a DamageError if it ends before an entry of which there is a
// checkpoint: then that entry was there, and was lost. Whoever is about to delete asks for it first, since what a
// lost entry has added looks like what a dead session has left behind.
func (l *Log) CheckTail(ctx context.Context) error {
	if err := l.Refresh(ctx); err != nil {
		return err
	}
	for info, err := range l.store.List(ctx, object.CheckpointsPrefix, object.CheckpointName(l.State().N)) {
		if err != nil {
			return fmt.Errorf("log: %w", err)
		}
		n, err := object.ParseNumbered(object.CheckpointsPrefix, info.Name)
		if err != nil {
			continue
		}
		obj, err := l.store.Get(ctx, info.Name, 0, -1, nil)
		if ctx.Err() != nil || backends.IsTransient(err) {
			return err
		}
		if err != nil {
			continue
		}
		if cp, err := openCheckpoint(l.allKeys(), n, obj); err != nil || cp.Epoch != l.allKeys().Epoch() {
			continue // anybody can put something there
		}
		if err := l.Refresh(ctx); err != nil {
			return err
		}
		if l.State().N < n {
			return &DamageError{object.LogName(n), fmt.Errorf("missing, though there was such an entry: %s was made after it. "+
				"Put it back from a copy; if the log was cut short on purpose, remove the checkpoint", info.Name)}
		}
	}
	return nil
}

// WriteCheckpoint writes a checkpoint of the present state. One that is there already is left.
func (l *Log) WriteCheckpoint(ctx context.Context) error {
	st, keys, err := l.current()
	if err != nil {
		return err
	}
	payload, err := EncodeState(st)
	if err != nil {
		return err
	}
	bind := seal.BindCheckpoint(keys.RepoID(), st.N)
	body, err := keys.SignBody(object.Checkpoint, bind, payload)
	if err != nil {
		return err
	}
	obj, err := keys.Seal(object.Checkpoint, nil, bind, body)
	if err != nil {
		return err
	}
	whoever := func([]byte) bool { return true }
	if _, err := backends.Settle(ctx, l.store, object.CheckpointName(st.N), obj, whoever); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.added = 0 // or a little more, when entries came meanwhile
	l.last = checkpointInfo{st.N, int64(len(obj))}
	return nil
}

// OpenCheckpoint verifies the seal, the signature and the form of checkpoint n. It returns the hash of the
// entry n that the checkpoint was made after, which may be that of another log.
func OpenCheckpoint(keys *seal.Keyring, n uint64, obj []byte) (entry object.Hash, err error) {
	st, err := openCheckpoint(keys, n, obj)
	if err != nil {
		return entry, err
	}
	return st.Hash, nil
}
