package log

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/seal"
)

func TestFold_WriterForgetsOrCollects_EntryIsVoid(t *testing.T) {
	store := mem.New()
	l, keys := makeLog(t, store)
	commit(t, l, snapshotEntry(2))
	writer := addKey(t, l, keys, seal.Writer)
	put(t, store, l, writer, &Entry{Kind: KindForget, Session: sid(3), Snapshots: []object.SessionID{sid(2)}})
	put(t, store, l, writer, &Entry{Kind: KindCollect, Session: sid(4), Drop: []object.Ref{ref(object.DataPack, 2, 1)}})
	put(t, store, l, writer, pinEntry(6, true, sid(2)))
	put(t, store, l, writer, tagEntry(7, sid(2)))
	put(t, store, l, writer, snapshotEntry(5))
	st := l.State()
	if st.N != 8 || st.Snapshots[sid(2)].Pinned || st.Snapshots[sid(2)].Tags != nil || !st.Snapshots[sid(2)].Live() || !st.Live(ref(object.DataPack, 2, 1)) || st.Snapshots[sid(5)] == nil {
		t.Errorf("state: %+v", st)
	}
	if len(l.Void()) != 4 {
		t.Errorf("void entries: %v", l.Void())
	}
	sameState(t, st, reopen(t, store, writer, Mark{}).State())
}

func TestFold_PinAndTag_ChangeTheRecord(t *testing.T) {
	store := mem.New()
	l, keys := makeLog(t, store)
	commit(t, l, snapshotEntry(2))
	commit(t, l, snapshotEntry(3))
	before := l.State()
	commit(t, l, pinEntry(4, true, sid(2)))
	commit(t, l, tagEntry(5, sid(2), sid(3), sid(2)))
	s := l.State().Snapshots[sid(2)]
	if !s.Pinned || s.Tags == nil || s.Tags.Ciphertext[0] != 2 || l.State().Snapshots[sid(3)].Pinned {
		t.Errorf("pinned %v, tags %v", s.Pinned, s.Tags)
	}
	if old := before.Snapshots[sid(2)]; old.Pinned || old.Tags != nil {
		t.Error("a state that was handed out changed")
	}
	commit(t, l, pinEntry(6, false, sid(2)))
	commit(t, l, &Entry{Kind: KindForget, Session: sid(7), Snapshots: []object.SessionID{sid(2)}})
	commit(t, l, tagEntry(8, sid(2))) // also of one that is forgotten
	s = l.State().Snapshots[sid(2)]
	if s.Pinned || s.Live() || s.Tags.Ciphertext[0] != 0 {
		t.Errorf("state: %+v", s)
	}
	sameState(t, l.State(), reopen(t, store, keys, Mark{}).State())
}

func TestOpen_CheckpointSignedByAWriter_IsNotTrusted(t *testing.T) {
	store := mem.New()
	l, keys := makeLog(t, store)
	commit(t, l, snapshotEntry(2))
	writer := addKey(t, l, keys, seal.Writer)
	empty := newState()
	empty.N, empty.Hash, empty.Signers, empty.Epoch = l.State().N, l.State().Hash, l.State().Signers, l.State().Epoch
	forged := newLog(store, writer)
	forged.state = empty
	if err := forged.WriteCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	sameState(t, l.State(), reopen(t, store, keys, Mark{}).State())
}

