package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/testrand"
)

// awkward are names whose byte order is not that of their parts.
var awkward = []string{
	"config", "config.copy", "data-x", "data.x", "data/00", "data/0000-a", "data/00a", "data/01", "data/a", "data/a-0",
	"data/a.0", "data/a0", "data/ffffffffffffffffffffffffffffffff-0", "data/ffffffffffffffffffffffffffffffff-1", "data0/x",
	"keys/0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", "keys/0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f.copy",
	"log/0", "log/0000000000000001", "log/0000000000000999", "log/0000000000001000", "log/0000000000001000a", "log/00001",
	"log/001", "log/00a", "log/1", "log/10", "log/1000", "log/10000", "log/1001", "log/1a", "log/9", "log/9999999999999999",
	"logs/0", "z",
}

func listOrder(t *testing.T, s backends.Store) {
	r := testrand.New(t)
	shuffled := slices.Clone(awkward)
	r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for _, name := range shuffled {
		put(t, s, name, []byte(name))
	}
	sorted := slices.Sorted(slices.Values(awkward))

	bounds := []string{"", "a", "dat", "data", "data/", "data/0", "data/ffff", "log", "log/", "log/0", "log/00", "log/0000000000001", "log/1", "zz", "\xff", "/", "log/1/"}
	for _, name := range sorted {
		bounds = append(bounds, name, name[:len(name)-1], name+"0")
	}
	type pair struct{ prefix, after string }
	var pairs []pair
	for _, prefix := range bounds {
		for _, after := range bounds {
			pairs = append(pairs, pair{prefix, after})
		}
	}
	// All of them would take long: some, and other ones the next time.
	r.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
	some := 1500
	if testing.Short() || !s.Caps().Local {
		some = 400
	}
	for _, p := range append([]pair{{"", ""}, {"", "data/a"}, {"log/", ""}, {"/", ""}}, pairs[:some]...) {
		var want []string
		for _, name := range sorted {
			if strings.HasPrefix(name, p.prefix) && name > p.after {
				want = append(want, name)
			}
		}
		if diff := cmp.Diff(want, names(t.Context(), t, s, p.prefix, p.after)); diff != "" {
			t.Fatalf("List %q after %q (-want +got):\n%s", p.prefix, p.after, diff)
		}
	}
}

func listMany(t *testing.T, s backends.Store) {
	count := 100
	if paged(s) && !testing.Short() {
		count = 600 // in all more than one page of an S3 listing
	}
	piece := count * 5 / 9
	r := testrand.New(t)
	var all []string
	for i := range count {
		all = append(all, fmt.Sprintf("data/%08x%024x-%d", r.Uint32(), i, i), fmt.Sprintf("log/%016d", i))
	}
	putAll(t, s, all)
	slices.Sort(all)
	if diff := cmp.Diff(all, names(t.Context(), t, s, "", "")); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
	// In pieces, each after the last of the one before.
	var got []string
	for after := ""; ; after = got[len(got)-1] {
		n := 0
		for info, err := range s.List(t.Context(), "", after) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, info.Name)
			if n++; n == piece {
				break
			}
		}
		if n < piece {
			break
		}
	}
	if diff := cmp.Diff(all, got); diff != "" {
		t.Fatalf("in pieces (-want +got):\n%s", diff)
	}
}

