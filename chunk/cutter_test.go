package chunk_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/zeebo/blake3"
	"pgregory.net/rapid"

	"github.com/kura-backup/kura/chunk"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// stream draws a stream of pieces whose lengths lie around the numbers that matter.
func stream(t *rapid.T) []byte {
	var data []byte
	pieces := rapid.IntRange(0, 7).Draw(t, "pieces")
	for range pieces {
		n := rapid.OneOf(
			rapid.IntRange(1, 9000),
			rapid.Map(rapid.IntRange(14, 18), func(n int) int { return n * 4096 }),
			rapid.IntRange(15*4096, 18*4096),
			rapid.IntRange(500<<10, 1100<<10),
		).Draw(t, "length")
		switch rapid.IntRange(0, 3).Draw(t, "content") {
		case 0, 1:
			data = append(data, make([]byte, n)...)
		case 2:
			data = append(data, noise(rapid.Uint64().Draw(t, "seed"), n)...)
		case 3: // a block of zeros with one byte in it
			piece := make([]byte, n)
			piece[rapid.IntRange(0, n-1).Draw(t, "at")] = 1
			data = append(data, piece...)
		}
	}
	return data
}

// holesIn draws holes that lie in zeros of data, aligned or not.
func holesIn(t *rapid.T, data []byte) []span {
	var holes []span
	align := rapid.SampledFrom([]int{1, 512, 4096}).Draw(t, "align")
	for i := 0; i < len(data); {
		if data[i] != 0 {
			i++
			continue
		}
		j := i
		for j < len(data) && data[j] == 0 {
			j++
		}
		if j-i > 600 {
			lo := rapid.IntRange(i, j-1).Draw(t, "lo")
			hi := rapid.IntRange(lo+1, j).Draw(t, "hi")
			lo, hi = (lo+align-1)/align*align, hi/align*align
			if lo < hi {
				holes = append(holes, span{int64(lo), int64(hi)})
			}
			j = max(hi, lo, i+1)
			if rapid.Bool().Draw(t, "next") {
				j += 1 << 16
			}
		}
		i = j
	}
	return holes
}

// randomReader returns between 1 and max bytes a call.
type randomReader struct {
	r   io.Reader
	rng *rand.Rand
	max int
}

func (r *randomReader) Read(p []byte) (int, error) {
	return r.r.Read(p[:min(len(p), 1+r.rng.IntN(r.max))])
}

func TestCutter_AnyStream_EqualsReference(t *testing.T) {
	alone(t)
	c := newCutter(t)
	rapid.Check(t, func(rt *rapid.T) {
		data := stream(rt)
		holes := holesIn(rt, data)
		want := reference(t, data, nil)
		diff(rt, "plain", cut(t, c, bytes.NewReader(data)), want)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "reads"), 0))
		size := rapid.SampledFrom([]int{5000, 1 << 16, 1 << 20}).Draw(rt, "read size")
		diff(rt, "fragmented", cut(t, c, &randomReader{bytes.NewReader(data), rng, size}), want)

		sparse := cut(t, c, spanReader(data, holes))
		diff(rt, "with holes", sparse, reference(t, data, holes))
		diff(rt, "with holes taken as zeros", withoutHoles(sparse), want)
	})
}

func TestCutter_OneByteAndOddReaders_SameChunks(t *testing.T) {
	alone(t)
	data := bytes.Join([][]byte{
		noise(1, 700_000), make([]byte, 70_000), noise(2, 1000), make([]byte, 60_000), noise(3, 600_001), make([]byte, 66_000),
	}, nil)
	c := newCutter(t)
	want := reference(t, data, nil)
	for name, r := range map[string]io.Reader{
		"one byte":  iotest.OneByteReader(bytes.NewReader(data)),
		"half":      iotest.HalfReader(bytes.NewReader(data)),
		"data, EOF": iotest.DataErrReader(bytes.NewReader(data)),
	} {
		diff(t, name, cut(t, c, r), want)
	}
}