func TestOpen_WithCheckpoint_GivesTheSameState(t *testing.T) {
	inner := mem.New()
	store := fault.New(inner)
	l, keys := makeLog(t, store)
	const entries = 150
	random := rand.NewChaCha8([32]byte{1})
	for n := byte(2); n < 2+entries; n++ {
		e := snapshotEntry(n)
		e.Manifest.Ciphertext = make([]byte, 2000) // as long as real ones are, and random like them
		_, _ = random.Read(e.Manifest.Ciphertext)  // never fails
		commit(t, l, e)
		if err := l.MaybeCheckpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// One for nearly every entry while the state is small, and fewer later.
	if n := store.Count(fault.Put, object.CheckpointsPrefix); n < 10 || n > entries/2 {
		t.Fatalf("%d checkpoints", n)
	}
	if st := reopen(t, inner, keys, Mark{}); st.State().N-mustLast(t, l) >= checkpointEvery {
		t.Fatal("the newest checkpoint is too old")
	}
	store.Reset()
	sameState(t, l.State(), reopen(t, store, keys, Mark{}).State())
	if n := store.Count(fault.Get, object.LogPrefix); n > 15 {
		t.Errorf("%d log entries were read in spite of the checkpoint", n)
	}
	// A damaged one is passed over.
	for info, err := range inner.List(t.Context(), object.CheckpointsPrefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		inner.Tamper(info.Name, []byte("not a checkpoint"))
	}
	sameState(t, l.State(), reopen(t, store, keys, Mark{}).State())
}

func TestOpen_EntryLostBelowACheckpoint_UsesTheCheckpoint(t *testing.T) {
	for _, next := range []bool{false, true} { // whether an entry follows the checkpoint's
		store := mem.New()
		l, keys := makeLog(t, store)
		commit(t, l, snapshotEntry(2))
		commit(t, l, snapshotEntry(3))
		if err := l.WriteCheckpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		lost := uint64(2)
		if next {
			commit(t, l, snapshotEntry(4))
			lost = 3 // the checkpoint's own entry: the next one shows that the checkpoint belongs to it
		}
		if err := store.Delete(t.Context(), object.LogName(lost)); err != nil {
			t.Fatal(err)
		}
		sameState(t, l.State(), reopen(t, store, keys, Mark{}).State())
	}
}

func TestOpen_EntryDamaged_IsMendedByItsParity(t *testing.T) {
	store := mem.New()
	l, keys := makeLog(t, store)
	commit(t, l, snapshotEntry(2))
	commit(t, l, snapshotEntry(3))
	seen := Mark{N: 2}
	name := object.LogName(2)
	obj, err := store.Get(t.Context(), name, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	seen.Hash = object.Sum(obj)
	step := 1
	if testing.Short() { // all of it is in one goroutine
		step = 50
	}
	for at := 0; at < len(obj); at += step {
		flipped := bytes.Clone(obj)
		flipped[at] ^= 0x10
		store.Tamper(name, flipped)
		again := reopen(t, store, keys, seen)
		sameState(t, l.State(), again.State())
		mended := 0
		if err := again.Entries(t.Context(), func(r *Record) error {
			if r.Mended {
				mended++
			}
			return nil
		}); err != nil || mended != 1 {
			t.Fatalf("byte %d flipped: %d entries mended, %v", at, mended, err)
		}
	}
	store.Tamper(name, noise(len(obj)))
	if _, err := Open(t.Context(), store, keys, Mark{}); !errors.As(err, new(*DamageError)) {
		t.Fatalf("an entry of other bytes: %v", err)
	}
}

func TestOpen_HistoryChanged_IsNoticed(t *testing.T) {
	store := mem.New()
	l, keys := makeLog(t, store)
	commit(t, l, snapshotEntry(2))
	before := store.Clone()
	commit(t, l, snapshotEntry(3))
	seen := Mark{l.State().N, l.State().Hash}

	if _, err := Open(t.Context(), before, keys, seen); !errors.Is(err, ErrRollback) {
		t.Errorf("rolled back: %v", err)
	}
	fork := reopen(t, before, keys, Mark{})
	commit(t, fork, snapshotEntry(4))
	if _, err := Open(t.Context(), before, keys, seen); !errors.Is(err, ErrRollback) {
		t.Errorf("forked: %v", err)
	}
	commit(t, fork, snapshotEntry(5))
	if _, err := Open(t.Context(), before, keys, seen); !errors.Is(err, ErrRollback) {
		t.Errorf("forked and longer: %v", err)
	}
	if _, err := Open(t.Context(), mem.New(), keys, seen); !errors.Is(err, ErrRollback) {
		t.Errorf("emptied: %v", err)
	}
	if _, err := Open(t.Context(), mem.New(), keys, Mark{}); !errors.Is(err, ErrNoLog) {
		t.Errorf("empty: %v", err)
	}
	if _, err := Open(t.Context(), store, keys, seen); err != nil {
		t.Errorf("as it was seen: %v", err)
	}
}

func TestOpen_EntriesMissingOrSwapped_IsDamageWithTheName(t *testing.T) {
	for name, harm := range map[string]struct {
		do    func(*mem.Store)
		names string
	}{
		"missing in the middle": {func(s *mem.Store) { s.Tamper(object.LogName(2), nil) }, object.LogName(2)},
		"missing first":         {func(s *mem.Store) { s.Tamper(object.LogName(1), nil) }, object.LogName(1)},
		"one twice": {func(s *mem.Store) {
			b, err := s.Get(context.Background(), object.LogName(2), 0, -1, nil)
			if err != nil {
				panic(err)
			}
			s.Tamper(object.LogName(3), b)
		}, object.LogName(3)},
	} {
		store := mem.New()
		l, keys := makeLog(t, store)
		commit(t, l, snapshotEntry(2))
		commit(t, l, snapshotEntry(3))
		harm.do(store)
		_, err := Open(t.Context(), store, keys, Mark{})
		var d *DamageError
		if !errors.As(err, &d) || d.Name != harm.names {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEntries_OfALongLog_YieldsAllInOrder(t *testing.T) {
	store := fault.New(mem.New())
	l, _ := makeLog(t, store)
	const entries = 3*readers + 1
	for n := byte(2); n <= entries; n++ {
		commit(t, l, snapshotEntry(n))
	}
	var seen []uint64
	if err := l.Entries(t.Context(), func(r *Record) error {
		seen = append(seen, r.N)
		return r.Void
	}); err != nil {
		t.Fatal(err)
	}
	for i, n := range seen {
		if n != uint64(i+1) {
			t.Fatalf("yielded %v", seen)
		}
	}
	if len(seen) != entries {
		t.Errorf("%d entries of %d", len(seen), entries)
	}
	store.Reset()
	enough := errors.New("enough")
	if err := l.Entries(t.Context(), func(*Record) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("err = %v", err)
	}
	if n := store.Count(fault.Get, object.LogPrefix); n > readers+1 {
		t.Errorf("%d entries were read for the first", n)
	}
}

// TestOpen_EntryWithOtherParity_HasNoOtherHash gives an entry another parity section, as anybody can who has no key:
// two clients must never see two hashes of one entry.
func TestOpen_EntryWithOtherParity_HasNoOtherHash(t *testing.T) {
	store := mem.New()
	l, keys := makeLog(t, store)
	commit(t, l, snapshotEntry(2))
	name := object.LogName(2)
	obj, err := store.Get(t.Context(), name, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	envelope, _, ok := parity.Body(obj)
	if !ok {
		t.Fatal("an entry without parity")
	}
	for _, section := range []struct {
		value   uint32
		percent int
	}{{0, 9}, {0, 50}, {1, entryParity}} {
		other, err := parity.Append(bytes.Clone(envelope), section.value, section.percent)
		if err != nil {
			t.Fatal(err)
		}
		store.Tamper(name, other)
		again, err := Open(t.Context(), store, keys, Mark{})
		if err == nil && again.State().Hash != l.State().Hash {
			t.Errorf("%v: the entry has another hash", section)
		}
	}
}

// TestOpen_EntryOnABadSector_UsesTheCheckpoint has a disk that can not read an entry: that is as good as a lost one.
func TestOpen_EntryOnABadSector_UsesTheCheckpoint(t *testing.T) {
	inner := mem.New()
	l, keys := makeLog(t, inner)
	commit(t, l, snapshotEntry(2))
	commit(t, l, snapshotEntry(3))
	if err := l.WriteCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	commit(t, l, snapshotEntry(4))
	for _, n := range []uint64{1, 2, 3} {
		store := fault.New(inner)
		store.Inject(fault.On(fault.Get).Prefix(object.LogName(n)).Always().Before(&backends.Error{Op: "get", Err: syscall.EIO}))
		sameState(t, l.State(), reopen(t, store, keys, Mark{}).State())
	}
}

// TestOpen_CheckpointOfAnotherBranch_IsNotTrustedForTheEntryBehindIt has a log that was put back from an older copy and
// continued, with a checkpoint of what was there before. A writer's key, which can put anything as the next
// entry, must not make it count.
func TestOpen_CheckpointOfAnotherBranch_IsNotTrustedForTheEntryBehindIt(t *testing.T) {
	store := mem.New()
	l, keys := makeLog(t, store)
	commit(t, l, snapshotEntry(2))
	branch := store.Clone()
	commit(t, l, snapshotEntry(3))
	if err := l.WriteCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	commit(t, l, snapshotEntry(4))

	other := reopen(t, branch, keys, Mark{})
	commit(t, other, snapshotEntry(5))
	for _, name := range []string{object.CheckpointName(3), object.LogName(4)} {
		obj, err := store.Get(t.Context(), name, 0, -1, nil)
		if err != nil {
			t.Fatal(err)
		}
		branch.Tamper(name, obj)
	}
	if got, err := Open(t.Context(), branch, keys, Mark{}); !errors.As(err, new(*DamageError)) {
		t.Errorf("%v, with %d entries", err, got.State().N)
	}
}

// TestCheckTail_EntryOfACheckpointMissing_IsDamage removes the last entry, of which there is a checkpoint, or what is
// no checkpoint.
func TestCheckTail_EntryOfACheckpointMissing_IsDamage(t *testing.T) {
	store := mem.New()
	l, keys := makeLog(t, store)
	commit(t, l, snapshotEntry(2))
	before := store.Clone()
	commit(t, l, snapshotEntry(3))
	if err := l.CheckTail(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.WriteCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.CheckTail(t.Context()); err != nil {
		t.Fatal(err)
	}
	obj, err := store.Get(t.Context(), object.CheckpointName(3), 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	before.Tamper(object.CheckpointName(3), obj)
	cut := reopen(t, before, keys, Mark{})
	var damage *DamageError
	if err := cut.CheckTail(t.Context()); !errors.As(err, &damage) || damage.Name != object.LogName(3) {
		t.Errorf("cut short: %v", err)
	}
	before.Tamper(object.CheckpointName(3), noise(len(obj)))
	if err := cut.CheckTail(t.Context()); err != nil {
		t.Errorf("with what is no checkpoint: %v", err)
	}
}
