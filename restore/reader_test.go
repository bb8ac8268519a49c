package restore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/tree"
)

func TestReader_AnyContent_SameBytes(t *testing.T) {
	r, _ := testrepo.New(t)
	var many []part
	for i := range 40 { // more than are fetched ahead
		many = append(many, part{data: testrepo.Random(uint64(i), 1<<20)}, hole(int64(i)*1000+1))
	}
	entries := []entry{
		file("many", many...), file("empty"), textFile("small", "hello"), file("hole", hole(3<<20)),
		file("zeros", part{kind: tree.Zeros, n: 100}, part{data: []byte("x")}),
	}
	snap := commit(t, r, entries...)
	for _, e := range entries {
		n, err := r.Find(t.Context(), snap, e.Name)
		must(t, err)
		f, err := restore.NewReader(t.Context(), r, n)
		must(t, err)
		if e.Name != "many" { // which takes too long byte by byte
			if err := iotest.TestReader(f, content(e.parts)); err != nil {
				t.Errorf("%s: %v", e.Name, err)
			}
			must(t, f.Close())
			continue
		}
		got, err := io.ReadAll(f)
		if must(t, errors.Join(err, f.Close())); !bytes.Equal(got, content(e.parts)) {
			t.Error("other bytes")
		}
	}
}

func TestReader_ClosedEarly_EndsTheFetching(t *testing.T) {
	r, _ := testrepo.New(t)
	var parts []part
	for i := range 50 {
		parts = append(parts, part{data: testrepo.Random(uint64(i), 1<<20)})
	}
	snap := commit(t, r, file("f", parts...))
	n, err := r.Find(t.Context(), snap, "f")
	must(t, err)
	for _, size := range []int{0, 10, 5 << 20} {
		f, err := restore.NewReader(t.Context(), r, n)
		must(t, err)
		_, err = io.ReadFull(f, make([]byte, size))
		must(t, errors.Join(err, f.Close()))
		if _, err := f.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("reading on: %v", err)
		}
	}
}

// TestReader_Cancelled_IsNoEndOfTheFile: what was cut off does not look whole.
func TestReader_Cancelled_IsNoEndOfTheFile(t *testing.T) {
	r, _ := testrepo.New(t)
	var parts []part
	for i := range 40 {
		parts = append(parts, part{data: testrepo.Random(uint64(i), 1<<20)}, hole(1000))
	}
	snap := commit(t, r, file("f", parts...))
	n, err := r.Find(t.Context(), snap, "f")
	must(t, err)
	why := errors.New("why")
	for _, size := range []int64{0, 1, 5 << 20, 20 << 20} {
		ctx, cancel := context.WithCancelCause(t.Context())
		f, err := restore.NewReader(ctx, r, n)
		must(t, err)
		_, err = io.CopyN(io.Discard, f, size)
		must(t, err)
		cancel(why)
		got, err := io.Copy(io.Discard, f)
		if must(t, f.Close()); size+got < n.Size && !errors.Is(err, why) && !errors.Is(err, context.Canceled) || size+got == n.Size && size < 10<<20 {
			t.Errorf("%d of %d bytes, %v", size+got, n.Size, err)
		}
	}
}

func TestReader_Damage_IsAnErrorBehindWhatIsWhole(t *testing.T) {
	r, store := testrepo.New(t)
	snap := commit(t, r, file("f", hole(100_000), part{data: testrepo.Random(1, 3<<20)}), dir("d"), file("bad").with(func(n *tree.Node) { n.Error = "unreadable" }))
	for _, name := range testrepo.Names(t, store, object.DataPrefix) {
		must(t, store.Delete(t.Context(), name))
	}
	fresh := testrepo.Open(t, store)
	for name, whole := range map[string]int64{"f": 100_000} {
		n, err := fresh.Find(t.Context(), snap, name)
		must(t, err)
		f, err := restore.NewReader(t.Context(), fresh, n)
		must(t, err)
		got, err := io.Copy(io.Discard, f)
		damage := (*repo.DamageError)(nil)
		if must(t, f.Close()); got != whole || !errors.As(err, &damage) {
			t.Errorf("%s: %d bytes, %v", name, got, err)
		}
	}
	for _, name := range []string{"d", "bad"} {
		n, err := fresh.Find(t.Context(), snap, name)
		must(t, err)
		if _, err := restore.NewReader(t.Context(), fresh, n); err == nil {
			t.Errorf("%s was opened", name)
		}
	}
}

// TestReader_BlobOfAnotherLength_NothingOfItIsRead: what reads may act on it before it sees the error.
func TestReader_BlobOfAnotherLength_NothingOfItIsRead(t *testing.T) {
	r, _ := testrepo.New(t)
	data := testrepo.Random(1, 10_000)
	id := r.BlobID(object.DataBlob, data)
	for _, claimed := range []int64{1, 9_999, 10_001} {
		snap := commit(t, r, file("f", part{data: []byte("good")}, part{id: id, n: claimed}), file("g", part{data: data}))
		n, err := r.Find(t.Context(), snap, "f")
		must(t, err)
		f, err := restore.NewReader(t.Context(), r, n)
		must(t, err)
		got, err := io.ReadAll(f)
		damage := (*repo.DamageError)(nil)
		if must(t, f.Close()); string(got) != "good" || !errors.As(err, &damage) || damage.Blob != id {
			t.Errorf("%d: %d bytes, %v", claimed, len(got), err)
		}
	}
}
