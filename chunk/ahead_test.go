package chunk_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/chunk"
)

func newAhead(t testing.TB, searchers int) *chunk.Ahead {
	t.Helper()
	a, err := chunk.NewAhead(testPol, searchers)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// cutAhead returns all extents of r, which a reads ahead.
func cutAhead(t testing.TB, c *chunk.Cutter, a *chunk.Ahead, r io.Reader) []extent {
	t.Helper()
	c.ResetAhead(r, a)
	out := collect(t, c)
	c.Reset(nil)
	return out
}

// aheads are of all shapes: those with small slabs have chunks that lie in many of them.
func aheads(t testing.TB) map[string]*chunk.Ahead {
	if testing.Short() { // with the race detector all takes ten times as long
		return map[string]*chunk.Ahead{"small slabs": newAhead(t, 3).WithSizes(40_970, chunk.HoleRoom+1000)}
	}
	return map[string]*chunk.Ahead{
		"usual":        newAhead(t, 2),
		"one searcher": newAhead(t, 1).WithSizes(10_000, chunk.HoleRoom),
		"small slabs":  newAhead(t, 3).WithSizes(4097, chunk.HoleRoom+1000),
		"large pieces": newAhead(t, 4).WithSizes(1<<20, 300_000),
	}
}

func TestCutter_Ahead_AnyStreamEqualsReference(t *testing.T) {
	c, list := newCutter(t), aheads(t)
	rapid.Check(t, func(rt *rapid.T) {
		data := stream(rt)
		holes := holesIn(rt, data)
		want := reference(t, data, nil)
		sparse := cut(t, c, spanReader(data, holes))
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "reads"), 0))
		size := rapid.SampledFrom([]int{5000, 1 << 16, 1 << 20}).Draw(rt, "read size")
		a := list[rapid.SampledFrom(slices.Sorted(maps.Keys(list))).Draw(rt, "kind")]
		diff(rt, "plain", cutAhead(t, c, a, bytes.NewReader(data)), want)
		diff(rt, "fragmented", cutAhead(t, c, a, &randomReader{bytes.NewReader(data), rng, size}), want)
		diff(rt, "with holes", cutAhead(t, c, a, spanReader(data, holes)), sparse)
	})
}

// windowWithCut returns 64 bytes behind which there is a place for a cut, by trying.
func windowWithCut(t *testing.T, seed uint64) []byte {
	t.Helper()
	data := noise(seed, 24<<20)
	c := newCutter(t)
	c.Reset(bytes.NewReader(data))
	ch, err := c.Next()
	if err != nil || ch.Length == chunk.MaxSize || ch.Length < 64 {
		t.Fatalf("length %d, %v", ch.Length, err)
	}
	return bytes.Clone(data[ch.Length-64 : ch.Length])
}

// TestCutter_Ahead_AdversarialDataEqualsReference: places for cuts just before and behind the least and the greatest
// length, beside the ends of pieces, one behind the other, and none at all.
func TestCutter_Ahead_AdversarialDataEqualsReference(t *testing.T) {
	if testing.Short() {
		t.Skip("cuts much")
	}
	w := windowWithCut(t, 99)
	const piece = 256 << 10
	none := bytes.Repeat([]byte{'a'}, 17<<20) // has the same fingerprint everywhere, and no place
	streams := map[string][]byte{
		"none":        none,
		"everywhere":  bytes.Repeat(w, 12<<20/len(w)),
		"short":       w,
		"15 blocks":   append(append(noise(1, 700_000), make([]byte, 15*4096)...), noise(2, 700_000)...),
		"16 blocks":   append(append(noise(1, 700_000), make([]byte, 17*4096)...), noise(2, 700_000)...),
		"zero blocks": bytes.Repeat(append(make([]byte, 15*4096), bytes.Repeat([]byte{7}, 4096)...), 100),
	}
	at := func(name string, ends ...int) {
		data := bytes.Clone(none)
		for _, end := range ends {
			copy(data[end-64:], w)
		}
		streams[name] = data
	}
	at("before the least", chunk.MinSize-1)
	at("at the least", chunk.MinSize)
	at("behind the least", chunk.MinSize+1)
	at("around the least", chunk.MinSize-70, chunk.MinSize+10, 2*chunk.MinSize+9, 2*chunk.MinSize+80)
	at("before the greatest", chunk.MaxSize-1)
	at("at the greatest", chunk.MaxSize, 2*chunk.MaxSize)
	at("behind the greatest", chunk.MaxSize+1, chunk.MaxSize+chunk.MinSize, 2*chunk.MaxSize+1)
	var ends []int
	for end := piece; end < 16<<20; end += piece {
		ends = append(ends, end-100, end, end+63, end+64+64)
	}
	at("at ends of pieces", ends...)
	c, list := newCutter(t), aheads(t)
	for name, data := range streams {
		want := reference(t, data, nil)
		diff(t, name+", sequential", cut(t, c, bytes.NewReader(data)), want)
		for kind, a := range list {
			diff(t, name+", "+kind, cutAhead(t, c, a, bytes.NewReader(data)), want)
		}
	}
}

func TestCutter_Ahead_LongStreamEqualsReference(t *testing.T) {
	if testing.Short() {
		t.Skip("cuts much")
	}
	data := bytes.Join([][]byte{
		noise(7, 18<<20), make([]byte, 9<<20), bytes.Repeat([]byte{'a'}, 20<<20), noise(8, 3<<20+1),
	}, nil)
	holes := []span{{19 << 20, 20<<20 + 1000}, {21<<20 + 5, 26 << 20}, {26<<20 + 100, 26<<20 + 70_000}}
	c := newCutter(t)
	want, sparse := reference(t, data, nil), reference(t, data, holes)
	for name, a := range aheads(t) {
		diff(t, name, cutAhead(t, c, a, bytes.NewReader(data)), want)
		diff(t, name+", with holes", cutAhead(t, c, a, spanReader(data, holes)), sparse)
	}
}

