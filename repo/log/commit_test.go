package log

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
)

// TestCommit_NumberTakenAndUnreadable_SaysThatTheOutcomeIsUnknown lets the own entry arrive and the store
// answer that the number is taken, as it does to a request that some layer below sent twice; and then
// nothing can be read.
func TestCommit_NumberTakenAndUnreadable_SaysThatTheOutcomeIsUnknown(t *testing.T) {
	inner := mem.New()
	l, keys := makeLog(t, inner)
	flaky := fault.New(inner)
	l.store = flaky
	ctx, cancel := context.WithCancel(t.Context())
	flaky.Inject(
		fault.On(fault.Put).Prefix(object.LogPrefix).After(&backends.Error{Op: "put", Err: backends.ErrExist}),
		fault.On(fault.Get).Prefix(object.LogPrefix).Always().Hook(func(context.Context, fault.Call) error {
			cancel()
			return &backends.Error{Op: "get", Kind: backends.Transient, Err: errors.New("busy")}
		}),
	)
	if _, err := l.Commit(ctx, fixed(snapshotEntry(5))); !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("err = %v", err)
	}
	if st := reopen(t, inner, keys, Mark{}).State(); !st.Closed(sid(5)) {
		t.Error("the entry did not arrive: the test showed nothing")
	}
}

// TestCommit_FoldedByAnotherGoroutineMeanwhile_SucceedsWithoutAsking lets another goroutine of the process
// fold the entry before the one that made it; after that the store is away. The entry is in the log, so the
// commit succeeded.
func TestCommit_FoldedByAnotherGoroutineMeanwhile_SucceedsWithoutAsking(t *testing.T) {
	inner := mem.New()
	l, _ := makeLog(t, inner)
	flaky := fault.New(inner)
	l.store = &afterPut{Store: flaky, then: func() {
		if err := l.Refresh(t.Context()); err != nil {
			t.Error(err)
		}
		flaky.Inject(fault.On(fault.List).Always().Before(errors.New("gone")))
	}}
	st, err := l.Commit(t.Context(), fixed(snapshotEntry(5)))
	if err != nil || !st.Closed(sid(5)) {
		t.Errorf("err = %v", err)
	}
}

// afterPut does something between a put and its answer.
type afterPut struct {
	backends.Store
	then func()
}

func (s *afterPut) Put(ctx context.Context, name string, data []byte) error {
	err := s.Store.Put(ctx, name, data)
	s.then()
	return err
}

func TestCommit_ManyClientsAtOnce_AllGetTheirOwnNumber(t *testing.T) {
	store := mem.New()
	_, keys := makeLog(t, store)
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
	l, keys := makeLog(t, store)
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
	l, _ := makeLog(t, store)
	store.Inject(fault.On(fault.Put).Prefix(object.LogPrefix).Before(lost))
	commit(t, l, snapshotEntry(2))
	if l.State().N != 2 {
		t.Errorf("%d entries", l.State().N)
	}
}

func TestCommit_StoreSaysNo_NothingIsCommitted(t *testing.T) {
	full := &backends.Error{Op: "put", Kind: backends.Permanent, Err: errors.New("no space left")}
	store := fault.New(mem.New())
	l, _ := makeLog(t, store)
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
	l, _ := makeLog(t, store)
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
	l, keys := makeLog(t, store)
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

// TestCommit_AnswerLostAndABitFlipped_IsStillTheOwnEntry has a put without an answer whose bytes are mended when they are
// read: a writer that took them for another's would say that it had been revoked.
func TestCommit_AnswerLostAndABitFlipped_IsStillTheOwnEntry(t *testing.T) {
	store := &flippingStore{Store: mem.New()}
	l, keys := makeLog(t, store)
	store.on = true
	calls := 0
	st, err := l.Commit(t.Context(), func(context.Context, *State) (*Entry, error) {
		calls++
		return snapshotEntry(2), nil
	})
	if err != nil || calls != 1 || st.N != 2 {
		t.Fatalf("err %v, built %d times, entry %d", err, calls, st.N)
	}
	sameState(t, st, reopen(t, store.Store, keys, Mark{}).State())
}

// flippingStore stores entries with a flipped bit and does not answer.
type flippingStore struct {
	*mem.Store
	on bool
}

func (s *flippingStore) Put(ctx context.Context, name string, data []byte) error {
	if !s.on || !strings.HasPrefix(name, object.LogPrefix) {
		return s.Store.Put(ctx, name, data)
	}
	obj := bytes.Clone(data)
	obj[len(obj)/3] ^= 1
	s.Tamper(name, obj)
	return &backends.Error{Op: "put", Name: name, Kind: backends.Unclear, Err: errors.New("connection reset")}
}
