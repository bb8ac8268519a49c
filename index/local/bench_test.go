package local

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/seal"
)

// made is a repository whose index segments are made when they are loaded, always the same, so
// that the test itself holds nothing. Blob ids follow from their numbers.
type made struct {
	refs   []object.Ref
	per    int
	sketch func(blob uint64) delta.Sketch // may be nil
}

func newMade(segments, per int) *made {
	m := &made{per: per}
	for i := range segments {
		ref := object.Ref{Class: object.Index}
		fill(rand.New(rand.NewPCG(uint64(i), 1)), ref.Hash[:])
		ref.Session[0], ref.Session[1] = byte(i), byte(i>>8)
		m.refs = append(m.refs, ref)
	}
	return m
}

func madeID(n uint64) (id object.BlobID) {
	fill(rand.New(rand.NewPCG(n, 2)), id[:])
	return id
}

// load makes index segments of 1 MiB blobs in packs of 16, each with an origin of its own.
func (m *made) load(_ context.Context, ref object.Ref) (*index.Segment, error) {
	at := int(ref.Session[0]) | int(ref.Session[1])<<8
	r := rand.New(rand.NewPCG(uint64(at), 3))
	seg := &index.Segment{}
	sealed := make([]byte, 1200)
	fill(r, sealed)
	for i := range m.per {
		n := uint32(i / 16)
		if i%16 == 0 {
			p := index.PackRef{Ref: object.Ref{Class: object.DataPack, Session: ref.Session}, Size: 17 << 20}
			fill(r, p.Ref.Hash[:])
			o := &seal.Origin{Kind: seal.Data, Epoch: 1, Suite: 1, Sealed: sealed}
			fill(r, o.Salt[:])
			seg.Packs = append(seg.Packs, p)
			seg.Origins = append(seg.Origins, o)
		}
		blob := uint64(at*m.per + i)
		ps := index.PackSegment{
			Pack: n, Origin: n, Ordinal: uint64(i % 16), Offset: uint32(80 + i%16<<20),
			Coding: pack.Zstd, Plain: 1 << 20, Stored: 1<<20 - r.Uint32N(1<<18),
		}
		if m.sketch != nil {
			ps.Sketch, ps.HasSketch = m.sketch(blob), true
		}
		seg.Segments = append(seg.Segments, ps)
		seg.Blobs = append(seg.Blobs, index.Blob{ID: madeID(blob), Segment: uint32(i), Length: 1 << 20})
	}
	slices.SortFunc(seg.Blobs, func(a, b index.Blob) int { return a.ID.Compare(b.ID) })
	return seg, nil
}

func rssAnon(t testing.TB) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	_, rest, _ := strings.Cut(string(status), "RssAnon:")
	fields := strings.Fields(rest)
	kb, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	return kb >> 10
}

// BenchmarkSync_FirstTime builds the local index of a repository of KURA_BENCH_BLOBS blobs (a
// million) and reports the largest RssAnon seen at a load.
func BenchmarkSync_FirstTime(b *testing.B) {
	b.Run("plain", func(b *testing.B) { benchFirstSync(b, nil) })
	b.Run("sketches", func(b *testing.B) { benchFirstSync(b, madeSketch) })
}

// madeSketch returns a sketch of features that hardly any other blob has, as most do.
func madeSketch(blob uint64) delta.Sketch {
	r := rand.New(rand.NewPCG(blob, 4))
	return delta.Sketch{r.Uint64N(1 << 48), r.Uint64N(1 << 48), r.Uint64N(1 << 48)}
}

