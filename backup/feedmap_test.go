package backup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/source"
)

// disk is a device whose map of changes is known.
type disk struct {
	data    []byte
	changed []bool // by page
}

const page = 4096

// change writes over, or clears, some stretches.
func (d *disk) change(rng *rand.Rand, times, pages int) {
	d.changed = make([]bool, len(d.data)/page)
	for range times {
		n := 1 + rng.IntN(pages)
		at := rng.IntN(len(d.changed) - n)
		if rng.IntN(3) == 0 {
			clear(d.data[at*page : (at+n)*page])
		} else {
			copy(d.data[at*page:], testrepo.Random(rng.Uint64(), n*page))
		}
		for i := range n {
			d.changed[at+i] = true
		}
	}
}

// ranges is the map, in stretches; some of what has become zero is said to be.
func (d *disk) ranges(rng *rand.Rand) (out []source.Range) {
	zero := make([]byte, page)
	for i, c := range d.changed {
		kind := source.Same
		if c {
			kind = source.Data
		}
		if bytes.Equal(d.data[i*page:(i+1)*page], zero) && rng.IntN(10) > 0 {
			kind = source.Zero
		}
		if last := len(out) - 1; last >= 0 && out[last].Kind == kind && rng.IntN(50) > 0 {
			out[last].Length += page
		} else {
			out = append(out, source.Range{Start: int64(i) * page, Length: page, Kind: kind})
		}
	}
	return out
}

// TestReadMap_RandomChanges_SameBytesAndLittleRead: what a map says is followed, and only what has changed, with the rest of
// the chunks that it lies in, is read.
func TestReadMap_RandomChanges_SameBytesAndLittleRead(t *testing.T) {
	rng := testrand.New(t)
	r, _ := newRepo(t)
	d := &disk{data: testrepo.Random(rng.Uint64(), sized(24<<20, 6<<20))}
	clear(d.data[len(d.data)/3 : len(d.data)/3+len(d.data)/12])
	d.changed = make([]bool, len(d.data)/page)
	generations := sized(5, 2)
	var later int64 // read for all but the first
	for generation := range generations {
		var read int64
		ranges := d.ranges(rng)
		res := mustRun(t, r, fakeOptions(func(_ context.Context, out source.Writer) error {
			f, err := out.Create("/dev/sda", source.FileNode(0o600))
			if err != nil {
				return err
			}
			if read, err = f.ReadMap(bytes.NewReader(d.data), ranges); err != nil {
				return err
			}
			if f.Size() != int64(len(d.data)) {
				t.Errorf("%d bytes", f.Size())
			}
			return f.Close()
		}))
		if got := mustHave(t, readBack(t, r, res.Snapshot), "/dev/sda"); !bytes.Equal(got.data, d.data) {
			t.Fatalf("generation %d: other bytes", generation)
		}
		t.Logf("generation %d: %d ranges, %d bytes read, %+v", generation, len(ranges), read, res.Summary)
		if generation > 0 {
			later += read
		}
		// What is zero is not read, and part of new chunks all the same; pages of folders and contents come on top.
		if most := read + zeros(ranges) + 100_000; res.Summary.BytesAdded > uint64(most) {
			t.Errorf("generation %d: more than %d bytes: %+v", generation, most, res.Summary)
		}
		d.change(rng, 3, 20)
	}
	// Three stretches of 20 pages lie in few chunks of a MiB on average; how few is chance, but not in four generations.
	if all := int64(generations-1) * int64(len(d.data)); later > all*3/4 && !testing.Short() {
		t.Errorf("%d bytes read of the %d that %d generations have", later, all, generations-1)
	}
}

// zeros is how many bytes a map says are zero.
func zeros(ranges []source.Range) (n int64) {
	for _, r := range ranges {
		if r.Kind == source.Zero {
			n += r.Length
		}
	}
	return n
}

// TestReadMap_NothingChanged_NothingIsRead, not even where pages of a long content say where it lies.
func TestReadMap_NothingChanged_NothingIsRead(t *testing.T) {
	for _, size := range []int64{0, 100, 3 << 20, int64(sized(30<<20+17, 9<<20+17))} {
		r, _ := newRepo(t)
		data := testrepo.Random(1, int(size))
		var read int64
		write := func(kind source.RangeKind, in io.ReaderAt) *repo.Snapshot {
			return mustRun(t, r, fakeOptions(func(_ context.Context, out source.Writer) error {
				f, err := out.Create("/d", source.FileNode(0o600))
				if err != nil {
					return err
				}
				read, err = f.ReadMap(in, []source.Range{{Length: size, Kind: kind}})
				return errors.Join(err, f.Close())
			})).Snapshot
		}
		first := write(source.Same, bytes.NewReader(data)) // of which there is no parent
		if read != size {
			t.Errorf("%d of %d bytes read at first", read, size)
		}
		second := write(source.Same, &broken{})
		if read != 0 || !bytes.Equal(first.Root, second.Root) {
			t.Errorf("%d of %d bytes read again", read, size)
		}
		grown := append(append([]byte{}, data...), "and more"...)
		size += 8
		third := write(source.Same, bytes.NewReader(grown))
		if got := mustHave(t, readBack(t, r, third), "/d"); !bytes.Equal(got.data, grown) || read > 10<<20+8 {
			t.Errorf("%d of %d bytes read of what has grown", read, size)
		}
	}
}

