package log

import (
	"context"
	"errors"
	"testing"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/seal"
)

// rotate begins a new epoch, and returns its keys.
func rotate(t *testing.T, l *Log, keys *seal.Keyring) *seal.Keyring {
	t.Helper()
	next, err := keys.Next()
	if err != nil {
		t.Fatal(err)
	}
	l.Expect(next)
	commit(t, l, &Entry{Kind: KindKeys, Session: sid(251), Epoch: next.Epoch()})
	if l.Keys().Epoch() != next.Epoch() || l.State().Epoch != next.Epoch() {
		t.Fatalf("the log seals in epoch %d", l.Keys().Epoch().Number)
	}
	return next
}

// mustEpoch is the epoch that object name is sealed in.
func mustEpoch(t *testing.T, store *mem.Store, name string) uint32 {
	t.Helper()
	obj, err := store.Get(t.Context(), name, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	h, err := seal.ParseHeader(obj)
	if err != nil {
		t.Fatal(err)
	}
	return h.Epoch
}

func TestKeys_Withdrawn_SignsNothingThatCounts(t *testing.T) {
	store := mem.New()
	l, owner := makeLog(t, store)
	first, second := addKey(t, l, owner, seal.Writer), addKey(t, l, owner, seal.Writer)
	mine := reopen(t, store, first, Mark{})
	commit(t, mine, snapshotEntry(2))
	if err := l.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, id := first.Signer()
	commit(t, l, &Entry{Kind: KindKeys, Session: sid(3), Withdraw: [][8]byte{id}})
	if _, err := mine.Commit(t.Context(), fixed(snapshotEntry(4))); !errors.Is(err, ErrWithdrawn) {
		t.Errorf("a client of the key committed: %v", err)
	}
	put(t, store, l, first, snapshotEntry(5)) // what it would do without a conscience
	if l.State().Snapshots[sid(5)] != nil || len(l.Void()) != 1 {
		t.Errorf("its entry counts; void: %v", l.Void())
	}
	if s := l.State().Snapshots[sid(2)]; s == nil || !s.Live() {
		t.Error("what it did before does not count any more")
	}
	other := reopen(t, store, second, Mark{})
	commit(t, other, snapshotEntry(6))
	sameState(t, other.State(), reopen(t, store, owner, Mark{}).State())
}

func TestKeys_EntriesThatDoNotApply_AreVoid(t *testing.T) {
	store := mem.New()
	l, owner := makeLog(t, store)
	maintainer := addKey(t, l, owner, seal.Maintainer)
	_, own := owner.Signer()
	_, other := maintainer.Signer()
	before := l.State()
	unknown := signer(5, seal.Owner)
	next := seal.Epoch{Number: 2, ID: [16]byte{9}}
	for name, c := range map[string]struct {
		by *seal.Keyring
		e  Entry
	}{
		"by a maintainer":          {maintainer, Entry{Signers: []seal.Signer{unknown}}},
		"an epoch by a maintainer": {maintainer, Entry{Epoch: next}},
		"a key that is there":      {owner, Entry{Signers: []seal.Signer{maintainer.Self()}}},
		"itself with more rights":  {owner, Entry{Signers: []seal.Signer{{ID: other, Role: seal.Owner, Public: maintainer.Self().Public, Slot: maintainer.Self().Slot}}}},
		"a key that is not there":  {owner, Entry{Withdraw: [][8]byte{unknown.ID}}},
		"the last owner":           {owner, Entry{Withdraw: [][8]byte{own}}},
		"an owner, then none":      {owner, Entry{Withdraw: [][8]byte{own}, Signers: []seal.Signer{unknown, signer(5, seal.Writer)}}},
		"all keys":                 {owner, Entry{Withdraw: [][8]byte{own, other}}},
		"the epoch that is":        {owner, Entry{Epoch: seal.Epoch{Number: 1, ID: [16]byte{9}}}},
		"an epoch left out":        {owner, Entry{Epoch: seal.Epoch{Number: 3}}},
		"one wrong, one right":     {owner, Entry{Signers: []seal.Signer{unknown}, Withdraw: [][8]byte{{1}}}},
	} {
		c.e.Kind, c.e.Session = KindKeys, sid(9)
		_, id := c.by.Signer()
		if _, err := before.Apply(&c.e, id, object.Hash{}); err == nil {
			t.Errorf("%s: counts", name)
		}
		put(t, store, l, c.by, &c.e)
	}
	if st := l.State(); len(l.Void()) != 11 || len(st.Signers) != 2 || st.Epoch != before.Epoch {
		t.Errorf("%d void entries; %d signers, epoch %+v", len(l.Void()), len(st.Signers), st.Epoch)
	}
	if _, err := before.Apply(&Entry{Kind: KindKeys, Withdraw: [][8]byte{own}, Signers: []seal.Signer{unknown}}, own, object.Hash{}); err != nil {
		t.Errorf("one owner for another: %v", err)
	}
}

func TestRotation_WhoHasNotItsKeys_IsToldSoAndAddsNothing(t *testing.T) {
	store := mem.New()
	l, owner := makeLog(t, store)
	writer := addKey(t, l, owner, seal.Writer)
	commit(t, l, snapshotEntry(2))
	old := reopen(t, store, writer, Mark{})
	next := rotate(t, l, owner)
	n := l.State().N
	for range 2 {
		_, err := old.Commit(t.Context(), func(context.Context, *State) (*Entry, error) { return snapshotEntry(3), nil })
		if !errors.Is(err, ErrRotated) {
			t.Fatalf("a client with old keys commits: %v", err)
		}
		if err := old.Refresh(t.Context()); !errors.Is(err, ErrRotated) {
			t.Errorf("it reads on: %v", err)
		}
		if err := old.WriteCheckpoint(t.Context()); !errors.Is(err, ErrRotated) {
			t.Errorf("it writes a checkpoint: %v", err)
		}
	}
	if _, err := Open(t.Context(), store, writer, Mark{}); !errors.Is(err, ErrRotated) {
		t.Errorf("it opens the log: %v", err)
	}
	commit(t, l, snapshotEntry(4))
	if l.State().N != n+1 {
		t.Fatalf("entry %d after entry %d", l.State().N, n)
	}
	if is, was := mustEpoch(t, store, object.LogName(n+1)), mustEpoch(t, store, object.LogName(n)); is != 2 || was != 1 {
		t.Errorf("the rotation is sealed in epoch %d, what follows in epoch %d", was, is)
	}
	sameState(t, l.State(), reopen(t, store, next, Mark{}).State())
}

// TestRotation_ThatNeverCame_TheOldKeysAreUsed opens the log with the keys of a rotation that was cut off before its
// entry.
func TestRotation_ThatNeverCame_TheOldKeysAreUsed(t *testing.T) {
	store := mem.New()
	l, owner := makeLog(t, store)
	commit(t, l, snapshotEntry(2))
	if err := l.WriteCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	pending, err := owner.Next()
	if err != nil {
		t.Fatal(err)
	}
	client := reopen(t, store, pending, Mark{})
	if client.Keys().Epoch() != owner.Epoch() {
		t.Fatalf("it seals in epoch %d", client.Keys().Epoch().Number)
	}
	commit(t, client, snapshotEntry(3))
	if err := l.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	sameState(t, l.State(), client.State())
	// Another rotation begins another epoch of the same number: the keys of the first are good for nothing.
	next := rotate(t, l, owner)
	if _, err := Open(t.Context(), store, pending, Mark{}); !errors.Is(err, ErrRotated) {
		t.Errorf("the rest of the first rotation opens the log: %v", err)
	}
	sameState(t, l.State(), reopen(t, store, next, Mark{}).State())
}

// TestRotation_CheckpointOfAnEpochThatNeverBegan_IsNotUsed gives a maintainer the keys of a rotation that is cut off, and
// shuts it out before the next one. All clients may still have the slots of the first.
func TestRotation_CheckpointOfAnEpochThatNeverBegan_IsNotUsed(t *testing.T) {
	store := mem.New()
	l, owner := makeLog(t, store)
	maintainer := addKey(t, l, owner, seal.Maintainer)
	pending, err := owner.Next()
	if err != nil {
		t.Fatal(err)
	}
	thiefs, err := pending.Subset(seal.Maintainer)
	if err != nil {
		t.Fatal(err)
	}
	_, id := maintainer.Signer()
	commit(t, l, &Entry{Kind: KindKeys, Session: sid(2), Withdraw: [][8]byte{id}})
	commit(t, l, snapshotEntry(3))
	forge := func(signature []byte) {
		t.Helper()
		forged := newLog(store, thiefs)
		forged.state = l.State().clone()
		forged.state.Epoch, forged.state.epochSignature = pending.Epoch(), signature
		clear(forged.state.Snapshots)
		if err := store.Delete(t.Context(), object.CheckpointName(l.State().N)); err != nil {
			t.Log(err) // there was none
		}
		if err := forged.WriteCheckpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	signatures := [][]byte{nil, make([]byte, 64), thiefs.SignEpoch(pending.Epoch()), owner.SignEpoch(owner.Epoch())}
	for _, s := range signatures {
		forge(s)
		sameState(t, l.State(), reopen(t, store, pending, Mark{}).State())
	}
	next := rotate(t, l, owner)
	for _, s := range append(signatures, l.State().epochSignature) {
		forge(s)
		if _, err := Open(t.Context(), store, pending, Mark{}); !errors.Is(err, ErrRotated) {
			t.Errorf("the rest of the first rotation opens the log: %v", err)
		}
		sameState(t, l.State(), reopen(t, store, next, Mark{}).State())
	}
}

// TestRotation_WithoutTheOwnersSignature_IsVoid makes the entry with an owner's own key alone.
func TestRotation_WithoutTheOwnersSignature_IsVoid(t *testing.T) {
	store := mem.New()
	l, owner := makeLog(t, store)
	next, err := owner.Next()
	if err != nil {
		t.Fatal(err)
	}
	maintainer := addKey(t, l, owner, seal.Maintainer)
	for i, signature := range [][]byte{nil, {1}, maintainer.SignEpoch(next.Epoch()), owner.SignEpoch(owner.Epoch())} {
		st := l.State()
		payload, err := EncodeEntry(st.N+1, st.Hash, &Entry{Kind: KindKeys, Session: sid(2), Epoch: next.Epoch(), EpochSignature: signature})
		if err != nil {
			t.Fatal(err)
		}
		putPayload(t, store, st, owner, payload)
		if err := l.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(l.Void()) != i+1 || l.State().Epoch != owner.Epoch() {
			t.Fatalf("signature %d: %d void entries, epoch %d", i, len(l.Void()), l.State().Epoch.Number)
		}
	}
}

// TestRotation_CheckpointsOfOldKeys_CountNoMore forges what a maintainer who was shut out could: of the present tail,
// and of a tail that it has made itself.
func TestRotation_CheckpointsOfOldKeys_CountNoMore(t *testing.T) {
	store := mem.New()
	l, owner := makeLog(t, store)
	maintainer := addKey(t, l, owner, seal.Maintainer)
	commit(t, l, snapshotEntry(2))
	before := l.State()
	if err := l.WriteCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, id := maintainer.Signer()
	commit(t, l, &Entry{Kind: KindKeys, Session: sid(3), Withdraw: [][8]byte{id}})
	next := rotate(t, l, owner)
	commit(t, l, snapshotEntry(4))
	forge := func(epoch seal.Epoch) {
		t.Helper()
		st := before.clone()
		st.N, st.Hash, st.Epoch = l.State().N, l.State().Hash, epoch
		clear(st.Snapshots)
		forged := newLog(store, maintainer)
		forged.state = st
		if err := forged.WriteCheckpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	forge(owner.Epoch())
	sameState(t, l.State(), reopen(t, store, next, Mark{}).State())
	put(t, store, l, maintainer, snapshotEntry(5)) // sealed with the old keys, at the tail
	if len(l.Void()) != 1 {
		t.Fatalf("void: %v", l.Void())
	}
	forge(l.State().Epoch)
	sameState(t, l.State(), reopen(t, store, next, Mark{}).State())
	if st := l.State(); len(st.Snapshots) != 2 {
		t.Fatalf("%d snapshots", len(st.Snapshots))
	}
	// What was a good checkpoint is whole still, and not used any more.
	if ok, err := reopen(t, store, next, Mark{}).UsableCheckpoint(t.Context(), object.CheckpointName(before.N)); ok || err != nil {
		t.Errorf("a checkpoint of the old epoch is used: %v", err)
	}
	obj, err := store.Get(t.Context(), object.CheckpointName(before.N), 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if hash, err := OpenCheckpoint(next, before.N, obj); err != nil || hash != before.Hash {
		t.Errorf("it is said to be damaged: %v", err)
	}
}
