package log

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/seal"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sid returns a session id that is easy to recognise.
func sid(n byte) (id object.SessionID) {
	id[0], id[15] = n, n
	return id
}

func ref(class object.Class, session, hash byte) object.Ref {
	r := object.Ref{Class: class, Session: sid(session)}
	r.Hash[0], r.Hash[31] = hash, hash
	return r
}

// newLog makes a repository's log in store and returns it with the owner's keyring.
func newLog(t testing.TB, store backends.Store) (*Log, *seal.Keyring) {
	t.Helper()
	keys, err := seal.NewKeyring([16]byte{7})
	if err != nil {
		t.Fatal(err)
	}
	l, err := Create(t.Context(), store, keys, sid(1), 1)
	if err != nil {
		t.Fatal(err)
	}
	return l, keys
}

func reopen(t testing.TB, store backends.Store, keys *seal.Keyring, seen Mark) *Log {
	t.Helper()
	l, err := Open(t.Context(), store, keys, seen)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// snapshotEntry is a snapshot of session n with one pack of its own.
func snapshotEntry(n byte) *Entry {
	return &Entry{
		Kind: KindSnapshot, Session: sid(n), Clock: int64(n), Run: sid(n),
		Manifest: SealedManifest{Origin: seal.Origin{Kind: seal.Meta, Epoch: 1, Suite: 1, Sealed: []byte{n}}, Ciphertext: []byte{n}},
		Add:      []PackRef{{ref(object.DataPack, n, 1), 100}},
		Index:    []PackRef{{ref(object.Index, n, 2), 50}},
	}
}

// tagEntry gives each of the snapshots tags of its own.
func tagEntry(n byte, snapshots ...object.SessionID) *Entry {
	e := &Entry{Kind: KindTag, Session: sid(n), Clock: int64(n), Snapshots: snapshots}
	for i := range snapshots {
		origin := seal.Origin{Kind: seal.Meta, Epoch: 1, Suite: 1, Sealed: []byte{n}}
		e.Tags = append(e.Tags, SealedTags{Origin: origin, Ciphertext: []byte{byte(i)}})
		e.TagsOf = append(e.TagsOf, uint32(i))
	}
	return e
}

func pinEntry(n byte, pinned bool, snapshots ...object.SessionID) *Entry {
	return &Entry{Kind: KindPin, Session: sid(n), Snapshots: snapshots, Pinned: pinned}
}

func commit(t testing.TB, l *Log, e *Entry) {
	t.Helper()
	if _, err := l.Commit(t.Context(), fixed(e)); err != nil {
		t.Fatal(err)
	}
}

func fixed(e *Entry) Build {
	return func(context.Context, *State) (*Entry, error) { return e, nil }
}

// sameState fails unless two states are equal in all fields.
func sameState(t testing.TB, a, b *State) {
	t.Helper()
	if d := cmp.Diff(a, b, cmp.AllowUnexported(State{})); d != "" {
		t.Errorf("states differ:\n%s", d)
	}
}

func TestEntry_EveryKind_SurvivesEncoding(t *testing.T) {
	collect := &Entry{
		Kind: KindCollect, Session: sid(4), Clock: 4,
		Drop: []object.Ref{ref(object.DataPack, 2, 1), ref(object.TreePack, 2, 3)}, Add: []PackRef{{ref(object.TreePack, 4, 9), 7}},
		Revoke: []object.SessionID{sid(8)}, Gone: []object.SessionID{sid(2)},
		Replace: []object.Ref{ref(object.Index, 2, 2)}, Index: []PackRef{{ref(object.Index, 4, 4), 3}},
	}
	partial := snapshotEntry(5)
	partial.Partial, partial.Supersede = true, []object.SessionID{sid(2), sid(3)}
	entries := []*Entry{
		snapshotEntry(2), partial, collect,
		{Kind: KindForget, Session: sid(6), Clock: -1, Snapshots: []object.SessionID{sid(2)}},
		{Kind: KindUnforget, Session: sid(7), Snapshots: []object.SessionID{sid(2), sid(5)}},
		{Kind: KindInit, Session: sid(1), Signers: []seal.Signer{{ID: seal.SignerID(make([]byte, 32)), Role: seal.Owner, Public: make([]byte, 32)}}},
		tagEntry(8, sid(2), sid(3)),
		{Kind: KindPin, Session: sid(9), Snapshots: []object.SessionID{sid(2)}, Pinned: true},
		{Kind: KindPin, Session: sid(10), Snapshots: []object.SessionID{sid(2), sid(3)}},
	}
	golden := map[string]string{}
	for i, e := range entries {
		prev := object.Hash{1, 2}
		payload, err := EncodeEntry(uint64(i+1), prev, e)
		if err != nil {
			t.Fatal(err)
		}
		n, gotPrev, got, err := DecodeEntry(payload)
		if err != nil || n != uint64(i+1) || gotPrev != prev {
			t.Fatalf("%v: n=%d, %v", e.Kind, n, err)
		}
		if d := cmp.Diff(e, got); d != "" {
			t.Errorf("%v:\n%s", e.Kind, d)
		}
		for cut := range payload {
			if _, _, _, err := DecodeEntry(payload[:cut]); err == nil {
				t.Errorf("%v: %d of %d bytes decode", e.Kind, cut, len(payload))
			}
		}
		golden[fmt.Sprintf("%d %v", i, e.Kind)] = fmt.Sprintf("%x", payload)
	}
	checkGolden(t, "entries.json", golden)
}

func TestState_Checkpoint_SurvivesEncoding(t *testing.T) {
	l, _ := newLog(t, mem.New())
	for n := byte(2); n < 6; n++ {
		commit(t, l, snapshotEntry(n))
	}
	commit(t, l, &Entry{Kind: KindForget, Session: sid(20), Snapshots: []object.SessionID{sid(2), sid(3)}})
	commit(t, l, &Entry{
		Kind: KindCollect, Session: sid(21), Drop: []object.Ref{ref(object.DataPack, 2, 1)}, Gone: []object.SessionID{sid(2)},
		Revoke: []object.SessionID{sid(99)}, Add: []PackRef{{ref(object.DataPack, 50, 1), 5}},
	})
	commit(t, l, &Entry{Kind: KindCollect, Session: sid(22), Drop: []object.Ref{ref(object.DataPack, 50, 1)}}) // 50 is still open
	if len(l.State().dropped) != 1 {
		t.Fatalf("dropped: %v", l.State().dropped)
	}
	commit(t, l, pinEntry(23, true, sid(4)))
	commit(t, l, tagEntry(24, sid(3), sid(5)))
	payload, err := EncodeState(l.State())
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeState(payload)
	if err != nil {
		t.Fatal(err)
	}
	sameState(t, l.State(), got)
}

func TestDecodeEntry_TagsThatAreNotThere_IsAnError(t *testing.T) {
	for name, harm := range map[string]func(e *Entry){
		"number beyond the tags": func(e *Entry) { e.TagsOf[1] = 2 },
		"one number too few":     func(e *Entry) { e.TagsOf = e.TagsOf[:1] },
		"one number too many":    func(e *Entry) { e.TagsOf = append(e.TagsOf, 0) },
		"no tags":                func(e *Entry) { e.Tags = nil },
	} {
		e := tagEntry(8, sid(2), sid(3))
		harm(e)
		payload, err := EncodeEntry(1, object.Hash{}, e)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := DecodeEntry(payload); err == nil {
			t.Errorf("%s: decodes", name)
		}
	}
}

func checkGolden(t *testing.T, name string, got map[string]string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	b, err := json.MarshalIndent(got, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, '\n')
	if *update {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Errorf("%s: the encoding changed (run with -update only if the format is meant to change)\n%s", path, cmp.Diff(string(want), string(b)))
	}
}

func TestCommit_ManyClientsAtOnce_AllGetTheirOwnNumber(t *testing.T) {
	store := mem.New()
	_, keys := newLog(t, store)
	const clients, each = 8, 10
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			l, err := Open(t.Context(), store, keys, Mark{})
			if err != nil {
				t.Error(err)
				return
			}
			for i := range each {
				if _, err := l.Commit(t.Context(), fixed(snapshotEntry(byte(10+c*each+i)))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	st := reopen(t, store, keys, Mark{}).State()
	if st.N != 1+clients*each || len(st.Snapshots) != clients*each || len(st.Packs) != clients*each {
		t.Errorf("entries %d, snapshots %d, packs %d", st.N, len(st.Snapshots), len(st.Packs))
	}
}

func TestCommit_AnswerLost_OwnEntryIsFoundFirst(t *testing.T) {
	lost := &backends.Error{Op: "put", Kind: backends.Unclear, Err: errors.New("connection reset")}
	inner := mem.New()
	store := fault.New(inner)
	l, keys := newLog(t, store)
	store.Inject(fault.On(fault.Put).Prefix(object.LogPrefix).After(lost))
	calls := 0
	_, err := l.Commit(t.Context(), func(context.Context, *State) (*Entry, error) {
		calls++
		return snapshotEntry(2), nil
	})
	if err != nil || calls != 1 || store.Fired() != 1 {
		t.Fatalf("err %v, built %d times, fired %d", err, calls, store.Fired())
	}
	if st := reopen(t, inner, keys, Mark{}).State(); st.N != 2 {
		t.Errorf("%d entries", st.N)
	}
}

func TestCommit_PutLost_SameBytesAreSentAgain(t *testing.T) {
	lost := &backends.Error{Op: "put", Kind: backends.Unclear, Err: errors.New("timeout")}
	store := fault.New(mem.New())
	l, _ := newLog(t, store)
	store.Inject(fault.On(fault.Put).Prefix(object.LogPrefix).Before(lost))
	commit(t, l, snapshotEntry(2))
	if l.State().N != 2 {
		t.Errorf("%d entries", l.State().N)
	}
}

func TestCommit_StoreSaysNo_NothingIsCommitted(t *testing.T) {
	full := &backends.Error{Op: "put", Kind: backends.Permanent, Err: errors.New("no space left")}
	store := fault.New(mem.New())
	l, _ := newLog(t, store)
	store.Inject(fault.On(fault.Put).Prefix(object.LogPrefix).Always().Before(full))
	if _, err := l.Commit(t.Context(), fixed(snapshotEntry(2))); !errors.Is(err, full) || errors.Is(err, ErrOutcomeUnknown) {
		t.Fatal(err)
	}
	store.Clear()
	commit(t, l, snapshotEntry(3))
}

func TestCommit_CancelledWhileUnclear_SaysThatTheOutcomeIsUnknown(t *testing.T) {
	lost := &backends.Error{Op: "put", Kind: backends.Unclear, Err: errors.New("timeout")}
	store := fault.New(mem.New())
	l, _ := newLog(t, store)
	ctx, cancel := context.WithCancel(t.Context())
	store.Inject(fault.On(fault.Put).Prefix(object.LogPrefix).Always().Hook(func(context.Context, fault.Call) error {
		cancel()
		return lost
	}))
	if _, err := l.Commit(ctx, fixed(snapshotEntry(2))); !errors.Is(err, ErrOutcomeUnknown) {
		t.Fatal(err)
	}
}

func TestCommit_EntryThatWouldBeVoid_IsNotWritten(t *testing.T) {
	store := mem.New()
	l, keys := newLog(t, store)
	commit(t, l, snapshotEntry(2))
	own, dropped := ref(object.DataPack, 40, 1), ref(object.DataPack, 2, 1)
	commit(t, l, &Entry{Kind: KindCollect, Session: sid(30), Drop: []object.Ref{dropped}, Revoke: []object.SessionID{sid(40)}})
	add := func(n byte, p object.Ref) *Entry {
		e := snapshotEntry(n)
		e.Add = []PackRef{{p, 1}}
		return e
	}
	foreign := snapshotEntry(41)
	foreign.Index = []PackRef{{ref(object.Index, 42, 1), 1}}
	complete := snapshotEntry(43)
	complete.Supersede = []object.SessionID{sid(2)}
	partial := snapshotEntry(60)
	partial.Partial = true
	commit(t, l, partial)
	commit(t, l, pinEntry(61, true, sid(60)))
	pinned := snapshotEntry(62)
	pinned.Run, pinned.Supersede = partial.Run, []object.SessionID{sid(60)}
	for name, e := range map[string]*Entry{
		"closed session":                 snapshotEntry(2),
		"revoked session":                snapshotEntry(40),
		"adds a pack of a revoked one":   add(44, own),
		"adds a dropped pack":            add(45, dropped),
		"index segment of another":       foreign,
		"supersedes a complete snapshot": complete,
		"supersedes a pinned snapshot":   pinned,
		"forgets a pinned snapshot":      {Kind: KindForget, Session: sid(63), Snapshots: []object.SessionID{sid(2), sid(60)}},
		"pins nothing that is there":     pinEntry(64, true, sid(2), sid(9)),
		"tags nothing that is there":     tagEntry(65, sid(2), sid(9)),
		"drops what is not live":         {Kind: KindCollect, Session: sid(46), Drop: []object.Ref{dropped}},
		"revokes itself":                 {Kind: KindCollect, Session: sid(47), Revoke: []object.SessionID{sid(47)}},
		"revokes a closed session":       {Kind: KindCollect, Session: sid(48), Revoke: []object.SessionID{sid(2)}},
		"lets a live snapshot go":        {Kind: KindCollect, Session: sid(49), Gone: []object.SessionID{sid(2)}},
		"replaces what is not valid":     {Kind: KindCollect, Session: sid(50), Replace: []object.Ref{ref(object.Index, 9, 9)}},
		"forgets nothing that is there":  {Kind: KindForget, Session: sid(51), Snapshots: []object.SessionID{sid(9)}},
		"unforgets a live one":           {Kind: KindUnforget, Session: sid(52), Snapshots: []object.SessionID{sid(2)}},
		"a second init":                  {Kind: KindInit, Session: sid(53)},
	} {
		if _, err := l.Commit(t.Context(), fixed(e)); err == nil {
			t.Errorf("%s: was committed", name)
		}
	}
	if st := reopen(t, store, keys, Mark{}).State(); st.N != 5 {
		t.Errorf("%d entries", st.N)
	}
}

// put adds an entry that a client without conscience, or without the role, makes.
func put(t *testing.T, store backends.Store, l *Log, keys *seal.Keyring, e *Entry) {
	t.Helper()
	bad := &Log{store: store, keys: keys, state: l.State()}
	obj, err := bad.sealEntry(l.State(), e)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), object.LogName(l.State().N+1), obj); err != nil {
		t.Fatal(err)
	}
	if err := l.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestFold_WriterForgetsOrCollects_EntryIsVoid(t *testing.T) {
	store := mem.New()
	l, keys := newLog(t, store)
	commit(t, l, snapshotEntry(2))
	writer, err := keys.Subset(seal.Writer)
	if err != nil {
		t.Fatal(err)
	}
	put(t, store, l, writer, &Entry{Kind: KindForget, Session: sid(3), Snapshots: []object.SessionID{sid(2)}})
	put(t, store, l, writer, &Entry{Kind: KindCollect, Session: sid(4), Drop: []object.Ref{ref(object.DataPack, 2, 1)}})
	put(t, store, l, writer, pinEntry(6, true, sid(2)))
	put(t, store, l, writer, tagEntry(7, sid(2)))
	put(t, store, l, writer, snapshotEntry(5))
	st := l.State()
	if st.N != 7 || st.Snapshots[sid(2)].Pinned || st.Snapshots[sid(2)].Tags != nil || !st.Snapshots[sid(2)].Live() || !st.Live(ref(object.DataPack, 2, 1)) || st.Snapshots[sid(5)] == nil {
		t.Errorf("state: %+v", st)
	}
	if len(l.Void()) != 4 {
		t.Errorf("void entries: %v", l.Void())
	}
	sameState(t, st, reopen(t, store, writer, Mark{}).State())
}

func TestFold_PinAndTag_ChangeTheRecord(t *testing.T) {
	store := mem.New()
	l, keys := newLog(t, store)
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
	l, keys := newLog(t, store)
	commit(t, l, snapshotEntry(2))
	writer, err := keys.Subset(seal.Writer)
	if err != nil {
		t.Fatal(err)
	}
	empty := newState()
	empty.N, empty.Hash, empty.Signers = l.State().N, l.State().Hash, l.State().Signers
	forged := &Log{store: store, keys: writer, state: empty}
	if err := forged.WriteCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	sameState(t, l.State(), reopen(t, store, keys, Mark{}).State())
}

func TestOpen_WithCheckpoint_GivesTheSameState(t *testing.T) {
	inner := mem.New()
	store := fault.New(inner)
	l, keys := newLog(t, store)
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

func mustLast(t *testing.T, l *Log) uint64 {
	last, _, err := l.lastCheckpoint(t.Context(), l.State().N)
	if err != nil {
		t.Fatal(err)
	}
	return last
}

func TestOpen_EntryLostBelowACheckpoint_UsesTheCheckpoint(t *testing.T) {
	for _, next := range []bool{false, true} { // whether an entry follows the checkpoint's
		store := mem.New()
		l, keys := newLog(t, store)
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
	l, keys := newLog(t, store)
	commit(t, l, snapshotEntry(2))
	commit(t, l, snapshotEntry(3))
	seen := Mark{N: 2}
	name := object.LogName(2)
	obj, err := store.Get(t.Context(), name, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	seen.Hash = object.Sum(obj)
	for at := range obj {
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

func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * i)
	}
	return b
}

func TestOpen_HistoryChanged_IsNoticed(t *testing.T) {
	store := mem.New()
	l, keys := newLog(t, store)
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
		l, keys := newLog(t, store)
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

func TestEntries_YieldsAllInOrder(t *testing.T) {
	store := mem.New()
	l, _ := newLog(t, store)
	commit(t, l, snapshotEntry(2))
	var kinds []Kind
	if err := l.Entries(t.Context(), func(r *Record) error {
		kinds = append(kinds, r.Entry.Kind)
		return r.Void
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(kinds, []Kind{KindInit, KindSnapshot}) {
		t.Error(kinds)
	}
}
