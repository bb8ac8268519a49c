package repo_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

func TestSession_CommittedBlobs_ReadBackByAnotherClient(t *testing.T) {
	r, store := testrepo.New(t)
	chunks := [][]byte{[]byte("small"), testrepo.Random(1, 300<<10), testrepo.Random(2, 8<<20), bytes.Repeat([]byte("text "), 100_000), testrepo.Random(3, 1)}
	snap := testrepo.CommitFile(t, r, chunks...)

	other := testrepo.Open(t, store)
	snaps, err := other.Snapshots(t.Context())
	if err != nil || len(snaps) != 1 || snaps[0].ID != snap.ID {
		t.Fatalf("snapshots: %v, %v", snaps, err)
	}
	got, err := testrepo.ReadFile(t, other, snaps[0])
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, bytes.Join(chunks, nil)) {
		t.Fatal("other bytes came back")
	}
}

func TestSession_SameBlobsAgain_StoreOnlyALogEntry(t *testing.T) {
	r, store := testrepo.New(t)
	chunks := [][]byte{testrepo.Random(1, 300<<10), []byte("small")}
	testrepo.CommitFile(t, r, chunks...)
	before := testrepo.Names(t, store, "")
	testrepo.CommitFile(t, r, chunks...)
	after := testrepo.Names(t, store, "")
	after = slices.DeleteFunc(after, func(name string) bool {
		return slices.Contains(before, name) || strings.HasPrefix(name, object.CheckpointsPrefix)
	})
	if !slices.Equal(after, []string{object.LogName(r.State().N)}) {
		t.Fatalf("objects before: %q\nadded: %q", before, after)
	}
}

// A backup does this for each file, of which there may be millions.
func TestSession_SmallBlobThatTheRepositoryHas_AllocatesNothing(t *testing.T) {
	r, _ := testrepo.New(t)
	data := []byte("small")
	testrepo.CommitFile(t, r, data)
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort()
	id := testrepo.Save(t, s, object.DataBlob, data)[0]
	got := testing.AllocsPerRun(100, func() {
		if !s.Rely(id) {
			t.Error("the blob is not there")
		}
		if saved, err := s.SaveNow(object.DataBlob, data); err != nil || saved.New || saved.ID != id {
			t.Errorf("saved as %+v, error %v", saved, err)
		}
	})
	if got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}

// TestSession_WithAWritersKey_BacksUpAndCanNotRead makes a repository's second key slot hold a writer's
// keyring, as a host has it that is not trusted with the backups of others.
func TestSession_WithAWritersKey_BacksUpAndCanNotRead(t *testing.T) {
	r, store := testrepo.New(t)
	old := testrepo.CommitFile(t, r, []byte("secret"))
	credential := seal.KeyFile([32]byte{9})
	if _, err := r.AddSlot(t.Context(), repo.NewSlot{Role: seal.Writer, Credential: credential}); err != nil {
		t.Fatal(err)
	}
	writer, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: credential, CacheDir: testsys.MemoryDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()

	snap := testrepo.CommitFile(t, writer, []byte("secret"), testrepo.Random(1, 1<<20))
	if _, err := writer.Snapshots(t.Context()); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("a writer's key lists snapshots: %v", err)
	}
	if _, err := writer.LoadTree(t.Context(), object.BlobID(snap.Root)); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("a writer's key reads trees: %v", err)
	}
	if _, err := writer.Forget(t.Context(), []object.SessionID{old.ID}); err == nil {
		t.Error("a writer's key forgets")
	}
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := testrepo.ReadFile(t, r, snap); err != nil || len(got) != 6+1<<20 {
		t.Errorf("the owner reads %d bytes of what the writer wrote: %v", len(got), err)
	}
}

func TestOpen_WrongKey_SaysSo(t *testing.T) {
	_, store := testrepo.New(t)
	_, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: seal.KeyFile([32]byte{7})})
	if !errors.Is(err, repo.ErrWrongKey) {
		t.Error(err)
	}
}

func TestOpen_NothingThere_IsNoRepository(t *testing.T) {
	_, err := repo.Open(t.Context(), mem.New(), repo.OpenOptions{Credential: testrepo.Credential})
	if !errors.Is(err, repo.ErrNoRepository) {
		t.Error(err)
	}
}