func TestCutter_LongStretch_EqualsReference(t *testing.T) {
	alone(t)
	// Long enough for the window to move and grow, with a stretch in which the maximum cuts.
	same := bytes.Repeat([]byte{'a'}, 20<<20)
	data := bytes.Join([][]byte{noise(7, 24<<20), make([]byte, 1<<20), same, noise(8, 3<<20)}, nil)
	got := cut(t, newCutter(t), bytes.NewReader(data))
	diff(t, "long", got, reference(t, data, nil))
	longest := int64(0)
	for _, e := range got {
		if e.kind == chunk.Data {
			longest = max(longest, e.length)
		}
	}
	if longest != chunk.MaxSize {
		t.Errorf("longest chunk has %d bytes, want %d", longest, chunk.MaxSize)
	}
}

func TestCutter_Boundaries(t *testing.T) {
	z := func(n int) []byte { return make([]byte, n) }
	type want struct {
		kind   chunk.Kind
		length int64
	}
	for _, tc := range []struct {
		name string
		data []byte
		want []want
	}{
		{"empty", nil, nil},
		{"one byte", []byte{1}, []want{{chunk.Data, 1}}},
		{"one zero byte", z(1), []want{{chunk.Data, 1}}},
		{"15 zero blocks", z(15 * 4096), []want{{chunk.Data, 15 * 4096}}},
		{"15 zero blocks and a short one", z(15*4096 + 1), []want{{chunk.Zeros, 15*4096 + 1}}},
		{"16 zero blocks", z(16 * 4096), []want{{chunk.Zeros, 16 * 4096}}},
		{"16 zero blocks behind a byte", append([]byte{1}, z(16*4096)...), []want{{chunk.Data, 4096}, {chunk.Zeros, 15*4096 + 1}}},
		{"15 whole zero blocks behind a byte", append([]byte{1}, z(16*4096-1)...), []want{{chunk.Data, 16 * 4096}}},
		{"zeros before a byte", append(z(16*4096), 1), []want{{chunk.Zeros, 16 * 4096}, {chunk.Data, 1}}},
		{"short last block with data", append(z(17*4096), 0, 1), []want{{chunk.Zeros, 17 * 4096}, {chunk.Data, 2}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := cut(t, newCutter(t), bytes.NewReader(tc.data))
			var list []want
			for _, e := range got {
				list = append(list, want{e.kind, e.length})
			}
			if fmt.Sprint(list) != fmt.Sprint(tc.want) {
				t.Errorf("got %v, want %v", list, tc.want)
			}
		})
	}
}

func TestCutter_Insertion_ChangesFewChunks(t *testing.T) {
	alone(t)
	data := noise(11, 32<<20)
	for _, at := range []int{0, 1 << 20, 17<<20 + 12345} {
		changed := bytes.Join([][]byte{data[:at], []byte("some new bytes"), data[at:]}, nil)
		c := newCutter(t)
		old := make(map[string]bool)
		for _, e := range cut(t, c, bytes.NewReader(data)) {
			old[e.data] = true
		}
		fresh := 0
		for _, e := range cut(t, c, bytes.NewReader(changed)) {
			if !old[e.data] {
				fresh++
			}
		}
		if fresh == 0 || fresh > 4 {
			t.Errorf("inserting at %d makes %d new chunks of %d", at, fresh, len(old))
		}
	}
}

// neverRead is one hole and fails when it is read from.
type neverRead struct{ hole int64 }

func (*neverRead) Read(p []byte) (int, error) { return 0, io.EOF }
func (n *neverRead) SkipHole() (int64, error) {
	h := n.hole
	n.hole = 0
	return h, nil
}

func TestCutter_HugeHole_OneExtent(t *testing.T) {
	const tib = 1 << 40
	for _, size := range []int64{tib, tib + 1, tib - 1, math.MaxInt64 - 1<<20} {
		got := cut(t, newCutter(t), &neverRead{size})
		diff(t, "hole", got, []extent{{kind: chunk.Hole, length: size}})
	}
}

