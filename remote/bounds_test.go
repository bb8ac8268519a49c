package remote

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/remote/frames"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// TestServe_AnswersAreNotRead_EndsInBoundedMemory asks and asks, never too much at a time, and reads no answer.
func TestServe_AnswersAreNotRead_EndsInBoundedMemory(t *testing.T) {
	p := newPipe()
	p.down.Write(make([]byte, inTransit)) // so that not one answer gets away
	s := newServer(p.here, mem.New(), anything{mem.New()}, nil)
	served := make(chan error, 1)
	go func() { served <- s.serve(context.Background()) }()
	head, err := wire.Marshal(&request{Op: opDelete, Name: "data/x"})
	if err != nil {
		t.Fatal(err)
	}
	idle := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.conn.Err() != nil || s.calls == 0 && s.conn.Received() == uint64(p.up.moved.Load())
	}
	asked := 0
	for ; asked < 4*maxUnsent && s.conn.Err() == nil; asked++ {
		b := append(frames.Header{Type: requestFrame, ID: uint32(asked + 1), Length: len(head)}.Append(nil), head...)
		if _, err := p.there.Write(b); err != nil {
			break
		}
		for !idle() {
			time.Sleep(10 * time.Microsecond)
		}
	}
	p.there.Close()
	if err := <-served; !errors.Is(err, ErrProtocol) {
		t.Errorf("after %d requests: %v", asked, err)
	}
	if asked > maxUnsent+2 || s.unsent != 0 {
		t.Errorf("it ended after %d requests, %d answers are counted", asked, s.unsent)
	}
}

// waits reports an error if do does not wait for what hold takes.
func waits(t *testing.T, what string, hold func() (release func()), do func()) {
	t.Helper()
	release := hold()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
		t.Errorf("%s: it did not wait", what)
	case <-time.After(50 * time.Millisecond): // what waits is never earlier
	}
	release()
	<-done
}

// TestServe_CostlyRequests_WaitForEachOther has what takes far more memory than came for it take turns.
func TestServe_CostlyRequests_WaitForEachOther(t *testing.T) {
	r, store, orphan := stocked(t)
	g := &gate{repo: r, purpose: Update}
	v := &views{repo: r, tell: true}
	p := newPipe()
	s := newServer(p.here, r.Store(), g, v)
	decoding := func() func() {
		g.decoding.Lock()
		return g.decoding.Unlock
	}
	text := []byte("some bytes")
	ref := object.Ref{Class: object.Index, Session: object.SessionID{1}, Hash: object.Sum(text)}
	waits(t, "a segment", decoding, func() {
		if err := g.put(t.Context(), ref.Name(), text); !errors.Is(err, ErrDenied) {
			t.Error(err)
		}
	})
	waits(t, "an entry", decoding, func() {
		if _, err := g.sign(t.Context(), object.LogEntry, nil, text); !errors.Is(err, ErrDenied) {
			t.Error(err)
		}
	})
	view, err := v.at(t.Context(), r.State().N, hashOf(r))
	if err != nil {
		t.Fatal(err)
	}
	waits(t, "a verification", func() func() {
		if !s.verifying.TryAcquire(1) {
			t.Error("it is taken")
		}
		return func() { s.verifying.Release(1) }
	}, func() {
		if _, _, _, err := s.do(t.Context(), &request{Op: opVerify, View: view}, nil); err != nil {
			t.Error(err)
		}
	})
	waits(t, "a listing", func() func() {
		if !s.listing.TryAcquire(maxLists) {
			t.Error("it is taken")
		}
		return func() { s.listing.Release(maxLists) }
	}, func() {
		if _, _, _, err := s.do(t.Context(), &request{Op: opList, Name: object.LogPrefix}, nil); err != nil {
			t.Error(err)
		}
	})
	// A lookup needs room for what it may take, and keeps what it has taken until it is sent.
	ids := blobsOf(t, r, one(t, store, object.TreePrefix, orphan, false))
	const others = maxLookups - lookupWeight + 1
	var release func()
	waits(t, "a lookup", func() func() {
		if !s.lookups.TryAcquire(others) {
			t.Error("it is taken")
		}
		return func() { s.lookups.Release(others) }
	}, func() {
		var body []byte
		var err error
		_, body, release, err = s.do(t.Context(), &request{Op: opLookup, View: view}, ids)
		if err != nil || len(body) == 0 {
			t.Errorf("%d bytes: %v", len(body), err)
		}
	})
	if s.lookups.TryAcquire(maxLookups) || !s.lookups.TryAcquire(maxLookups-lookupWeight) {
		t.Error("the answer is not counted, or as more than it is")
	} else {
		s.lookups.Release(maxLookups - lookupWeight)
	}
	if release(); !s.lookups.TryAcquire(maxLookups) {
		t.Error("the answer is counted when it is sent")
	}
}