func TestOpen_FirstCopiesLost_UsesTheSecond(t *testing.T) {
	r, store := testrepo.New(t)
	snap := testrepo.CommitFile(t, r, []byte("x"))
	for _, name := range testrepo.Names(t, store, "") {
		switch {
		case name == object.ConfigName:
			store.Tamper(name, []byte("garbage"))
		case strings.HasPrefix(name, object.KeysPrefix) && !strings.HasSuffix(name, ".copy"):
			store.Tamper(name, nil)
		}
	}
	if got, err := testrepo.ReadFile(t, testrepo.Open(t, store), snap); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestInit_Twice_IsRefused(t *testing.T) {
	_, store := testrepo.New(t)
	_, err := repo.Init(t.Context(), store, repo.InitOptions{Credential: testrepo.Credential})
	if !errors.Is(err, repo.ErrExists) {
		t.Error(err)
	}
}

// TestInit_CutOffAnywhere_CanBeRunAgain ends init at each of its puts, before it and after it.
func TestInit_CutOffAnywhere_CanBeRunAgain(t *testing.T) {
	count := fault.New(mem.New())
	testrepo.Init(t, count)
	puts := count.Count(fault.Put, "")
	if puts < 5 {
		t.Fatalf("%d puts", puts)
	}
	for n := 1; n <= puts; n++ {
		for name, rule := range map[string]fault.Rule{
			"before": fault.On(fault.Put).Nth(n).Before(fault.ErrDead).Die(),
			"after":  fault.On(fault.Put).Nth(n).After(fault.ErrDead).Die(),
		} {
			inner := mem.New()
			dying := fault.New(inner)
			dying.Inject(rule)
			if _, err := repo.Init(t.Context(), dying, repo.InitOptions{Credential: testrepo.Credential, CacheDir: testsys.MemoryDir(t)}); err == nil {
				t.Fatalf("init survived put %d", n)
			}
			if name == "after" && n == puts {
				testrepo.Open(t, inner) // nothing was left to do
				continue
			}
			r := testrepo.Init(t, inner)
			snap := testrepo.CommitFile(t, r, []byte("x"))
			if got, err := testrepo.ReadFile(t, testrepo.Open(t, inner), snap); err != nil || string(got) != "x" {
				t.Errorf("cut off %s put %d: %q, %v", name, n, got, err)
			}
		}
	}
}

// A config is believed only if an owner's key has signed it: one that a maintainer's has would shut everybody out.
func TestInit_ConfigLost_OnlyAnOwnerMakesAnother(t *testing.T) {
	r, store := testrepo.New(t)
	maintainer := seal.KeyFile([32]byte{7})
	if _, err := r.AddSlot(t.Context(), repo.NewSlot{Role: seal.Maintainer, Credential: maintainer}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{object.ConfigName, object.ConfigCopyName} {
		if err := store.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := repo.Init(t.Context(), store, repo.InitOptions{Credential: maintainer}); err == nil || !strings.Contains(err.Error(), "maintainer") {
		t.Errorf("with a maintainer's key: %v", err)
	}
	again := testrepo.Init(t, store)
	if was, is := r.Keys().RepoID(), again.Keys().RepoID(); is != was {
		t.Errorf("repository %x became %x", was, is)
	}
	testrepo.Open(t, store)
}

// TestCommit_DiesAtAnyPut_OlderSnapshotsStayAndTheNextWorks ends a backup at each of its puts.
func TestCommit_DiesAtAnyPut_OlderSnapshotsStayAndTheNextWorks(t *testing.T) {
	r, store := testrepo.New(t)
	first := testrepo.CommitFile(t, r, []byte("first"), testrepo.Random(1, 300<<10))
	large := 16 << 20 // more than one data pack
	if testing.Short() {
		large = 1 << 20
	}
	second := [][]byte{[]byte("second"), testrepo.Random(2, large), testrepo.Random(3, 400<<10)}
	run := func(s backends.Store) (*repo.Snapshot, error) {
		client, err := repo.Open(t.Context(), s, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: testsys.MemoryDir(t)})
		if err != nil {
			return nil, err
		}
		defer client.Close()
		session, err := client.NewSession(t.Context(), repo.SessionOptions{})
		if err != nil {
			return nil, err
		}
		m, err := testrepo.TryManifest(session, second...)
		if err != nil {
			session.Abort()
			return nil, err
		}
		return session.Commit(repo.CommitOptions{Manifest: m})
	}
	count := fault.New(store.Clone())
	if _, err := run(count); err != nil {
		t.Fatal(err)
	}
	puts := count.Count(fault.Put, "")
	for n := 1; n <= puts; n++ {
		for _, rule := range []fault.Rule{
			fault.On(fault.Put).Nth(n).Before(fault.ErrDead).Die(),
			fault.On(fault.Put).Nth(n).After(fault.ErrDead).Die(),
		} {
			inner := store.Clone()
			dying := fault.New(inner)
			dying.Inject(rule)
			_, err := run(dying)
			var put []string // not always as many: chunks go to either of two packs
			for _, c := range dying.Calls() {
				if c.Op == fault.Put {
					put = append(put, c.Name)
				}
			}
			if err == nil && len(put) >= n && !strings.HasPrefix(put[n-1], object.CheckpointsPrefix) { // which comes after the commit
				t.Errorf("committed in spite of dying at put %d, of %s", n, put[n-1])
			}
			client := testrepo.Open(t, inner)
			if got, err := testrepo.ReadFile(t, client, first); err != nil || len(got) != 5+300<<10 {
				t.Fatalf("died at put %d: the first snapshot has %d bytes: %v", n, len(got), err)
			}
			snap, err := run(inner)
			if err != nil {
				t.Fatalf("died at put %d: the next backup: %v", n, err)
			}
			if got, err := testrepo.ReadFile(t, testrepo.Open(t, inner), snap); err != nil || !bytes.Equal(got, bytes.Join(second, nil)) {
				t.Fatalf("died at put %d: the next backup reads back wrong: %v", n, err)
			}
		}
	}
	t.Logf("%d puts, each died at twice", puts)
}

func TestSession_StoreFails_NothingCanBeCommitted(t *testing.T) {
	_, store := testrepo.New(t)
	full := &backends.Error{Op: "put", Kind: backends.Permanent, Err: errors.New("no space left")}
	failing := fault.New(store)
	r := testrepo.Open(t, failing)
	failing.Inject(fault.On(fault.Put).Prefix(object.DataPrefix).Before(full)) // once
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m := &repo.Manifest{Root: make([]byte, 32)}
	s.Save(object.DataBlob, testrepo.Random(1, 1<<20), func(repo.Saved, error) {})
	if _, err := s.Commit(repo.CommitOptions{Manifest: m}); !errors.Is(err, full) {
		t.Errorf("commit after a failed upload: %v", err)
	}
	if st := testrepo.Open(t, store).State(); len(st.Snapshots) != 0 {
		t.Error("a snapshot was committed")
	}
}

// TestOpen_StoreRolledBack_IsNoticedByWhoWasThere puts an older copy of the store in place of the newer one.
func TestOpen_StoreRolledBack_IsNoticedByWhoWasThere(t *testing.T) {
	r, store := testrepo.New(t)
	testrepo.CommitFile(t, r, []byte("x"))
	older := store.Clone()
	cacheDir := t.TempDir()
	open := func(s backends.Store) error {
		client, err := repo.Open(t.Context(), s, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: cacheDir})
		if err == nil {
			err = client.Close()
		}
		return err
	}
	testrepo.CommitFile(t, r, []byte("y"))
	if err := open(store); err != nil {
		t.Fatal(err)
	}
	err := open(older)
	if !errors.Is(err, log.ErrRollback) || !strings.Contains(err.Error(), cacheDir) {
		t.Fatalf("rolled back, and the answer is: %v", err)
	}
	if err := open(store); err != nil {
		t.Errorf("after the newer store is back: %v", err)
	}
	// Who deletes the cache forgets, and nothing else happens.
	if err := os.RemoveAll(cacheDir); err != nil {
		t.Fatal(err)
	}
	if err := open(older); err != nil {
		t.Error(err)
	}
}

// TestIndex_CacheDeletedWhileInUse_CostsOnlyTime removes the cache folder between and during uses.
func TestIndex_CacheDeletedWhileInUse_CostsOnlyTime(t *testing.T) {
	r, store := testrepo.New(t)
	data := testrepo.Random(1, 1<<20)
	testrepo.CommitFile(t, r, data)
	cacheDir := t.TempDir()
	client, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: cacheDir})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 3 {
		before := len(testrepo.Names(t, store, object.DataPrefix))
		snap := testrepo.CommitFile(t, client, data)
		if after := len(testrepo.Names(t, store, object.DataPrefix)); after != before {
			t.Errorf("round %d: known data was stored again", i)
		}
		if got, err := testrepo.ReadFile(t, client, snap); err != nil || !bytes.Equal(got, data) {
			t.Errorf("round %d: %v", i, err)
		}
		if err := os.RemoveAll(cacheDir); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSessionIDs_AllKindsOfEntries_EndInTheNumberOfTheLastOne: so a later rule can tell what began before an entry.
func TestSessionIDs_AllKindsOfEntries_EndInTheNumberOfTheLastOne(t *testing.T) {
	r, _ := testrepo.New(t)
	early, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer early.Abort()
	snap := testrepo.CommitFile(t, r, []byte("a"))
	ids := []object.SessionID{snap.ID}
	if _, err := r.Pin(t.Context(), ids); err != nil {
		t.Fatal(err)
	}
	if _, err := r.SetTags(t.Context(), ids, func([]string) []string { return []string{"tag"} }); err != nil {
		t.Fatal(err)
	}
	addKey(t, r, seal.Writer, "", keyOf(1))
	if _, err := early.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(t, early, []byte("b"))}); err != nil {
		t.Fatal(err)
	}
	mustRotate(t, r)
	var began []byte
	if err := r.Log().Entries(t.Context(), func(rec *log.Record) error {
		sid := rec.Entry.Session
		if !bytes.Equal(sid[10:15], make([]byte, 5)) {
			t.Errorf("entry %d: session %v", rec.N, sid)
		}
		began = append(began, sid[15])
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	// init, the snapshot, the pin, the tags, the key, the session that began at first, the rotation
	if want := []byte{0, 1, 2, 3, 4, 1, 6}; !bytes.Equal(began, want) {
		t.Errorf("sessions began after entries %d, want %d", began, want)
	}
}
