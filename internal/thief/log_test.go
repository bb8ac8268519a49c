package thief_test

import (
	"errors"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// TestLog_EntriesThatNeedAHigherRole_AreVoid signs, with a writer's key, all that a maintainer or the owner may do.
func TestLog_EntriesThatNeedAHigherRole_AreVoid(t *testing.T) {
	w := newWorld(t)
	var ids []object.SessionID
	for _, h := range w.honest {
		ids = append(ids, h.snap.ID)
	}
	var packs, segments []object.Ref
	for ref := range w.newest().Packs {
		packs = append(packs, ref)
	}
	for ref := range w.newest().Index {
		segments = append(segments, ref)
	}
	open, err := w.owner.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m := testrepo.Manifest(t, open, testrepo.Random(99, 300<<10))
	entries := []*log.Entry{
		{Kind: log.KindForget, Snapshots: ids},
		{Kind: log.KindUnforget, Snapshots: ids},
		{Kind: log.KindPin, Snapshots: ids, Pinned: true},
		{Kind: log.KindTag, Snapshots: ids, TagsOf: make([]uint32, len(ids)), Tags: []log.SealedTags{log.SealedTags(w.manifest())}},
		{Kind: log.KindCollect, Session: sid(1), Drop: packs},
		{Kind: log.KindCollect, Session: sid(2), Replace: segments},
		{Kind: log.KindCollect, Session: sid(3), Revoke: []object.SessionID{open.ID()}},
		{Kind: log.KindCollect, Session: sid(4), Gone: ids},
		{Kind: log.KindInit, Session: sid(5), Signers: []seal.Signer{w.own(seal.Owner)}},
		{Kind: log.KindKeys, Session: sid(6), Signers: []seal.Signer{w.stranger(seal.Owner)}},
		{Kind: log.KindKeys, Session: sid(7), Withdraw: [][8]byte{w.maintainer.Keys().Self().ID}},
		{Kind: log.KindKeys, Session: sid(8), Epoch: seal.Epoch{Number: 2, ID: [16]byte{1}}},
	}
	for _, e := range entries {
		if err := w.commit(e); err == nil {
			t.Errorf("a client wrote a void %v entry", e.Kind)
		}
		w.enter(e)
	}
	w.wantVoid(len(entries))
	w.refresh()
	if _, err := open.Commit(repo.CommitOptions{Manifest: m}); err != nil {
		t.Errorf("a session that was open: %v", err)
	}
	w.surviveAll()
}

// own is the thief's public key, with a role that is not its own.
func (w *world) own(role seal.Role) seal.Signer {
	s := w.thief.Keys().Self()
	s.Role = role
	return s
}

// stranger is a key that the log does not know.
func (w *world) stranger(role seal.Role) seal.Signer {
	w.t.Helper()
	keys, err := seal.NewKeyring([16]byte{1})
	if err != nil {
		w.t.Fatal(err)
	}
	s := keys.Self()
	s.Role = role
	return s
}

// TestLog_SnapshotsThatDoNotApply_AreVoid uses the sessions, packs and index segments of others in the thief's own snapshots.
func TestLog_SnapshotsThatDoNotApply_AreVoid(t *testing.T) {
	w := newWorld(t)
	doomed := testrepo.CommitFile(t, w.owner, testrepo.Random(98, 300<<10))
	var dropped []log.PackRef
	for ref, p := range w.owner.State().Packs {
		if ref.Session == doomed.ID {
			dropped = append(dropped, log.PackRef{Ref: ref, Size: p.Size})
		}
	}
	if _, err := w.owner.Forget(t.Context(), []object.SessionID{doomed.ID}); err != nil {
		t.Fatal(err)
	}
	w.prune()
	run := object.SessionID{1, 2, 3}
	partial := w.partial(w.owner, run, testrepo.Random(97, 300<<10))
	var others []log.PackRef
	for ref, size := range w.newest().Index {
		others = append(others, log.PackRef{Ref: ref, Size: size})
	}
	honest := w.honest[0].snap.ID
	entries := []*log.Entry{
		{Session: honest}, // whose name it would take
		{Session: doomed.ID},
		{Session: sid(1), Add: dropped},
		{Session: sid(2), Index: others},
		{Session: sid(3), Supersede: []object.SessionID{honest}},
		{Session: sid(4), Supersede: []object.SessionID{partial.ID}, Run: run}, // another key's
	}
	for _, e := range entries {
		e.Kind, e.Manifest = log.KindSnapshot, w.manifest()
		if err := w.commit(e); err == nil {
			t.Errorf("a client wrote a void entry: %+v", e)
		}
		w.enter(e)
	}
	w.wantVoid(len(entries))
	w.surviveAll()
}

// partial commits a snapshot of a run that is not at its end.
func (w *world) partial(r *repo.Repository, run object.SessionID, part []byte) *repo.Snapshot {
	w.t.Helper()
	s, err := r.NewSession(w.t.Context(), repo.SessionOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	snap, err := s.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(w.t, s, part), Partial: true, Run: run})
	if err != nil {
		w.t.Fatal(err)
	}
	return snap
}

