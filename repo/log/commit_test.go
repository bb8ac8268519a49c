package log

import (
	"context"
	"errors"
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
	l, keys := newLog(t, inner)
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
	l, _ := newLog(t, inner)
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