func TestCutter_Ahead_OddReadersSameChunks(t *testing.T) {
	data := bytes.Join([][]byte{noise(1, 700_000), make([]byte, 70_000), noise(2, 1000)}, nil)
	c, a := newCutter(t), newAhead(t, 2)
	want := reference(t, data, nil)
	for name, r := range map[string]io.Reader{
		"one byte":  iotest.OneByteReader(bytes.NewReader(data)),
		"half":      iotest.HalfReader(bytes.NewReader(data)),
		"data, EOF": iotest.DataErrReader(bytes.NewReader(data)),
	} {
		diff(t, name, cutAhead(t, c, a, r), want)
	}
	for _, size := range []int64{1 << 40, 1<<40 + 1, 16 * 4096, 17*4096 + 1} {
		diff(t, "hole", cutAhead(t, c, a, &neverRead{size}), []extent{{kind: chunk.Hole, length: size}})
	}
}

func TestCutter_Ahead_StreamFailsReturnsItsError(t *testing.T) {
	a := newAhead(t, 2)
	for name, r := range map[string]io.Reader{
		"read":        io.MultiReader(bytes.NewReader(noise(1, 2<<20)), iotest.ErrReader(errTest)),
		"read in run": io.MultiReader(bytes.NewReader(make([]byte, 2<<20)), iotest.ErrReader(errTest)),
		"holes":       chunk.NewSparseReader(bytes.NewReader(nil), func(int64) (int64, int64, error) { return 0, 0, errTest }),
		"no progress": emptyReader{},
		"too long":    &neverRead{1<<63 - 1},
		"negative":    &neverRead{-1},
	} {
		c := newCutter(t)
		c.ResetAhead(r, a)
		var err error
		for err == nil {
			_, err = c.Next()
		}
		if err == io.EOF || strings.Contains(name, "read") && !errors.Is(err, errTest) {
			t.Errorf("%s: %v", name, err)
		}
		if _, again := c.Next(); again != err {
			t.Errorf("%s: then %v", name, again)
		}
		diff(t, name+", after Reset", cut(t, c, strings.NewReader("x")), []extent{{chunk.Data, 1, "x"}})
		diff(t, name+", ahead again", cutAhead(t, c, a, strings.NewReader("x")), []extent{{chunk.Data, 1, "x"}})
	}
}

// TestCutter_Ahead_ResetAnywhereEndsReading: what is under way ends, and the next stream is not touched by it.
func TestCutter_Ahead_ResetAnywhereEndsReading(t *testing.T) {
	c, a := newCutter(t), newAhead(t, 3)
	data, most := noise(5, 16<<20), 8
	if testing.Short() {
		data, most = data[:6<<20], 3
	}
	want := reference(t, data[:3<<20], nil)
	for chunks := range most {
		c.ResetAhead(bytes.NewReader(data), a)
		for range chunks {
			if _, err := c.Next(); err != nil {
				t.Fatal(err)
			}
		}
		c.Reset(nil)
		if _, err := c.Next(); err != io.EOF {
			t.Errorf("without a stream: %v", err)
		}
		diff(t, "the next stream", cutAhead(t, c, a, bytes.NewReader(data[:3<<20])), want)
	}
}

func TestNewAhead_UselessPolynomial_IsRefused(t *testing.T) {
	if _, err := chunk.NewAhead(1, 1); !errors.Is(err, chunk.ErrPolynomial) {
		t.Errorf("%v", err)
	}
}

// abandoned is a stream of which a read fails that is under way all the same, as those of stream.Reader do.
type abandoned struct {
	begun, fail chan struct{}
	first       bool
	p           []byte
}

func (r *abandoned) Read(p []byte) (int, error) {
	if r.first = !r.first; r.first {
		return 1, nil
	}
	r.p = p
	close(r.begun)
	<-r.fail
	return 0, errTest
}

// TestCutter_Ahead_ReadFailsDuringReset_ItsMemoryIsNotUsedAgain: the read may still write into it.
func TestCutter_Ahead_ReadFailsDuringReset_ItsMemoryIsNotUsedAgain(t *testing.T) {
	a := newAhead(t, 1)
	end := func(p []byte) *byte { return &p[:cap(p)][cap(p)-1] }
	data, rounds := noise(1, 5<<20), 12
	if testing.Short() {
		rounds = 3
	}
	for range rounds { // half of the times the stop is noticed before the error
		c := newCutter(t)
		r := &abandoned{begun: make(chan struct{}), fail: make(chan struct{})}
		c.ResetAhead(r, a)
		<-r.begun
		time.AfterFunc(10*time.Millisecond, func() { close(r.fail) }) // when the reset is under way
		c.Reset(nil)
		for n := range 2 {
			seen := &seeing{Reader: bytes.NewReader(data)}
			cutAhead(t, c, a, seen)
			for _, p := range seen.all {
				if end(p) == end(r.p) {
					t.Fatalf("stream %d is read into the memory of the read that was given up", n)
				}
			}
		}
	}
}

// seeing notes where it is read to.
type seeing struct {
	io.Reader
	all [][]byte
}

func (r *seeing) Read(p []byte) (int, error) {
	r.all = append(r.all, p)
	return r.Reader.Read(p)
}
