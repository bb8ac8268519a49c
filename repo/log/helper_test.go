package log

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/backends"
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

// makeLog makes a repository's log in store and returns it with the owner's keyring.
func makeLog(t testing.TB, store backends.Store) (*Log, *seal.Keyring) {
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

// addKey makes a key of the role, and adds it with an entry.
func addKey(t testing.TB, l *Log, owner *seal.Keyring, role seal.Role) *seal.Keyring {
	t.Helper()
	keys, err := owner.Subset(role)
	if err != nil {
		t.Fatal(err)
	}
	commit(t, l, &Entry{Kind: KindKeys, Session: sid(250), Clock: 7, Signers: []seal.Signer{keys.Self()}})
	return keys
}

// signer is a signer that is easy to recognise.
func signer(n byte, role seal.Role) seal.Signer {
	public := bytes.Repeat([]byte{n}, 32)
	return seal.Signer{ID: seal.SignerID(public), Role: role, Public: public, Slot: bytes.Repeat([]byte{n}, slotKeySize)}
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
	if reflect.DeepEqual(a, b) { // in a tenth of the time
		return
	}
	if d := cmp.Diff(a, b, cmp.AllowUnexported(State{})); d != "" {
		t.Errorf("states differ:\n%s", d)
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

// put adds an entry that a client without conscience, or without the role, makes.
func put(t *testing.T, store backends.Store, l *Log, keys *seal.Keyring, e *Entry) {
	t.Helper()
	obj, err := sealEntry(keys, l.State(), e)
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

// putPayload puts a payload on top of a state, signed, whatever is in it.
func putPayload(t *testing.T, store backends.Store, st *State, keys *seal.Keyring, payload []byte) {
	t.Helper()
	bind := seal.BindLog(keys.RepoID(), st.N+1, st.Hash)
	body, err := keys.SignBody(object.LogEntry, bind, payload)
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := keys.Seal(object.LogEntry, nil, bind, body)
	if err != nil {
		t.Fatal(err)
	}
	obj, err := appendParity(envelope)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), object.LogName(st.N+1), obj); err != nil {
		t.Fatal(err)
	}
}

// mustLast is the number of the newest checkpoint in the store.
func mustLast(t *testing.T, l *Log) (n uint64) {
	for info, err := range l.store.List(t.Context(), object.CheckpointsPrefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		if n, err = object.ParseNumbered(object.CheckpointsPrefix, info.Name); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * i)
	}
	return b
}