func TestCutter_StreamFails_ReturnsItsError(t *testing.T) {
	alone(t)
	for name, r := range map[string]io.Reader{
		"read":        io.MultiReader(bytes.NewReader(noise(1, 2<<20)), iotest.ErrReader(errTest)),
		"read in run": io.MultiReader(bytes.NewReader(make([]byte, 2<<20)), iotest.ErrReader(errTest)),
		"timeout":     iotest.TimeoutReader(bytes.NewReader(noise(1, 2<<20))),
		"holes":       chunk.NewSparseReader(bytes.NewReader(nil), func(int64) (int64, int64, error) { return 0, 0, errTest }),
		"no progress": emptyReader{},
		"too long":    &neverRead{math.MaxInt64},
		"negative":    &neverRead{-1},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCutter(t)
			c.Reset(r)
			var err error
			for err == nil {
				_, err = c.Next()
			}
			if err == io.EOF {
				t.Fatal("no error")
			}
			if _, again := c.Next(); again != err {
				t.Errorf("then %v, want %v again", again, err)
			}
			switch name {
			case "read", "read in run", "holes":
				if !errors.Is(err, errTest) {
					t.Errorf("error %v does not wrap the stream's", err)
				}
			case "no progress":
				if !errors.Is(err, io.ErrNoProgress) {
					t.Errorf("error %v, want io.ErrNoProgress", err)
				}
			}
			diff(t, "after Reset", cut(t, c, strings.NewReader("x")), []extent{{chunk.Data, 1, "x"}})
		})
	}
}

type emptyReader struct{}

func (emptyReader) Read([]byte) (int, error) { return 0, nil }

func TestCutter_ResetMidway_ForgetsTheStreamBefore(t *testing.T) {
	alone(t)
	c := newCutter(t)
	data := noise(5, 5<<20)
	want := cut(t, c, bytes.NewReader(data))
	c.Reset(bytes.NewReader(noise(6, 900<<10))) // less than some chunk: the Rabin chunker is left in the middle
	if _, err := c.Next(); err != nil {
		t.Fatal(err)
	}
	c.Reset(bytes.NewReader(append(make([]byte, 1<<20), 1)))
	if _, err := c.Next(); err != nil {
		t.Fatal(err)
	}
	diff(t, "after two others", cut(t, c, bytes.NewReader(data)), want)
	c.Reset(nil)
	if _, err := c.Next(); err != io.EOF {
		t.Errorf("without a stream: %v, want io.EOF", err)
	}
}

func TestCutter_SmallFiles_AllocateNothing(t *testing.T) {
	alone(t)
	c := newCutter(t)
	r := bytes.NewReader(nil)
	small := noise(1, 8192)
	got := testing.AllocsPerRun(100, func() {
		r.Reset(small)
		c.Reset(r)
		for {
			if _, err := c.Next(); err != nil {
				break
			}
		}
	})
	if got != 0 {
		t.Errorf("%v allocations a file, want 0", got)
	}
}

func TestNew_UselessPolynomial_IsRefused(t *testing.T) {
	for _, pol := range []uint64{0, 1, 0x3DA3358B4DC172, 0x3DA3358B4DC173 << 1, math.MaxUint64} {
		if _, err := chunk.New(pol); !errors.Is(err, chunk.ErrPolynomial) {
			t.Errorf("New(%#x): %v, want ErrPolynomial", pol, err)
		}
	}
}

// TestCutter_Golden_BoundariesNeverChange compares with a list that was committed: a change of it makes
// everything that repositories hold be stored a second time.
func TestCutter_Golden_BoundariesNeverChange(t *testing.T) {
	alone(t)
	data := bytes.Join([][]byte{
		noise(42, 12<<20), make([]byte, 3*4096), noise(43, 1<<20), make([]byte, 200_000),
		bytes.Repeat([]byte("kura"), 5<<20/2), noise(44, 2_345_678), make([]byte, 100_000),
	}, nil)
	holes := []span{{13<<20 + 3*4096 + 50_000, 13<<20 + 3*4096 + 150_000}}
	var b strings.Builder
	fmt.Fprintf(&b, "# polynomial %#x; offset, length, kind, BLAKE3 of the data\n", uint64(testPol))
	var off int64
	for _, e := range cut(t, newCutter(t), spanReader(data, holes)) {
		sum := ""
		if e.kind == chunk.Data {
			h := blake3.Sum256([]byte(e.data))
			sum = " " + hex.EncodeToString(h[:])
		}
		fmt.Fprintf(&b, "%d %d %v%s\n", off, e.length, e.kind, sum)
		off += e.length
	}
	name := filepath.Join("testdata", "boundaries.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("boundaries changed:\n%s\nwant\n%s", b.String(), want)
	}
}