func benchFirstSync(b *testing.B, sketch func(uint64) delta.Sketch) {
	m := newMade(blobsToBench(b)/131072+1, 131072)
	m.sketch = sketch
	k, err := seal.NewKeyring([16]byte{1})
	if err != nil {
		b.Fatal(err)
	}
	objects := b.TempDir()
	for _, ref := range m.refs {
		seg, _ := m.load(b.Context(), ref)
		obj, err := index.Encode(k, seg)
		if err == nil {
			err = os.WriteFile(filepath.Join(objects, ref.Hash.String()), obj, 0o600)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	load := func(_ context.Context, ref object.Ref) (*index.Segment, error) {
		obj, err := os.ReadFile(filepath.Join(objects, ref.Hash.String()))
		if err != nil {
			return nil, err
		}
		return index.Decode(k, obj)
	}
	debug.FreeOSMemory()
	b.ResetTimer()
	for range b.N {
		dir := b.TempDir()
		db := open(b, dir)
		peak := 0
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				default:
					peak = max(peak, rssAnon(b))
					time.Sleep(2 * time.Millisecond)
				}
			}
		}()
		v, err := db.Sync(b.Context(), m.refs, load)
		if err != nil {
			b.Fatal(err)
		}
		close(stop)
		<-done
		b.ReportMetric(float64(peak), "MiB-anon")
		size := int64(0)
		for _, l := range v.levels {
			size += l.Size
		}
		b.ReportMetric(float64(size)/float64(len(m.refs)*m.per), "bytes/blob")
		b.ReportMetric(float64(len(v.levels)), "levels")
		v.Close()
	}
}

func blobsToBench(b *testing.B) int {
	if s := os.Getenv("KURA_BENCH_BLOBS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	return 1e6 - 131072
}

// benchLevels returns a view of one large level, and one of that and five small ones.
func benchLevels(b *testing.B, sketch func(uint64) delta.Sketch) (one, six *View) {
	m := newMade(blobsToBench(b)/131072+1, 131072)
	m.sketch = sketch
	db := open(b, b.TempDir())
	sync := func(m *made, refs []object.Ref) *View {
		v, err := db.Sync(b.Context(), refs, m.load)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { v.Close() })
		return v
	}
	one = sync(m, m.refs)
	refs := m.refs
	for i, per := range []int{20000, 5000, 1200, 300, 60} {
		ref := newMade(len(m.refs)+1, per).refs[len(m.refs)]
		ref.Session[1] = byte(128 + i)
		refs = append(refs, ref)
		six = sync(&made{per: per, sketch: sketch}, refs)
	}
	b.Logf("%d levels", len(six.levels))
	return one, six
}

// BenchmarkLookup looks into one large level and five small ones.
func BenchmarkLookup(b *testing.B) {
	one, v := benchLevels(b, nil)
	hits := make([]object.BlobID, 1<<16)
	misses := make([]object.BlobID, 1<<16)
	blobs := uint64((blobsToBench(b)/131072 + 1) * 131072)
	for i := range hits {
		hits[i] = madeID(rand.Uint64N(blobs))
		misses[i] = madeID(1<<40 + uint64(i))
	}
	for _, bench := range []struct {
		name string
		view *View
		ids  []object.BlobID
		want int
	}{{"hit-1-level", one, hits, 1}, {"miss-1-level", one, misses, 0}, {"hit-6-levels", v, hits, 1}, {"miss-6-levels", v, misses, 0}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			var places []Place
			for i := range b.N {
				places = bench.view.Lookup(bench.ids[i%len(bench.ids)], places[:0])
				if len(places) != bench.want {
					b.Fatal(places)
				}
			}
		})
	}
}

// BenchmarkSimilar looks for what is similar in one large level, and in that and five small ones.
func BenchmarkSimilar(b *testing.B) {
	one, six := benchLevels(b, madeSketch)
	hits, misses := make([]delta.Sketch, 1<<16), make([]delta.Sketch, 1<<16)
	for i := range hits {
		hits[i] = madeSketch(rand.Uint64N(uint64(blobsToBench(b))))
		misses[i] = madeSketch(1<<40 + uint64(i))
	}
	for _, bench := range []struct {
		name     string
		view     *View
		sketches []delta.Sketch
		hit      bool
	}{{"hit-1-level", one, hits, true}, {"miss-1-level", one, misses, false}, {"hit-6-levels", six, hits, true}, {"miss-6-levels", six, misses, false}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			var ids []object.BlobID
			for i := range b.N {
				ids = bench.view.Similar(bench.sketches[i%len(hits)], ids[:0])
				if (len(ids) > 0) != bench.hit {
					b.Fatal(ids)
				}
			}
		})
	}
}

func BenchmarkSync_NoChange(b *testing.B) {
	m := newMade(300, 100)
	dir := b.TempDir()
	db := open(b, dir)
	for range b.N {
		v, err := db.Sync(b.Context(), m.refs, m.load)
		if err != nil {
			b.Fatal(err)
		}
		v.Close()
	}
}
