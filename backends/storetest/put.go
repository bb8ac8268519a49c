package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/kura-backup/kura/backends"
)

func putTaken(t *testing.T, s backends.Store) {
	for _, name := range []string{"config", "log/0000000000000001"} {
		first := []byte("first")
		put(t, s, name, first)
		for _, data := range [][]byte{first, []byte("second"), bytes.Repeat([]byte("x"), 1<<20)} {
			err := s.Put(t.Context(), name, data)
			// A server may hang up before it has read a large object whole, and take its answer with it.
			hungUp := len(data) > 64<<10 && backends.IsUnclear(err)
			if !errors.Is(err, backends.ErrExist) && !hungUp {
				t.Errorf("Put on a taken name: err = %v, want ErrExist", err)
			}
		}
		wants(t, s, name, first)
	}
}

// invalidNames are names that every store must refuse.
var invalidNames = []string{
	"", "/", "/config", "log/", "log//1", "a/b/c", "..", "../x", "log/..", "./x", ".x", "log/.x",
	"Config", "log/A", "a b", "a\x00b", "a\nb", "log/ü", "tmp", "tmp/x", "a~", "lost+found", strings.Repeat("a", 201),
}

func putInvalid(t *testing.T, s backends.Store) {
	for _, name := range invalidNames {
		if err := s.Put(t.Context(), name, []byte("x")); !errors.Is(err, backends.ErrName) {
			t.Errorf("Put %q: err = %v, want ErrName", name, err)
		}
		if _, err := s.Get(t.Context(), name, 0, -1, nil); !errors.Is(err, backends.ErrName) {
			t.Errorf("Get %q: err = %v, want ErrName", name, err)
		}
		if err := s.Delete(t.Context(), name); !errors.Is(err, backends.ErrName) {
			t.Errorf("Delete %q: err = %v, want ErrName", name, err)
		}
	}
	for _, data := range [][]byte{nil, {}} {
		if err := s.Put(t.Context(), "config", data); !errors.Is(err, backends.ErrEmpty) {
			t.Errorf("Put without bytes: err = %v, want ErrEmpty", err)
		}
	}
	if got := names(t.Context(), t, s, "", ""); len(got) != 0 {
		t.Errorf("refused objects are there: %q", got)
	}
	// The longest names and all kinds of characters.
	for _, name := range []string{strings.Repeat("a", 200), "a/" + strings.Repeat("b", 198), "a0._-z/0._-z", "0", "a/0", "a/00"} {
		put(t, s, name, []byte(name))
		wants(t, s, name, []byte(name))
	}
}

func putKeepsNothing(t *testing.T, s backends.Store) {
	data := []byte("as it was put")
	put(t, s, "config", data)
	clear(data)
	want := []byte("as it was put")
	wants(t, s, "config", want)
	got, err := s.Get(t.Context(), "config", 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	clear(got)
	wants(t, s, "config", want)
}

func putRace(t *testing.T, s backends.Store) {
	for round := range 4 {
		name := fmt.Sprintf("log/%016d", round)
		const racers = 32
		var mu sync.Mutex
		var winners []int
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range racers {
			wg.Go(func() {
				<-start
				err := s.Put(t.Context(), name, fill(fmt.Sprint(i), 1000+i))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					winners = append(winners, i)
				case !errors.Is(err, backends.ErrExist):
					t.Errorf("racer %d: %v", i, err)
				}
			})
		}
		close(start)
		wg.Wait()
		if len(winners) != 1 {
			t.Fatalf("%s: winners %v, want exactly one", name, winners)
		}
		wants(t, s, name, fill(fmt.Sprint(winners[0]), 1000+winners[0]))
	}
}

func putLarge(t *testing.T, s backends.Store) {
	size := 40<<20 + 1
	if testing.Short() {
		size = 9<<20 + 1
	}
	const name = "data/ffffffffffffffffffffffffffffffff-large"
	data := fill(name, size)
	put(t, s, name, data)
	wants(t, s, name, data)
	at := int64(size) - 5<<20
	got, err := s.Get(t.Context(), name, at, 5<<20-7, nil)
	if err != nil || !bytes.Equal(got, data[at:size-7]) {
		t.Errorf("a range of a large object: %d bytes, %v", len(got), err)
	}
}

func canceled(t *testing.T, s backends.Store) {
	put(t, s, "config", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: err = %v, want context.Canceled", what, err)
		}
	}
	check("Put", s.Put(ctx, "log/1", []byte("x")))
	_, err := s.Get(ctx, "config", 0, -1, nil)
	check("Get", err)
	check("Delete", s.Delete(ctx, "config"))
	err = nil
	for _, e := range s.List(ctx, "", "") {
		err = e
	}
	check("List", err)

	wantsNone(t, s, "log/1")
	wants(t, s, "config", []byte("x"))
}