// putAll puts small objects, several at a time.
func putAll(t *testing.T, s backends.Store, all []string) {
	t.Helper()
	var wg sync.WaitGroup
	const workers = 16
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(all); i += workers {
				if err := s.Put(t.Context(), all[i], []byte(all[i])); err != nil {
					t.Errorf("Put %s: %v", all[i], err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func listStops(t *testing.T, s backends.Store) {
	for i := range 5 {
		put(t, s, fmt.Sprintf("data/%d", i), []byte("x"))
	}
	seq := s.List(t.Context(), "", "")
	for range 2 { // a sequence can be ranged over again
		n := 0
		for _, err := range seq {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 2 {
				break
			}
		}
		if n != 2 {
			t.Errorf("%d objects before the break", n)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for _, err := range s.List(ctx, "", "") {
		if last != nil {
			t.Fatal("List went on after an error")
		}
		last = err
		cancel()
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("canceled while listing: err = %v", last)
	}
}

func listInfo(t *testing.T, s backends.Store) {
	put(t, s, "data/a", make([]byte, 12345))
	put(t, s, "data/b", make([]byte, 1))
	var times []time.Time
	sizes := map[string]int64{}
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		sizes[info.Name] = info.Size
		times = append(times, info.ModTime)
	}
	if diff := cmp.Diff(map[string]int64{"data/a": 12345, "data/b": 1}, sizes); diff != "" {
		t.Errorf("sizes (-want +got):\n%s", diff)
	}
	for _, tm := range times {
		if tm.IsZero() {
			t.Error("an object has no time")
		}
	}
}

func listDuringChanges(t *testing.T, s backends.Store) {
	var stable []string
	for i := range 100 {
		stable = append(stable, fmt.Sprintf("data/%02x-stable", i*2), fmt.Sprintf("log/%016d", i*40))
	}
	putAll(t, s, stable)
	slices.Sort(stable)

	const listings, writers, changes = 12, 4, 6
	for n := range listings {
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range changes {
					// Names between the stable ones, none used twice.
					name := fmt.Sprintf("data/%02x-passing-%d-%d", (n*changes+i)*7%256, w, n*changes+i)
					if err := s.Put(t.Context(), name, []byte("x")); err != nil {
						t.Errorf("Put: %v", err)
						return
					}
					if i%2 == 0 {
						if err := s.Delete(t.Context(), name); err != nil {
							t.Errorf("Delete: %v", err)
							return
						}
					}
				}
			})
		}
		got := names(t.Context(), t, s, "", "")
		wg.Wait()
		if !slices.IsSorted(got) {
			t.Error("the names are out of order")
		}
		if n := len(slices.Compact(slices.Clone(got))); n != len(got) {
			t.Errorf("%d names came twice", len(got)-n)
		}
		got = slices.DeleteFunc(got, func(n string) bool { return strings.Contains(n, "passing") })
		if diff := cmp.Diff(stable, got); diff != "" {
			t.Errorf("stable names (-want +got):\n%s", diff)
			break
		}
	}
}

// visibleWhole lists and reads while objects are put: whatever is listed, or
// can be read at all, has all of its bytes.
func visibleWhole(t *testing.T, s backends.Store) {
	const writers, each = 4, 25
	nameOf := func(w, i int) string { return fmt.Sprintf("data/%02x-%d", w*each+i, w) }
	// Each of the two readers goes on when something is about to be put.
	first, second := make(chan struct{}, 1), make(chan struct{}, 1)
	var writing, reading sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				name := nameOf(w, i)
				for _, next := range []chan struct{}{first, second} {
					select {
					case next <- struct{}{}:
					default:
					}
				}
				if err := s.Put(t.Context(), name, content(name)); err != nil {
					t.Errorf("Put %s: %v", name, err)
				}
				// Once Put has returned, everybody sees it.
				if got, err := s.Get(t.Context(), name, 0, -1, nil); err != nil || !bytes.Equal(got, content(name)) {
					t.Errorf("Get after Put of %s: %d bytes, %v", name, len(got), err)
				}
				if !slices.Contains(names(t.Context(), t, s, name, ""), name) {
					t.Errorf("%s was put and is not listed", name)
				}
			}
		})
	}
	check := func() {
		for info, err := range s.List(t.Context(), "data/", "") {
			if err != nil {
				t.Errorf("List: %v", err)
				return
			}
			want := content(info.Name)
			got, err := s.Get(t.Context(), info.Name, 0, -1, nil)
			if err != nil || info.Size != int64(len(want)) || !bytes.Equal(got, want) {
				t.Errorf("%s is listed with %d bytes and has %d of %d: %v", info.Name, info.Size, len(got), len(want), err)
				return
			}
		}
	}
	reading.Go(func() { // reads names that may not be there yet
		i := 0
		for range first {
			for range 10 {
				name := nameOf(i/each, i%each)
				i = (i + 1) % (writers * each)
				got, err := s.Get(t.Context(), name, 0, -1, nil)
				if err != nil && !errors.Is(err, backends.ErrNotExist) || err == nil && !bytes.Equal(got, content(name)) {
					t.Errorf("%s: %d bytes, %v", name, len(got), err)
					return
				}
			}
		}
	})
	reading.Go(func() {
		for range second {
			check()
		}
	})
	writing.Wait()
	close(first)
	close(second)
	reading.Wait()
	check()
	if n := len(names(t.Context(), t, s, "data/", "")); n != writers*each {
		t.Errorf("%d objects in the end, want %d", n, writers*each)
	}
}
