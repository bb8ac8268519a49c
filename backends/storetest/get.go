package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/testrand"
)

func getRanges(t *testing.T, s backends.Store) {
	const name = "data/00000000000000000000000000000000-ranges"
	data := fill(name, 100_000)
	put(t, s, name, data)
	size := int64(len(data))
	check := func(offset, length int64) {
		t.Helper()
		got, err := s.Get(t.Context(), name, offset, length, nil)
		inside := offset >= 0 && offset < size && length != 0 && (length < 0 || length <= size-offset)
		if !inside {
			re, ok := errors.AsType[*backends.RangeError](err)
			if !ok || !errors.Is(err, backends.ErrRange) || errors.Is(err, backends.ErrNotExist) {
				t.Errorf("Get(%d, %d) = %d bytes, %v, want a RangeError", offset, length, len(got), err)
			} else if re.Name != name {
				t.Errorf("Get(%d, %d): the error does not name the object: %v", offset, length, err)
			}
			return
		}
		end := size
		if length > 0 {
			end = offset + length
		}
		if err != nil || !bytes.Equal(got, data[offset:end]) {
			t.Errorf("Get(%d, %d) = %d bytes, %v, want %d", offset, length, len(got), err, end-offset)
		}
	}
	edges := []int64{math.MinInt64, -1, 0, 1, 4095, 4096, size - 1, size, size + 1, math.MaxInt64}
	for _, offset := range edges {
		for _, length := range edges {
			check(offset, length)
		}
	}
	r := testrand.New(t)
	for range 200 {
		offset := r.Int64N(size)
		check(offset, 1+r.Int64N(size-offset))
	}
}

func getBuffer(t *testing.T, s backends.Store) {
	put(t, s, "config", []byte("0123456789"))
	for _, c := range []struct {
		length, capacity int
		reused           bool
	}{{0, 4, true}, {0, 100, true}, {100, 100, true}, {2, 4, true}, {0, 3, false}, {3, 3, false}} {
		buf := make([]byte, c.length, c.capacity)
		got, err := s.Get(t.Context(), "config", 3, 4, buf)
		if err != nil || string(got) != "3456" {
			t.Fatalf("with a buffer of %d/%d bytes: %q, %v", c.length, c.capacity, got, err)
		}
		if reused := &got[0] == &buf[:1][0]; reused != c.reused {
			t.Errorf("with a buffer of %d/%d bytes: used %v, want %v", c.length, c.capacity, reused, c.reused)
		}
	}
}

func getMissing(t *testing.T, s backends.Store) {
	put(t, s, "log/0000000000000001", []byte("x"))
	for _, name := range []string{"config", "log/0000000000000002", "log/0000000000001001", "data/ff", "log", "log/0"} {
		_, err := s.Get(t.Context(), name, 0, -1, nil)
		if !errors.Is(err, backends.ErrNotExist) || errors.Is(err, backends.ErrRange) {
			t.Errorf("Get %s: err = %v, want ErrNotExist", name, err)
		}
		if backends.KindOf(err) != backends.Permanent {
			t.Errorf("Get %s: the error is %v, want permanent", name, backends.KindOf(err))
		}
	}
}

func deleteOnce(t *testing.T, s backends.Store) {
	put(t, s, "data/aa", []byte("x"))
	put(t, s, "data/ab", []byte("y"))
	if err := s.Delete(t.Context(), "data/aa"); err != nil {
		t.Fatal(err)
	}
	wantsNone(t, s, "data/aa")
	wants(t, s, "data/ab", []byte("y"))
	for _, name := range []string{"data/aa", "data/zz", "data", "config"} {
		if err := s.Delete(t.Context(), name); err != nil && !errors.Is(err, backends.ErrNotExist) {
			t.Errorf("Delete %s: err = %v, want none or ErrNotExist", name, err)
		}
	}
	wants(t, s, "data/ab", []byte("y"))
}

func deleteMany(t *testing.T, s backends.Store) {
	count := 50
	if paged(s) && !testing.Short() {
		count = 1200 // in all more than one batch of an S3 deletion
	}
	var all, deleted, left []string
	for i := range count {
		name := fmt.Sprintf("data/%06d", i)
		all = append(all, name)
		if i%6 == 0 {
			left = append(left, name)
		} else {
			deleted = append(deleted, name)
		}
	}
	putAll(t, s, all)
	calls := map[string]int{}
	asked := append([]string{"Invalid", "data/no-such-object"}, deleted...)
	err := backends.DeleteMany(t.Context(), s, asked, 8, func(name string, err error) {
		calls[name]++ // never concurrently: the race detector watches
		switch {
		case name == "Invalid":
			if !errors.Is(err, backends.ErrName) {
				t.Errorf("%s: err = %v, want ErrName", name, err)
			}
		case err != nil && (name != "data/no-such-object" || !errors.Is(err, backends.ErrNotExist)):
			t.Errorf("%s: %v", name, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range asked {
		if calls[name] != 1 {
			t.Errorf("%s was reported %d times", name, calls[name])
		}
	}
	if diff := cmp.Diff(left, names(t.Context(), t, s, "", "")); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
	wantsNone(t, s, deleted[0])

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := backends.DeleteMany(ctx, s, left, 8, func(string, error) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: err = %v", err)
	}
	wants(t, s, left[0], []byte(left[0]))
}

func deleteRace(t *testing.T, s backends.Store) {
	for round := range 8 {
		name := fmt.Sprintf("data/%02d", round)
		put(t, s, name, []byte("x"))
		var wg sync.WaitGroup
		var mu sync.Mutex
		removed := 0
		for range 8 {
			wg.Go(func() {
				err := s.Delete(t.Context(), name)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					removed++
				} else if !errors.Is(err, backends.ErrNotExist) {
					t.Errorf("Delete: %v", err)
				}
			})
		}
		wg.Wait()
		// Far stores cannot tell who of several was first.
		if removed == 0 {
			t.Error("nobody removed the object")
		}
		wantsNone(t, s, name)
	}
}
