package log

import (
	"bytes"
	"errors"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
)

func TestAdd_EntrySealedElsewhere_IsAddedOnceAndOnlyIfItCounts(t *testing.T) {
	store := mem.New()
	l, keys := makeLog(t, store)
	sealed := func(n byte) []byte {
		t.Helper()
		obj, err := sealEntry(keys, l.State(), snapshotEntry(n))
		if err != nil {
			t.Fatal(err)
		}
		return obj
	}
	allow := func(*Record) error { return nil }
	first := sealed(5)
	if err := l.Add(t.Context(), 3, first, allow); !errors.Is(err, ErrRefused) {
		t.Errorf("a number was left out: %v", err)
	}
	damaged := bytes.Clone(first)
	damaged[len(damaged)/2] ^= 1
	for _, obj := range [][]byte{damaged, {1, 2, 3}, nil} {
		if err := l.Add(t.Context(), 2, obj, allow); !errors.Is(err, ErrRefused) {
			t.Errorf("%d damaged bytes: %v", len(obj), err)
		}
	}
	no := errors.New("no")
	if err := l.Add(t.Context(), 2, first, func(*Record) error { return no }); !errors.Is(err, no) {
		t.Error(err)
	}
	if _, err := store.Get(t.Context(), object.LogName(2), 0, -1, nil); !errors.Is(err, backends.ErrNotExist) {
		t.Fatalf("something was put: %v", err)
	}
	if err := l.Add(t.Context(), 2, first, allow); err != nil {
		t.Fatal(err)
	}
	if st := l.State(); st.N != 2 || !st.Closed(sid(5)) || l.Sure().N != 2 {
		t.Errorf("entry %d, sure of %d", st.N, l.Sure().N)
	}
	if err := l.Add(t.Context(), 2, first, allow); !errors.Is(err, backends.ErrExist) {
		t.Errorf("again: %v", err)
	}
	if err := l.Add(t.Context(), 3, sealed(5), allow); !errors.Is(err, ErrRefused) {
		t.Errorf("a void entry: %v", err)
	}
	other := reopen(t, store, keys, Mark{})
	if err := other.Add(t.Context(), 3, sealed(6), allow); err != nil {
		t.Fatal(err)
	}
	if err := l.Add(t.Context(), 3, sealed(7), allow); !errors.Is(err, backends.ErrExist) {
		t.Errorf("another client was first: %v", err)
	}
}