// blobsOf returns the ids of a pack's blobs, one after the other.
func blobsOf(t *testing.T, r *repo.Repository, name string) (ids []byte) {
	t.Helper()
	dir := directoryOf(t, r, name)
	for i := range dir.Segments {
		for _, id := range dir.Segments[i].IDs {
			ids = append(ids, id[:]...)
		}
	}
	return ids
}

// like returns an entry that adds a snapshot of a session and a run, with the manifest of one that is there.
func like(st *log.State, session, run byte, supersede ...object.SessionID) *log.Entry {
	e := &log.Entry{Kind: log.KindSnapshot, Session: object.SessionID{session}, Run: object.SessionID{run}, Supersede: supersede}
	for _, s := range st.Snapshots {
		e.Manifest = s.Manifest
	}
	return e
}

// TestGate_SupersedesWhatItHasPut_AndNothingOfOtherHosts has two hosts, whose entries have the same signer.
func TestGate_SupersedesWhatItHasPut_AndNothingOfOtherHosts(t *testing.T) {
	r, _, _ := stocked(t)
	commit := func(there *repo.Repository, e *log.Entry) error {
		_, err := there.Commit(t.Context(), func(context.Context, *log.State) (*log.Entry, error) { return e, nil })
		return err
	}
	own := serve(t, t.Context(), newPipe(), ServeOptions{Repository: r, Purpose: Backup}).open(t)
	hostile := serve(t, t.Context(), newPipe(), ServeOptions{Repository: r, Purpose: Backup}).open(t)
	partial := like(own.State(), 7, 7)
	partial.Partial = true
	if err := commit(own, partial); err != nil {
		t.Fatal(err)
	}
	if err := hostile.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := commit(hostile, like(own.State(), 8, 7, partial.Session)); !errors.Is(err, ErrDenied) {
		t.Errorf("another host's run was ended: %v", err)
	}
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	slower := &gate{repo: r, partials: map[object.SessionID]object.Hash{partial.Session: object.Sum([]byte("another manifest"))}}
	if err := slower.supersedes(like(own.State(), 8, 7, partial.Session)); !errors.Is(err, ErrDenied) {
		t.Errorf("one that it would have put under the same id: %v", err)
	}
	if err := commit(own, like(own.State(), 9, 7, partial.Session)); err != nil {
		t.Errorf("its own: %v", err)
	}
	if own.State().Snapshots[partial.Session].Live() {
		t.Error("it is live")
	}
}

// TestGate_Signature_IsOnlyForTheNextEntry asks for signatures that could be used later, or elsewhere.
func TestGate_Signature_IsOnlyForTheNextEntry(t *testing.T) {
	r, _, _ := stocked(t)
	g := &gate{repo: r, purpose: Backup}
	st := r.State()
	sign := func(n uint64, prev object.Hash) error {
		payload, err := log.EncodeEntry(n, prev, like(st, 7, 7))
		if err != nil {
			t.Fatal(err)
		}
		_, err = g.sign(t.Context(), object.LogEntry, seal.BindLog(r.Keys().RepoID(), n, prev), payload)
		return err
	}
	if err := sign(st.N+1, st.Hash); err != nil {
		t.Error(err)
	}
	for _, n := range []uint64{st.N + 1, st.N + 2, st.N + 100} {
		if err := sign(n, object.Hash{1}); !errors.Is(err, ErrDenied) {
			t.Errorf("entry %d on top of another log: %v", n, err)
		}
	}
	if err := sign(st.N+2, st.Hash); !errors.Is(err, ErrDenied) {
		t.Errorf("the entry after the next: %v", err)
	}
	testrepo.CommitFile(t, testrepo.Open(t, r.Store()), []byte("of another client"))
	if err := sign(st.N+1, st.Hash); !errors.Is(err, repo.ErrMoved) {
		t.Errorf("an entry whose number is taken: %v", err)
	}
}

// TestCommit_AnotherClientIsFaster_IsMadeAnewOnTop has the number taken when the far side asks for its signature.
func TestCommit_AnotherClientIsFaster_IsMadeAnewOnTop(t *testing.T) {
	r, store, _ := stocked(t)
	s := serve(t, t.Context(), newPipe(), ServeOptions{Repository: r, Purpose: Backup})
	there := s.open(t)
	before := there.State().N
	var once sync.Once
	st, err := there.Commit(t.Context(), func(_ context.Context, st *log.State) (*log.Entry, error) {
		once.Do(func() { testrepo.CommitFile(t, testrepo.Open(t, store), []byte("of another client")) })
		return like(st, 7, 7), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if snap := st.Snapshots[object.SessionID{7}]; st.N != before+2 || snap == nil || snap.N != st.N {
		t.Errorf("entry %d after %d", st.N, before)
	}
	s.finish(t)
}