// TestLog_PartialSnapshotOfAnotherWriter_Stays: every key signs with its own name, so a stolen one can not end the runs
// of others that are not at their end.
func TestLog_PartialSnapshotOfAnotherWriter_Stays(t *testing.T) {
	w := newWorld(t)
	run := object.SessionID{1, 2, 3}
	part := testrepo.Random(97, 300<<10)
	victim := w.clientOf(seal.Writer, 77)
	partial := w.partial(victim, run, part)
	w.enter(&log.Entry{Kind: log.KindSnapshot, Session: sid(1), Manifest: w.manifest(), Run: run, Supersede: []object.SessionID{partial.ID}})
	w.wantVoid(1)
	w.refresh()
	if !w.owner.State().Snapshots[partial.ID].Live() {
		t.Fatal("it was forgotten")
	}
	w.honest = append(w.honest, honest{partial, [][]byte{part}})
	w.surviveAll()
}

// TestLog_SessionOfAnother_CostsItARetry closes a session that somebody is at work with.
func TestLog_SessionOfAnother_CostsItARetry(t *testing.T) {
	w := newWorld(t)
	s, err := w.owner.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	part := testrepo.Random(96, 300<<10)
	m := testrepo.Manifest(t, s, part)
	w.enter(&log.Entry{Kind: log.KindSnapshot, Session: s.ID(), Manifest: w.manifest()})
	w.wantStale(s, m)
	w.backUp(part)
	w.surviveAll()
}

// TestLog_EntryThatIsNone_StopsEverybodyUntilItIsRemoved puts at the next number what no client understands, or
// takes a later one. The log is the repository's only truth, so every client stops, and names the object.
// Nothing was lost: when somebody with access to the store has removed it, everything goes on.
func TestLog_EntryThatIsNone_StopsEverybodyUntilItIsRemoved(t *testing.T) {
	raw := func(v any) func(*world) string {
		return func(w *world) string {
			w.append(func(uint64, object.Hash) []byte {
				payload, err := wire.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				return payload
			})
			return object.LogName(w.owner.State().N + 1)
		}
	}
	garbage := func(name func(n uint64) string, data []byte) func(*world) string {
		return func(w *world) string {
			at := name(w.newest().N)
			w.put(at, data)
			return at
		}
	}
	next := func(n uint64) string { return object.LogName(n + 1) }
	attacks := map[string]func(*world) string{
		"random bytes":       garbage(next, testrepo.Random(1, 1000)),
		"one byte":           garbage(next, []byte{0}),
		"a number too far":   garbage(func(n uint64) string { return object.LogName(n + 3) }, testrepo.Random(1, 1000)),
		"no number":          garbage(func(uint64) string { return object.LogPrefix + "x" }, []byte{1}),
		"signed, no payload": raw("x"),
		"signed, a kind that is not known": raw(map[int]any{
			1: 99, 2: 5, 3: make([]byte, 32), 4: make([]byte, 16), 5: 0, 6: map[int]any{},
		}),
		"an entry of before": func(w *world) string {
			old, err := w.store.Get(t.Context(), object.LogName(2), 0, -1, nil)
			if err != nil {
				t.Fatal(err)
			}
			name := next(w.newest().N)
			w.put(name, old)
			return name
		},
		"signed with an unknown key's name and another number": func(w *world) string {
			st := w.newest()
			payload, err := log.EncodeEntry(st.N+5, st.Hash, &log.Entry{Kind: log.KindForget})
			if err != nil {
				t.Fatal(err)
			}
			obj, err := parity.Append(w.sign(object.LogEntry, seal.BindLog(w.thief.Keys().RepoID(), st.N+1, st.Hash), payload), 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			w.put(next(st.N), obj)
			return next(st.N)
		},
	}
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.t = t
			planted := attack(w)
			_, err := repo.Open(t.Context(), w.store, repo.OpenOptions{Credential: testrepo.Credential})
			if !errors.As(err, new(*log.DamageError)) && !errors.As(err, new(*log.NewerError)) {
				t.Fatalf("opened with %v", err)
			}
			t.Logf("opening: %v", err)
			if err := w.maintainer.Refresh(t.Context()); err == nil {
				t.Error("a client that is at work did not notice")
			}
			if err := w.store.Delete(t.Context(), planted); err != nil {
				t.Fatal(err)
			}
			w.survive(1)
		})
	}
}