type broken struct{}

func (*broken) ReadAt([]byte, int64) (int, error) { return 0, errors.New("it was read") }

func TestReadMap_BlobsAreGone_AreReadAgain(t *testing.T) {
	r, store := newRepo(t)
	data := testrepo.Random(1, 9<<20)
	var read int64
	o := fakeOptions(func(_ context.Context, out source.Writer) error {
		f, err := out.Create("/d", source.FileNode(0o600))
		if err != nil {
			return err
		}
		read, err = f.ReadMap(bytes.NewReader(data), []source.Range{{Length: int64(len(data)), Kind: source.Same}})
		return errors.Join(err, f.Close())
	})
	first := mustRun(t, r, o)
	node := mustHave(t, readBack(t, r, first.Snapshot), "/d")
	for _, name := range testrepo.Names(t, store, object.DataPrefix) {
		must(t, store.Delete(t.Context(), name))
	}
	fresh := testrepo.Open(t, store)
	_, err := fresh.LoadBlob(t.Context(), object.DataBlob, node.Content.IDs[0]) // finds out that it is gone
	if err == nil {
		t.Fatal("it is still there")
	}
	res, err := Run(t.Context(), fresh, o, Events{})
	must(t, err)
	if read == 0 || res.Summary.BytesAdded == 0 {
		t.Errorf("%d bytes read, %+v", read, res.Summary)
	}
}

func TestReadMap_Mistakes_AreErrors(t *testing.T) {
	r, _ := newRepo(t)
	data := testrepo.Random(1, 200_000)
	mustRun(t, r, fakeOptions(func(_ context.Context, out source.Writer) error {
		f, err := out.Create("/d", source.FileNode(0o600))
		if err != nil {
			return err
		}
		in := strings.NewReader(string(data))
		if _, err := f.ReadMap(in, []source.Range{{Start: 1, Length: 1, Kind: source.Data}}); !errors.Is(err, source.ErrRange) {
			t.Errorf("a gap: %v", err)
		}
		if n, err := f.ReadMap(in, []source.Range{{Length: 100_000, Kind: source.Data}, {Start: 100_000, Length: 100_001, Kind: source.Same}}); !errors.Is(err, io.ErrUnexpectedEOF) || n != 200_000 {
			t.Errorf("a device that is too short: %d, %v", n, err)
		}
		if err := f.Zeros(-1); err == nil {
			t.Error("less than nothing was written")
		}
		return f.Close()
	}))
}

func TestComparePaths_Order_IsThatOfAWalk(t *testing.T) {
	sorted := []string{"/a", "/a/b", "/a/b/c", "/a/b.c", "/a b", "/a!", "/a-", "/a.b", "/a0", "/b"}
	for i, a := range sorted {
		for j, b := range sorted {
			if got := comparePaths(a, b); got != min(max(i-j, -1), 1) {
				t.Errorf("%q and %q: %d", a, b, got)
			}
		}
	}
	if (&entries{list: []record{{path: "/a", seq: 3, node: []byte{}}}}).before("/a", 3) != -1 {
		t.Error("a record is before itself")
	}
}

// TestReadMap_ParentCollectedMeanwhile_IsStale: what it relied on is gone, and the source can not be read again.
func TestReadMap_ParentCollectedMeanwhile_IsStale(t *testing.T) {
	r, store := newRepo(t)
	data := testrepo.Random(1, 9<<20)
	var during func()
	o := fakeOptions(func(_ context.Context, out source.Writer) error {
		f, err := out.Create("/d", source.FileNode(0o600))
		if err != nil {
			return err
		}
		_, err = f.ReadMap(bytes.NewReader(data), []source.Range{{Length: int64(len(data)), Kind: source.Same}})
		if err = errors.Join(err, f.Close()); during != nil {
			during()
		}
		return err
	})
	first := mustRun(t, r, o)
	during = func() { collect(t, store, first.Snapshot.ID) }
	res, err := Run(t.Context(), r, o, Events{})
	if res != nil || !errors.Is(err, repo.ErrStale) || !strings.Contains(err.Error(), "run the backup again") {
		t.Errorf("%v", err)
	}
	during = nil
	must(t, r.Refresh(t.Context()))
	if res := mustRun(t, r, o); res.Parent != nil || res.Summary.BytesAdded < 9<<20 {
		t.Errorf("%+v", res.Summary)
	}
}
