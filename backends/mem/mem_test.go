package mem_test

import (
	"errors"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/backends/storetest"
	"github.com/kura-backup/kura/internal/clock"
)

func TestStore_KeepsTheContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) backends.Store { return mem.New() })
}

func TestClone_LaterChanges_StayApart(t *testing.T) {
	ctx := t.Context()
	a := mem.New()
	if err := a.Put(ctx, "x", []byte("1")); err != nil {
		t.Fatal(err)
	}
	b := a.Clone()
	if err := errors.Join(a.Put(ctx, "y", []byte("2")), b.Put(ctx, "z", []byte("3")), b.Delete(ctx, "x")); err != nil {
		t.Fatal(err)
	}
	list := func(s *mem.Store) (out string) {
		for info, err := range s.List(ctx, "", "") {
			if err != nil {
				t.Fatal(err)
			}
			out += info.Name
		}
		return out
	}
	if list(a) != "xy" || list(b) != "z" {
		t.Errorf("original %q, clone %q", list(a), list(b))
	}
}

func TestTamper_ReplacesAndRemoves(t *testing.T) {
	s := mem.New()
	if err := s.Put(t.Context(), "x", []byte("good")); err != nil {
		t.Fatal(err)
	}
	s.Tamper("x", []byte("bad"))
	if got, err := s.Get(t.Context(), "x", 0, -1, nil); string(got) != "bad" || err != nil {
		t.Errorf("Get = %q, %v", got, err)
	}
	s.Tamper("x", nil)
	if _, err := s.Get(t.Context(), "x", 0, -1, nil); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
}

func TestModTime_IsTheStoresOwnClock(t *testing.T) {
	c := clock.NewFake(time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC))
	s := mem.NewWithClock(c)
	want := map[string]time.Time{}
	for _, name := range []string{"a", "b"} {
		if err := s.Put(t.Context(), name, []byte("x")); err != nil {
			t.Fatal(err)
		}
		want[name] = c.Now()
		c.Advance(time.Hour)
	}
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil || !info.ModTime.Equal(want[info.Name]) {
			t.Errorf("%s: %v, want %v (%v)", info.Name, info.ModTime, want[info.Name], err)
		}
	}
}
