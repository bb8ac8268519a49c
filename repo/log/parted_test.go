package log

import (
	"errors"
	"testing"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/seal"
)

// seenBelow makes a log whose entry 4 is e, and returns the mark of a client that has seen no more, and the log as the store has it when others
// have added to it, with a checkpoint: on top of that entry, or, in another history, in place of it.
func seenBelow(t *testing.T, e *Entry) (keys *seal.Keyring, seen Mark, goesOn, parted *mem.Store) {
	goesOn = mem.New()
	l, keys := makeLog(t, goesOn)
	commit(t, l, snapshotEntry(2))
	commit(t, l, snapshotEntry(3))
	parted = goesOn.Clone()
	commit(t, l, e)
	seen = l.Sure()
	for _, store := range []*mem.Store{goesOn, parted} {
		others := reopen(t, store, keys, Mark{})
		for n := byte(10); n < 25; n++ {
			commit(t, others, snapshotEntry(n))
		}
		if err := others.WriteCheckpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		commit(t, others, snapshotEntry(25))
	}
	return keys, seen, goesOn, parted
}

// TestOpen_EntrySeenBesideAnotherHistory_IsNoticed has a store that shows a client the entry which it has seen last, and the checkpoint of a
// history in which there never was that entry: what the client has committed is not in it.
func TestOpen_EntrySeenBesideAnotherHistory_IsNoticed(t *testing.T) {
	for name, e := range map[string]*Entry{
		"of a snapshot": snapshotEntry(4),
		"of tags":       tagEntry(4, sid(2)),
	} {
		keys, seen, goesOn, parted := seenBelow(t, e)
		if _, err := Open(t.Context(), goesOn, keys, seen); err != nil {
			t.Errorf("%s, the history that was seen: %v", name, err)
		}
		obj, err := goesOn.Get(t.Context(), object.LogName(seen.N), 0, -1, nil)
		if err != nil {
			t.Fatal(err)
		}
		parted.Tamper(object.LogName(seen.N), obj)
		if _, err := Open(t.Context(), parted, keys, seen); !errors.Is(err, ErrRollback) {
			t.Errorf("%s, another history: %v", name, err)
		}
		// What could show it is missing.
		for _, n := range []uint64{seen.N - 1, seen.N + 2} {
			parted.Tamper(object.LogName(n), nil)
		}
		if _, err := Open(t.Context(), parted, keys, seen); err == nil {
			t.Errorf("%s, another history with entries missing is taken for the one that was seen", name)
		}
	}
}

// TestOpen_EntriesLostAboveTheOneSeen_AreNoticedOnlyIfTheyAreNeeded has a log that is the one seen before, with a gap below the checkpoint.
func TestOpen_EntriesLostAboveTheOneSeen_AreNoticedOnlyIfTheyAreNeeded(t *testing.T) {
	keys, seen, store, _ := seenBelow(t, snapshotEntry(4))
	store.Tamper(object.LogName(seen.N+2), nil)
	if _, err := Open(t.Context(), store, keys, seen); err != nil {
		t.Errorf("of a snapshot: %v", err)
	}
	keys, seen, store, _ = seenBelow(t, tagEntry(4, sid(2)))
	lost := object.LogName(seen.N + 2)
	store.Tamper(lost, nil)
	var damage *DamageError
	if _, err := Open(t.Context(), store, keys, seen); !errors.As(err, &damage) || damage.Name != lost {
		t.Errorf("of tags: %v", err)
	}
	reopen(t, store, keys, Mark{})
}

// TestOpen_VoidSnapshotSeen_IsNoOtherHistory has seen an entry that a writer made void on purpose: its session was never closed.
func TestOpen_VoidSnapshotSeen_IsNoOtherHistory(t *testing.T) {
	store := mem.New()
	l, keys := makeLog(t, store)
	commit(t, l, snapshotEntry(2))
	e := snapshotEntry(3)
	e.Index[0].Ref.Session = sid(2)
	put(t, store, l, keys, e)
	commit(t, l, snapshotEntry(4))
	obj, err := store.Get(t.Context(), object.LogName(3), 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := Mark{N: 3, Hash: object.Sum(obj)}
	if l.State().Closed(sid(3)) {
		t.Fatal("the entry is not void")
	}
	if err := l.WriteCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	sameState(t, l.State(), reopen(t, store, keys, seen).State())
}
